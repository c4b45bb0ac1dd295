"""The delivery cursor of an account: up to which entry of its log everything was acknowledged by some device."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from ..contracts.core import Account

READERS: Final = 20
"""So many resources are remembered that read the archive themselves."""
MANY: Final = 500
"""With more acknowledged ids than these behind the position, those that follow each other in the log become ranges."""
RANGES: Final = 2000
"""So many ranges are kept. Between two of them lies something that is in flight or pending."""

AcknowledgedRange = tuple[int, int, int]
"""Every incoming entry from the first id up to the second is acknowledged; how many there are."""


@dataclass(frozen=True, slots=True)
class CursorRecord:
    """A cursor in the store; the names are those of its fields there. `position`: every incoming entry up to this id is
    acknowledged. `settled`: later ones that are, too; `ranges`: others.

    `readers`: resources that read the archive themselves.
    """

    position: int = 0
    settled: tuple[int, ...] = ()
    readers: tuple[str, ...] = ()
    ranges: tuple[AcknowledgedRange, ...] = ()

    @property
    def last(self) -> int:
        """The highest id that it names."""
        return max((self.position, *self.settled, *(high for _, high, _ in self.ranges)))


class DeliveryCursor:
    """Knows of each incoming entry of an account whether it is acknowledged, in flight, or pending in the log."""

    __slots__ = (
        "account",
        "acknowledged",
        "dirty",
        "first_pending",
        "in_flight",
        "merge_at",
        "position",
        "ranges",
        "readers",
        "transient",
    )

    def __init__(self, account: Account) -> None:
        self.account = account
        self.position = 0
        self.acknowledged: set[int] = set()
        self.ranges: list[AcknowledgedRange] = []
        """Those behind the position that follow each other in the log, in order (`merge`)."""
        self.merge_at = MANY
        self.in_flight: dict[int, int] = {}
        """By entry: how many sessions it was sent to that have not acknowledged it."""
        self.transient: set[int] = set()
        """Entries that no archive shows: deleted once they are acknowledged."""
        self.first_pending = 1
        """The lowest id that may be pending, neither acknowledged nor in flight; 0 for none."""
        self.readers: tuple[str, ...] = ()
        self.dirty = False

    def restore(self, cursor: CursorRecord | None, last_id: int) -> None:
        """From the store, at loading."""
        if cursor is not None:
            self.position = cursor.position
            self.acknowledged = set(cursor.settled)
            self.readers = cursor.readers
            self.ranges = list(cursor.ranges)
        self.first_pending = self.position + 1 if last_id > self.position else 0

    def record(self) -> CursorRecord:
        return CursorRecord(self.position, tuple(sorted(self.acknowledged)), self.readers, tuple(self.ranges))

    def is_acknowledged(self, id: int) -> bool:
        if id <= self.position or id in self.acknowledged:
            return True
        return bool(self.ranges) and self._in_range(id) >= 0

    def taken(self) -> int:
        """How many entries behind the position are acknowledged or in flight."""
        return len(self.acknowledged.union(self.in_flight)) + sum(count for _, _, count in self.ranges)

    def _in_range(self, id: int) -> int:
        """The place of its range, -1 for none."""
        ranges = self.ranges
        place = bisect_right(ranges, id, key=_low) - 1 if ranges else -1
        return place if place >= 0 and ranges[place][1] >= id else -1

    # ---- the life of an entry

    def mark_in_flight(self, id: int) -> None:
        """A session got it."""
        if id > self.position and id not in self.acknowledged and (not self.ranges or self._in_range(id) < 0):
            in_flight = self.in_flight  # written out: it is done for every delivery
            in_flight[id] = in_flight.get(id, 0) + 1

    def mark_pending(self, id: int) -> None:
        """No session got it: it waits in the log."""
        if not self.first_pending or id < self.first_pending:
            self.first_pending = id

    def unmark_in_flight(self, ids: Iterable[int]) -> None:
        """A session ends without having acknowledged these."""
        for id in ids:
            count = self.in_flight.get(id, 0)
            if count > 1:
                self.in_flight[id] = count - 1
            elif count:
                del self.in_flight[id]
                self.mark_pending(id)

    def acknowledge(self, ids: Iterable[int]) -> None:
        """A device acknowledged these."""
        for id in ids:
            self.in_flight.pop(id, None)
            if id > self.position and (not self.ranges or self._in_range(id) < 0):
                self.acknowledged.add(id)
            if id in self.transient:
                self.transient.discard(id)
                self.account.host.cursor_writer.forget(self, id)
        self._advance()
        if len(self.acknowledged) > self.merge_at:
            self.account.host.cursor_writer.merge(self)

    def acknowledge_until(self, id: int) -> None:
        """A device has read its archive up to there."""
        if id > self.position:
            self.position = id
            self.acknowledged = {later for later in self.acknowledged if later > id}
            self.ranges = [each for each in self.ranges if each[1] > id]
        if self.first_pending and self.first_pending <= id:
            self.first_pending = id + 1
        self._advance()
        self._touch()

    def is_pending(self, id: int) -> bool:
        """Whether it is neither acknowledged nor in flight."""
        return id not in self.in_flight and not self.is_acknowledged(id)

    def read(self, start: int, end: int) -> None:
        """A catch-up has read the log behind `start` up to `end`: all of that is in flight or acknowledged."""
        if start < self.first_pending <= end:
            self.first_pending = end + 1 if end < self.account.released else 0
            self._advance()

    def unmerged(self) -> int:
        """`merge` goes on behind this id."""
        first = min(self.acknowledged, default=self.position + 1)
        place = bisect_left(self.ranges, first, key=_low) - 1
        return self.ranges[place][1] if place >= 0 else min(first, self.first_pending or first) - 1

    def merge(self, after: int, end: int, ids: Sequence[int]) -> None:
        """`ids`: all incoming entries behind `after` and up to `end`, in order. What is acknowledged of them becomes
        ranges, and `first_pending` is the first that is pending.

        While one device is far behind, or away, and another one acknowledges, that is one range. There are no more of
        them than entries that are pending or in flight; of too many the lowest are given up: such entries are pending
        again, and are sent once more rather than lost.
        """
        ranges: list[AcknowledgedRange] = []
        low = high = count = 0
        pending = 0
        place = self._in_range(after)
        joined = set[int]()
        if place >= 0:
            low, high, count = self.ranges[place]
            joined.add(low)
        for id in ids:
            if self.is_acknowledged(id):
                place = self._in_range(id)
                first, last, more = self.ranges[place] if place >= 0 else (id, id, 1)
                joined.add(first)
                if not count:
                    low, high, count = first, last, more
                elif id > high:
                    high, count = last, count + more
                continue
            if count:
                ranges.append((low, high, count))
                count = 0
            if not pending and self.first_pending <= id and id not in self.in_flight:
                pending = id
        if count:
            ranges.append((low, high, count))
        ranges += [each for each in self.ranges if each[0] not in joined]
        self.ranges = sorted(each for each in ranges if each[1] > self.position)
        self.acknowledged = {id for id in self.acknowledged if not after < id <= end}
        while len(self.ranges) > RANGES:
            self.mark_pending(self.ranges.pop(0)[0])
        if after < self.first_pending <= end:
            self.first_pending = pending or (end + 1 if end < self.account.released else 0)
        self._advance()
        self._touch()

    def _advance(self) -> None:
        if self.ranges:
            self._pass_ranges()
        acknowledged = self.acknowledged
        if not acknowledged:
            return
        bound = min(self.in_flight) if self.in_flight else 0
        if self.first_pending and (not bound or self.first_pending < bound):
            bound = self.first_pending
        if bound:
            passed = [id for id in acknowledged if id < bound]
            if not passed:
                self._touch()
                return
            self.position = max(passed)
            acknowledged.difference_update(passed)
        else:
            self.position = max(acknowledged)
            acknowledged.clear()
        self._touch()

    def _pass_ranges(self) -> None:
        """Move the position over the ranges before all that is in flight or pending."""
        place = self._in_range(self.first_pending) if self.first_pending else -1
        if place >= 0:
            self.first_pending = self.ranges[place][1] + 1
        bound = min(self.in_flight) if self.in_flight else 0
        if self.first_pending and (not bound or self.first_pending < bound):
            bound = self.first_pending
        passed = bisect_left(self.ranges, bound, key=_low) if bound else len(self.ranges)
        if passed:
            self.position = max(self.position, self.ranges[passed - 1][1])
            del self.ranges[:passed]
            self.acknowledged = {id for id in self.acknowledged if id > self.position}
            self._touch()

    def reads_archive(self, resource: str) -> None:
        """Remember that this device fetches its archive itself."""
        if resource not in self.readers:
            self.readers = (*self.readers, resource)[-READERS:]
            self._touch()

    def reads_no_archive(self, resource: str) -> None:
        """This device could not fetch its archive: it is sent what is pending, as one that never does."""
        if resource in self.readers:
            self.readers = tuple(each for each in self.readers if each != resource)
            self._touch()

    def _touch(self) -> None:
        if not self.dirty:
            self.dirty = True
            self.account.host.cursor_writer.touched(self)


def _low(each: AcknowledgedRange) -> int:
    return each[0]
