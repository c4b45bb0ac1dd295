"""What is noted now and stored soon: with the next batch that is committed anyway, or after a delay.

For records that may be a moment behind (positions, counts), because what a crash takes of them is found again or does
no harm. What must not be lost is written on the path of its stanza.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Any, Generic, Protocol, TypeVar

from xmppd.clock import Clock
from xmppd.errors import ResourceConstraint, StorageUnavailable
from xmppd.storage.api import Batch, Item, Map, Note, Release, Rider, Write

T = TypeVar("T")

log = logging.getLogger("xmppd.storage")

NOTE_BYTES = 200
"""What a note is taken to need in memory beside its content."""


AGAIN = 1.0
"""Seconds until a store that is away is tried again, at least."""
BOUND = 4 << 20
"""Bytes that may wait, if nothing else is said."""
ROUNDS = 20
"""Batches that `settle` waits for, at most."""
IN_ONE_TURN = 8
"""So many notes are prepared before the loop runs something else: some 0.3 ms."""


class Committing(Protocol):
    """The part of the store that this needs."""

    clock: Clock

    def add_rider(self, rider: Rider) -> None: ...
    def send_riders(self, release: Release) -> Batch: ...


class WriteBehind:
    """Notes by key, the oldest first. The last one of a key counts; a store that is away is tried again."""

    def __init__(
        self,
        storage: Committing,
        delay: float,
        limit: int = BOUND,
        prepare: Callable[[Any], Awaitable[object]] | None = None,
    ) -> None:
        """`delay`: seconds after which what is noted is stored even if nothing else is; 0: at the next turn of the
        loop. `limit`: bytes that can be reserved. `prepare`: what a note needs before it can be written."""
        self._storage = storage
        self._delay = delay
        self._limit = limit
        self.reserved = 0
        """Bytes."""
        self._prepare = prepare
        self._raw: dict[Hashable, Note] = {}
        """To be prepared."""
        self._preparing = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._noted: dict[Hashable, Note] = {}
        self._taken_in_all = 0
        """How many notes were put into a batch so far."""
        self._in_flight: dict[Hashable, _Ride] = {}
        self._alone: set[Hashable] = set()
        """Of a batch that the store has refused for what it holds: one of them is the reason."""
        self._armed = False
        self._away = False
        storage.add_rider(self)

    def __len__(self) -> int:
        return len(self._raw) + len(self._noted) + len(self._in_flight)

    def note(self, key: Hashable, note: Note) -> None:
        """Store what `note` writes. One of the same key that waits is replaced, in its place."""
        if self._prepare is None:
            self._noted[key] = note
        else:
            self._raw[key] = note
        if not self._armed:
            self._arm()

    def noted(self, key: Hashable) -> Note | None:
        """What waits, or is being stored."""
        found = self._noted.get(key)
        if found is None and key in self._in_flight:
            return self._in_flight[key].taken[key]
        return found

    def waiting(self, key: Hashable) -> Note | None:
        """What waits, and would be replaced by a newer one."""
        return self._noted.get(key)

    def reserve(self, size: int, anyway: bool = False) -> None:
        """What is noted needs so many bytes, until `free`. Raises ResourceConstraint when too much waits."""
        if self.reserved + size > self._limit and not anyway:
            raise ResourceConstraint("too much waits for the store")
        self.reserved += size

    def free(self, size: int) -> None:
        self.reserved -= size

    # ---- going along (api.Rider)

    def ride(self, rows: int) -> Item | None:
        if not self._noted:
            return None
        taken: dict[Hashable, Note] = {}
        writes: list[Write] = []
        for key, note in self._noted.items():
            if len(writes) >= rows or (taken and key in self._alone):
                break
            if self._prepare is not None and key in self._in_flight:
                continue  # decided, and its release was not called yet
            taken[key] = note
            writes += note.writes()
            if key in self._alone:
                break
        if not taken:
            return None
        ride = _Ride(self, taken)
        for key in taken:
            del self._noted[key]
            self._in_flight[key] = ride
        self._taken_in_all += len(taken)
        return (writes, ride)

    def decided(self, ride: _Ride, error: Exception | None) -> None:
        """The batch of these notes is committed, or failed. Newer notes of the same keys may be in a batch already."""
        taken = ride.taken
        for key, note in taken.items():
            if self._in_flight.get(key) is ride:
                del self._in_flight[key]
            if error is None:
                self._away = False
                self._alone.discard(key)
                note.stored()
                continue
            refused = not isinstance(error, StorageUnavailable)
            self._away = not refused
            newer = self._noted.get(key, note) is not note or (isinstance(note, _Value) and key in self._in_flight)
            again = not newer and not (refused and len(taken) == 1)
            note.failed(again)
            if again:
                self._noted[key] = note
            if refused and len(taken) > 1:
                self._alone.add(key)
            elif refused:
                self._alone.discard(key)
                log.error("a note is given up: the store refuses it (%s)", error)
        if self._noted:
            self._arm()

    # ---- when no batch comes by

    def _arm(self) -> None:
        if self._armed:
            return
        self._armed = True
        delay = max(self._delay, AGAIN) if self._away else self._delay
        if delay:
            self._storage.clock.call_later(delay, self._due)
        else:
            self._storage.clock.call_soon(self._due)

    def _due(self) -> None:
        self._armed = False
        if self._raw:
            if self._task is None:
                self._task = asyncio.get_running_loop().create_task(self._prepare_and_send(), name="prepare notes")
        elif self._noted:
            self._send()

    def _send(self) -> None:
        """Ask for a batch for all that is noted now."""
        until = self._taken_in_all + len(self._noted)
        try:
            self._storage.send_riders(_Waiting(lambda: self._sent(until)))
        except StorageUnavailable:
            self._away = True
            for note in list(self._noted.values()):
                note.failed(again=True)
            self._arm()

    def _sent(self, until: int) -> None:
        """Where a batch had no room for all, the next one is not waited for."""
        if self._noted and self._taken_in_all < until and not self._away:
            self._send()
        elif self._noted:
            self._arm()

    async def _prepare_and_send(self) -> None:
        try:
            await self._prepare_all()
        except StorageUnavailable:
            self._away = True
        finally:
            self._task = None
        if self._noted:
            self._send()
        if self._raw:
            self._arm()

    async def _prepare_all(self) -> None:
        """All that is noted now. Raises StorageUnavailable."""
        if self._prepare is None:
            return
        async with self._preparing:
            for number, key in enumerate(list(self._raw), 1):
                if number % IN_ONE_TURN == 0:
                    await asyncio.sleep(0)
                note = self._raw.pop(key, None)
                if note is None:
                    continue
                try:
                    await self._prepare(note)
                except (StorageUnavailable, asyncio.CancelledError):
                    self._raw.setdefault(key, note)
                    raise
                except Exception:
                    log.exception("a note is given up: it cannot be prepared")
                    note.failed(again=False)
                else:
                    self._noted[key] = note

    async def flush(self) -> None:
        """Store all that is noted. Raises StorageUnavailable."""
        while len(self) or self._preparing.locked():
            await self._store()

    async def settle(self) -> None:
        """Store what is noted now. Others go on noting, so after some rounds it returns, whatever still waits. Raises
        StorageUnavailable."""
        now = {**self._raw, **{key: ride.taken[key] for key, ride in self._in_flight.items()}, **self._noted}
        rounds = ROUNDS
        while rounds and any(self._waits(key, note) for key, note in now.items()):
            await self._store()
            rounds -= 1

    def _waits(self, key: Hashable, note: Note) -> bool:
        ride = self._in_flight.get(key)
        return any(
            note is each
            for each in (self._raw.get(key), self._noted.get(key), ride.taken[key] if ride is not None else None)
        )

    async def _store(self) -> None:
        """One batch with as many notes as go into it."""
        await self._prepare_all()
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = _Waiting(lambda: done.done() or done.set_result(None))  # type: ignore[func-returns-value]
        self._storage.send_riders(waiting)
        await done
        if waiting.error is not None:
            raise StorageUnavailable(str(waiting.error))


class _Ride:
    """A `Release`: the notes that were put into one batch."""

    __slots__ = ("soon", "taken")

    def __init__(self, soon: WriteBehind, taken: dict[Hashable, Note]) -> None:
        self.soon, self.taken = soon, taken

    def committed(self) -> None:
        self.soon.decided(self, None)

    def failed(self, error: Exception) -> None:
        self.soon.decided(self, error)


class _Waiting:
    """A `Release` that makes one call, whether the batch is committed or fails."""

    __slots__ = ("call", "error")

    def __init__(self, call: Callable[[], object]) -> None:
        self.call = call
        self.error: Exception | None = None

    def committed(self) -> None:
        self.call()

    def failed(self, error: Exception) -> None:
        self.error = error
        self.call()


class _Value(Generic[T]):
    """A `Note`: one record."""

    __slots__ = ("map", "notes", "owner", "place", "size", "value")

    def __init__(self, notes: Notes[T], place: tuple[str, str], value: T | None, size: int) -> None:
        self.notes, self.place, self.value, self.size = notes, place, value, size

    def writes(self) -> Sequence[Write]:
        map, (owner, key) = self.notes.map, self.place
        return (map.delete(owner, key) if self.value is None else map.put(owner, key, self.value),)

    def stored(self) -> None:
        self.notes.soon.free(self.size)

    def failed(self, again: bool) -> None:
        if not again:
            self.notes.soon.free(self.size)


class Notes(Generic[T]):
    """`api.Notes` over one map."""

    def __init__(self, storage: Committing, map: Map[T], delay: float, limit: int, weigh: Callable[[str, Any], int]):
        self.map = map
        self.soon = WriteBehind(storage, delay, limit)
        self._weigh = weigh

    def put(self, owner: str, key: str, value: T | None) -> None:
        place = (owner, key)
        size = NOTE_BYTES + len(owner) + (self._weigh(key, value) if value is not None else 0)
        waiting = self.soon.waiting(place)
        self.soon.reserve(size - (waiting.size if isinstance(waiting, _Value) else 0))
        self.soon.note(place, _Value(self, place, value, size))

    def update(self, owner: str, key: str, function: Callable[[T | None], T | None]) -> None:
        self.put(owner, key, function(self.get(owner, key)))

    def get(self, owner: str, key: str) -> T | None:
        note = self.soon.noted((owner, key))
        return note.value if isinstance(note, _Value) else self.map.get(owner).get(key)

    async def read(self, owner: str, key: str) -> T | None:
        note = self.soon.noted((owner, key))
        return note.value if isinstance(note, _Value) else await self.map.read(owner, key)

    async def flush(self) -> None:
        await self.soon.flush()
