"""Working sets: the cached maps of an owner in memory, read at once, brought up to date by every commit. So are the
ends of logs."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import msgspec

from xmppd.errors import LocalError
from xmppd.storage.api import AbsoluteWrite, Heard, LogAppend, MapClear, MapDelete, MapPut, OwnerDelete, Send
from xmppd.storage.backend import Backend, Row
from xmppd.storage.log_ends import LogEnds

log = logging.getLogger("xmppd.storage")

NOTHING: Mapping[str, Any] = MappingProxyType({})
OWNER_BYTES, RECORD_BYTES = 300, 200
"""What an owner and a record are taken to need beside their content."""
YOUNGEST = 64
"""So many owners are never evicted: who has just loaded one must find it."""


def convert(value: Any, record: Any, map: str, owner: str, key: str) -> Any | None:
    """A record from builtin types; None, and a line in the log, if it cannot be read."""
    try:
        return msgspec.convert(value, record)
    except (msgspec.ValidationError, TypeError, ValueError) as error:
        log.error("unreadable record skipped: map %r, owner %r, key %r: %s", map, owner, key, error)
        return None


def weight(key: str, value: Any) -> int:
    """Roughly the bytes that a record needs in memory."""
    try:
        return RECORD_BYTES + len(key) + 2 * len(msgspec.msgpack.encode(value))
    except (TypeError, ValueError, OverflowError):
        return RECORD_BYTES


@dataclass(slots=True)
class Loading:
    """A read on its way, and what was committed since it began (it may or may not have seen that)."""

    task: asyncio.Task[None]
    writes: list[AbsoluteWrite] = field(default_factory=list)


class WorkingSet:
    """The cache of working sets: LRU by count and bytes; pinned owners stay and do not count."""

    def __init__(self, backend: Backend, max_owners: int, max_bytes: int) -> None:
        self.backend = backend
        self.max_owners = max_owners
        self.max_bytes = max_bytes
        self.records: dict[str, Any] = {}
        self.caches: dict[str, dict[str, Mapping[str, Any]]] = {}
        self.log_ends = LogEnds()
        self._idle: OrderedDict[str, int] = OrderedDict()
        self._idle_bytes = 0
        self._kept: dict[str, int] = {}
        self._pins: dict[str, int] = {}
        self._loading: dict[str, Loading] = {}

    def add(self, name: str, record: Any) -> dict[str, Mapping[str, Any]]:
        """Declare a cached map. What was loaded before lacks it: it is forgotten and loaded anew."""
        self.records[name] = record
        cache = self.caches[name] = {}
        for owner in [*self._idle, *self._kept]:
            self._forget(owner)
        return cache

    # --- loading ---

    def loaded(self, owner: str) -> bool:
        if owner in self._idle:
            self._idle.move_to_end(owner)
            return True
        return owner in self._kept

    async def load(self, owner: str) -> None:
        """Have the working set of `owner` in memory; those who ask meanwhile share one read."""
        while not self.loaded(owner):
            loading = self._loading.get(owner)
            if loading is None:
                task = asyncio.get_running_loop().create_task(self._read(owner), name=f"load {owner}")
                loading = self._loading[owner] = Loading(task)
                task.add_done_callback(_retrieve)
            await asyncio.shield(loading.task)

    async def _read(self, owner: str) -> None:
        names = tuple(self.records)
        try:
            rows = await self.backend.load(owner, names)
        except BaseException:
            del self._loading[owner]
            raise
        writes = self._loading.pop(owner).writes
        if len(names) == len(self.records):  # else a map was added meanwhile: load() reads again
            self._keep(owner, rows, writes)

    def _keep(self, owner: str, rows: Sequence[Row[Any]], writes: Sequence[AbsoluteWrite]) -> None:
        size = OWNER_BYTES
        found: dict[str, dict[str, Any]] = {}
        for row in rows:
            value = convert(row.value, self.records[row.map], row.map, owner, row.key)
            if value is not None:
                found.setdefault(row.map, {})[row.key] = value
                size += weight(row.key, row.value)
        for name, cache in self.caches.items():
            cache[owner] = found.get(name, NOTHING)
        if owner in self._pins:
            self._kept[owner] = size
        else:
            self._idle[owner] = size
            self._idle_bytes += size
        if writes:
            self.apply(writes)
        self._evict()

    # --- commits ---

    def apply(self, writes: Sequence[AbsoluteWrite]) -> None:
        """Bring loaded owners up to date. A mapping that was handed out is replaced, never changed."""
        fresh: set[tuple[str, str]] = set()
        log_ends = self.log_ends
        for write in writes:
            if isinstance(write, LogAppend):
                log_ends.appended(write)
                continue
            if isinstance(write, (Send, Heard)):
                continue  # no working set holds them
            if write.owner in self._loading:
                self._loading[write.owner].writes.append(write)
            if isinstance(write, (MapPut, MapDelete, MapClear)):
                cache = self.caches.get(write.map)
                if cache is not None and write.owner in cache:
                    self._change(cache, write, fresh)
            elif isinstance(write, OwnerDelete):
                log_ends.deleted(write.owner)
                for name, cache in self.caches.items():
                    if write.owner in cache:
                        cache[write.owner] = NOTHING
                        fresh.discard((name, write.owner))
            else:
                log_ends.changed(write)

    def _change(
        self,
        cache: dict[str, Mapping[str, Any]],
        write: MapPut | MapDelete | MapClear,
        fresh: set[tuple[str, str]],
    ) -> None:
        place = (write.map, write.owner)
        if isinstance(write, MapClear):
            self._grow(write.owner, -sum(weight(key, value) for key, value in cache[write.owner].items()))
            cache[write.owner] = NOTHING
            fresh.discard(place)
            return
        records = cache[write.owner]
        if place not in fresh:
            records = cache[write.owner] = dict(records)
            fresh.add(place)
        assert isinstance(records, dict)
        former = records.get(write.key)
        size = -weight(write.key, former) if former is not None else 0
        if isinstance(write, MapDelete):
            records.pop(write.key, None)
            self._grow(write.owner, size)
            return
        value, record = write.value, self.records[write.map]
        if not isinstance(value, record):
            value = convert(value, record, write.map, write.owner, write.key)
        if value is None:
            records.pop(write.key, None)
        else:
            size += weight(write.key, value)
            records[write.key] = value
        self._grow(write.owner, size)

    def _grow(self, owner: str, size: int) -> None:
        if owner in self._idle:
            self._idle[owner] += size
            self._idle_bytes += size
        else:
            self._kept[owner] += size

    # --- staying and going ---

    def pin(self, owner: str) -> None:
        self._pins[owner] = self._pins.get(owner, 0) + 1
        if owner in self._idle:
            size = self._kept[owner] = self._idle.pop(owner)
            self._idle_bytes -= size

    def unpin(self, owner: str) -> None:
        """Take back one `pin`. Raises LocalError if there is none."""
        pins = self._pins.get(owner, 0)
        if not pins:
            raise LocalError(f"{owner} is not pinned")
        if pins > 1:
            self._pins[owner] = pins - 1
            return
        del self._pins[owner]
        if owner in self._kept:
            size = self._idle[owner] = self._kept.pop(owner)
            self._idle_bytes += size
            self._evict()

    # --- owners whose home is elsewhere ---

    def owners(self) -> set[str]:
        """Of whom something is in memory."""
        return {*self._idle, *self._kept, *self.log_ends.owners()}

    def in_use(self, owner: str) -> bool:
        """Whether an owner is pinned, or is being loaded."""
        return owner in self._pins or owner in self._loading or self.log_ends.is_reading(owner)

    def unload(self, owners: Collection[str]) -> None:
        """Take owners out of memory. Raises LocalError if one of them is in use; then nothing has changed."""
        for owner in owners:
            if self.in_use(owner):
                raise LocalError(f"{owner} is in use")
        for owner in owners:
            self._forget(owner)
        self.log_ends.unload(owners)

    def _evict(self) -> None:
        while len(self._idle) > min(YOUNGEST, self.max_owners) and (
            len(self._idle) > self.max_owners or self._idle_bytes > self.max_bytes
        ):
            self._forget(next(iter(self._idle)))

    def _forget(self, owner: str) -> None:
        self._idle_bytes -= self._idle.pop(owner, 0)
        self._kept.pop(owner, None)
        for cache in self.caches.values():
            cache.pop(owner, None)


def _retrieve(task: asyncio.Task[None]) -> None:
    """So that an error nobody waits for any more is not reported as lost: who loads next gets it anew."""
    if not task.cancelled():
        task.exception()
