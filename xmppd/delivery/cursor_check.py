"""Whether a stored cursor is one, and fits its log (docs/explanation/delivery.md, `xmppd store check`)."""

from __future__ import annotations

from itertools import pairwise

from ..contracts.core import Host
from ..contracts.store_check import StoreCheck, in_log
from ..storage.api import Flags, Range
from .cursor import CursorRecord
from .cursor_writer import CURSOR, LOG


class CursorChecker:
    """Of one host. Raises StorageUnavailable."""

    def __init__(self, host: Host, store: StoreCheck) -> None:
        self._cursors = host.cursor_writer.cursors
        self._log = host.storage.log(LOG)
        self._store = store

    async def check(self, bare: str) -> None:
        cursor: CursorRecord | None = await self._cursors.read_stored(bare, "")
        if cursor is None:
            return  # nothing is acknowledged, or it cannot be read, which is told of already
        for what in form_problems(cursor):
            self._store.problem(bare, CURSOR, what)
        if self._store.is_future(cursor.last):
            self._store.problem(bare, CURSOR, f"it names an entry of the future, {cursor.last}")
        await self._check_ranges(bare, cursor)
        await self._check_transient(bare, cursor)

    async def _check_ranges(self, bare: str, cursor: CursorRecord) -> None:
        """Entries may have been deleted since; none can have come into a range."""
        for low, high, count in cursor.ranges:
            found = await self._log.count(bare, Range(low=low, high=high, flags=Flags.INCOMING))
            if found > count:
                what = f"{count} entries from {low} to {high} are acknowledged, and there are {found}"
                self._store.problem(bare, CURSOR, f"{what}: those between are never delivered")

    async def _check_transient(self, bare: str, cursor: CursorRecord) -> None:
        """What no archive shows goes in the commit of the cursor that has passed it."""
        hidden = Range(high=cursor.last, flags=Flags.INCOMING | Flags.HIDDEN)
        async for entry in self._store.entries(self._log, bare, hidden):
            if is_acknowledged(cursor, entry.id):
                what = "it was to be deleted when a device had acknowledged it"
                self._store.problem(bare, in_log(LOG, entry.id), what)


def form_problems(cursor: CursorRecord) -> list[str]:
    """What cannot be of a cursor, whatever its log holds."""
    found: list[str] = []
    if cursor.position < 0:
        found.append("its position is below 0")
    if any(id <= cursor.position for id in cursor.settled):
        found.append("it names entries as acknowledged that lie before its position")
    if any(second <= first for first, second in pairwise(cursor.settled)):
        found.append("its acknowledged entries are not in order")
    if any(low > high or count < 1 or high <= cursor.position for low, high, count in cursor.ranges):
        found.append("it has a range that holds nothing, or lies before its position")
    if any(low <= before for (_, before, _), (low, _, _) in pairwise(cursor.ranges)):
        found.append("its ranges are not in order")
    if any(_in_range(cursor, id) for id in cursor.settled):
        found.append("it names an entry twice, alone and in a range")
    return found


def is_acknowledged(cursor: CursorRecord, id: int) -> bool:
    return id <= cursor.position or id in cursor.settled or _in_range(cursor, id)


def _in_range(cursor: CursorRecord, id: int) -> bool:
    return any(low <= id <= high for low, high, _ in cursor.ranges)
