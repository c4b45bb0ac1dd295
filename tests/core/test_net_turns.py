"""What strangers send is taken in a few reads a turn, so that people who are signed in wait for none of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.harness.clock import FakeClock
from xmppd.net import engine as engine_module
from xmppd.net.engine import STRANGERS_PER_TURN, Engine

from .net_support import event_loop_policy, serving

__all__ = ["event_loop_policy"]


class Taker:
    """A connection, as far as its reads go."""

    def __init__(self, taken: list[bytes]) -> None:
        self.taken = taken
        self.aborted = False

    def take(self, data: bytes) -> None:
        if data == b"fails":
            raise RuntimeError
        self.taken.append(data)

    def abort(self) -> None:
        self.aborted = True


async def test_a_few_in_each_turn_and_in_order(caplog: pytest.LogCaptureFixture) -> None:
    engine, taken = Engine(FakeClock()), list[bytes]()
    connection = Taker(taken)
    for number in range(3 * STRANGERS_PER_TURN):
        data = b"fails" if number == 20 else b"%d" % number
        if engine.may_take():
            connection.take(data)
        else:
            engine.take_later(connection, data)
    counts = []
    while len(taken) < 3 * STRANGERS_PER_TURN - 1:
        counts.append(len(taken))
        await asyncio.sleep(0)
    assert counts == [STRANGERS_PER_TURN, 2 * STRANGERS_PER_TURN - 1]
    assert [int(each) for each in taken] == [number for number in range(3 * STRANGERS_PER_TURN) if number != 20]
    assert connection.aborted and "a connection failed" in caplog.text, "one that fails stops no other"
    await asyncio.sleep(0)
    assert engine.may_take(), "nothing waits any more"


async def test_who_came_later_does_not_pass_those_who_wait() -> None:
    engine = Engine(FakeClock())
    while engine.may_take():
        pass
    taken: list[bytes] = []
    for number in range(STRANGERS_PER_TURN + 1):
        engine.take_later(Taker(taken), b"%d" % number)
    await asyncio.sleep(0)
    assert len(taken) == STRANGERS_PER_TURN
    assert not engine.may_take()


async def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """In bytes. Above that everything is taken at once, as it comes."""
    monkeypatch.setattr(engine_module, "HELD", 100)
    engine = Engine(FakeClock())
    while engine.may_take():
        pass
    engine.take_later(Taker([]), b"x" * 100)
    assert engine.may_take()


async def test_everything_arrives_and_in_order(tmp_path: Path) -> None:
    """Of many connections that send at the same time, in pieces, and close behind it."""
    text = b"".join(b"%d," % number for number in range(2000))
    async with serving(tmp_path) as here:
        peers = [await here.connect() for _ in range(5 * STRANGERS_PER_TURN)]
        peers[0][1].link.take_first()
        for at in range(0, len(text), 1000):
            for peer, _ in peers:
                await peer.send(text[at : at + 1000])
        for _, server in peers:
            await server.until(lambda server=server: server.data == text)  # type: ignore[misc]


async def test_who_is_known_waits_for_no_stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path) as here:
        known, known_server = await here.connect()
        stranger, stranger_server = await here.connect()
        known_server.link.take_first()
        monkeypatch.setattr(engine_module, "STRANGERS_PER_TURN", 0)
        await stranger.send(b"first")
        await known.send(b"second")
        await known_server.seen("data")
        assert (known_server.data, stranger_server.data) == (b"second", b"")
        monkeypatch.undo()
        third, third_server = await here.connect()
        await third.send(b"third")
        for server, data in ((stranger_server, b"first"), (third_server, b"third")):
            await server.seen("data")
            assert server.data == data
