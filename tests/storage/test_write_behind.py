"""What is noted now and stored soon: with what is committed anyway, or after a moment."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from tests.storage.clocks import FakeClock, turn
from tests.storage.conftest import Recorder
from xmppd.errors import ResourceConstraint, StorageUnavailable
from xmppd.storage.api import DataError, Entry, LogAppend, MapPut
from xmppd.storage.group_commit import FULL_RIDE, RIDING, Limits
from xmppd.storage.memory import MemoryBackend
from xmppd.storage.store import Store
from xmppd.storage.write_behind import ROUNDS

A = "a@example.org"
MESSAGE = LogAppend("log", A, Entry(1, "p@example.org", "", 0, b"x"))


@dataclass(frozen=True)
class Count:
    n: int = 0


def more(old: Count | None) -> Count:
    return Count(1 if old is None else old.n + 1)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def backend(clock: FakeClock) -> MemoryBackend:
    return MemoryBackend(clock)


@pytest.fixture
def memory(backend: MemoryBackend, clock: FakeClock) -> Store:
    return Store(backend, clock, Limits(commit_timeout=10.0))


async def test_it_goes_along_with_a_batch(memory: Store, backend: MemoryBackend, note: Recorder) -> None:
    counts = memory.map("counts", Count)
    notes = memory.notes(counts)
    notes.put(A, "k", Count(1))
    notes.put(A, "k", Count(2))
    await turn()
    assert backend.commits == 0, "it costs no commit of its own"
    assert await notes.read(A, "k") == Count(2)
    assert await counts.read(A, "k") is None
    memory.join([MESSAGE], note("message"))
    await turn()
    assert backend.commits == 1
    assert await counts.read(A, "k") == Count(2)


async def test_in_quiet_times_it_is_stored_after_a_moment(memory: Store, clock: FakeClock) -> None:
    counts = memory.map("counts", Count, cached=True)
    notes = memory.notes(counts, delay=2.0)
    await memory.load(A)
    for _ in range(3):
        notes.update(A, "k", more)
    assert notes.get(A, "k") == Count(3)
    await clock.advance(1.9)
    assert counts.get(A) == {}
    await clock.advance(0.1)
    assert counts.get(A) == {"k": Count(3)}
    notes.put(A, "k", None)
    assert notes.get(A, "k") is None
    await notes.flush()
    assert counts.get(A) == {}


async def test_many_do_not_weigh_on_one_message(memory: Store, backend: MemoryBackend, note: Recorder) -> None:
    counts = memory.map("counts", Count)
    notes = memory.notes(counts)
    for number in range(100):
        notes.put(A, str(number), Count(number))
    backend.hold()
    memory.join([MESSAGE], note("message"))
    await turn()
    assert [len(writes) for writes in backend.held] == [1 + RIDING]
    backend.release()
    await notes.flush()
    assert len(await counts.read_all(A)) == 100


async def test_a_store_that_is_away_is_tried_again(memory: Store, backend: MemoryBackend, clock: FakeClock) -> None:
    counts = memory.map("counts", Count)
    notes = memory.notes(counts, limit=1000)
    backend.hold()
    memory.join([MESSAGE], Recorder()("in flight"))
    await turn()
    notes.put(A, "k", Count(1))
    await clock.advance(30)
    assert not memory.available
    with pytest.raises(ResourceConstraint):
        for number in range(100):
            notes.put(A, str(number), Count(number))
    with pytest.raises(StorageUnavailable):
        await notes.flush()
    backend.release()
    await clock.advance(3)
    assert await counts.read(A, "k") == Count(1)
    for number in range(3):
        notes.put(A, str(number), Count(7))
        await notes.flush()


async def test_what_is_noted_is_stored_at_the_end(memory: Store, backend: MemoryBackend) -> None:
    notes = memory.notes(memory.map("counts", Count))
    for number in range(5_000):
        notes.put(A, str(number), Count(number))
    await memory.close()
    rows = await backend.load(A, ("counts",))
    assert len(rows) == 5_000


async def test_one_that_the_store_refuses_is_given_up(memory: Store, backend: MemoryBackend, clock: FakeClock) -> None:
    counts = memory.map("counts", Count)
    notes = memory.notes(counts)
    backend.fail(DataError("poison"))  # all
    backend.fail(DataError("poison"))  # the first one, alone
    for key in ("poison", "one", "two"):
        notes.put(A, key, Count(1))
    await clock.advance(5)
    assert set(await counts.read_all(A)) == {"one", "two"}
    assert not len(notes.soon)
    assert notes.soon.reserved == 0


class Position:
    """A note that is computed when it is written."""

    def __init__(self) -> None:
        self.position = 0
        self.seen: list[str] = []

    def writes(self) -> list[MapPut]:
        return [MapPut("m", A, "", self.position)]

    def stored(self) -> None:
        self.seen.append("stored")

    def failed(self, again: bool) -> None:
        self.seen.append("again" if again else "dropped")


async def test_it_is_written_as_it_is_then(memory: Store, backend: MemoryBackend, clock: FakeClock) -> None:
    soon, position = memory.write_behind(), Position()
    soon.note("x", position)
    position.position = 3
    backend.hold()
    await clock.advance(1)
    soon.note("x", position)
    position.position = 4
    backend.release()
    await soon.flush()
    assert position.seen == ["stored", "stored"]
    assert await backend.read("m", A, "") == 4


async def test_at_once_means_at_the_next_turn(memory: Store, backend: MemoryBackend, clock: FakeClock) -> None:
    """Without a timer; a store that is known to be away says so, and is not asked in every turn."""
    soon, position = memory.write_behind(delay=0), Position()
    soon.note("x", position)
    await turn()
    assert position.seen == ["stored"]
    memory.available = False
    soon.note("x", position)
    for _ in range(20):
        await turn()
    assert position.seen == ["stored", "again"]
    memory.available = True
    await clock.advance(1)
    assert position.seen == ["stored", "again", "stored"]


class Read:
    """A note that must read before it can be written."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.noted = 0
        self.read = 0
        self.seen: list[str] = []

    def writes(self) -> list[MapPut]:
        return [MapPut("m", A, self.key, self.read)]

    def stored(self) -> None:
        self.seen.append("stored")

    def failed(self, again: bool) -> None:
        self.seen.append("again" if again else "dropped")


async def test_what_must_read_first_is_prepared_when_it_is_due(
    memory: Store, backend: MemoryBackend, clock: FakeClock, note: Recorder
) -> None:
    """It goes along with no batch before; what is noted while it is on its way follows, never beside it."""

    async def prepare(each: Read) -> None:
        await turn()
        each.read = each.noted

    soon, each = memory.write_behind(prepare=prepare), Read("x")
    each.noted = 1
    soon.note("x", each)
    memory.join([MESSAGE], note("message"))
    await turn()
    assert await backend.read("m", A, "x") is None
    backend.hold()
    await clock.advance(1)
    await turn()
    each.noted = 2
    soon.note("x", each)
    await clock.advance(1)
    await turn()
    assert each.seen == []
    assert [[type(write) for write in writes] for writes in backend.held] == [[MapPut]]
    backend.release()
    await soon.flush()
    assert await backend.read("m", A, "x") == 2
    assert each.seen == ["stored", "stored"]
    assert not len(soon)


async def test_what_cannot_be_read_is_tried_again_or_given_up(
    memory: Store, backend: MemoryBackend, clock: FakeClock
) -> None:
    errors: list[Exception] = [StorageUnavailable("away"), StorageUnavailable("still"), ValueError("a bug")]

    async def prepare(each: Read) -> None:
        if each.key == "x" and errors:
            raise errors.pop(0)

    soon, bad, good = memory.write_behind(prepare=prepare), Read("x"), Read("y")
    soon.note("x", bad)
    soon.note("y", good)
    with pytest.raises(StorageUnavailable):
        await soon.flush()
    await clock.advance(1)
    assert bad.seen == []
    await clock.advance(2)
    await turn()
    assert (bad.seen, good.seen) == (["dropped"], ["stored"])
    soon.note("x", bad)
    await soon.flush()
    assert bad.seen == ["dropped", "stored"]


async def test_many_are_prepared_without_keeping_the_loop(memory: Store) -> None:
    prepared: list[Read] = []

    async def prepare(each: Read) -> None:
        prepared.append(each)

    soon = memory.write_behind(delay=0, prepare=prepare)
    for number in range(1000):
        soon.note(number, Read(str(number)))
    for _ in range(4):
        await asyncio.sleep(0)
    assert 0 < len(prepared) < 200
    await soon.flush()
    assert len(prepared) == 1000


async def test_what_has_no_room_in_one_batch_does_not_wait_for_the_next_time(
    backend: MemoryBackend, clock: FakeClock
) -> None:
    memory = Store(backend, clock, Limits(rows=10))
    soon = memory.write_behind()
    for number in range(95):
        soon.note(number, Read(str(number)))
    await clock.advance(1)
    for _ in range(20):
        await turn()
    assert len(await backend.load(A, ("m",))) == 95
    assert backend.commits == 10


async def test_a_newer_value_on_its_way_is_seen_and_waited_for(
    memory: Store, backend: MemoryBackend, note: Recorder
) -> None:
    """The next batch is on its way before the releases of the last one run."""
    counts = memory.map("counts", Count)
    notes = memory.notes(counts)
    backend.hold()
    notes.put(A, "k", Count(1))
    memory.join([MESSAGE], note("one"))
    await turn()
    notes.put(A, "k", Count(2))
    memory.join([LogAppend("log", A, Entry(2, "p@example.org", "", 0, b"x"))], note("two"))
    backend.release(1)
    await turn()
    assert await counts.read(A, "k") == Count(1)
    assert await notes.read(A, "k") == Count(2)
    flushing = asyncio.ensure_future(notes.flush())
    await turn()
    assert not flushing.done()
    backend.release()
    await flushing
    assert await counts.read(A, "k") == Count(2)
    assert notes.soon.reserved == 0


async def test_bytes_are_held_up_to_the_bound(memory: Store) -> None:
    soon = memory.write_behind(limit=100)
    soon.reserve(90)
    with pytest.raises(ResourceConstraint):
        soon.reserve(20)
    soon.reserve(20, anyway=True)
    soon.free(110)
    assert soon.reserved == 0


async def test_an_older_value_that_is_refused_does_not_follow_a_newer_one(
    memory: Store, backend: MemoryBackend, clock: FakeClock, note: Recorder
) -> None:
    counts = memory.map("counts", Count)
    notes = memory.notes(counts)
    backend.hold()
    for key in ("k", "z"):
        notes.put(A, key, Count(1))
    memory.join([MESSAGE], note("one"))
    await turn()
    notes.put(A, "k", Count(2))
    memory.join([LogAppend("log", A, Entry(2, "p@example.org", "", 0, b"x"))], note("two"))
    backend.fail(DataError("poison"), times=3)  # the batch, the message, the notes
    for _ in range(3):
        backend.release(1)
        await turn()
    backend.release()
    await clock.advance(5)
    await notes.flush()
    assert await counts.read_all(A) == {"k": Count(2), "z": Count(1)}
    assert (notes.soon.reserved, len(notes.soon)) == (0, 0)


async def test_what_is_noted_now_is_settled(memory: Store, backend: MemoryBackend, clock: FakeClock) -> None:
    """All that was noted or has joined before, of all who note."""
    counts = memory.map("counts", Count)
    notes = memory.notes(counts, delay=60.0)
    read_first: list[Position] = []

    async def prepare(note: Position) -> None:
        read_first.append(note)

    behind = memory.write_behind(60.0, prepare=prepare)
    for number in range(3 * FULL_RIDE):
        notes.put(A, str(number), Count(number))
    position = Position()
    behind.note("position", position)
    await memory.settle()
    assert len(await counts.read_all(A)) == 3 * FULL_RIDE and read_first == [position]
    assert not memory.busy and len(behind) == len(notes.soon) == 0


async def test_others_that_go_on_noting_do_not_keep_it(memory: Store, clock: FakeClock) -> None:
    """A note that is there again whenever it is stored is not waited for for ever."""
    counts = memory.map("counts", Count)
    soon = memory.write_behind(60.0)

    class Restless:
        stores = 0

        def writes(self) -> list[MapPut]:
            return [counts.put(A, "k", Count(self.stores))]

        def stored(self) -> None:
            self.stores += 1
            soon.note("restless", self)

        def failed(self, again: bool) -> None:
            raise AssertionError

    restless = Restless()
    soon.note("restless", restless)
    await asyncio.wait_for(memory.settle(), 10)
    assert restless.stores == ROUNDS and len(soon) == 1


async def test_what_cannot_be_stored_is_not_settled(memory: Store, backend: MemoryBackend) -> None:
    notes = memory.notes(memory.map("counts", Count), delay=60.0)
    notes.put(A, "k", Count(1))
    memory.available = False
    with pytest.raises(StorageUnavailable):
        await memory.settle()
    assert notes.soon.noted((A, "k")) is not None
