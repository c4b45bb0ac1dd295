"""Journals that cheat: each must be found. What one leaves away is what the code relies on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import msgspec

from tests.simulation.database import Database, Steps, StoredRecord
from xmppd.clock import pause
from xmppd.errors import StorageUnavailable
from xmppd.storage.api import LogAppend, LogDelete
from xmppd.storage.group_commit import GroupCommit
from xmppd.storage.journal import deletions, incarnation, sealing
from xmppd.storage.journal.applying import Applier
from xmppd.storage.journal.backend import JournalBackend
from xmppd.storage.journal.deletions import Deletions
from xmppd.storage.journal.home import Home, newest
from xmppd.storage.journal.incarnation import Incarnation, Takeover
from xmppd.storage.journal.rounds import _Planner
from xmppd.storage.journal.sealing import Sealed, insert_seals, last_batch
from xmppd.storage.journal.sendings import PAGE, Sendings
from xmppd.storage.journal.statements import (
    ROOM,
    ClearMap,
    DeleteOwner,
    DeleteSendings,
    Documents,
    PutRecords,
    TrimEntries,
)

CHEATS: dict[str, Callable[[], Any]] = {}


def cheat(make: Callable[[], Iterator[None]]) -> Callable[[], Any]:
    """Its name is that of the function."""
    CHEATS[make.__name__] = contextmanager(make)
    return make


async def _as_it_is(documents: Documents, run: int) -> Sealed:
    """The journal of a run, read once."""
    last = await last_batch(documents, run)
    if last is None:
        return Sealed(run, [], 1)
    rows = await sealing._read(documents, run * ROOM + last["low"], last["_id"])
    return Sealed(run, [row for row in rows if "seal" not in row], last["_id"] % ROOM + 1)


# ---- sealing


@cheat
def no_seal() -> Iterator[None]:
    async def seal(documents: Documents, run: int, by: int) -> Sealed:
        return await _as_it_is(documents, run)

    with patch.object(incarnation, "seal", seal):
        yield


@cheat
def seal_not_looked_at_again() -> Iterator[None]:
    async def seal(documents: Documents, run: int, by: int) -> Sealed:
        sealed = await _as_it_is(documents, run)
        await insert_seals(documents, run, sealed.seal - 1, by)
        return sealed

    with patch.object(incarnation, "seal", seal):
        yield


@cheat
def seal_over_what_is_there() -> Iterator[None]:
    def insert_where_free(self: Database, name: str, documents: Sequence[Any]) -> Steps:
        for document in documents:
            self._change(name, document["_id"], dict(document))
            yield

    with patch.object(Database, "insert_where_free", insert_where_free):
        yield


@cheat
def gaps_do_not_matter() -> Iterator[None]:
    """A state that is older for a moment, or was changed while it was read, is believed."""

    async def look_again(documents: Documents, run: int, last: Any) -> Sealed:
        return await _as_it_is(documents, run)

    with patch.object(sealing, "look_again", look_again):
        yield


@cheat
def tidied_by_a_new_look() -> Iterator[None]:
    async def tidy(documents: Documents, sealed: Sealed) -> None:
        again = await _as_it_is(documents, sealed.incarnation)
        await sealing.tidy(documents, again)

    with patch.object(incarnation, "tidy", tidy):
        yield


@cheat
def seals_its_own_journal() -> Iterator[None]:
    """After an answer to the insert of the table that was lost."""

    async def run(self: Takeover) -> Incarnation:
        while True:
            table = await newest(self._documents, "table")
            if table is not None and table["incarnation"] != self._number:
                await self._refuse_if_alive(table["incarnation"])
            if not self._number:
                self._number = await self._begin()
                self.deletions = Deletions(self._documents, self._clock, self._number)
            if table is not None and not await self._apply_rest(table):
                continue
            version = table["_id"] + 1 if table is not None else 1
            mine = {"_id": version, "incarnation": self._number, "epoch": version}
            if await self._documents.insert("table", mine) or await self._is_mine(version):
                await self._tidy(version)
                return Incarnation(self._number, version)

    with patch.object(Takeover, "run", run):
        yield


@cheat
def rest_not_applied() -> Iterator[None]:
    async def apply_rest(self: Takeover, table: Any) -> bool:
        await incarnation.seal(self._documents, table["incarnation"], self._number)
        return True

    with patch.object(Takeover, "_apply_rest", apply_rest):
        yield


# ---- the journal


@cheat
def last_batch_deleted() -> Iterator[None]:
    async def remove_applied(self: JournalBackend) -> None:
        assert self._applier is not None and self._mine is not None
        base = self._mine.number * ROOM
        await self.documents.remove("journal", base, base + self._applier.done)

    with patch.object(JournalBackend, "_remove_applied", remove_applied):
        yield


@cheat
def removed_below_what_is_applied() -> Iterator[None]:
    """Not below what the last batch says is: a reader begins there."""

    async def remove_applied(self: JournalBackend) -> None:
        assert self._applier is not None and self._mine is not None
        base, below = self._mine.number * ROOM, min(self._applier.low, self._applier.last)
        await self.documents.remove("journal", base, base + below - 1)

    with patch.object(JournalBackend, "_remove_applied", remove_applied):
        yield


@cheat
def low_too_high() -> Iterator[None]:
    with patch.object(Applier, "low", property(lambda self: self.last + 1)):
        yield


@cheat
def duplicate_is_success() -> Iterator[None]:
    async def take_number(self: JournalBackend, attempt: Any) -> None:
        await self.documents.insert("journal", attempt.document)

    with patch.object(JournalBackend, "_take_number", take_number):
        yield


@cheat
def not_inserted_again() -> Iterator[None]:
    """What a new primary has forgotten is waited for."""

    async def take_number(self: JournalBackend, attempt: Any) -> None:
        if not await self.documents.insert("journal", attempt.document):
            while not await self.documents.find("journal", attempt.batch.number, attempt.batch.number, 1):
                await pause(self._clock, 0.05)
            await whole(self, attempt)

    whole = JournalBackend._take_number
    with patch.object(JournalBackend, "_take_number", take_number):
        yield


@cheat
def acknowledged_before_the_commit() -> Iterator[None]:
    async def commit(self: JournalBackend, attempt: Any, done: Any) -> None:
        await whole(self, attempt, lambda error: None)

    def begin(self: JournalBackend, writes: Any, done: Any) -> None:
        first(self, writes, done)
        self._clock.call_soon(lambda: done(None))

    whole, first = JournalBackend._commit, JournalBackend.commit
    with patch.object(JournalBackend, "_commit", commit), patch.object(JournalBackend, "commit", begin):
        yield


@cheat
def other_content_at_a_retry() -> Iterator[None]:
    """What waits behind a batch whose answer is lost goes along when it is tried again."""

    def try_later(self: GroupCommit, error: StorageUnavailable) -> None:
        batch = self._in_flight
        assert batch is not None
        if self._waiting and len(self._parts) == 1 and not batch.updates and not self._waiting[0].updates:
            more = self._waiting.popleft()
            if more is self._open:
                self._open = None
            batch.items += more.items
            self._parts = [(0, len(batch.items))]
        whole(self, error)

    whole = GroupCommit._try_later
    with patch.object(GroupCommit, "_try_later", try_later):
        yield


@cheat
def told_after_the_end() -> Iterator[None]:
    """Another process has taken the store, and what is committed is still told."""

    def decided(self: GroupCommit, error: Exception | None) -> None:
        self._over = False
        whole(self, error)

    whole = GroupCommit._decided
    with patch.object(GroupCommit, "_decided", decided):
        yield


@cheat
def stale_table_believed() -> Iterator[None]:
    """A new primary that does not know the newest table ends a server."""

    async def look(self: Home) -> None:
        from xmppd.storage.journal.over import Over

        table = await newest(self._documents, "table")
        if table is None or table["_id"] != self._version:
            raise Over("another server has taken the database")
        self._seen = (self._clock.monotonic(), self._clock.now())

    with patch.object(Home, "look", look):
        yield


# ---- applying and reading


@cheat
def read_does_not_wait() -> Iterator[None]:
    async def seen(self: JournalBackend, owner: str | None) -> None:
        if self._applier is None:
            raise StorageUnavailable("the store is not open")

    with patch.object(JournalBackend, "_seen", seen):
        yield


@cheat
def home_not_checked() -> Iterator[None]:
    """Who stood still for more than an hour goes on applying."""

    async def check(self: Home) -> None:
        pass

    with patch.object(Home, "check", check):
        yield


@cheat
def records_without_versions() -> Iterator[None]:
    def put(self: Database, statement: PutRecords) -> Steps:
        for row in statement.rows:
            place = self.records.setdefault((row.owner, row.map), {})
            if row.upsert or row.key in place:
                place[row.key] = StoredRecord(row.version, None if row.gone else row.value, row.gone)
            yield
        return ()

    with patch.object(Database, "_put_records", put):
        yield


@cheat
def versions_without_epoch() -> Iterator[None]:
    """A record of the run before has a higher one than the first of this run."""
    whole, sealed = JournalBackend._prepare, incarnation.committed

    def prepare(self: JournalBackend, writes: Any, mine: Any, applier: Any) -> Any:
        made = whole(self, writes, mine, applier)
        made.batch.version = made.batch.n
        return made

    def committed(documents: Any, epoch: int) -> Any:
        return sealed(documents, 0)

    with patch.object(JournalBackend, "_prepare", prepare), patch.object(incarnation, "committed", committed):
        yield


@cheat
def clear_with_the_same_version() -> Iterator[None]:
    """What the same batch puts behind it is not written."""

    def clear(self: Database, statement: ClearMap) -> Steps:
        for each in self.records.get((statement.owner, statement.map), {}).values():
            if each.version < statement.version:
                each.version, each.value, each.gone = statement.version, None, True
        return ()
        yield

    with patch.object(Database, "_clear", clear):
        yield


# ---- what is sent


@cheat
def fresh_for_again() -> Iterator[None]:
    """What is said again is decided again."""

    async def was_heard(self: JournalBackend, owner: str, log: str, source: Any) -> bool:
        return False

    with patch.object(JournalBackend, "was_heard", was_heard):
        yield


@cheat
def heard_does_not_wait() -> Iterator[None]:
    """Whether it was heard is looked up before what is committed is applied."""

    async def was_heard(self: JournalBackend, owner: str, log: str, source: Any) -> bool:
        return await self.documents.was_heard(owner, log, source)

    with patch.object(JournalBackend, "was_heard", was_heard):
        yield


@cheat
def entry_with_a_source_of_its_own() -> Iterator[None]:
    """Nobody finds it by that of what it was made of."""
    whole = _Planner.add

    def add(self: _Planner, batch: Any) -> None:
        writes = [msgspec.structs.replace(w, source=None) if type(w) is LogAppend else w for w in batch.writes]
        whole(self, replace(batch, writes=writes))

    with patch.object(_Planner, "add", add):
        yield


@cheat
def low_not_held() -> Iterator[None]:
    """The journal is deleted up to what is applied, with what it alone holds."""
    with patch.object(JournalBackend, "_lowest", lambda self, mine, applier: applier.low):
        yield


@cheat
def low_free_too_soon() -> Iterator[None]:
    """Before what it holds is elsewhere."""

    async def park(self: Applier, sent: Any) -> None:
        for number in {each.source[0] for each in sent}:
            numbers.append(number)
        await whole(self, sent)

    def lowest(self: JournalBackend, mine: Any, applier: Any) -> int:
        self._sendings.parked(numbers)
        return first(self, mine, applier)

    numbers: list[int] = []
    whole, first = Applier.park, JournalBackend._lowest
    with patch.object(Applier, "park", park), patch.object(JournalBackend, "_lowest", lowest):
        yield


@cheat
def left_behind() -> Iterator[None]:
    """Who takes over does not look for what is not heard."""
    with patch.object(incarnation, "unheard", lambda batches: []):
        yield


@cheat
def heard_stays() -> Iterator[None]:
    """What was put elsewhere is not deleted there when it is heard."""
    whole = _Planner.add

    def add(self: _Planner, batch: Any) -> None:
        whole(self, replace(batch, parked=()))

    with patch.object(_Planner, "add", add):
        yield


@cheat
def heard_in_a_sealed_journal_stays() -> Iterator[None]:
    whole = incarnation.committed

    def committed(documents: Any, epoch: int) -> Any:
        return [replace(each, parked=()) for each in whole(documents, epoch)]

    with patch.object(incarnation, "committed", committed):
        yield


@cheat
def heard_on_its_way_stays() -> Iterator[None]:
    """While it is put elsewhere."""
    whole = Sendings._heard

    def heard(self: Sendings, source: Any) -> bool:
        return whole(self, source) and source[0] not in self._held

    with patch.object(Sendings, "_heard", heard):
        yield


@cheat
def heard_leaves_no_place() -> Iterator[None]:
    """What comes late is sent again at the next start."""

    def delete(self: Database, statement: DeleteSendings) -> Steps:
        for source in statement.sources:
            self.sendings.pop(source, None)
            yield
        return ()

    with patch.object(Database, "_delete_sendings", delete):
        yield


@cheat
def believes_an_older_journal() -> Iterator[None]:
    """A new primary that does not know a batch yet."""

    async def find(documents: Any, numbers: Any) -> Any:
        found = await documents.find("journal", numbers[0], numbers[-1], PAGE)
        return [each for each in found if each["_id"] in numbers]

    with patch.object(JournalBackend, "_find", lambda self, numbers: find(self.documents, numbers)):
        yield


# ---- what is deleted


@cheat
def no_tombstones() -> Iterator[None]:
    def bury(self: Database, owner: str, log: str, wanted: Any, version: int) -> Steps:
        for each in self._entries(owner, log, False, wanted):
            if each.version < version:
                self._drop(self.logs[owner, log, False], each)
        return ()
        yield

    with patch.object(Database, "_bury", bury):
        yield


@cheat
def no_tombstones_within_a_round() -> Iterator[None]:
    def bury(self: _Planner, key: tuple[str, str, int], version: int) -> None:
        for place in (self.replaced, self.changed, self.entries):
            place.pop(key, None)  # type: ignore[attr-defined]

    with patch.object(_Planner, "_bury", bury):
        yield


@cheat
def round_does_not_delete_what_it_brings() -> Iterator[None]:
    """An earlier attempt may have stored it."""

    def delete(self: _Planner, write: LogDelete, version: int) -> None:
        rest = tuple(id for id in write.ids if (write.owner, write.log, id) not in self.entries)
        before = set(self.deletions)
        whole(self, write, version)
        for key in self.deletions.keys() - before:
            del self.deletions[key]
        if rest:
            whole(self, LogDelete(write.log, write.owner, rest), version)

    whole = _Planner._delete_entries
    with patch.object(_Planner, "_delete_entries", delete):
        yield


@cheat
def trim_forgets_the_young() -> Iterator[None]:
    def trim(self: Database, statement: TrimEntries) -> Steps:
        place = self.logs.get((statement.owner, statement.log, False), {})
        for each in self._entries(statement.owner, statement.log, False, lambda id: id < statement.before):
            self._drop(place, each)
        return ()
        yield

    with patch.object(Database, "_trim", trim):
        yield


@cheat
def deleted_owner_leaves_no_places() -> Iterator[None]:
    def delete(self: Database, statement: DeleteOwner) -> Steps:
        return whole(self, DeleteOwner(statement.version, statement.owner, statement.version))

    whole = Database._delete_owner
    with patch.object(Database, "_delete_owner", delete):
        yield


@cheat
def places_not_kept() -> Iterator[None]:
    """What keeps the place of something deleted goes a moment later."""

    def set_now() -> None:
        deletions.KEPT = 1.0

    whole = Deletions.__init__

    def begin(self: Deletions, *args: Any) -> None:
        set_now()
        whole(self, *args)

    with patch.object(Deletions, "__init__", begin):
        yield


@cheat
def notes_share_numbers() -> Iterator[None]:
    """Those of the take-over and those behind it: what is noted is lost, and keeps its place for ever."""

    async def opened(self: JournalBackend) -> None:
        await whole(self)
        self._takeover.deletions._number = 0

    async def insert(self: Deletions, rows: Any) -> None:
        self._number += 1
        number = self._incarnation * ROOM + self._number
        await self._documents.insert("deleted", {"_id": number, "later": msgspec.msgpack.encode(rows)})

    whole = JournalBackend.open
    with patch.object(JournalBackend, "open", opened), patch.object(Deletions, "_insert", insert):
        yield


@cheat
def replaced_only_in_the_round() -> Iterator[None]:
    """An earlier attempt may have stored the entry as it was first."""
    whole = _Planner._replace

    def replace(self: _Planner, write: Any, version: int) -> None:
        whole(self, write, version)
        self.changed.clear()

    with patch.object(_Planner, "_replace", replace):
        yield
