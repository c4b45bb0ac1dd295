"""Several batches as one round of statements: each record is written once, with its last value.

Of an entry or record that a round both writes and deletes, something without content is written: the same batches may
be on their way from an earlier attempt, in other rounds, and what they bring late must find its place taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush

from xmppd.storage.api import (
    AbsoluteWrite,
    Entry,
    LogAppend,
    LogDelete,
    LogReplace,
    LogTrim,
    MapClear,
    MapDelete,
    MapPut,
    OwnerDelete,
    Source,
)
from xmppd.storage.journal.statements import (
    ClearMap,
    DeleteEntries,
    DeleteOwner,
    DeleteSendings,
    EntryRow,
    ForgetEntries,
    ForgetOwner,
    ForgetRecords,
    ForgetSendings,
    InsertEntries,
    PutRecords,
    RecordRow,
    ReplaceEntry,
    Statement,
    TrimEntries,
)

NO_BODY = b""
ROWS, SIZE = 4_000, 8 << 20
"""Rows and bytes from which on a round takes no more batches: the loop has other work than to prepare one, and a slow
database must be able to carry out each statement before nobody waits for its answer any more."""
IDS = 10_000
"""Ids that one statement deletes."""


@dataclass(slots=True)
class Committed:
    """A batch of the journal that is to be applied. `number`: its `_id`; `version`: that of what it writes; `n`: its
    number within its incarnation; `parked`: what is heard in it and may lie in `sendings`."""

    number: int
    version: int
    n: int
    writes: Sequence[AbsoluteWrite]
    size: int = 0
    parked: Sequence[Source] = ()


@dataclass(slots=True)
class Round:
    """`later`: what is to be done an hour later, when nothing of this can come late any more."""

    statements: list[Statement] = field(default_factory=list)
    later: list[Statement] = field(default_factory=list)


class _Planner:
    """Collects the writes of a round in order. `young`: from this version on an insert may still come late."""

    def __init__(self, young: int) -> None:
        self.young = young
        self.entries: dict[tuple[str, str, int], EntryRow] = {}
        self.tombstones: list[EntryRow] = []
        self.records: dict[tuple[str, str, str], RecordRow] = {}
        self.replaced: dict[tuple[str, str, int], ReplaceEntry] = {}
        """Entries that were stored before the round."""
        self.changed: dict[tuple[str, str, int], ReplaceEntry] = {}
        """Entries of this round; an earlier attempt may have stored them as they were first."""
        self.deletions: dict[object, Statement] = {}
        """By what a later one, with the same or more to delete, takes the place of."""
        self.later: dict[object, Statement] = {}
        self.ids: dict[str, dict[str, list[int]]] = {}
        """By owner and log, as heaps, the ids in `entries` and `replaced`, and some that were there."""
        self.keys: dict[str, dict[str, set[str]]] = {}
        """By owner and map, of the records that are put."""
        self.heard: list[Source] = []

    def add(self, batch: Committed) -> None:
        version = batch.version
        self.heard += batch.parked
        for place, write in enumerate(batch.writes):
            kind = type(write)
            if kind is LogAppend:
                key = (write.owner, write.log, write.entry.id)  # type: ignore[union-attr]
                if key not in self.entries:
                    self.entries[key] = EntryRow(
                        write.source or (batch.number, place), version, *key[:2], write.entry  # type: ignore[union-attr]
                    )  # fmt: skip
                    self._remember(key)
            elif kind is MapPut:
                self.records[write.owner, write.map, write.key] = RecordRow(  # type: ignore[union-attr]
                    version, write.owner, write.map, write.key, write.value  # type: ignore[union-attr]
                )  # fmt: skip
                self.keys.setdefault(write.owner, {}).setdefault(write.map, set()).add(write.key)  # type: ignore[union-attr]
            elif isinstance(write, MapDelete):
                self._delete_record((write.owner, write.map, write.key), version)
            elif isinstance(write, MapClear):
                self._clear(write, version)
            elif isinstance(write, LogReplace):
                self._replace(write, version)
            elif isinstance(write, LogDelete):
                self._delete_entries(write, version)
            elif isinstance(write, LogTrim):
                self._trim(write, version)
            elif isinstance(write, OwnerDelete):
                self._delete_owner(write.owner, version)

    def _remember(self, key: tuple[str, str, int]) -> None:
        heappush(self.ids.setdefault(key[0], {}).setdefault(key[1], []), key[2])

    def _delete_record(self, key: tuple[str, str, str], version: int) -> None:
        owner, map, name = key
        self.keys.get(owner, {}).get(map, set()).discard(name)
        self._empty(key, version)
        self.later[key] = ForgetRecords(version, owner, map, name)

    def _empty(self, key: tuple[str, str, str], version: int) -> None:
        former = self.records.get(key)
        self.records[key] = RecordRow(version, *key, gone=True, upsert=former is not None and former.upsert)

    def _clear(self, write: MapClear, version: int) -> None:
        """Records of this round that are deleted already stay so: nothing of between comes late."""
        owner, map = write.owner, write.map
        for name in self.keys.get(owner, {}).pop(map, ()):
            self._empty((owner, map, name), version)
        self.deletions["map", owner, map] = ClearMap(version, owner, map)
        self.later["map", owner, map, None] = ForgetRecords(version, owner, map, None)

    def _replace(self, write: LogReplace, version: int) -> None:
        key = (write.owner, write.log, write.entry.id)
        row, new = self.entries.get(key), write.entry
        (self.replaced if row is None else self.changed)[key] = ReplaceEntry(version, *key[:2], new)
        if row is None:
            self._remember(key)
        else:
            row.entry = Entry(new.id, row.entry.peer, row.entry.resource, new.flags, new.body)
            row.version = version

    def _bury(self, key: tuple[str, str, int], version: int) -> None:
        """If it is an entry of this round, it is inserted without content."""
        self.replaced.pop(key, None)
        self.changed.pop(key, None)
        row = self.entries.pop(key, None)
        if row is not None:
            empty = Entry(row.entry.id, "", "", 0, NO_BODY)
            self.tombstones.append(EntryRow(row.source, version, row.owner, row.log, empty, gone=True))

    def _delete_entries(self, write: LogDelete, version: int) -> None:
        owner, log = write.owner, write.log
        for id in write.ids:
            self._bury((owner, log, id), version)
        for start in range(0, len(write.ids), IDS):
            ids = tuple(write.ids[start : start + IDS])
            self.deletions[len(self.deletions)] = DeleteEntries(version, owner, log, ids)
            self.later[len(self.later)] = ForgetEntries(owner, log, ids)

    def _trim(self, write: LogTrim, version: int) -> None:
        owner, log, before = write.owner, write.log, write.before
        ids = self.ids.get(owner, {}).get(log, [])
        while ids and ids[0] < before:
            self._bury((owner, log, heappop(ids)), version)
        key: object = ("log", owner, log)
        former = self.deletions.get(key)
        if isinstance(former, TrimEntries) and former.before > before:
            key = ("log", owner, log, version)
        self.deletions[key] = TrimEntries(version, owner, log, before, self.young)
        self.later[key] = ForgetEntries(owner, log, before=before)

    def _delete_owner(self, owner: str, version: int) -> None:
        for log, ids in self.ids.pop(owner, {}).items():
            for id in ids:
                self._bury((owner, log, id), version)
        for map, names in self.keys.pop(owner, {}).items():
            for name in names:
                self._empty((owner, map, name), version)
        self.deletions[owner] = DeleteOwner(version, owner, self.young)
        self.later[owner] = ForgetOwner(version, owner)


def portions(batches: Iterable[Committed]) -> Iterator[list[Committed]]:
    """As many of them at a time as make a round."""
    portion: list[Committed] = []
    rows = size = 0
    for batch in batches:
        if portion and (rows + len(batch.writes) > ROWS or size + batch.size > SIZE):
            yield portion
            portion, rows, size = [], 0, 0
        portion.append(batch)
        rows += len(batch.writes)
        size += batch.size
    if portion:
        yield portion


def plan(batches: Sequence[Committed], young: int) -> Round:
    """What applies these batches, in this order.

    First the places of what was deleted are taken; then deletions and changes of what was stored before, of which an
    earlier attempt may have stored some of this round; then what is new.
    """
    planner = _Planner(young)
    for batch in batches:
        planner.add(batch)
    statements: list[Statement] = []
    if planner.tombstones:
        statements.append(InsertEntries(planner.tombstones))
    statements.extend(planner.deletions.values())
    statements.extend(planner.replaced.values())
    if planner.entries:
        statements.append(InsertEntries(list(planner.entries.values())))
    statements.extend(planner.changed.values())
    if planner.records:
        statements.append(PutRecords(list(planner.records.values())))
    later = list(planner.later.values())
    for start in range(0, len(planner.heard), IDS):
        sources = tuple(planner.heard[start : start + IDS])
        statements.append(DeleteSendings(sources))
        later.append(ForgetSendings(sources))
    return Round(statements, later)
