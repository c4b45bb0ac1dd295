"""The delivery cursor of an account whose log gets messages from another server: what a device has had there is not
delivered again, what waited there waits here."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from ..delivery.cursor import RANGES, AcknowledgedRange, CursorRecord
from ..delivery.cursor_check import is_acknowledged
from ..storage.api import Flags, Log, Range

PAGE: Final = 500


async def moved_cursor(
    cursor: CursorRecord, log: Log, owner: str, waiting: Collection[int], archived: Collection[int]
) -> CursorRecord:
    """`waiting`: entries that wait for a device; `archived`: other incoming entries that are added, and do not. Neither
    need be in the log yet. Raises StorageUnavailable."""
    later = [id for id in archived if id > cursor.position]
    if not waiting and not later:
        return cursor
    position = min([cursor.position, *(id - 1 for id in waiting)])
    ids = {id for id in (*waiting, *later) if id > position}
    after = position
    while page := await log.page(owner, Range(after=after, flags=Flags.INCOMING), PAGE):
        ids.update(entry.id for entry in page)
        after = page[-1].id
    done = set(later)
    ranges: list[AcknowledgedRange] = []
    open = False
    for id in sorted(ids):
        acknowledged = id not in waiting and (id in done or is_acknowledged(cursor, id))
        if not acknowledged:
            open = False
        elif open:
            low, _, count = ranges[-1]
            ranges[-1] = (low, id, count + 1)
        else:
            ranges.append((id, id, 1))
            open = True
    first_waiting = min(
        (id for id in ids if id in waiting or not (id in done or is_acknowledged(cursor, id))), default=0
    )
    while ranges and (not first_waiting or ranges[0][0] < first_waiting):
        position = ranges.pop(0)[1]
    return CursorRecord(position, (), cursor.readers, tuple(ranges[-RANGES:]))
