"""One at a time per name."""

from __future__ import annotations

import asyncio

from xmppd.routing.locks import OwnerLocks


async def test_one_at_a_time_first_come_first_served() -> None:
    locks, log = OwnerLocks(), []

    async def work(number: int, *names: str) -> None:
        async with locks.hold(*names):
            log.append(("in", number))
            await asyncio.sleep(0)
            log.append(("out", number))

    await asyncio.gather(work(1, "a", "b"), work(2, "b", "a"), work(3, "a"), work(4, "c"))
    busy: set[int] = set()
    for what, number in log:
        if number == 4:
            continue
        if what == "in":
            assert not busy
            busy.add(number)
        else:
            busy.discard(number)
    assert [number for what, number in log if what == "in" and number < 4] == [1, 2, 3]
    assert not locks._held


async def test_who_gives_up_waiting_leaves_nothing() -> None:
    locks = OwnerLocks()
    async with locks.hold("b"):
        waiting = asyncio.ensure_future(_take(locks, "a", "b"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        async with locks.hold("a"):
            pass
    assert not locks._held


async def _take(locks: OwnerLocks, *names: str) -> None:
    async with locks.hold(*names):
        raise AssertionError("not its turn")


async def test_the_same_name_twice() -> None:
    async with OwnerLocks().hold("a", "a"):
        pass
