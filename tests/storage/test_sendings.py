"""Sendings: what one owner has to say to another stays in the store until it is heard, in every kind of store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.storage.clocks import LoopClock
from xmppd.errors import StorageUnavailable
from xmppd.storage import make_backend, open_storage
from xmppd.storage.api import (
    NOT_SENT,
    DataError,
    Entry,
    Heard,
    LogAppend,
    LogDelete,
    OwnerDelete,
    Range,
    Send,
    Source,
    Write,
)
from xmppd.storage.group_commit import ROW_BYTES, Limits, weight
from xmppd.storage.memory import MemoryBackend
from xmppd.storage.store import Store

A, B, C = "a@example.org", "b@example.org", "c@example.com"


def send(text: str = "hello", owner: str = A, to: str = B) -> Send:
    return Send(owner, to, f"<message>{text}</message>".encode())


def entry(id: int, body: bytes = b"<m/>") -> Entry:
    return Entry(id, "p@example.org", "", 1, body)


def decided(sending: Send, id: int) -> list[Write]:
    """What its recipient makes of it."""
    appended = LogAppend("archive", sending.to, entry(id, sending.data), sending.source)
    return [appended, Heard(sending.to, sending.owner, sending.source)]


class Reopened:
    """A store of each kind that is closed, or crashes, and is opened again."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.backend: Any = None
        self.store: Any = None

    async def open(self) -> Store:
        self.backend = self.backend or make_backend(self.url, LoopClock())
        self.store = Store(self.backend, LoopClock(), Limits())
        await self.store.open()
        return self.store  # type: ignore[no-any-return]

    async def again(self) -> Store:
        await self.store.close()
        self.backend = self.backend.survivor() if isinstance(self.backend, MemoryBackend) else None
        return await self.open()


@pytest.fixture
async def reopened(url: str) -> AsyncIterator[Reopened]:
    made = Reopened(url)
    await made.open()
    yield made
    await made.store.close()


async def unheard(store: Store, domain: str = "example.org") -> list[tuple[str, str, bytes, Source]]:
    return [(each.owner, each.to, each.data, each.source) for each in await store.unheard(domain)]


# ---- sent, kept, heard


async def test_what_is_sent_is_there_until_it_is_heard(reopened: Reopened) -> None:
    store = reopened.store
    first, second, elsewhere = send("1"), send("2"), send("3", owner=C)
    await store.commit([first, store.log("archive").append(A, entry(1)), second])
    await store.commit([elsewhere])
    assert NOT_SENT < first.source < second.source < elsewhere.source
    store = await reopened.again()
    assert await unheard(store) == [(A, B, each.data, each.source) for each in (first, second)]
    assert await unheard(store, "example.com") == [(C, B, elsewhere.data, elsewhere.source)]
    assert await unheard(store, "nowhere") == []
    assert not await store.was_heard(B, "archive", first.source)
    await store.commit(decided(first, 10))
    assert await store.was_heard(B, "archive", first.source)
    assert not await store.was_heard(B, "archive", second.source)
    assert await unheard(store) == [(A, B, second.data, second.source)]
    store = await reopened.again()
    assert await unheard(store) == [(A, B, second.data, second.source)]
    assert [each.body for each in await store.log("archive").page(B, Range(), 10)] == [first.data]


async def test_what_is_heard_in_the_same_run_never_comes_again(reopened: Reopened) -> None:
    store = reopened.store
    for number in range(1, 6):
        sending = send(str(number))
        await store.commit([sending])
        await store.commit(decided(sending, number))
        assert await store.was_heard(B, "archive", sending.source)
    store = await reopened.again()
    assert await unheard(store) == []
    assert await store.log("archive").count(B, Range()) == 5


async def test_pages_in_order_of_the_sources(reopened: Reopened) -> None:
    store = reopened.store
    sent = [send(str(number), owner=f"{'zyx'[number % 3]}@example.org") for number in range(10)]
    for start in range(0, 10, 2):
        await store.commit(sent[start : start + 2])
    store = await reopened.again()
    for size in (1, 3, 100):
        found: list[Send] = []
        while page := await store.unheard("example.org", found[-1].source if found else NOT_SENT, size):
            assert len(page) <= size
            found += page
        assert [(each.source, each.data) for each in found] == [(each.source, each.data) for each in sent]
        assert {type(number) for each in found for number in each.source} == {int}


async def test_who_is_deleted_has_sent_it_nevertheless(reopened: Reopened) -> None:
    """It was acknowledged."""
    store = reopened.store
    before, after = send("1"), send("2")
    await store.commit([before])
    await store.commit([OwnerDelete(A), after])
    store = await reopened.again()
    await store.commit([OwnerDelete(A), OwnerDelete(B)])
    assert [each.data for each in await store.unheard("example.org")] == [before.data, after.data]


async def test_what_was_made_of_it_was_heard_also_when_it_is_deleted(reopened: Reopened) -> None:
    store = reopened.store
    sending = send()
    await store.commit([sending])
    await store.commit(decided(sending, 1))
    await store.commit([LogDelete("archive", B, (1,))])
    assert await store.was_heard(B, "archive", sending.source)


# ---- decided twice


@pytest.mark.parametrize("together", [False, True], ids=["one after the other", "in one batch"])
async def test_of_one_sending_one_entry_is_stored(
    reopened: Reopened, together: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A mistake of whoever decides, but nobody reads a message twice for it."""
    store = reopened.store
    sending = send()
    await store.commit([sending])
    again = [LogAppend("archive", B, entry(20), sending.source), Heard(B, A, sending.source)]
    if together:
        await asyncio.gather(store.commit(decided(sending, 10)), store.commit(again))
    else:
        await store.commit(decided(sending, 10))
        await store.commit(again)
    assert [each.id for each in await store.log("archive").page(B, Range(), 10)] == [10]
    assert await store.was_heard(B, "archive", sending.source)
    assert "decided twice" in caplog.text


async def test_what_is_heard_may_stand_before_what_is_made_of_it(
    reopened: Reopened, caplog: pytest.LogCaptureFixture
) -> None:
    store = reopened.store
    sending = send()
    await store.commit([sending])
    await store.commit(decided(sending, 10)[::-1])
    assert [each.id for each in await store.log("archive").page(B, Range(), 10)] == [10]
    assert "decided twice" not in caplog.text


# ---- sources and releases


class Looking:
    """A release that looks at the source of a sending."""

    def __init__(self, sending: Send) -> None:
        self.sending = sending
        self.seen: Source | None = None
        self.error: Exception | None = None
        self.decided = asyncio.get_running_loop().create_future()

    def committed(self) -> None:
        self.seen = self.sending.source
        self.decided.set_result(None)

    def failed(self, error: Exception) -> None:
        self.error, self.seen = error, self.sending.source
        self.decided.set_result(None)


async def test_a_release_knows_the_source(store: Store) -> None:
    sent = [send(str(number)) for number in range(4)]
    releases = [Looking(each) for each in sent]
    for each in releases:
        store.join([each.sending], each)
        assert each.sending.source == NOT_SENT
    await asyncio.gather(*(each.decided for each in releases))
    sources = [each.seen for each in releases if each.seen is not None]
    assert NOT_SENT not in sources and sources == sorted(set(sources)) and len(sources) == 4


POISON: list[Callable[[], Write]] = [
    lambda: Send(A, B, "text"),  # type: ignore[arg-type]
    lambda: Send(A, "\ud800", b"<m/>"),
    lambda: Send("\ud800", B, b"<m/>"),
    lambda: LogAppend("archive", A, Entry(2**63, B, "", 0, b"")),
]


@pytest.mark.parametrize("poison", POISON, ids=range(len(POISON)))
async def test_a_split_batch_keeps_what_is_sent_with_its_item(reopened: Reopened, poison: Callable[[], Write]) -> None:
    """One that fails was not sent, and has no source; a heard one of a failed item is still there."""
    store = reopened.store
    old = send("old")
    await store.commit([old])
    good, bad = [send(str(number)) for number in range(4)], send("bad")
    items: list[list[Write]] = [[each, LogAppend("archive", A, entry(i))] for i, each in enumerate(good, 1)]
    items.insert(2, [bad, *decided(old, 9), poison()])
    releases = [Looking(item[0]) for item in items if isinstance(item[0], Send)]
    for item, release in zip(items, releases, strict=True):
        store.join(item, release)
    await asyncio.gather(*(each.decided for each in releases))
    assert [type(each.error) for each in releases] == [type(None)] * 2 + [DataError] + [type(None)] * 2
    assert bad.source == NOT_SENT == releases[2].seen
    assert not await store.was_heard(B, "archive", old.source)
    store = await reopened.again()
    assert await unheard(store) == [(A, B, each.data, each.source) for each in (old, *good)]
    assert len({each.source for each in (old, *good)}) == 5


async def test_a_batch_with_updates_sends_too(reopened: Reopened) -> None:
    store = reopened.store
    counts, sending = store.map("counts", int), send()
    await store.commit([counts.update(A, "n", lambda old: (old or 0) + 1), sending])
    assert sending.source != NOT_SENT
    await store.commit([counts.update(A, "n", lambda old: (old or 0) + 1), *decided(sending, 1)])
    store = await reopened.again()
    assert await unheard(store) == []
    assert await store.map("counts", int).read(A, "n") == 2


async def test_a_working_set_takes_no_notice(store: Store) -> None:
    things = store.map("things", str, cached=True)
    await store.load(A)
    await store.load(B)
    sending = send()
    await store.commit([sending, things.put(A, "k", "v")])
    await store.commit([*decided(sending, 1), things.put(B, "k", "v")])
    assert things.get(A) == things.get(B) == {"k": "v"}


def test_what_a_sending_weighs() -> None:
    assert weight(Send(A, B, b"x" * 1_000)) == ROW_BYTES + len(B) + 1_000
    assert weight(Heard(B, A, (1, 1))) == ROW_BYTES + len(A)


async def test_the_queue_is_full_of_what_is_sent() -> None:
    backend = MemoryBackend(LoopClock())
    store = Store(backend, LoopClock(), Limits(size=1_000, queue_size=10_000))
    await store.open()
    backend.hold()
    with pytest.raises(StorageUnavailable, match="too much waits"):
        for _ in range(12):
            store.join([Send(A, B, b"x" * 1_000)], Looking(send()))
            await asyncio.sleep(0)
    backend.release()
    await store.close()


# ---- a lost answer, a crash


async def test_a_lost_answer_sends_nothing_twice() -> None:
    backend = MemoryBackend(LoopClock())
    store = Store(backend, LoopClock())
    await store.open()
    sending = send()
    backend.fail(StorageUnavailable("lost"), written=True)
    await store.commit([sending])
    assert await unheard(store) == [(A, B, sending.data, sending.source)]
    backend.fail(StorageUnavailable("lost"), written=True)
    await store.commit(decided(sending, 1))
    assert await unheard(store) == []
    assert await store.log("archive").count(B, Range()) == 1
    await store.close()


async def test_a_crash_between_the_two_decisions() -> None:
    """What is committed is there, what is not is not."""
    backend = MemoryBackend(LoopClock())
    store = Store(backend, LoopClock())
    await store.open()
    sending, later = send("1"), send("2")
    await store.commit([sending])
    backend.hold()
    for writes in (decided(sending, 1), [later]):
        store.join(writes, Looking(sending))
    await asyncio.sleep(0)
    after = Store(backend.survivor(), LoopClock())
    assert await unheard(after) == [(A, B, sending.data, sending.source)]
    assert not await after.was_heard(B, "archive", sending.source)
    new = send("3")
    await after.commit([new])
    assert new.source > sending.source
    backend.release()
    await store.close()


async def test_unreachable_memory() -> None:
    backend = MemoryBackend(LoopClock())
    backend.unreachable = True
    store = Store(backend, LoopClock())
    for question in (store.unheard("example.org"), store.was_heard(B, "archive", (0, 1))):
        with pytest.raises(StorageUnavailable):
            await question


# ---- SQLite


async def test_a_number_is_given_once(url: str) -> None:
    """Also when the connection is made anew and all before was heard."""
    if not url.startswith("sqlite"):
        pytest.skip("MongoDB counts batches, memory counts on")
    store = await open_storage(url, LoopClock())
    backend: Any = store.backend
    first, second = send("1"), send("2")
    await store.commit([first])
    await store.commit(decided(first, 1))
    writers: list[Any] = []
    attempt = backend._attempt

    def remembering(writer: Any, writes: Any) -> Any:
        writers.append(writer)
        return attempt(writer, writes)

    backend._attempt = remembering
    await store.commit([store.log("archive").append(A, entry(1))])
    backend._start_over(writers[0])
    await store.commit([second])
    assert second.source > first.source
    assert await store.was_heard(B, "archive", first.source)
    assert not await store.was_heard(B, "archive", second.source)
    await store.close()
