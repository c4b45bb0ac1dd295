"""Records that are changed by a function of what they were: in order, once, whatever the store does meanwhile."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.storage.clocks import FakeClock, turn
from tests.storage.conftest import Recorder
from xmppd.errors import StorageUnavailable
from xmppd.storage.api import DataError, OwnerDelete, Write
from xmppd.storage.group_commit import Limits
from xmppd.storage.memory import MemoryBackend
from xmppd.storage.store import Store

A, B = "a@example.org", "b@example.org"


@dataclass(frozen=True)
class Count:
    n: int = 0


def more(old: Count | None) -> Count:
    return Count(1 if old is None else old.n + 1)


def broken(old: Count | None) -> Count | None:
    raise ZeroDivisionError


def once(old: Count | None) -> Count | None:
    """Works the first time, when it joins, and not at the commit."""
    CALLS.append(1)
    if len(CALLS) > 1:
        raise ZeroDivisionError
    return old


CALLS: list[int] = []


@pytest.mark.parametrize("cached", [True, False])
async def test_on_every_store(store: Store, cached: bool) -> None:
    counts = store.map("counts", Count, cached=cached)
    await store.commit([counts.update(A, "k", more)] * 3)
    assert await counts.read(A, "k") == Count(3)
    await store.load(A)
    await store.commit([counts.update(A, "k", more), counts.put(A, "other", Count(7)), counts.update(A, "other", more)])
    assert await counts.read_all(A) == {"k": Count(4), "other": Count(8)}
    await store.commit([counts.update(A, "k", lambda old: None), counts.clear(B), counts.update(B, "k", more)])
    assert await counts.read_all(A) == {"other": Count(8)}
    assert await counts.read(B, "k") == Count(1)
    await store.commit([counts.update(B, "k", more), OwnerDelete(B), counts.update(B, "k", more)])
    assert await counts.read(B, "k") == Count(1)


@pytest.fixture
def backend() -> MemoryBackend:
    return MemoryBackend(FakeClock())


@pytest.fixture
def memory(backend: MemoryBackend) -> Store:
    return Store(backend, backend.clock, Limits(commit_timeout=10.0))


async def test_what_is_on_its_way_is_seen(memory: Store, backend: MemoryBackend, note: Recorder) -> None:
    counts = memory.map("counts", Count, cached=True)
    await memory.load(A)
    backend.hold()
    memory.join([counts.update(A, "k", more)], note("1"))
    assert counts.get(A) == {"k": Count(1)}
    await turn()
    memory.join([counts.put(A, "k", Count(10)), counts.update(A, "k", more)], note("2"))
    assert counts.get(A) == {"k": Count(11)}
    backend.release(1)
    await turn()
    assert counts.get(A) == {"k": Count(11)}
    backend.release()
    await turn()
    assert counts.get(A) == {"k": Count(11)}
    assert counts.in_memory[A] == {"k": Count(11)}


async def test_what_fails_has_never_been(memory: Store, backend: MemoryBackend, note: Recorder) -> None:
    counts = memory.map("counts", Count, cached=True)
    await memory.load(A)
    backend.fail(DataError("poison"))
    backend.fail(DataError("poison"))
    memory.join([counts.update(A, "k", more)], note("1"))
    memory.join([counts.update(A, "k", more)], note("2"))
    await turn()
    await turn()
    assert sorted(note.seen) == ["1: DataError", "2"]
    assert counts.get(A) == {"k": Count(1)}


async def test_what_a_store_that_is_away_refuses(memory: Store, backend: MemoryBackend, note: Recorder) -> None:
    counts = memory.map("counts", Count, cached=True)
    await memory.load(A)
    clock = backend.clock
    assert isinstance(clock, FakeClock)
    backend.hold()
    memory.join([counts.update(A, "k", more)], note("1"))
    await turn()
    memory.join([counts.update(A, "k", more)], note("2"))
    assert counts.get(A) == {"k": Count(2)}
    await clock.advance(12.0)
    assert note.seen == ["2: StorageUnavailable"]
    assert counts.get(A) == {"k": Count(1)}, "the one in flight is still tried"
    backend.release()
    await turn()
    assert counts.get(A) == {"k": Count(1)}


async def test_a_commit_whose_answer_was_lost_counts_once(backend: MemoryBackend, note: Recorder) -> None:
    for cached in (True, False):
        unsure = MemoryBackend(backend.clock)
        unsure.fail(StorageUnavailable("no answer"), written=True)
        memory = Store(unsure, backend.clock)
        counts = memory.map("counts", Count, cached=cached)
        if cached:
            await memory.load(A)
        memory.join([counts.update(A, "k", more)], note("1"))
        await turn()
        clock = backend.clock
        assert isinstance(clock, FakeClock)
        await clock.advance(1.0)
        assert note.seen[-1:] == ["1"] and unsure.commits == 1, "the second attempt"
        assert await counts.read(A, "k") == Count(1)


async def test_a_function_that_fails(memory: Store, backend: MemoryBackend, note: Recorder) -> None:
    counts = memory.map("counts", Count, cached=True)
    await memory.load(A)
    writes: list[Write] = [counts.update(A, "k", more), counts.update(A, "k", broken)]
    with pytest.raises(ZeroDivisionError):
        memory.join(writes, note("never"))
    assert counts.get(A) == {}
    CALLS.clear()
    memory.join([counts.update(A, "k", once)], note("1"))
    memory.join([counts.update(A, "k", more)], note("2"))
    for _ in range(4):
        await turn()
    assert sorted(note.seen) == ["1: DataError", "2"]
    assert counts.get(A) == {"k": Count(1)}
