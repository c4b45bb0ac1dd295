"""What a journal asks of the documents below it: numbered sequences, and statements that may come late and twice.

One primitive is relied on: an insert whose number is taken fails. Every other statement is such that carrying it out
again, or up to an hour late, changes nothing that a later one has written: records and entries bear a `version`, and
are only written over a lower one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from xmppd.storage.api import DataError, Entry, Send, Source
from xmppd.storage.backend import Reads

Sequences = Literal["table", "nodes", "journal", "deleted"]
Document = Mapping[str, Any]
"""One of a sequence; `_id` is its number."""

ROOM = 1 << 40
"""Numbers of one incarnation: a batch has the number incarnation · ROOM + n, a write the version epoch · ROOM + n."""


@dataclass(slots=True)
class EntryRow:
    """An entry of a log to be inserted where no entry of the same source is; without content (`gone`) it keeps one that
    comes late from coming back.

    `source`: of the sending that it was made of, or else number of the batch and place in it. `entry.id` counts in both
    cases.
    """

    source: tuple[int, int]
    version: int
    owner: str
    log: str
    entry: Entry
    gone: bool = False


@dataclass(slots=True)
class RecordRow:
    """A record to be written over a lower version. `gone`: it has no value any more, and is written if `upsert` even
    where there is none, because one may come late."""

    version: int
    owner: str
    map: str
    key: str
    value: Any = None
    gone: bool = False
    upsert: bool = True


@dataclass(frozen=True, slots=True)
class InsertEntries:
    rows: Sequence[EntryRow]


@dataclass(frozen=True, slots=True)
class ReplaceEntry:
    """Flags and body of an entry that is there, and of no higher version."""

    version: int
    owner: str
    log: str
    entry: Entry


@dataclass(frozen=True, slots=True)
class DeleteEntries:
    """Entries of a lower version lose their content, and are in no range of the log."""

    version: int
    owner: str
    log: str
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TrimEntries:
    """Entries with `id < before` go; those whose version is `young` or higher, which an insert may still bring back,
    lose their content."""

    version: int
    owner: str
    log: str
    before: int
    young: int


@dataclass(frozen=True, slots=True)
class PutRecords:
    rows: Sequence[RecordRow]


@dataclass(frozen=True, slots=True)
class ClearMap:
    """All records of an owner in a map that are of a lower version lose their value. They have the version before this
    one then: the same batch may put some of them anew."""

    version: int
    owner: str
    map: str


@dataclass(frozen=True, slots=True)
class DeleteOwner:
    """All entries and records of an owner below the version go; those whose version is `young` or higher, which a
    statement may still bring back, lose their content, as with `TrimEntries` and `ClearMap`."""

    version: int
    owner: str
    young: int


@dataclass(frozen=True, slots=True)
class ForgetOwner:
    """What was kept of an owner without content, up to a version, goes."""

    version: int
    owner: str


@dataclass(frozen=True, slots=True)
class ForgetEntries:
    """What was kept without content of these entries (`ids`), or of those below `before`, goes."""

    owner: str
    log: str
    ids: tuple[int, ...] = ()
    before: int | None = None


@dataclass(frozen=True, slots=True)
class ForgetRecords:
    """What was kept without value up to a version goes: of one record, or of a whole map (`key` None)."""

    version: int
    owner: str
    map: str
    key: str | None


@dataclass(frozen=True, slots=True)
class InsertSendings:
    """Sendings to be inserted where none of the same source is."""

    rows: Sequence[Send]


@dataclass(frozen=True, slots=True)
class DeleteSendings:
    """Sendings lose their content, and are in no page any more. Where one is not there, its place is taken: it may come
    late, and what was made of it may be deleted and forgotten by the time at which it would be sent again."""

    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class ForgetSendings:
    """What was kept without content of these sendings goes."""

    sources: tuple[Source, ...]


Statement = (
    InsertEntries
    | ReplaceEntry
    | DeleteEntries
    | TrimEntries
    | PutRecords
    | ClearMap
    | DeleteOwner
    | ForgetEntries
    | ForgetRecords
    | ForgetOwner
    | InsertSendings
    | DeleteSendings
    | ForgetSendings
)


@dataclass(frozen=True, slots=True)
class Refused:
    """A row of a statement that the server takes under no circumstances. `version`: that of its batch; of a sending the
    number of its batch."""

    version: int
    what: str
    error: DataError


class Documents(Reads, Protocol):
    """Where they are. All raise StorageUnavailable when it is not known whether it was done; reads see what a majority
    of the servers has."""

    async def open(self) -> None:
        """Make ready. Raises StoreError, or StorageUnavailable when trying again may help."""
        ...

    async def close(self) -> None: ...

    async def insert(self, sequence: Sequences, document: Document) -> bool:
        """Insert one. False: its number is taken."""
        ...

    async def insert_where_free(self, sequence: Sequences, documents: Sequence[Document]) -> None:
        """Insert those whose number is not taken, in any order."""
        ...

    async def find(
        self, sequence: Sequences, low: int, high: int, limit: int, backwards: bool = False
    ) -> list[dict[str, Any]]:
        """At most `limit` with `low <= _id <= high`, by rising number, or by falling if `backwards`."""
        ...

    async def set(self, sequence: Sequences, number: int, fields: Mapping[str, Any]) -> None:
        """Set fields of one that is there."""
        ...

    async def remove(self, sequence: Sequences, low: int, high: int) -> None:
        """Remove those with `low <= _id <= high`."""
        ...

    async def run(self, statement: Statement) -> Sequence[Refused]:
        """Carry out a statement. What is refused for good is left out and returned."""
        ...

    async def keep_refused(self, number: int, why: str) -> None:
        """Keep a copy of a batch of the journal, which was refused in part, for the operator."""
        ...
