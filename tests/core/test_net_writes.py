"""What is said together goes over the wire together: a write is a system call, and with TLS a record."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

from .net_support import Recorder, client_context, event_loop_policy, serving

__all__ = ["event_loop_policy"]


class Spy:
    """A transport, with what is written to it."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self.written: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        self.written.append(bytes(data))
        self._transport.write(data)


def spied(me: Recorder) -> Spy:
    found = me.connection._transport
    if not isinstance(found, Spy):
        found = me.connection._transport = Spy(found)  # type: ignore[assignment]
    assert isinstance(found, Spy)
    return found


async def test_an_answer_and_what_its_task_says_at_once(tmp_path: Path) -> None:
    tasks: list[asyncio.Task[None]] = []

    def answer(me: Recorder, data: bytes) -> None:
        async def more() -> None:
            me.link.write(b"more")

        me.link.write(b"features ")
        tasks.append(asyncio.get_running_loop().create_task(more()))

    async with serving(tmp_path) as here:
        peer, server = await here.connect()
        server.on_data = answer
        spy = spied(server)
        await peer.send(b"header")
        assert await peer.exactly(13) == b"features more"
        assert spy.written == [b"features more"]


async def test_the_same_where_others_have_written_before(tmp_path: Path) -> None:
    """The turn in which they are written comes before the first step of the task."""
    tasks: list[asyncio.Task[None]] = []

    async with serving(tmp_path) as here:
        _, other = await here.connect()
        peer, server = await here.connect()

        def answer(me: Recorder, data: bytes) -> None:
            async def more() -> None:
                me.link.write(b"success")

            other.link.write(b"hello")
            me.link.write(b"features ")
            tasks.append(asyncio.get_running_loop().create_task(more()))

        server.on_data = answer
        spy = spied(server)
        await peer.send(b"header")
        assert await peer.exactly(16) == b"features success"
        assert spy.written == [b"features success"]


async def test_what_is_held_goes_with_the_next_word(tmp_path: Path) -> None:
    def answer(me: Recorder, data: bytes) -> None:
        me.link.write(b"header ")
        me.link.hold()

    async with serving(tmp_path) as here:
        peer, server = await here.connect()
        server.on_data = answer
        spy = spied(server)
        for last in (False, True):
            await peer.send(b"x")
            await asyncio.sleep(0.05)
            assert len(server.pieces) == 1 + last
            assert not spy.written
            if last:
                server.link.close()
                assert await peer.rest() == b"header "
            else:
                server.link.write(b"challenge")
                assert await peer.exactly(16) == b"header challenge"
            assert len(spy.written) == 1, "and nothing is held any more"
            spy.written.clear()


async def test_holding_nothing_holds_nothing_later(tmp_path: Path) -> None:
    async with serving(tmp_path) as here:
        peer, server = await here.connect()
        server.link.hold()
        server.link.write(b"word")
        assert await peer.exactly(4) == b"word"


async def test_what_is_written_while_bytes_are_taken_is_not_forgotten(tmp_path: Path) -> None:
    """Where the connection was on the list for this turn before, and where it is drained only."""
    async with serving(tmp_path) as here:
        peer, server = await here.connect()
        drained: list[str] = []
        server.on_data = lambda me, data: me.link.on_drained(lambda: drained.append("yes"))
        await peer.send(b"x")
        await server.seen("data")
        await asyncio.sleep(0.02)
        assert drained == ["yes"]
        server.on_data = lambda me, data: me.link.write(b"2")
        server.link.write(b"1")
        server.connection._deliver(b"y")
        assert await peer.exactly(2) == b"12"


async def test_the_last_word_and_the_goodbye_are_one_write(tmp_path: Path) -> None:
    async with serving(tmp_path, "direct") as here:
        peer, server = await here.connect()
        await peer.start_tls()
        await server.seen("secured")
        spy = spied(server)

        def close(me: Recorder, data: bytes) -> None:
            me.link.write(b"</stream:stream>")
            me.link.close()

        server.on_data = close
        await peer.say(b"</stream:stream>")
        assert await peer.hear(16) == b"</stream:stream>"
        assert len(spy.written) == 1


async def test_tickets_wait_for_the_first_word(tmp_path: Path) -> None:
    """They are of no use here, as no session is resumed; with TLS 1.2 the client waits for the end of the handshake."""
    for version, waits in ((ssl.TLSVersion.TLSv1_3, True), (ssl.TLSVersion.TLSv1_2, False)):
        async with serving(tmp_path, "direct") as here:
            peer, server = await here.connect()
            spy = spied(server)
            await peer.start_tls(client_context(maximum_version=version))
            await server.seen("secured")
            await asyncio.sleep(0.02)
            assert len(spy.written) == (1 if waits else 2)
            before = len(spy.written)
            server.link.write(b"welcome")
            assert await peer.hear(7) == b"welcome"
            assert len(spy.written) == before + 1
