"""A store in memory, for tests: its commits can be held, released one by one, and made to fail."""

from __future__ import annotations

import logging
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from xmppd.clock import Clock
from xmppd.errors import StorageUnavailable
from xmppd.storage.api import (
    NOT_SENT,
    AbsoluteWrite,
    DataError,
    Entry,
    Heard,
    LogAppend,
    LogDelete,
    LogReplace,
    LogTrim,
    MapClear,
    MapDelete,
    MapPut,
    OwnerDelete,
    Range,
    Send,
    Source,
)
from xmppd.storage.backend import Direct, Done, Row
from xmppd.storage.codec import TWICE, bounds, check_entry, check_sending, check_text, matches, pack, unpack

log = logging.getLogger("xmppd.storage")

Pending = tuple[Sequence[AbsoluteWrite], Done]
Failure = tuple[Exception, bool]


class MemoryLog:
    """One owner's entries: by id, and the ids in order."""

    __slots__ = ("entries", "ids")

    def __init__(self) -> None:
        self.entries: dict[int, Entry] = {}
        self.ids: list[int] = []

    def add(self, entry: Entry) -> None:
        if entry.id not in self.entries:
            self.entries[entry.id] = entry
            insort(self.ids, entry.id)

    def remove(self, id: int) -> None:
        if self.entries.pop(id, None) is not None:
            del self.ids[bisect_left(self.ids, id)]

    def walk(self, range: Range, backwards: bool) -> Iterator[Entry]:
        allowed = bounds(range)
        if allowed is None:
            return
        low, high = allowed
        ids = self.ids[bisect_left(self.ids, low) : bisect_right(self.ids, high)]
        for id in reversed(ids) if backwards else ids:
            entry = self.entries[id]
            if matches(entry, range):
                yield entry


class MemoryBackend(Direct):
    """`backend.Backend` in memory.

    The seam for crash tests: `hold()` and `release()` decide when a commit is in, `fail()` what becomes of
    the next ones, `survivor()` is what a crash at this moment leaves behind.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock
        self.commits = 0
        """Commits that went in."""
        self.unreachable = False
        """Reads, and open, raise StorageUnavailable while it is set."""
        self._maps: dict[tuple[str, str], dict[str, bytes]] = {}
        self._logs: dict[tuple[str, str], MemoryLog] = {}
        self._sendings: dict[Source, Send] = {}
        self._last_sending = 0
        self._made: set[Source] = set()
        """Of which sendings the batch that is written has made something."""
        self.holding = False
        """Commits wait."""
        self._held: list[Pending] = []
        self._failures: list[Failure] = []

    # --- the seam ---

    @property
    def held(self) -> list[Sequence[AbsoluteWrite]]:
        """The writes of the commits that wait for `release`."""
        return [writes for writes, _ in self._held]

    def hold(self) -> None:
        """From now on commits wait."""
        self.holding = True

    def release(self, count: int | None = None) -> None:
        """Let the first `count` waiting commits go on; None: all of them, and those to come."""
        if count is None:
            self.holding = False
        going = self._held[:count]
        del self._held[: len(going)]
        for writes, done in going:
            self._finish(writes, done)

    def fail(self, error: Exception, times: int = 1, written: bool = False) -> None:
        """The next `times` commits fail with `error`; `written`: they went in, and only their answer is lost."""
        self._failures.extend([(error, written)] * times)

    def survivor(self) -> MemoryBackend:
        """A new store with what is committed now: what a crash leaves. Held commits are lost."""
        other = MemoryBackend(self.clock)
        other._maps = {place: dict(records) for place, records in self._maps.items()}
        for place, found in self._logs.items():
            copy = other._logs[place] = MemoryLog()
            copy.entries, copy.ids = dict(found.entries), list(found.ids)
        other._sendings, other._last_sending = dict(self._sendings), self._last_sending
        return other

    # --- commits ---

    async def open(self) -> None:
        self._reachable()

    async def close(self) -> None:
        """Nothing to give back."""

    def commit(self, writes: Sequence[AbsoluteWrite], done: Done) -> None:
        if self.holding:
            self._held.append((writes, done))
        else:
            self._finish(writes, done)

    def _finish(self, writes: Sequence[AbsoluteWrite], done: Done) -> None:
        error: Exception | None = None
        if self._failures:
            error, written = self._failures.pop(0)
            if written:
                self._write(writes)
        else:
            try:
                self._write(writes)
                self.commits += 1
            except DataError as refused:
                error = refused
        self.clock.call_soon(lambda: done(error))

    def _write(self, writes: Sequence[AbsoluteWrite]) -> None:
        steps = [self._step(write) for write in writes]  # all are checked before the first is done
        self._made.clear()
        for step in steps:
            step()
        for write in writes:
            if type(write) is Heard:
                self._sendings.pop(write.source, None)

    def _step(self, write: AbsoluteWrite) -> Callable[[], None]:
        """The change that a write makes. Raises DataError if it cannot be stored."""
        check_text(write.owner)
        if isinstance(write, OwnerDelete):
            return lambda: self._delete_owner(write.owner)
        if isinstance(write, (MapPut, MapDelete, MapClear)):
            return self._map_step(write)
        if isinstance(write, Send):
            check_sending(write)
            return lambda: self._send(write)
        if isinstance(write, Heard):
            return lambda: None  # behind all others: what is made of it belongs to the same batch
        place = (write.log, write.owner)
        if isinstance(write, (LogAppend, LogReplace)):
            check_entry(write.entry)
            if isinstance(write, LogAppend):
                return lambda: self._append(place, write)
            return lambda: self._replace(place, write.entry)
        if isinstance(write, LogDelete):
            return lambda: self._remove(place, write.ids)
        return lambda: self._trim(place, write)

    def _map_step(self, write: MapPut | MapDelete | MapClear) -> Callable[[], None]:
        place = (write.map, write.owner)
        if isinstance(write, MapClear):
            return lambda: void(self._maps.pop(place, None))
        check_text(write.key)
        if isinstance(write, MapPut):
            data = pack(write.value)
            return lambda: self._maps.setdefault(place, {}).__setitem__(write.key, data)
        return lambda: void(self._maps.get(place, {}).pop(write.key, None))

    def _send(self, write: Send) -> None:
        if write.source == NOT_SENT:
            self._last_sending += 1
            write.source = (0, self._last_sending)
        self._sendings[write.source] = Send(write.owner, write.to, write.data, write.source)

    def _append(self, place: tuple[str, str], write: LogAppend) -> None:
        entries = self._logs.setdefault(place, MemoryLog())
        source = write.source
        if source is not None and write.entry.id not in entries.entries:
            if source in self._made or source not in self._sendings:
                log.error(TWICE, source[1], write.entry.id, write.owner)
                return
            self._made.add(source)
        entries.add(write.entry)

    def _replace(self, place: tuple[str, str], entry: Entry) -> None:
        found = self._logs.get(place)
        old = found.entries.get(entry.id) if found is not None else None
        if found is not None and old is not None:
            found.entries[entry.id] = Entry(entry.id, old.peer, old.resource, entry.flags, entry.body)

    def _remove(self, place: tuple[str, str], ids: Sequence[int]) -> None:
        found = self._logs.get(place)
        for id in ids if found is not None else ():
            found.remove(id)  # type: ignore[union-attr]

    def _trim(self, place: tuple[str, str], write: LogTrim) -> None:
        found = self._logs.get(place)
        if found is not None:
            self._remove(place, [id for id in found.ids if id < write.before])

    def _delete_owner(self, owner: str) -> None:
        for maps in [place for place in self._maps if place[1] == owner]:
            del self._maps[maps]
        for logs in [place for place in self._logs if place[1] == owner]:
            del self._logs[logs]

    # --- reads ---

    def _reachable(self) -> None:
        if self.unreachable:
            raise StorageUnavailable("the store in memory plays dead")

    async def load(self, owner: str, maps: Sequence[str]) -> list[Row[Any]]:
        self._reachable()
        return [Row(map, key, unpack(data)) for map in maps for key, data in self._maps.get((map, owner), {}).items()]

    async def read(self, map: str, owner: str, key: str) -> Any | None:
        self._reachable()
        data = self._maps.get((map, owner), {}).get(key)
        return None if data is None else unpack(data)

    async def owners(self, map: str, domain: str, after: str, limit: int) -> list[str]:
        self._reachable()
        found = [o for (m, o), records in self._maps.items() if m == map and records and o > after]
        return sorted(owner for owner in found if owner.rpartition("@")[2] == domain)[:limit]

    async def scan(self, map: str, domain: str, after: tuple[str, str], limit: int) -> list[tuple[str, Row[Any]]]:
        self._reachable()
        found = [
            (owner, key, data)
            for (name, owner), records in self._maps.items()
            if name == map and owner.rpartition("@")[2] == domain
            for key, data in records.items()
            if (owner, key) > after
        ]
        found.sort(key=lambda each: each[:2])
        return [(owner, Row(map, key, unpack(data))) for owner, key, data in found[:limit]]

    async def page(self, log: str, owner: str, range: Range, limit: int, backwards: bool) -> list[Entry]:
        self._reachable()
        found: list[Entry] = []
        for entry in self._walk(log, owner, range, backwards):
            if len(found) >= limit:
                break
            found.append(entry)
        return found[::-1] if backwards else found

    async def ends(self, log: str, owner: str, range: Range) -> tuple[int, int]:
        self._reachable()
        lowest, highest = (next(self._walk(log, owner, range, backwards), None) for backwards in (False, True))
        return (lowest.id, highest.id) if lowest is not None and highest is not None else (0, 0)

    async def count(self, log: str, owner: str, range: Range, limit: int | None) -> int:
        self._reachable()
        number = sum(1 for _ in self._walk(log, owner, range, False))
        return number if limit is None else min(limit, number)

    async def last_id(self, log: str, owner: str) -> int:
        self._reachable()
        found = self._logs.get((log, owner))
        return found.ids[-1] if found is not None and found.ids else 0

    async def unheard(self, domain: str, after: Source, limit: int) -> list[Send]:
        self._reachable()
        found = [
            each
            for source, each in sorted(self._sendings.items())
            if source > after and each.owner.rpartition("@")[2] == domain
        ]
        return [Send(each.owner, each.to, each.data, each.source) for each in found[:limit]]

    async def was_heard(self, owner: str, log: str, source: Source) -> bool:
        self._reachable()
        return source not in self._sendings

    def _walk(self, log: str, owner: str, range: Range, backwards: bool) -> Iterator[Entry]:
        found = self._logs.get((log, owner))
        return iter(()) if found is None else found.walk(range, backwards)


def void(_: object) -> None:
    """Nothing, from an expression."""
