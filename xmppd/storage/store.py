"""The store as the core sees it: maps, logs and working sets over any backend."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Generic, TypeVar

from xmppd.clock import Clock, pause
from xmppd.errors import LocalError, StorageUnavailable
from xmppd.storage.api import (
    NOT_HIDDEN,
    NOT_SENT,
    Batch,
    DataError,
    Entry,
    Item,
    LogAppend,
    LogDelete,
    LogReplace,
    LogTrim,
    Map,
    MapClear,
    MapDelete,
    MapPut,
    MapUpdate,
    Range,
    Send,
    Source,
    StoreError,
    Write,
)
from xmppd.storage.backend import Backend
from xmppd.storage.group_commit import FIRST_RETRY, LAST_RETRY, GroupCommit, Limits
from xmppd.storage.log_ends import LogEnds
from xmppd.storage.updates import Updates, shown
from xmppd.storage.working_set import WorkingSet, convert, weight
from xmppd.storage.write_behind import BOUND, Notes, WriteBehind

T = TypeVar("T")

log = logging.getLogger("xmppd.storage")


class StoredMap(Generic[T]):
    """`api.Map` over a backend."""

    def __init__(
        self, name: str, record: type[T], cached: WorkingSet | None, backend: Backend, updates: Updates
    ) -> None:
        self.name = name
        self.record = record
        self.cached = cached is not None
        self._backend = backend
        self._cache: dict[str, Mapping[str, Any]] = cached.add(name, record) if cached is not None else {}
        self.in_memory: Mapping[str, Mapping[str, T]] = self._cache
        self._pending = updates.add(name, record)

    def put(self, owner: str, key: str, value: T) -> MapPut:
        return MapPut(self.name, owner, key, value)

    def delete(self, owner: str, key: str) -> MapDelete:
        return MapDelete(self.name, owner, key)

    def clear(self, owner: str) -> MapClear:
        return MapClear(self.name, owner)

    def update(self, owner: str, key: str, function: Callable[[T | None], T | None]) -> MapUpdate:
        return MapUpdate(self.name, owner, key, function)

    def get(self, owner: str) -> Mapping[str, T]:
        try:
            records = self._cache[owner]
        except KeyError:
            why = "the owner is not loaded" if self.cached else "the map is not cached"
            raise LocalError(f"map {self.name!r} of {owner!r}: {why}") from None
        if self._pending and owner in self._pending:
            return shown(records, self._pending[owner])
        return records

    async def read(self, owner: str, key: str) -> T | None:
        if owner in self._cache:
            return self.get(owner).get(key)
        return await self.read_stored(owner, key)

    async def read_stored(self, owner: str, key: str) -> T | None:
        value = await self._backend.read(self.name, owner, key)
        return None if value is None else convert(value, self.record, self.name, owner, key)

    async def read_all(self, owner: str) -> dict[str, T]:
        if owner in self._cache:
            return dict(self.get(owner))
        found: dict[str, T] = {}
        for row in await self._backend.load(owner, (self.name,)):
            value = convert(row.value, self.record, self.name, owner, row.key)
            if value is not None:
                found[row.key] = value
        return found

    async def owners(self, domain: str, after: str = "", limit: int = 1000) -> list[str]:
        return await self._backend.owners(self.name, domain, after, limit)

    async def scan(
        self, domain: str, after: tuple[str, str] = ("", ""), limit: int = 200
    ) -> list[tuple[str, str, T | None]]:
        return [
            (owner, row.key, convert(row.value, self.record, self.name, owner, row.key))
            for owner, row in await self._backend.scan(self.name, domain, after, limit)
        ]


class StoredLog:
    """`api.Log` over a backend. The ends of what people can read are in memory once they were asked for."""

    def __init__(self, name: str, backend: Backend, ends: LogEnds) -> None:
        self.name = name
        self._backend = backend
        self._ends = ends

    def append(self, owner: str, entry: Entry) -> LogAppend:
        return LogAppend(self.name, owner, entry)

    def replace(self, owner: str, entry: Entry) -> LogReplace:
        return LogReplace(self.name, owner, entry)

    def delete(self, owner: str, ids: Sequence[int]) -> LogDelete:
        return LogDelete(self.name, owner, tuple(ids))

    def trim(self, owner: str, before: int) -> LogTrim:
        return LogTrim(self.name, owner, before)

    async def page(self, owner: str, range: Range, limit: int, backwards: bool = False) -> list[Entry]:
        return await self._backend.page(self.name, owner, range, limit, backwards)

    async def ends(self, owner: str, range: Range) -> tuple[int, int]:
        if range is NOT_HIDDEN:
            return await self._ends.get((self.name, owner), lambda: self._backend.ends(self.name, owner, range))
        return await self._backend.ends(self.name, owner, range)

    async def count(self, owner: str, range: Range, limit: int | None = None) -> int:
        return await self._backend.count(self.name, owner, range, limit)

    async def last_id(self, owner: str) -> int:
        return await self._backend.last_id(self.name, owner)


class _Decision:
    """A `Release` to wait for. `error`: why the batch failed."""

    __slots__ = ("error", "future")

    def __init__(self) -> None:
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.error: Exception | None = None

    def committed(self) -> None:
        if not self.future.done():
            self.future.set_result(None)

    def failed(self, error: Exception) -> None:
        self.error = error
        self.committed()


class Store(GroupCommit):
    """`api.Storage`: one backend, one batch in flight, one cache of working sets.

    `max_owners`, `max_bytes` (approximate): bounds of the working sets that no session pins.
    """

    def __init__(
        self,
        backend: Backend,
        clock: Clock,
        limits: Limits | None = None,
        max_owners: int = 50_000,
        max_bytes: int = 256 << 20,
    ) -> None:
        super().__init__(backend, clock, limits or Limits())
        self._resident = WorkingSet(backend, max_owners, max_bytes)
        self._updates = Updates(self._resident)
        self._maps: dict[str, StoredMap[Any]] = {}
        self._logs: dict[str, StoredLog] = {}
        self._opening: asyncio.Task[None] | None = None
        self._apply = self._resident.apply  # type: ignore[method-assign]  # saves a call for each item
        self._joins = self._updates.joined  # type: ignore[method-assign]
        self._fetching: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Open the backend. Raises StoreError.

        When it does not answer, the store is there but not `available`, and goes on trying by itself.
        """
        try:
            await self.backend.open()
        except StorageUnavailable as error:
            log.error("the store does not answer (%s): writes are refused until it does", error)
            self.available = False
            self._opening = asyncio.get_running_loop().create_task(self._open_later(), name="open the store")

    async def _open_later(self) -> None:
        delay, began = FIRST_RETRY, self.clock.monotonic()
        while True:
            try:
                await pause(self.clock, delay)
                await self.backend.open()
            except StorageUnavailable:
                delay = min(LAST_RETRY, delay * 2)
            except StoreError as error:
                log.critical("the store cannot be used: %s", error)
                return
            except Exception:  # a mistake of ours is no reason to stay without a store, and in silence
                log.critical("the store cannot be opened: it is tried again", exc_info=True)
                delay = LAST_RETRY
            else:
                log.warning("the store answers after %.1f s", self.clock.monotonic() - began)
                self.available = True
                return

    async def close(self, within: float = 10.0) -> None:
        """Wait at most `within` seconds until all that joined is decided, then close the backend."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        await self.drain(within)
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)
        await self.backend.close()

    def map(self, name: str, record: type[T], cached: bool = False) -> StoredMap[T]:
        """The map of that name. Raises LocalError if it is known with another type or residence."""
        known = self._maps.get(name)
        if known is None:
            residence = self._resident if cached else None
            known = self._maps[name] = StoredMap(name, record, residence, self.backend, self._updates)
        if known.record is not record or known.cached is not cached:
            raise LocalError(f"map {name!r} is already declared otherwise")
        return known

    def in_memory(self, name: str) -> Mapping[str, Mapping[str, Any]]:
        known = self._maps.get(name)
        if known is None or not known.cached:
            raise LocalError(f"there is no cached map {name!r}")
        return known.in_memory

    def log(self, name: str) -> StoredLog:
        known = self._logs.get(name)
        if known is None:
            known = self._logs[name] = StoredLog(name, self.backend, self._resident.log_ends)
        return known

    async def commit(self, writes: Sequence[Write]) -> None:
        """Join and wait. Raises StorageUnavailable or DataError."""
        decision = _Decision()
        self.join(writes, decision)
        await decision.future
        if decision.error is not None:
            raise decision.error

    async def commit_each(self, decisions: Iterable[Sequence[Write]]) -> None:
        """Join each for itself, and wait for all. Raises StorageUnavailable or DataError: of the first that failed, and
        the others may be in."""
        joined = []
        try:
            for writes in decisions:
                decision = _Decision()
                self.join(writes, decision)
                joined.append(decision)
        finally:
            for decision in joined:
                await decision.future
        for decision in joined:
            if decision.error is not None:
                raise decision.error

    async def confirm(self) -> None:
        """Return when it is sure that no other process has taken the store; never, when one has. Raises
        StorageUnavailable: it cannot be known now. Only the next number of the journal proves it: a read may be old."""
        decision = _Decision()
        self.join((), decision).sure = True
        await decision.future
        if decision.error is not None:
            raise decision.error

    async def decided(self, batch: Batch) -> None:
        """Wait until a batch that is not done is committed or has failed."""
        decision = _Decision()
        self.follow(batch, decision)
        await decision.future

    # ---- sendings

    async def unheard(self, domain: str, after: Source = NOT_SENT, limit: int = 200) -> list[Send]:
        return await self.backend.unheard(domain, after, limit)

    async def was_heard(self, owner: str, log: str, source: Source) -> bool:
        return await self.backend.was_heard(owner, log, source)

    # ---- notes

    def write_behind(
        self, delay: float = 1.0, limit: int = BOUND, prepare: Callable[[Any], Awaitable[object]] | None = None
    ) -> WriteBehind:
        return WriteBehind(self, delay, limit, prepare)

    def notes(self, map: Map[T], delay: float = 1.0, limit: int = BOUND) -> Notes[T]:
        return Notes(self, map, delay, limit, weight)

    # ---- updates

    def _resolve(self, batch: Batch, items: Sequence[Item]) -> None:
        """Nothing else is committed meanwhile, so what is in memory, or is read now, is what the functions change."""
        if self._updates.missing(batch.number, items):
            self._fetching = asyncio.get_running_loop().create_task(self._fetch(batch, items), name="read for updates")
            return
        try:
            batch.resolved = self._updates.resolve(items)
        except Exception as error:  # of a plugin's function: its item fails alone
            self._decided(DataError(f"an update failed: {error!r}"))
            return
        self._hand_over(chain.from_iterable(batch.resolved))

    async def _fetch(self, batch: Batch, items: Sequence[Item]) -> None:
        """Records that are not in memory."""
        try:
            for place in self._updates.missing(batch.number, items):
                map, owner, key = place
                self._updates.fetch(place, await self.backend.read(map, owner, key))
        except StorageUnavailable as error:
            self._decided(error)
        except Exception as error:
            self._decided(DataError(f"cannot be read for an update: {error!r}"))
        else:
            self._resolve(batch, items)

    def _updated(self, items: Sequence[Item], batch: Batch) -> None:
        for written in batch.resolved or ():
            self._updates.committed(written)
        for writes, _ in items:
            self._updates.decided(writes)

    def loaded(self, owner: str) -> bool:
        return self._resident.loaded(owner)

    async def load(self, owner: str) -> None:
        await self._resident.load(owner)

    # ---- owners whose home is elsewhere

    async def settle(self) -> None:
        for rider in self._riders:
            if isinstance(rider, WriteBehind):
                await rider.settle()
        await self.commit(())

    def owners(self) -> set[str]:
        return self._resident.owners()

    def in_use(self, owner: str) -> bool:
        return self._resident.in_use(owner)

    def undecided(self) -> set[str]:
        batches = [*self._waiting, *([self._in_flight] if self._in_flight is not None else ())]
        return {write.owner for batch in batches for writes, _ in batch.items for write in writes}

    def unload(self, owners: Collection[str]) -> None:
        self._resident.unload(owners)

    def pin(self, owner: str) -> None:
        self._resident.pin(owner)

    def unpin(self, owner: str) -> None:
        self._resident.unpin(owner)
