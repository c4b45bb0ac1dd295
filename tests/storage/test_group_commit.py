"""Group commit over a store in memory that can be held and made to fail, with a clock that only the test turns."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from tests.storage.clocks import FakeClock, turn
from tests.storage.conftest import Recorder
from xmppd.errors import LocalError, StorageUnavailable
from xmppd.storage.api import DataError, Entry, LogAppend, MapDelete, MapPut, MapUpdate, Range, Write
from xmppd.storage.group_commit import Limits, weight
from xmppd.storage.memory import MemoryBackend
from xmppd.storage.store import Store

A = "a@example.org"
POISON = MapPut("m", A, "\ud800", 1)


@dataclass(frozen=True, slots=True)
class Card:
    text: str
    more: tuple[str, ...]


def write(id: int, size: int = 1) -> Write:
    return LogAppend("log", A, Entry(id, "p@example.org", "", 0, b"x" * size))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def backend(clock: FakeClock) -> MemoryBackend:
    return MemoryBackend(clock)


@pytest.fixture
def store(backend: MemoryBackend, clock: FakeClock) -> Store:
    return Store(backend, clock, Limits(rows=4, queue_rows=40, commit_timeout=10.0))


def sizes(backend: MemoryBackend) -> list[int]:
    return [len(writes) for writes in backend.held]


async def test_what_one_turn_brings_is_one_batch(store: Store, backend: MemoryBackend, note: Recorder) -> None:
    backend.hold()
    first = store.join([write(1)], note("1"))
    assert store.join([write(2)], note("2")) is first
    assert backend.held == [], "not before the next turn"
    await turn()
    assert sizes(backend) == [2]
    second = store.join([write(3)], note("3"))
    await turn()
    assert second is not first
    assert sizes(backend) == [2], "one is in flight"
    backend.release(1)
    assert note.seen == [], "released on the loop, not inside the call"
    await turn()
    assert note.seen == ["1", "2"]
    assert first.done and not second.done
    assert sizes(backend) == [1]
    backend.release()
    await turn()
    assert note.seen == ["1", "2", "3"]


async def test_a_full_batch_begins_the_next(store: Store, backend: MemoryBackend, note: Recorder) -> None:
    backend.hold()
    for id in range(1, 11):
        store.join([write(id)], note(str(id)))
    taken = []
    while len(note.seen) < 10:
        await turn()
        taken += sizes(backend)
        backend.release(1)
        await turn()
    assert taken == [4, 4, 2]
    assert note.seen == [str(id) for id in range(1, 11)]


async def test_a_batch_is_bounded_in_bytes(backend: MemoryBackend, clock: FakeClock, note: Recorder) -> None:
    store = Store(backend, clock, Limits(size=1000))
    backend.hold()
    for id in (1, 2, 3):
        store.join([write(id, 900)], note(str(id)))
    await turn()
    assert sizes(backend) == [1]


async def test_a_large_record_counts_as_what_it_is(backend: MemoryBackend, clock: FakeClock, note: Recorder) -> None:
    store = Store(backend, clock, Limits(queue_size=100_000))
    cards = store.map("card", Card)
    store.join([cards.put("a@x", "", Card("x" * 40_000, ("y" * 10_000,)))], note("one"))
    assert 50_000 < store.queued()[1] < 51_000
    store.join([cards.delete("a@x", "")], note("two"))
    assert store.queued()[1] < 52_000


async def test_followers_and_empty_items_keep_their_place(store: Store, backend: MemoryBackend, note: Recorder) -> None:
    backend.hold()
    batch = store.join([write(1)], note("message"))
    store.follow(batch, note("chat state"))
    store.join([], note("empty"))
    await turn()
    store.follow(batch, note("late"))
    other = store.join([], note("empty, next batch"))
    await turn()
    assert note.seen == []
    backend.release()
    await turn()
    assert note.seen == ["message", "chat state", "empty", "late", "empty, next batch"]
    assert backend.commits == 1
    for done in (batch, other):
        with pytest.raises(LocalError):
            store.follow(done, note("too late"))


async def test_what_follows_while_releasing_is_released_behind(store: Store, note: Recorder) -> None:
    def follow() -> None:
        store.follow(batch, note("behind"))

    batch = store.join([write(1)], note("1", follow))
    store.join([write(2)], note("2"))
    await turn()
    assert note.seen == ["1", "2", "behind"]
    assert batch.done


async def test_a_batch_without_writes_does_not_overtake_the_releases_before_it(
    store: Store, backend: MemoryBackend, note: Recorder
) -> None:
    backend.hold()
    store.join([write(1)], note("1"))
    store.join([write(2)], note("2"))
    await turn()
    store.join([], note("3"))
    backend.release()
    await turn()
    assert note.seen == ["1", "2", "3"]


async def test_the_next_commit_is_under_way_while_releases_run(
    store: Store, backend: MemoryBackend, note: Recorder
) -> None:
    backend.hold()
    held: list[int] = []
    store.join([write(1)], note("1", lambda: held.extend(sizes(backend))))
    await turn()
    store.join([write(2)], note("2"))
    store.join([write(3)], note("3"))
    backend.release(1)
    await turn()
    assert held == [2]


async def test_a_crashing_release_does_not_stop_the_next(
    store: Store, note: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    def crash() -> None:
        raise RuntimeError("boom")

    store.join([write(1)], note("1", crash))
    store.join([write(2)], note("2"))
    await turn()
    assert note.seen == ["1", "2"]
    assert "boom" in caplog.text


async def test_the_cache_is_up_to_date_before_anything_is_released(store: Store, note: Recorder) -> None:
    things = store.map("m", int, cached=True)
    await store.load(A)
    seen: list[dict[str, int]] = []
    store.join([things.put(A, "k", 1)], note("1", lambda: seen.append(dict(things.get(A)))))
    store.join([things.put(A, "k", 2)], note("2"))
    assert things.get(A) == {}
    await turn()
    assert seen == [{"k": 2}]


# --- errors ---


@pytest.mark.parametrize("culprits", [{0}, {3}, {7}, {2, 3}, {0, 4, 7}, set(range(8))])
async def test_only_the_culprits_fail_and_order_is_kept(
    backend: MemoryBackend, clock: FakeClock, note: Recorder, culprits: set[int]
) -> None:
    store = Store(backend, clock)
    for id in range(8):
        batch = store.join([POISON, write(id)] if id in culprits else [write(id)], note(str(id)))
        store.follow(batch, note(f"{id}f"))
    await turn(100)
    wanted = [n for id in range(8) for n in (f"{id}: DataError" if id in culprits else str(id), f"{id}f")]
    assert note.seen == wanted
    assert [e.id for e in await store.log("log").page(A, Range(), 10)] == [id for id in range(8) if id not in culprits]


async def test_an_unexpected_error_of_a_backend_fails_its_items_only(
    store: Store, backend: MemoryBackend, note: Recorder
) -> None:
    backend.fail(KeyError("bug"))
    store.join([write(1)], note("1"))
    await turn()
    store.join([write(2)], note("2"))
    await turn()
    assert note.seen == ["1: KeyError", "2"]


async def test_an_io_error_is_tried_again_until_it_is_in(
    store: Store, backend: MemoryBackend, clock: FakeClock, note: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "xmppd.storage")
    backend.fail(StorageUnavailable("disk full"), times=4)
    store.join([write(1)], note("1"))
    store.join([write(2)], note("2"))
    await clock.advance(0.05)
    store.join([write(3)], note("3"))
    await clock.advance(1.4)
    assert note.seen == [], "tried at 0, 0.1, 0.3, 0.7, 1.5"
    await clock.advance(0.1)
    assert note.seen == ["1", "2", "3"]
    assert store.available
    assert [r.levelname for r in caplog.records] == ["WARNING", "WARNING"], "begin and end, not every attempt"
    assert "disk full" in caplog.text and "works again after 1.5 s" in caplog.text


async def test_a_lost_answer_is_repeated_without_a_trace(
    store: Store, backend: MemoryBackend, clock: FakeClock, note: Recorder
) -> None:
    backend.fail(StorageUnavailable("answer lost"), written=True)
    store.join([write(1)], note("1"))
    await clock.advance(1)
    assert note.seen == ["1"]
    assert await store.log("log").count(A, Range()) == 1


async def test_a_long_outage_refuses_what_is_not_submitted(
    store: Store, backend: MemoryBackend, clock: FakeClock, note: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    backend.fail(StorageUnavailable("gone"), times=1000)
    flying = store.join([write(1)], note("1"))
    await clock.advance(0.05)
    waiting = store.join([write(2)], note("2"))
    store.follow(waiting, note("2f"))
    await clock.advance(9.9)
    assert note.seen == [] and store.available
    await clock.advance(0.1)
    assert note.seen == ["2: StorageUnavailable", "2f: StorageUnavailable"]
    assert not store.available and waiting.done and not flying.done
    with pytest.raises(StorageUnavailable):
        store.join([write(3)], note("3"))
    store.follow(flying, note("1f"))
    await clock.advance(60)
    assert not store.available and len(note.seen) == 2
    backend._failures.clear()
    await clock.advance(2)
    assert store.available and note.seen[2:] == ["1", "1f"]
    store.join([write(4)], note("4"))
    await turn()
    assert note.seen[4:] == ["4"]
    assert len([r for r in caplog.records if r.name == "xmppd.storage"]) == 3, "begin, refusal, end"


async def test_a_commit_that_hangs_is_an_outage_too(
    store: Store, backend: MemoryBackend, clock: FakeClock, note: Recorder
) -> None:
    backend.hold()
    store.join([write(1)], note("1"))
    await turn()
    store.join([write(2)], note("2"))
    await clock.advance(11)
    assert not store.available and note.seen == ["2: StorageUnavailable"]
    backend.release()
    await turn()
    assert store.available and note.seen[1:] == ["1"]


async def test_steady_commits_are_no_outage(store: Store, clock: FakeClock, note: Recorder) -> None:
    for id in range(50):
        store.join([write(id)], note(str(id)))
        await clock.advance(1)
    assert store.available and len(note.seen) == 50
    await clock.advance(60)
    assert clock.timers == 0, "an idle store costs no timer"


# --- too much ---


async def test_the_queue_is_bounded_and_says_so_before(store: Store, backend: MemoryBackend, note: Recorder) -> None:
    backend.hold()
    joined = 0
    relieved: list[int] = []
    store.on_uncongested(lambda: relieved.append(-1))
    await turn()
    assert relieved == [-1], "at once when there is no congestion"
    with pytest.raises(StorageUnavailable, match="too much"):
        while True:
            store.join([write(joined)], note(str(joined)))
            joined += 1
            if joined == 20:
                assert not store.congested
            elif joined == 21:
                assert store.congested
                store.on_uncongested(lambda: relieved.append(len(note.seen)))
    assert joined == 40
    while backend.held or not note.seen:
        await turn()
        backend.release(1)
        await turn()
    assert note.seen == [str(id) for id in range(40)]
    assert relieved == [-1, 32], "once, when less than a quarter waits"
    assert not store.congested


# --- waiting and the end ---


async def test_commit_waits_and_raises(store: Store, backend: MemoryBackend) -> None:
    await store.commit([write(1)])
    assert backend.commits == 1
    await store.commit([])
    with pytest.raises(DataError):
        await store.commit([POISON])
    backend.hold()
    task = asyncio.create_task(store.commit([write(2)]))
    await turn()
    task.cancel()
    await turn()
    backend.release()
    await turn()
    assert await store.log("log").count(A, Range()) == 2, "who stops waiting does not stop the write"


async def test_close_waits_for_all_batches(store: Store, backend: MemoryBackend, note: Recorder) -> None:
    backend.hold()
    for id in range(6):
        store.join([write(id)], note(str(id)))
    await turn()
    closing = asyncio.create_task(store.close(5))
    await turn()
    with pytest.raises(StorageUnavailable):
        store.join([write(9)], note("9"))
    assert not closing.done()
    backend.release()
    await turn()
    await closing
    assert len(note.seen) == 6


async def test_close_gives_up_in_time_and_tells_nobody_what_it_does_not_know(
    store: Store, backend: MemoryBackend, clock: FakeClock, note: Recorder
) -> None:
    backend.fail(StorageUnavailable("gone"), times=1000)
    store.join([write(1)], note("1"))
    closing = asyncio.create_task(store.close(5))
    await clock.advance(4.9)
    assert not closing.done()
    await clock.advance(0.2)
    await closing
    assert note.seen == []
    assert clock.timers == 0


async def test_a_store_that_is_down_at_start_recovers(
    store: Store, backend: MemoryBackend, clock: FakeClock, note: Recorder
) -> None:
    backend.unreachable = True
    await store.open()
    assert not store.available
    with pytest.raises(StorageUnavailable):
        store.join([write(1)], note("1"))
    await clock.advance(30)
    assert not store.available
    backend.unreachable = False
    await clock.advance(2)
    assert store.available
    await store.commit([write(1)])


class Counted:
    """A session's stanzas."""

    def counted(self, count: int) -> Write:
        return MapPut("counts", A, "s", count)


async def test_counts_are_committed_without_what_is_refused(
    store: Store, backend: MemoryBackend, note: Recorder
) -> None:
    """Else what was committed is counted as not come, and comes again."""
    store.join([write(1)], note("1"))
    store.join([POISON], note("2")).counts[Counted()] = 2
    await turn(8)
    assert note.seen == ["1", "2: DataError"]
    assert await backend.read("counts", A, "s") == 2


async def test_counts_are_tried_again_with_what_they_count(
    store: Store, backend: MemoryBackend, note: Recorder, clock: FakeClock
) -> None:
    """Also when something follows the batch meanwhile."""
    backend.fail(StorageUnavailable("busy"))
    batch = store.join([write(1)], note("1"))
    batch.counts[Counted()] = 1
    await turn(4)
    store.follow(batch, note("behind it"))
    await clock.advance(1)
    await turn(4)
    assert note.seen == ["1", "behind it"]
    assert await backend.read("counts", A, "s") == 1


async def test_a_refusal_proves_nothing(store: Store, backend: MemoryBackend, note: Recorder) -> None:
    """Who asks whether the store is still ours waits for a commit, not for what is refused without asking it."""
    confirming = asyncio.ensure_future(store.confirm())
    await asyncio.sleep(0)
    store.join([POISON], note("1"))
    whole, asked = backend.commit, []

    def commit(writes: Sequence[Any], done: Any) -> None:
        asked.append(list(writes))
        if not writes:
            done_later.append(done)
        else:
            whole(writes, done)

    done_later: list[Any] = []
    backend.commit = commit  # type: ignore[method-assign]
    await turn(8)
    assert not confirming.done()
    assert asked[-1] == []
    while not confirming.done():
        for done in done_later[:]:
            done_later.remove(done)
            done(None)
        await turn()
    await confirming
    await turn(4)
    assert note.seen == ["1: DataError"]


async def test_a_proof_that_is_refused_is_asked_for_again(
    store: Store, backend: MemoryBackend, note: Recorder, clock: FakeClock
) -> None:
    backend.fail(DataError("an answer that cannot be read"))
    confirming = asyncio.ensure_future(store.confirm())
    await turn(4)
    assert not confirming.done()
    await clock.advance(1)
    await turn(4)
    assert confirming.done()
    await store.commit([write(1)])


def test_names_have_their_weight() -> None:
    """Of 64,000 deletions with addresses of 3 kB a queue holds 200 MB: its bound is one of bytes."""
    name = "x" * 3_000
    for each in (MapPut("m", A, name, 1), MapDelete("m", A, name), MapUpdate("m", A, name, lambda value: value)):
        assert weight(each) > 3_000
