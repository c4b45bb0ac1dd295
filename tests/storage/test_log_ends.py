"""The ends of logs in memory: how often the store is asked, commits while it is, and that they are right."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from tests.storage.clocks import LoopClock
from xmppd.errors import StorageUnavailable
from xmppd.storage.api import NOT_HIDDEN, Entry, Flags, LogAppend, LogDelete, OwnerDelete, Range, Write
from xmppd.storage.log_ends import LogEnds
from xmppd.storage.memory import MemoryBackend
from xmppd.storage.store import Store

KEY = ("archive", "romeo@localhost")


class Reads:
    """A store that answers when it is told to."""

    def __init__(self) -> None:
        self.asked = 0
        self._answers: list[asyncio.Future[tuple[int, int]]] = []

    async def __call__(self) -> tuple[int, int]:
        self.asked += 1
        answer: asyncio.Future[tuple[int, int]] = asyncio.get_running_loop().create_future()
        self._answers.append(answer)
        return await answer

    async def answer(self, found: tuple[int, int] | Exception, which: int = 0) -> None:
        await asyncio.sleep(0)
        answer = self._answers.pop(which)
        if isinstance(found, Exception):
            answer.set_exception(found)
        else:
            answer.set_result(found)
        await asyncio.sleep(0)


def entry(id: int, hidden: bool = False) -> LogAppend:
    return LogAppend(*KEY, Entry(id, "juliet@localhost", "", int(Flags.HIDDEN) if hidden else 0, b""))


async def known(ends: LogEnds, read: Reads, found: tuple[int, int]) -> None:
    asking = asyncio.create_task(ends.get(KEY, read))
    await read.answer(found)
    assert await asking == found


async def test_asked_once() -> None:
    ends, read = LogEnds(), Reads()
    await known(ends, read, (3, 7))
    ends.appended(entry(9))
    ends.appended(entry(10, hidden=True))
    assert await ends.get(KEY, read) == (3, 9)
    assert read.asked == 1


async def test_the_first_entry_of_an_empty_log() -> None:
    ends, read = LogEnds(), Reads()
    await known(ends, read, (0, 0))
    ends.appended(entry(5))
    assert await ends.get(KEY, read) == (5, 5)


async def test_what_is_deleted_in_the_middle_changes_nothing() -> None:
    ends, read = LogEnds(), Reads()
    await known(ends, read, (3, 7))
    ends.changed(LogDelete(*KEY, (4, 5)))
    assert await ends.get(KEY, read) == (3, 7)
    ends.changed(LogDelete(*KEY, (7,)))
    await known(ends, read, (3, 6))
    assert read.asked == 2


@pytest.mark.parametrize("write", [entry(9), LogDelete(*KEY, (7,))])
async def test_a_commit_while_the_store_is_asked(write: LogAppend | LogDelete) -> None:
    """Whether the answer has seen it is not known, so it is asked again the next time."""
    ends, read = LogEnds(), Reads()
    asking = asyncio.create_task(ends.get(KEY, read))
    await asyncio.sleep(0)
    if isinstance(write, LogAppend):
        ends.appended(write)
    else:
        ends.changed(write)
    await read.answer((3, 7))
    assert await asking == (3, 7)
    await known(ends, read, (3, 9))
    assert read.asked == 2


async def test_two_ask_and_the_account_goes_between() -> None:
    ends, read = LogEnds(), Reads()
    first = asyncio.create_task(ends.get(KEY, read))
    await asyncio.sleep(0)
    ends.deleted(KEY[1])
    second = asyncio.create_task(ends.get(KEY, read))
    await read.answer((3, 7))
    assert await first == (3, 7)
    await read.answer((0, 0))
    assert await second == (0, 0)
    await known(ends, read, (0, 0))
    assert read.asked == 3


async def test_the_store_is_away() -> None:
    ends, read = LogEnds(), Reads()
    asking = asyncio.create_task(ends.get(KEY, read))
    await read.answer(StorageUnavailable("away"))
    with pytest.raises(StorageUnavailable):
        await asking
    await known(ends, read, (3, 7))


async def test_bounded() -> None:
    ends = LogEnds(most=2)
    for number in range(4):
        read = Reads()
        asking = asyncio.create_task(ends.get(("archive", f"u{number}"), read))
        await read.answer((1, number + 1))
        await asking
    read = Reads()
    assert await ends.get(("archive", "u3"), read) == (1, 4)
    asking = asyncio.create_task(ends.get(("archive", "u0"), read))
    await read.answer((1, 1))
    assert await asking == (1, 1)
    assert read.asked == 1


@pytest.mark.parametrize("seed", range(5))
async def test_always_what_the_store_says(seed: int) -> None:
    random, clock = Random(seed), LoopClock()
    store = Store(MemoryBackend(clock), clock)
    await store.open()
    log, owners, last = store.log("archive"), ("romeo@localhost", "juliet@localhost"), 0
    for _ in range(600):
        owner = random.choice(owners)
        ids = [each.id for each in await log.page(owner, Range(), 1000)]
        some = random.choice(ids) if ids else 1
        hidden = int(Flags.HIDDEN) * random.getrandbits(1)
        last += random.randint(1, 3)
        write: Write = random.choices(
            (
                log.append(owner, Entry(last, "nurse@localhost", "", hidden, b"")),
                log.replace(owner, Entry(some, "nurse@localhost", "", hidden, b"")),
                log.delete(owner, (some, last + 1)),
                log.trim(owner, some + random.getrandbits(1)),
                OwnerDelete(owner),
            ),
            (8, 2, 4, 2, 0.2),
        )[0]
        await store.commit([write])
        for each in owners:
            assert await log.ends(each, NOT_HIDDEN) == await log.ends(each, Range(without=Flags.HIDDEN)), write
    await store.close()
