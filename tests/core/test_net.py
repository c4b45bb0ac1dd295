"""Connections without TLS, over real sockets."""

from __future__ import annotations

import asyncio
import logging
import socket
from pathlib import Path
from typing import Any

import pytest

from xmppd.net.engine import READ_SIZE, Timing
from xmppd.net.loop import RealClock

from .net_support import PATIENCE, Recorder, echo, event_loop_policy, serving

QUICK = Timing(handshake=0.1, close=0.1, sweep=0.02, high_water=64 << 10, discard=1 << 20)


__all__ = ["event_loop_policy"]


class Counting:
    """A transport that counts what is written to it."""

    def __init__(self, transport: Any) -> None:
        self.transport = transport
        self.writes: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.writes.append(data)
        self.transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)


def counted(recorder: Recorder) -> list[bytes]:
    counting = Counting(recorder.connection._transport)
    recorder.connection._transport = counting  # type: ignore[assignment]
    return counting.writes


# ---- reading and writing


async def test_what_is_said_comes_back(tmp_path: Path) -> None:
    async with serving(tmp_path) as here:
        here.set_up = echo
        peer, server = await here.connect()
        for word in (b"one", b"two", b"x" * 1000):
            await peer.send(word)
            assert await peer.exactly(len(word)) == word
        peer.close()
        await server.seen("lost")
        assert server.error is None
        assert server.events == ["connected", "data", "data", "data", "lost"]


async def test_the_link_knows_its_peer(tmp_path: Path) -> None:
    async with serving(tmp_path) as here:
        peer, server = await here.connect()
        link = server.link
        assert (link.peer, link.port) == peer.writer.get_extra_info("sockname")
        assert link.loopback
        assert not link.secure
        assert (link.tls_version, link.cipher, link.tls_server_end_point) == ("", "", None)
        before = link.last_read
        await peer.send(b"x")
        await server.seen("data")
        assert before < link.last_read <= RealClock().monotonic()


async def test_an_exception_in_connected_ends_only_that_connection(tmp_path: Path) -> None:
    def fail(me: Recorder) -> None:
        raise RuntimeError("a bug")

    async with serving(tmp_path) as here:
        here.set_up = lambda me: setattr(me, "on_connected", fail)
        peer, server = await here.connect()
        await server.seen("lost")
        assert await peer.receive() == b""
        here.set_up = echo
        other, _ = await here.connect()
        await other.send(b"still here")
        assert await other.exactly(10) == b"still here"


async def test_an_exception_from_the_protocol_ends_its_connection(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(me: Recorder, data: bytes) -> None:
        me.link.write(b"never sent")
        raise RuntimeError("a bug")

    async with serving(tmp_path) as here:
        neighbour, near = await here.connect()
        peer, server = await here.connect()
        server.on_data = fail
        await peer.send(b"x")
        await server.seen("lost")
        assert isinstance(server.error, RuntimeError)
        assert server.events.count("lost") == 1
        assert await peer.receive() == b""
        await neighbour.send(b"y")
        await near.seen("data")
    assert [record.exc_info is not None for record in caplog.records if record.levelno >= logging.ERROR] == [True]


async def test_all_writes_of_a_turn_are_one(tmp_path: Path) -> None:
    async with serving(tmp_path) as here:
        peer, server = await here.connect()
        writes = counted(server)
        for word in (b"one ", b"two ", b"", b"three"):
            server.link.write(word)
        assert server.link.write_buffer_size == 13
        assert writes == []
        assert await peer.exactly(13) == b"one two three"
        assert writes == [b"one two three"]
        assert server.link.write_buffer_size == 0


async def test_a_large_write_does_not_wait_for_the_end_of_the_turn(tmp_path: Path) -> None:
    async with serving(tmp_path) as here:
        peer, server = await here.connect()
        writes = counted(server)
        server.link.write(b"a" * 60_000)
        server.link.write(b"b" * 10_000)
        assert [len(write) for write in writes] == [70_000]
        server.link.write(b"c")
        assert len(await peer.exactly(70_001)) == 70_001


async def test_one_read_is_delivered_at_once(tmp_path: Path) -> None:
    async with serving(tmp_path) as here:
        peer, server = await here.connect()
        await peer.send(b"z" * 1_000_000)
        await server.until(lambda: len(server.data) == 1_000_000)
        assert max(map(len, server.pieces)) <= READ_SIZE


async def test_a_slow_reader_pauses_the_writer(tmp_path: Path) -> None:
    async with serving(tmp_path) as here:
        peer, server = await here.connect()
        sent = 0
        while "pause" not in server.events:
            server.link.write(b"x" * 50_000)
            sent += 50_000
            await asyncio.sleep(0)
        assert server.link.write_buffer_size > QUICK.high_water
        server.link.write(b"y")  # kept all the same
        server.on_resume = lambda me: me.events.append(f"size {me.link.write_buffer_size}")
        assert len(await peer.exactly(sent + 1)) == sent + 1
        await server.seen("resume")
        assert server.events == ["connected", "pause", "resume", "size 0"]


async def test_drained_means_that_nothing_waits(tmp_path: Path) -> None:
    async with serving(tmp_path) as here:
        peer, server = await here.connect()
        link = server.link
        drained: list[str] = []
        link.on_drained(lambda: drained.append("nothing written"))
        assert drained == []
        await asyncio.sleep(0.01)
        assert drained == ["nothing written"]

        link.write(b"small")
        link.on_drained(lambda: drained.append("small"))
        assert await peer.exactly(5) == b"small"
        assert drained[1:] == ["small"]

        sent = 0
        while "pause" not in server.events:
            link.write(b"x" * 50_000)
            sent += 50_000
            await asyncio.sleep(0)
        link.on_drained(lambda: server._note(f"large {link.write_buffer_size}"))
        await asyncio.sleep(0.01)
        assert server.events[-1] == "pause"
        await peer.exactly(sent)
        await server.seen("resume")
        assert server.events == ["connected", "pause", "large 0", "resume"]


async def test_what_did_not_leave_is_not_drained(tmp_path: Path) -> None:
    async with serving(tmp_path) as here:
        peer, server = await here.connect()
        while "pause" not in server.events:
            server.link.write(b"x" * 50_000)
            await asyncio.sleep(0)
        server.link.on_drained(lambda: server.events.append("drained"))
        peer.writer.transport.abort()
        await server.seen("lost")
        await asyncio.sleep(0.01)
        assert "drained" not in server.events
        server.link.on_drained(lambda: server.events.append("drained"))
        await asyncio.sleep(0.01)
        assert "drained" not in server.events


async def test_what_an_abort_drops_is_not_drained(tmp_path: Path) -> None:
    async with serving(tmp_path) as here:
        _, server = await here.connect()
        server.link.write(b"x")
        server.link.on_drained(lambda: server.events.append("drained"))
        server.link.abort()
        await server.seen("lost")
        assert server.events == ["connected", "lost"]


async def test_a_paused_reader_is_told_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path) as here:
        peer, server = await here.connect()
        server.on_data = lambda me, data: me.link.pause_reading()
        await peer.send(b"one")
        await server.seen("data")
        await peer.send(b"two")
        await asyncio.sleep(0.02)
        assert server.pieces == [b"one"]
        server.link.resume_reading()
        await server.until(lambda: server.data == b"onetwo")


async def test_paused_from_the_start(tmp_path: Path) -> None:
    async with serving(tmp_path) as here:
        here.set_up = lambda me: setattr(me, "on_connected", lambda me: me.link.pause_reading())
        peer, server = await here.connect()
        await peer.send(b"one")
        await asyncio.sleep(0.02)
        await peer.send(b"two")
        await asyncio.sleep(0.02)
        assert server.events == ["connected"]
        server.link.resume_reading()
        assert server.events == ["connected"]  # in a later turn
        await server.until(lambda: server.data == b"onetwo")


# ---- the end


async def test_close_sends_what_is_written(tmp_path: Path) -> None:
    async with serving(tmp_path) as here:
        peer, server = await here.connect()
        server.link.write(b"x" * 3_000_000)
        server.link.write(b"goodbye")
        server.link.close()
        server.link.write(b"too late")
        server.link.close()
        assert (await peer.rest())[-8:] == b"xgoodbye"
        assert server.events[-1] != "lost"  # until the client has closed as well
        peer.close()
        await server.seen("lost")
        assert server.error is None


async def test_unread_data_does_not_take_away_the_last_words(tmp_path: Path) -> None:
    """Bytes that a closed socket has not read make a reset, and that makes the peer lose what it has not read."""
    async with serving(tmp_path) as here:
        peer, server = await here.connect()

        def refuse(me: Recorder, data: bytes) -> None:
            me.link.write(b"<stream:error/>")
            me.link.close()

        server.on_data = refuse
        for _ in range(10):
            await peer.send(b"x" * 50_000)
            await asyncio.sleep(0)
        assert await peer.rest() == b"<stream:error/>"
        assert len(server.pieces) == 1
        peer.close()
        await server.seen("lost")


async def test_closing_while_reading_is_paused(tmp_path: Path) -> None:
    async with serving(tmp_path, timing=Timing(close=3600)) as here:
        peer, server = await here.connect()
        server.link.pause_reading()
        await peer.send(b"unread")
        server.link.write(b"bye")
        server.link.close()
        assert await peer.rest() == b"bye"
        peer.close()
        await server.seen("lost")
        assert server.pieces == []


async def test_who_does_not_close_is_cut_off(tmp_path: Path) -> None:
    async with serving(tmp_path, timing=QUICK) as here:
        peer, server = await here.connect()
        server.link.close()
        assert await peer.rest() == b""
        await server.seen("lost")
        assert not here.listener.connections


async def test_who_does_not_read_is_cut_off_at_closing(tmp_path: Path) -> None:
    async with serving(tmp_path, timing=QUICK) as here:
        _, server = await here.connect()
        server.link.write(b"x" * 20_000_000)
        server.link.close()
        await server.seen("lost")


async def test_who_goes_on_sending_is_cut_off_at_closing(tmp_path: Path) -> None:
    async with serving(tmp_path) as here:  # the deadline is far
        peer, server = await here.connect()
        server.link.close()
        with pytest.raises(ConnectionError):
            async with asyncio.timeout(PATIENCE / 4):
                while True:
                    await peer.send(b"x" * 65_536)
        await server.seen("lost")


async def test_half_closed_gets_its_answers(tmp_path: Path) -> None:
    async with serving(tmp_path) as here:
        here.set_up = echo
        peer, server = await here.connect()
        peer.writer.write(b"question")
        peer.writer.write_eof()
        assert await peer.rest() == b"question"
        await server.seen("lost")
        assert server.error is None


async def test_a_reset_is_an_error(tmp_path: Path) -> None:
    async with serving(tmp_path) as here:
        peer, server = await here.connect()
        raw = peer.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        peer.writer.transport.abort()
        await server.seen("lost")
        assert isinstance(server.error, ConnectionError)


async def test_nothing_raises_after_the_end(tmp_path: Path) -> None:
    async with serving(tmp_path) as here:
        _, server = await here.connect()
        link = server.link
        link.abort()
        link.write(b"x")
        await server.seen("lost")
        link.write(b"x")
        link.pause_reading()
        link.resume_reading()
        link.close()
        link.abort()
        link.start_tls(here.context)
        await asyncio.sleep(0.01)
        assert link.write_buffer_size == 0
        assert server.events == ["connected", "lost"]


async def test_an_abort_inside_data_received_is_told_once(tmp_path: Path) -> None:
    async with serving(tmp_path) as here:
        peer, server = await here.connect()

        def stop(me: Recorder, data: bytes) -> None:
            me.link.abort()
            me.link.close()
            me.link.abort()

        server.on_data = stop
        await peer.send(b"x")
        await server.seen("lost")
        await asyncio.sleep(0.01)
        assert server.events == ["connected", "data", "lost"]
