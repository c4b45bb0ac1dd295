"""What MongoDB keeps: sequences on a primary and with the majority, entries, records, sendings; statements in steps.

Every statement is a generator: between two of its steps others may be carried out. All but sequences has one state:
what the majority does not have is as if it were not carried out yet, because all that is read of them is read from the
majority, and a statement is answered when the majority has all of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from xmppd.storage.api import Entry, Range, Send, Source
from xmppd.storage.backend import Row
from xmppd.storage.codec import matches
from xmppd.storage.journal.statements import (
    ROOM,
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
    InsertSendings,
    PutRecords,
    ReplaceEntry,
    Statement,
    TrimEntries,
)

if TYPE_CHECKING:
    from tests.simulation.world import World

Steps = Generator[None, None, Any]
NOTHING = Entry(0, "", "", 0, b"")
REMEMBERED = 200
"""Changes of sequences that a new primary may not know of for a moment."""


class StoredEntry:
    __slots__ = ("entry", "gone", "source", "version")

    def __init__(self, source: tuple[int, int], version: int, entry: Entry, gone: bool) -> None:
        self.source, self.version, self.entry, self.gone = source, version, entry, gone


class StoredRecord:
    __slots__ = ("gone", "value", "version")

    def __init__(self, version: int, value: Any, gone: bool) -> None:
        self.version, self.value, self.gone = version, value, gone


class Database:
    def __init__(self, world: World) -> None:
        self.world = world
        self.primary: dict[str, dict[int, dict[str, Any]]] = {n: {} for n in ("table", "nodes", "journal", "deleted")}
        self.majority: dict[str, dict[int, dict[str, Any]]] = {name: {} for name in self.primary}
        self.stale: dict[str, dict[int, dict[str, Any]]] | None = None
        """What reads of sequences see for a moment after a fail-over."""
        self.written = self.replicated = 0
        """Changes of sequences that the primary, and the majority, has."""
        self.term = 0
        self._pending: deque[tuple[int, str, int, Any, Any]] = deque()
        self._recent: deque[tuple[str, int, Any]] = deque(maxlen=REMEMBERED)
        self.logs: dict[tuple[str, str, bool], dict[int, StoredEntry]] = {}
        """By owner, log, whether without content, and id."""
        self.sources: dict[tuple[int, int], StoredEntry] = {}
        self.records: dict[tuple[str, str], dict[str, StoredRecord]] = {}
        """By owner and map, and key."""
        self.sendings: dict[Source, Send | None] = {}
        """None: the place of one that was heard."""
        self.refused: dict[int, str] = {}
        self.committed: set[int] = set()
        """Numbers of the journal that were ever taken by a batch, with the majority."""
        self.brought_back: set[int] = set()
        """Those that were taken, were free, and are taken again: by the same statement, late."""
        self.reached: Callable[[], object] = lambda: None
        """Called when the majority has more, or some of it is lost."""

    # ---- sequences: the primary, then the majority

    def _change(self, name: str, number: int, new: dict[str, Any] | None) -> None:
        documents = self.primary[name]
        old = documents.get(number)
        if new is None:
            documents.pop(number, None)
        else:
            documents[number] = new
        self.written += 1
        self._pending.append((self.written, name, number, old, new))
        if not self.world.lag:
            self.replicate(self.written)

    def replicate(self, up_to: int) -> None:
        while self._pending and self._pending[0][0] <= up_to:
            self.replicated, name, number, old, new = self._pending.popleft()
            documents = self.majority[name]
            if new is None:
                documents.pop(number, None)
            else:
                documents[number] = new
                if name == "journal" and "token" in new and old is None:
                    self._batch_is_in(number)
            self._recent.append((name, number, old))
        self.reached()

    def _batch_is_in(self, number: int) -> None:
        """The home of the newest table decides, nobody else."""
        if number in self.committed:
            self.brought_back.add(number)
        else:
            self.committed.add(number)
            home = self.home
            if home is not None and number // ROOM != home["incarnation"]:
                self.world.problem(
                    f"batch {number // ROOM}:{number % ROOM} is committed, but the home is run {home['incarnation']}"
                )

    @property
    def home(self) -> dict[str, Any] | None:
        table = self.majority["table"]
        return table[max(table)] if table else None

    def was_taken(self, run: int) -> bool:
        """Whether another one is the home, or has begun to take over."""
        home = self.home
        journal = self.majority["journal"]
        sealed = any(each.get("seal", run) != run for number, each in journal.items() if number // ROOM == run)
        return sealed or home is None or home["incarnation"] != run

    def fail_over(self, forgets: int) -> None:
        """What the majority does not have is lost; until `caught_up` reads see what it was `forgets` changes before."""
        while self._pending:
            _, name, number, old, _ = self._pending.pop()
            if old is None:
                self.primary[name].pop(number, None)
            else:
                self.primary[name][number] = old
        self.written = self.replicated
        self.term += 1
        if forgets and self.stale is None:
            view = {name: dict(documents) for name, documents in self.majority.items()}
            for name, number, old in list(self._recent)[-forgets:][::-1]:
                if old is None:
                    view[name].pop(number, None)
                else:
                    view[name][number] = old
            self.stale = view
        self.reached()

    def caught_up(self) -> None:
        self.stale = None
        self.reached()

    def insert(self, name: str, document: Mapping[str, Any]) -> Steps:
        taken = document["_id"] in self.primary[name]
        if not taken:
            self._change(name, document["_id"], dict(document))
        return not taken
        yield

    def insert_where_free(self, name: str, documents: Sequence[Mapping[str, Any]]) -> Steps:
        for document in self._shuffled(documents):
            if document["_id"] not in self.primary[name]:
                self._change(name, document["_id"], dict(document))
            yield

    def find(self, name: str, low: int, high: int, limit: int, backwards: bool) -> Steps:
        found: list[dict[str, Any]] = []
        while True:
            documents = (self.stale or self.majority)[name]
            place = sorted((number for number in documents if low <= number <= high), reverse=backwards)
            whole = limit - len(found)
            part = whole if len(place) < 2 or not self.world.splits else max(1, min(whole, len(place)) // 2)
            found += [dict(documents[number]) for number in place[:part]]
            if part >= len(place) or len(found) >= limit:
                return found
            yield
            low, high = (low, place[part - 1] - 1) if backwards else (place[part - 1] + 1, high)

    def set(self, name: str, number: int, fields: Mapping[str, Any]) -> Steps:
        old = self.primary[name].get(number)
        if old is not None:
            self._change(name, number, {**old, **fields})
        return
        yield

    def remove(self, name: str, low: int, high: int) -> Steps:
        for number in self._shuffled([each for each in self.primary[name] if low <= each <= high]):
            if number in self.primary[name]:
                self._change(name, number, None)
            yield

    def _shuffled(self, rows: Iterable[Any]) -> list[Any]:
        found = list(rows)
        if self.world.splits and len(found) > 1:
            self.world.random.shuffle(found)
        return found

    # ---- statements

    def run(self, statement: Statement) -> Steps:
        """Steps of one. Each row, each document that is changed is one."""
        kind = type(statement)
        if kind is InsertEntries:
            return self._insert_entries(statement)  # type: ignore[arg-type]
        if kind is PutRecords:
            return self._put_records(statement)  # type: ignore[arg-type]
        if kind is ReplaceEntry:
            return self._replace(statement)  # type: ignore[arg-type]
        if kind is DeleteEntries:
            assert isinstance(statement, DeleteEntries)
            ids = set(statement.ids)
            return self._bury(statement.owner, statement.log, lambda id: id in ids, statement.version)
        if kind is TrimEntries:
            return self._trim(statement)  # type: ignore[arg-type]
        if kind is ClearMap:
            return self._clear(statement)  # type: ignore[arg-type]
        if kind is DeleteOwner:
            return self._delete_owner(statement)  # type: ignore[arg-type]
        if kind is ForgetEntries:
            return self._forget_entries(statement)  # type: ignore[arg-type]
        if kind is ForgetOwner:
            return self._forget_owner(statement)  # type: ignore[arg-type]
        if kind is InsertSendings:
            return self._insert_sendings(statement)  # type: ignore[arg-type]
        if kind is DeleteSendings:
            return self._delete_sendings(statement)  # type: ignore[arg-type]
        if kind is ForgetSendings:
            return self._forget_sendings(statement)  # type: ignore[arg-type]
        assert isinstance(statement, ForgetRecords)
        return self._forget_records(statement)

    def _insert_entries(self, statement: InsertEntries) -> Steps:
        for row in self._shuffled(statement.rows):
            self._insert_entry(row)
            yield
        return ()

    def _insert_entry(self, row: EntryRow) -> None:
        if row.source in self.sources:
            return
        place = self.logs.setdefault((row.owner, row.log, row.gone), {})
        id = row.entry.id
        if id in place:
            self.world.problem(f"id {id} in the log of {row.owner} is taken by another source ({row.gone=})")
            return
        place[id] = self.sources[row.source] = StoredEntry(row.source, row.version, row.entry, row.gone)

    def _replace(self, statement: ReplaceEntry) -> Steps:
        new = statement.entry
        found = self.logs.get((statement.owner, statement.log, False), {}).get(new.id)
        if found is not None and found.version <= statement.version:
            found.entry = Entry(new.id, found.entry.peer, found.entry.resource, new.flags, new.body)
            found.version = statement.version
        return ()
        yield

    def _entries(self, owner: str, log: str, gone: bool, wanted: Callable[[int], bool]) -> list[StoredEntry]:
        return self._shuffled(e for id, e in self.logs.get((owner, log, gone), {}).items() if wanted(id))

    def _bury(self, owner: str, log: str, wanted: Callable[[int], bool], version: int) -> Steps:
        place = self.logs.get((owner, log, False), {})
        for each in self._entries(owner, log, False, wanted):
            id = each.entry.id
            if place.get(id) is each and each.version < version:
                del place[id]
                other = self.logs.setdefault((owner, log, True), {})
                if id in other:
                    self.world.problem(f"id {id} of {owner} was deleted, was there again, and is deleted again")
                    self._drop(other, other[id])
                each.gone, each.version, each.entry = True, version, Entry(id, "", "", 0, b"")
                other[id] = each
            yield
        return ()

    def _drop(self, place: dict[int, StoredEntry], entry: StoredEntry) -> None:
        if place.get(entry.entry.id) is entry:
            del place[entry.entry.id]
            del self.sources[entry.source]

    def _trim(self, statement: TrimEntries) -> Steps:
        before, log, owner = statement.before, statement.log, statement.owner
        for each in self._entries(owner, log, False, lambda id: id < before):
            if each.version < statement.young and not each.gone:
                self._drop(self.logs[owner, log, False], each)
            yield
        yield from self._bury(owner, log, lambda id: id < before, statement.version)
        return ()

    def _put_records(self, statement: PutRecords) -> Steps:
        for row in self._shuffled(statement.rows):
            place = self.records.setdefault((row.owner, row.map), {})
            found = place.get(row.key)
            if found is None:
                if row.upsert:
                    place[row.key] = StoredRecord(row.version, row.value, row.gone)
            elif found.version < row.version:
                found.version, found.gone = row.version, row.gone
                found.value = None if row.gone else row.value
            yield
        return ()

    def _clear(self, statement: ClearMap) -> Steps:
        for each in self._shuffled(self.records.get((statement.owner, statement.map), {}).values()):
            if each.version < statement.version:
                each.version, each.value, each.gone = statement.version - 1, None, True
            yield
        return ()

    def _delete_owner(self, statement: DeleteOwner) -> Steps:
        owner, version, young = statement.owner, statement.version, statement.young
        for place in [records for (whose, _), records in self.records.items() if whose == owner]:
            for key in self._shuffled(place):
                record = place.get(key)
                if record is not None and record.version < young:
                    del place[key]
                elif record is not None and record.version < version:
                    record.version, record.value, record.gone = version - 1, None, True
                yield
        for whose, log, gone in list(self.logs):
            if whose == owner:
                place = self.logs[owner, log, gone]
                for each in self._shuffled(place.values()):
                    if each.version < young:
                        self._drop(place, each)
                    yield
                if not gone:
                    yield from self._bury(owner, log, lambda _: True, version)
        return ()

    def _forget_owner(self, statement: ForgetOwner) -> Steps:
        for place in [records for (owner, _), records in self.records.items() if owner == statement.owner]:
            for key in self._shuffled(place):
                if key in place and place[key].gone and place[key].version <= statement.version:
                    del place[key]
                yield
        for owner, log, gone in list(self.logs):
            if owner == statement.owner and gone:
                place = self.logs[owner, log, gone]
                for each in self._shuffled(place.values()):
                    if each.version <= statement.version:
                        self._drop(place, each)
                    yield
        return ()

    def _forget_entries(self, statement: ForgetEntries) -> Steps:
        ids, before = set(statement.ids), statement.before
        wanted = ids.__contains__ if before is None else before.__gt__
        for each in self._entries(statement.owner, statement.log, True, wanted):
            self._drop(self.logs[statement.owner, statement.log, True], each)
            yield
        return ()

    def _forget_records(self, statement: ForgetRecords) -> Steps:
        place = self.records.get((statement.owner, statement.map), {})
        for key in self._shuffled(place if statement.key is None else (statement.key,)):
            found = place.get(key)
            if found is not None and found.gone and found.version <= statement.version:
                del place[key]
            yield
        return ()

    def _insert_sendings(self, statement: InsertSendings) -> Steps:
        for row in self._shuffled(statement.rows):
            self.sendings.setdefault(row.source, row)
            yield
        return ()

    def _delete_sendings(self, statement: DeleteSendings) -> Steps:
        for source in self._shuffled(statement.sources):
            self.sendings[source] = None
            yield
        return ()

    def _forget_sendings(self, statement: ForgetSendings) -> Steps:
        for source in self._shuffled(statement.sources):
            if self.sendings.get(source, self) is None:
                del self.sendings[source]
            yield
        return ()

    def keep_refused(self, number: int, why: str) -> Steps:
        self.refused[number] = why
        return
        yield

    # ---- reads of entries and records

    def load(self, owner: str, maps: Sequence[str]) -> Steps:
        return [
            Row(map, key, record.value)
            for map in maps
            for key, record in self.records.get((owner, map), {}).items()
            if not record.gone
        ]
        yield

    def read(self, map: str, owner: str, key: str) -> Steps:
        record = self.records.get((owner, map), {}).get(key)
        return None if record is None or record.gone else record.value
        yield

    def _walk(self, log: str, owner: str, range: Range) -> list[Entry]:
        entries = self.logs.get((owner, log, False), {})
        return [entries[id].entry for id in sorted(entries) if matches(entries[id].entry, range)]

    def page(self, log: str, owner: str, range: Range, limit: int, backwards: bool) -> Steps:
        found = self._walk(log, owner, range)
        return (found[-limit:] if limit else []) if backwards else found[:limit]
        yield

    def ends(self, log: str, owner: str, range: Range) -> Steps:
        found = self._walk(log, owner, range)
        return (found[0].id, found[-1].id) if found else (0, 0)
        yield

    def count(self, log: str, owner: str, range: Range, limit: int | None) -> Steps:
        return len(self._walk(log, owner, range)[:limit])
        yield

    def last_id(self, log: str, owner: str) -> Steps:
        return max((id for gone in (False, True) for id in self.logs.get((owner, log, gone), ())), default=0)
        yield

    def unheard(self, domain: str, after: Source, limit: int) -> Steps:
        found = [each for source, each in sorted(self.sendings.items()) if each is not None and source > after]
        return [Send(each.owner, each.to, each.data, each.source) for each in found][:limit]
        yield

    def was_heard(self, owner: str, log: str, source: Source) -> Steps:
        found = self.sources.get(source)
        places = [self.logs.get((owner, log, gone), {}) for gone in (False, True)]
        return found is not None and any(place.get(found.entry.id) is found for place in places)
        yield

    # ---- to look at

    def left(self) -> list[str]:
        """What keeps the place of something deleted."""
        found = [f"entry {id} of {owner}" for (owner, _, gone), place in self.logs.items() if gone for id in place]
        for (owner, map), place in self.records.items():
            found += [f"record {map}/{key} of {owner}" for key, record in place.items() if record.gone]
        found += [f"sending {source}" for source, sending in self.sendings.items() if sending is None]
        return found
