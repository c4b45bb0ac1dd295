"""A server that has stood still looks whether the store is still its own before it says anything."""

from __future__ import annotations

import asyncio

import pytest

from tests.harness.clock import FakeClock
from tests.storage.clocks import LoopClock
from xmppd.clock import Clock
from xmppd.errors import StorageUnavailable
from xmppd.net import standstill as module
from xmppd.net.engine import Engine
from xmppd.net.standstill import LONGEST, Standstill

from .test_net_turns import Taker


class Machine:
    """Time since the boot, and answers of the store when the test gives them."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.time = 100.0
        self.asked = 0
        self.answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.engine = Engine(clock or FakeClock())
        self.standstill = Standstill(self.engine, self.engine.clock, self.confirm, lambda: self.time)

    async def confirm(self) -> None:
        self.asked += 1
        await self.answer

    async def goes_on(self, taken: list[bytes]) -> None:
        """The store answers the next question."""
        self.answer = asyncio.get_running_loop().create_future()
        self.answer.set_result(None)
        while not taken:  # noqa: ASYNC110  it is asked in between
            await asyncio.sleep(0.01)

    def read(self, connection: Taker, data: bytes) -> None:
        """As a connection does it."""
        if self.standstill.holds():
            self.standstill.hold(connection, data)
        else:
            connection.take(data)


async def test_reads_wait_until_the_store_is_confirmed() -> None:
    machine, taken = Machine(), list[bytes]()
    connection = Taker(taken)
    machine.read(connection, b"1")
    machine.time += LONGEST * 0.9
    machine.read(connection, b"2")
    machine.time += LONGEST
    machine.read(connection, b"3")
    machine.read(connection, b"4")  # no time has passed since: it waits all the same
    await asyncio.sleep(0)
    assert (taken, machine.asked) == ([b"1", b"2"], 1)
    machine.answer.set_result(None)
    for _ in range(5):
        await asyncio.sleep(0)
    assert taken == [b"1", b"2", b"3", b"4"]
    machine.read(connection, b"5")
    assert taken[-1] == b"5" and machine.asked == 1


async def test_nobody_is_answered_by_one_that_was_replaced() -> None:
    machine, taken = Machine(), list[bytes]()
    machine.time += 30
    machine.read(Taker(taken), b"x")
    await asyncio.sleep(0.05)
    assert taken == []


async def test_it_asks_until_the_store_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TICK", 0.01)
    machine, taken = Machine(LoopClock()), list[bytes]()
    machine.answer.set_exception(StorageUnavailable("away"))
    machine.time += 30
    machine.read(Taker(taken), b"x")
    while machine.asked < 3:  # noqa: ASYNC110  it is asked in between
        await asyncio.sleep(0.01)
    assert taken == []
    await machine.goes_on(taken)


async def test_a_mistake_of_ours_silences_nobody_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    machine, taken = Machine(LoopClock()), list[bytes]()
    machine.answer.set_exception(ZeroDivisionError())
    machine.time += 30
    machine.read(Taker(taken), b"x")
    monkeypatch.setattr(module, "LONGEST", 0.01)
    while machine.asked < 2:  # noqa: ASYNC110  it is asked in between
        await asyncio.sleep(0.01)
    assert taken == []
    await machine.goes_on(taken)


async def test_the_timer_notices_it_too() -> None:
    """Where nobody sends anything: the next read must not be believed because a tick came before it."""
    machine, taken = Machine(), list[bytes]()
    machine.time += 30
    machine.standstill._tick()
    machine.read(Taker(taken), b"x")
    await asyncio.sleep(0)
    assert taken == [] and machine.asked == 1
    machine.answer.set_result(None)


async def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HELD", 100)
    machine = Machine()
    machine.time += 30
    connections = [Taker([]) for _ in range(3)]
    for connection in connections:
        machine.read(connection, b"x" * 50)
    assert [each.aborted for each in connections] == [False, False, True]
    machine.answer.set_result(None)
    await asyncio.sleep(0)
