"""Worker threads: what is fed to them, in order, one piece ahead."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from tests.harness import FakeClock
from xmppd.background import Signal, Workers


async def numbers(count: int, fails: bool = False) -> AsyncIterator[int]:
    for number in range(count):
        await asyncio.sleep(0)
        yield number
    if fails:
        raise KeyError("of the source")


async def test_each_piece_is_taken_in_order() -> None:
    taken: list[int] = []
    await Workers(2).feed(taken.append, numbers(100))
    assert taken == list(range(100))
    await Workers(2).feed(taken.append, numbers(0))


async def test_the_next_is_made_meanwhile_and_no_more() -> None:
    made: list[int] = []
    go_on = threading.Event()

    async def source() -> AsyncIterator[int]:
        async for number in numbers(5):
            made.append(number)
            yield number

    feeding = asyncio.create_task(Workers(1).feed(lambda _: go_on.wait(10), source()))
    async with asyncio.timeout(10):
        while made != [0, 1]:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.005)
        for _ in range(100):
            await asyncio.sleep(0)
        assert made == [0, 1]
        go_on.set()
        await feeding
    assert made == [0, 1, 2, 3, 4]


async def test_what_either_of_them_raises_is_raised() -> None:
    def fails(number: int) -> None:
        if number == 3:
            raise OSError("of the work")

    with pytest.raises(OSError, match="of the work"):
        await Workers(1).feed(fails, numbers(10))
    with pytest.raises(KeyError, match="of the source"):
        await Workers(1).feed(fails, numbers(2, fails=True))
    with pytest.raises((OSError, KeyError)):
        await Workers(1).feed(fails, numbers(4, fails=True))


async def test_who_is_cancelled_leaves_no_task() -> None:
    go_on, begun = threading.Event(), threading.Event()

    def work(_: int) -> None:
        begun.set()
        go_on.wait(10)

    feeding = asyncio.create_task(Workers(1).feed(work, numbers(10)))
    await asyncio.to_thread(begun.wait, 10)
    feeding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await feeding
    go_on.set()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_signal_is_waited_for() -> None:
    clock = FakeClock()
    signal = Signal(clock)
    waiting = asyncio.create_task(signal.wait(5))
    await asyncio.sleep(0)
    signal.set()
    assert await waiting is True
    assert await signal.wait(5) is True, "it was set before"


async def test_a_signal_that_nobody_sets() -> None:
    clock = FakeClock()
    waiting = asyncio.create_task(Signal(clock).wait(5))
    await asyncio.sleep(0)
    assert clock.due(clock.monotonic() + 4) is None
    told = clock.due(clock.monotonic() + 5)
    assert told is not None
    told()
    assert await waiting is False
