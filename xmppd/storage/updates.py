"""Records that are changed by a function of what they were (`api.MapUpdate`).

Only one batch is in flight, so when it is submitted the committed state is known: there the functions are called for
good, in order. Until then `get` shows what they make of it, so that who decides meanwhile sees what it has changed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from xmppd.storage.api import AbsoluteWrite, Item, MapClear, MapDelete, MapPut, MapUpdate, OwnerDelete, Write
from xmppd.storage.working_set import WorkingSet, convert

log = logging.getLogger("xmppd.storage")

Place = tuple[str, str, str]
"""Map, owner, key."""
Change = MapUpdate | MapPut | MapDelete


class _Pending:
    """A record with updates whose commit is on its way. `value`: what they make of it."""

    __slots__ = ("changes", "value")

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.value: Any = None

    def fold(self, committed: Any, convert: Callable[[Change], Any]) -> None:
        """Anew, from what is committed."""
        value = committed
        for change in self.changes:
            value = change.function(value) if isinstance(change, MapUpdate) else convert(change)
        self.value = value


class Updates:
    """All of one store."""

    def __init__(self, cached: WorkingSet) -> None:
        self._resident = cached
        self._records: dict[str, Any] = {}
        self._pending: dict[str, dict[str, dict[str, _Pending]]] = {}
        """By map, owner and key; owners that are in memory."""
        self._base: dict[Place, Any] = {}
        """What was committed, of the records that the batch under way changes, before it. A commit whose answer is
        lost may have changed them already, so this is looked up once."""
        self._batch = 0

    def add(self, name: str, record: Any) -> dict[str, dict[str, _Pending]]:
        """Declare a map. Returns what is on its way in it, by owner and key."""
        self._records[name] = record
        return self._pending.setdefault(name, {})

    # ---- while they wait

    def joined(self, writes: Sequence[Write]) -> None:
        """They are about to join a batch. Raises what a function raises; then nothing has changed."""
        done: list[tuple[_Pending, Change, Any]] = []
        try:
            for write in writes:
                if isinstance(write, (MapUpdate, MapPut, MapDelete)):
                    pending = self._at(write)
                    if pending is not None:
                        before = pending.value
                        if isinstance(write, MapUpdate):
                            pending.value = write.function(before)
                        else:
                            pending.value = self._value(write)
                        pending.changes.append(write)
                        done.append((pending, write, before))
        except Exception:
            for pending, change, before in reversed(done):
                pending.changes.pop()
                pending.value = before
                self._drop(change, pending)
            raise

    def _at(self, change: Change) -> _Pending | None:
        """Its record, if it is in memory. One that is put counts only where an update waits for it, too."""
        cache = self._resident.caches.get(change.map)
        if cache is None or change.owner not in cache:
            return None
        owners = self._pending.setdefault(change.map, {})
        found = owners.get(change.owner, {}).get(change.key)
        if found is None and isinstance(change, MapUpdate):
            found = owners.setdefault(change.owner, {})[change.key] = _Pending()
            found.value = cache[change.owner].get(change.key)
        return found

    def decided(self, writes: Sequence[Write]) -> None:
        """Committed (and applied), or failed."""
        for write in writes:
            if not isinstance(write, (MapUpdate, MapPut, MapDelete)):
                continue
            pending = self._pending.get(write.map, {}).get(write.owner, {}).get(write.key)
            if pending is None:
                continue
            pending.changes = [change for change in pending.changes if change is not write]
            if not self._drop(write, pending):
                try:
                    pending.fold(self._cached(write), self._value)
                except Exception:
                    log.exception("an update of map %r, owner %r fails", write.map, write.owner)

    def _drop(self, change: Change, pending: _Pending) -> bool:
        if pending.changes:
            return False
        owners = self._pending[change.map]
        keys = owners.get(change.owner, {})
        keys.pop(change.key, None)
        if not keys:
            owners.pop(change.owner, None)
        return True

    def _cached(self, change: Change) -> Any:
        cache = self._resident.caches.get(change.map, {})
        return cache.get(change.owner, {}).get(change.key)

    # ---- at the commit

    def missing(self, number: int, items: Sequence[Item]) -> list[Place]:
        """Records that must be read before these items of the batch of that number can be resolved."""
        if number != self._batch:
            self._batch, self._base = number, {}
        wanted: list[Place] = []
        for writes, _ in items:
            for write in writes:
                if type(write) is MapUpdate:
                    place = (write.map, write.owner, write.key)
                    if place in self._base:
                        continue
                    if write.owner in self._resident.caches.get(write.map, {}):
                        self._base[place] = self._cached(write)
                    else:
                        wanted.append(place)
        return wanted

    def fetch(self, place: Place, stored: Any) -> None:
        """What the backend has there, in builtin types."""
        map, owner, key = place
        record = self._records.get(map)
        self._base[place] = stored if stored is None or record is None else convert(stored, record, map, owner, key)

    def committed(self, writes: Sequence[AbsoluteWrite]) -> None:
        """A part of the batch is in: what is left changes what that has made."""
        for write in writes:
            if isinstance(write, (MapPut, MapDelete)):
                place = (write.map, write.owner, write.key)
                if place in self._base:
                    self._base[place] = self._value(write)
            elif isinstance(write, (MapClear, OwnerDelete)):
                map = write.map if isinstance(write, MapClear) else ""
                for place in self._base:
                    if place[1] == write.owner and map in ("", place[0]):
                        self._base[place] = None

    def resolve(self, items: Sequence[Item]) -> list[Sequence[AbsoluteWrite]]:
        """The same items as absolute writes. Raises what a function raises."""
        known: dict[Place, Any] = {}
        cleared: set[tuple[str, str]] = set()
        return [[self._resolved(write, known, cleared) for write in writes] for writes, _ in items]

    def _resolved(self, write: Write, known: dict[Place, Any], cleared: set[tuple[str, str]]) -> AbsoluteWrite:
        if isinstance(write, MapUpdate):
            place = (write.map, write.owner, write.key)
            if place in known:
                old = known[place]
            elif (write.map, write.owner) in cleared or ("", write.owner) in cleared:
                old = None
            else:
                old = self._base[place]
            new = known[place] = write.function(old)
            if new is None:
                return MapDelete(write.map, write.owner, write.key)
            return MapPut(write.map, write.owner, write.key, new)
        if isinstance(write, (MapPut, MapDelete)):
            known[write.map, write.owner, write.key] = self._value(write)
        elif isinstance(write, (MapClear, OwnerDelete)):
            map = write.map if isinstance(write, MapClear) else ""
            cleared.add((map, write.owner))
            for place in [each for each in known if each[1] == write.owner and map in ("", each[0])]:
                del known[place]
        return write

    def _value(self, change: Change) -> Any:
        if not isinstance(change, MapPut):
            return None
        record = self._records.get(change.map)
        if record is None or isinstance(change.value, record):
            return change.value
        return convert(change.value, record, change.map, change.owner, change.key)


def shown(records: Mapping[str, Any], pending: Mapping[str, _Pending]) -> Mapping[str, Any]:
    """Committed records, with what is on its way."""
    found = {**records, **{key: each.value for key, each in pending.items()}}
    return {key: value for key, value in found.items() if value is not None}
