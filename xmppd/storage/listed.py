"""A store that knows which maps and logs were declared, for who looks at all of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, TypeVar

import msgspec

from xmppd.clock import Clock
from xmppd.errors import StorageUnavailable
from xmppd.storage.backend import Backend, Row
from xmppd.storage.store import Store, StoredLog, StoredMap

T = TypeVar("T")
PAGE: Final = 200
BEHIND_ALL_KEYS: Final = "\U0010ffff"

Broken = Callable[[str, str, str], None]
"""Is told of a record that cannot be read: owner, key ("" if it cannot be told), why."""


class ListedStore(Store):
    """`records`: the type of the records of each map by its name; `logs`: the names of the logs."""

    def __init__(self, backend: Backend, clock: Clock) -> None:
        super().__init__(backend, clock)
        self.records: dict[str, type[Any]] = {}
        self.logs: set[str] = set()

    def map(self, name: str, record: type[T], cached: bool = False) -> StoredMap[T]:
        self.records[name] = record
        return super().map(name, record, cached)

    def log(self, name: str) -> StoredLog:
        self.logs.add(name)
        return super().log(name)

    async def all_of(self, map: str, domain: str, broken: Broken) -> AsyncIterator[tuple[str, str, Any]]:
        """Owner, key and record of all owners at a domain, in order. Raises StorageUnavailable."""
        place = ("", "")
        while page := await self._page(map, domain, place, broken):
            for owner, row in page:
                record = self._converted(map, owner, row, broken)
                if record is not None:
                    yield owner, row.key, record
            place = page[-1][0], page[-1][1].key

    async def of_owner(self, map: str, owner: str, broken: Broken) -> AsyncIterator[tuple[str, str, Any]]:
        """The same of one owner."""
        rows = await _readable(self.backend.load(owner, (map,)))
        if rows is None:
            broken(owner, "", "its records are damaged")
        for row in sorted(rows or (), key=lambda row: row.key):
            record = self._converted(map, owner, row, broken)
            if record is not None:
                yield owner, row.key, record

    def _converted(self, map: str, owner: str, row: Row[Any], broken: Broken) -> Any:
        try:
            return msgspec.convert(row.value, self.records[map])
        except (msgspec.ValidationError, TypeError, ValueError) as error:
            broken(owner, row.key, str(error))
            return None

    async def _page(
        self, map: str, domain: str, place: tuple[str, str], broken: Broken
    ) -> list[tuple[str, Row[Any]]] | None:
        """The next records; those of an owner behind one that is damaged are passed over."""
        while True:
            for limit in (PAGE, 1):
                page = await _readable(self.backend.scan(map, domain, place, limit))
                if page is not None:
                    return page
            owner = place[0]
            if place[1] == BEHIND_ALL_KEYS or not owner:  # it is the first one of the next owner
                following = await self.backend.owners(map, domain, owner, 1)
                if not following:
                    return None
                owner = following[0]
            elif await _readable(self.backend.scan(map, domain, (owner, BEHIND_ALL_KEYS), 1)) is None:
                place = owner, BEHIND_ALL_KEYS
                continue
            broken(owner, "", "a record is damaged, and those behind it are not looked at")
            place = owner, BEHIND_ALL_KEYS


async def _readable(read: Awaitable[T]) -> T | None:
    """None for what is damaged. Raises StorageUnavailable."""
    try:
        return await read
    except StorageUnavailable:
        raise
    except Exception:  # whatever a backend makes of bytes that it has not written
        return None
