"""The statements of a journal as MongoDB's commands."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from bson import Binary
from pymongo import UpdateOne
from pymongo.errors import BulkWriteError, DuplicateKeyError, PyMongoError

from xmppd.storage.api import DataError, Send, Source
from xmppd.storage.codec import LOWEST
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
    InsertSendings,
    PutRecords,
    RecordRow,
    Refused,
    ReplaceEntry,
    Statement,
    TrimEntries,
)
from xmppd.storage.mongodb.documents import (
    DUPLICATE,
    GONE_LOGS,
    REFUSED,
    entry_document,
    gone,
    is_gone,
    record_change,
    sending_document,
    source_id,
    translate,
)
from xmppd.storage.mongodb.moment import Moment

log = logging.getLogger("xmppd.storage")

Row = TypeVar("Row", EntryRow, RecordRow, Send)
Outcome = tuple[list[int], list[tuple[int, DataError]]]
"""Of an unordered command: the places that were taken, and those that are refused for good."""
ALL_IDS = {"$gte": LOWEST}
EMPTY = {"peer": "", "resource": "", "flags": 0, "body": Binary(b"")}


def below(version: int) -> dict[str, Any]:
    """The condition that a document is of a lower version, or of a time without versions."""
    return {"v": {"$not": {"$gte": version}}}


def up_to(version: int) -> dict[str, Any]:
    return {"v": {"$not": {"$gt": version}}}


class MongoStatements:
    """Those on `entries`, `records` and `sendings`."""

    def __init__(self, db: Any, moment: Moment) -> None:
        self._entries = db["entries"]
        self._records = db["records"]
        self._sendings = db["sendings"]
        self._meta = db["meta"]
        self._moment = moment
        self._session: Any = None
        self._alone = asyncio.Lock()
        """A session is for one operation at a time."""

    async def run(self, statement: Statement) -> Sequence[Refused]:
        """Raises StorageUnavailable."""
        try:
            async with self._alone:
                self._session = await self._moment.writing()
                refused = await self._run(statement)
                self._moment.written()
                return refused
        except Exception as error:
            failure = translate(error)
            if isinstance(failure, DataError):
                rows: Sequence[Any] = getattr(statement, "rows", (statement,))
                versions = {getattr(each, "version", 0) for each in rows}
                return [Refused(version, type(statement).__name__, failure) for version in sorted(versions)]
            raise failure from error

    async def _run(self, statement: Statement) -> Sequence[Refused]:
        if isinstance(statement, InsertEntries):
            return await self._insert(statement.rows)
        if isinstance(statement, PutRecords):
            return await self._put(statement.rows)
        if isinstance(statement, InsertSendings):
            return await self._insert_sendings(statement.rows)
        if isinstance(statement, ReplaceEntry):
            entry = statement.entry
            place = {"owner": statement.owner, "log": statement.log, "id": entry.id, **up_to(statement.version)}
            change = {"flags": int(entry.flags), "body": Binary(entry.body), "v": statement.version}
            await self._entries.update_one(place, {"$set": change}, session=self._session)
        elif isinstance(statement, DeleteEntries):
            ids = {"$in": list(statement.ids)}
            await self._bury(statement.owner, statement.log, ids, below(statement.version), statement.version)
        elif isinstance(statement, TrimEntries):
            await self._trim(statement)
        elif isinstance(statement, ClearMap):
            await self._empty({"owner": statement.owner, "map": statement.map}, statement.version)
        elif isinstance(statement, DeleteOwner):
            await self._delete_owner(statement)
        elif isinstance(statement, DeleteSendings):
            await self._delete_sendings(statement.sources)
        elif isinstance(statement, ForgetSendings):
            sources = {"$in": [source_id(each) for each in statement.sources]}
            await self._sendings.delete_many({"_id": sources, "gone": True}, session=self._session)
        else:
            await self._forget(statement)
        return ()

    async def _delete_owner(self, statement: DeleteOwner) -> None:
        owner, version = statement.owner, statement.version
        await self._records.delete_many({"owner": owner, **below(statement.young)}, session=self._session)
        await self._empty({"owner": owner}, version)
        await self._entries.delete_many({"owner": owner, **below(statement.young)}, session=self._session)
        for log in await self._entries.distinct("log", {"owner": owner, **below(version)}, session=self._session):
            if not is_gone(log):
                await self._bury(owner, log, ALL_IDS, below(version), version)

    async def _empty(self, place: dict[str, Any], version: int) -> None:
        """Records of a lower version lose their value."""
        change = {"$set": {"gone": True, "v": version - 1}, "$unset": {"value": "", "packed": ""}}
        await self._records.update_many({**place, **below(version)}, change, session=self._session)

    async def _forget(self, statement: ForgetEntries | ForgetRecords | ForgetOwner) -> None:
        if isinstance(statement, ForgetOwner):
            whole = {"owner": statement.owner, **up_to(statement.version)}
            await self._records.delete_many({**whole, "gone": True}, session=self._session)
            await self._entries.delete_many({**whole, "log": GONE_LOGS}, session=self._session)
            return
        if isinstance(statement, ForgetEntries):
            condition: dict[str, Any] = {"$in": list(statement.ids)}
            if statement.before is not None:
                condition = {"$lt": statement.before}
            place: dict[str, Any] = {"owner": statement.owner, "log": gone(statement.log), "id": condition}
            await self._entries.delete_many(place, session=self._session)
            return
        place = {"owner": statement.owner, "map": statement.map, "gone": True, **up_to(statement.version)}
        if statement.key is not None:
            place["key"] = statement.key
        await self._records.delete_many(place, session=self._session)

    # ---- entries

    async def _insert(self, rows: Sequence[EntryRow]) -> Sequence[Refused]:
        taken, refused = await _each(rows, self._insert_all)
        if taken:
            await self._look([rows[index] for index in taken])
        return [Refused(rows[i].version, f"an entry of {rows[i].owner}", error) for i, error in refused]

    async def _insert_all(self, rows: Sequence[EntryRow]) -> Outcome:
        documents = [entry_document(row) for row in rows]
        return await _unordered(self._entries.insert_many(documents, ordered=False, session=self._session))

    async def _look(self, rows: Sequence[EntryRow]) -> None:
        """Entries that are there already: by a repetition under the same source, or else by a mistake of ours."""
        place = {"_id": {"$in": list({source_id(row.source) for row in rows})}}
        fields = {"owner": 1, "log": 1, "id": 1}
        found = await self._entries.find(place, fields, session=self._session).to_list(None)
        there = {each["_id"]: (each["owner"], each["log"].removeprefix("-"), int(each["id"])) for each in found}
        places = [(row, there.get(source_id(row.source))) for row in rows]
        strange = [row for row, it in places if it is None]
        twice = [row for row, it in places if it not in (None, (row.owner, row.log, row.entry.id))]
        if twice:  # they were not asked for (`Reads.was_heard`)
            first = twice[0]
            log.error(
                "%d sendings were decided twice, and their second entries are left out, the first is id %d in the log"
                " %r of %s",
                len(twice),
                first.entry.id,
                first.log,
                first.owner,
            )
        if strange:
            first = strange[0]
            log.error(
                "%d entries were not stored because others have their place, the first is id %d in the log %r of %s",
                len(strange),
                first.entry.id,
                first.log,
                first.owner,
            )
        await self._fence()

    async def _trim(self, statement: TrimEntries) -> None:
        place = {"owner": statement.owner, "log": statement.log, "id": {"$lt": statement.before}}
        await self._entries.delete_many({**place, **below(statement.young)}, session=self._session)
        await self._bury(
            statement.owner, statement.log, {"$lt": statement.before}, below(statement.version), statement.version
        )

    async def _bury(self, owner: str, log: str, ids: Any, condition: dict[str, Any], version: int) -> None:
        """Entries go where no reader looks, without content."""
        place = {"owner": owner, "log": log, "id": ids, **condition}
        change = {"$set": {"log": gone(log), "v": version, **EMPTY}}
        while True:
            try:
                await self._entries.update_many(place, change, session=self._session)
                return
            except PyMongoError as error:
                if getattr(error, "code", None) != DUPLICATE and "UNIQUE constraint" not in str(error):
                    raise
            # An id that was deleted, given again and is deleted again: the server never does that, tools may.
            again = await self._entries.find(place, {"_id": 0, "id": 1}, session=self._session).to_list(None)
            theirs = {"owner": owner, "log": gone(log), "id": {"$in": [each["id"] for each in again]}}
            await self._entries.delete_many(theirs, session=self._session)

    # ---- sendings

    async def _insert_sendings(self, rows: Sequence[Send]) -> Sequence[Refused]:
        taken, refused = await _each(rows, self._insert_all_sendings)
        if taken:
            await self._fence()
        return [Refused(rows[i].source[0], f"a sending of {rows[i].owner}", error) for i, error in refused]

    async def _insert_all_sendings(self, rows: Sequence[Send]) -> Outcome:
        documents = [sending_document(row) for row in rows]
        return await _unordered(self._sendings.insert_many(documents, ordered=False, session=self._session))

    async def _delete_sendings(self, sources: Sequence[Source]) -> None:
        """Their places are taken first: what is not there yet finds them so."""
        ids = [source_id(each) for each in dict.fromkeys(sources)]
        places = [{"_id": each, "gone": True} for each in ids]
        taken, _ = await _unordered(self._sendings.insert_many(places, ordered=False, session=self._session))
        if taken:
            change = {"$set": {"gone": True}, "$unset": {"owner": "", "domain": "", "to": "", "data": ""}}
            there = {"_id": {"$in": [ids[index] for index in taken]}, "gone": None}
            await self._sendings.update_many(there, change, session=self._session)
            await self._fence()

    # ---- records

    async def _put(self, rows: Sequence[RecordRow]) -> Sequence[Refused]:
        """A record that is refused as one can read it is stored packed."""
        readable = await self._put_as(rows, False)
        left = [rows[index] for index, _ in readable]
        refused = await self._put_as(left, True) if left else []
        return [Refused(left[i].version, f"record {left[i].key!r} of {left[i].owner}", error) for i, error in refused]

    async def _put_as(self, rows: Sequence[RecordRow], packed: bool) -> list[tuple[int, DataError]]:
        async def put(some: Sequence[RecordRow], upsert: bool = True) -> Outcome:
            changes = [
                UpdateOne(
                    {"owner": row.owner, "map": row.map, "key": row.key, **below(row.version)},
                    record_change(row, packed),
                    upsert=upsert and row.upsert,
                )
                for row in some
            ]
            try:
                return await _unordered(self._records.bulk_write(changes, ordered=False, session=self._session))
            except KeyError:  # FerretDB says in no way that PyMongo knows that a place is taken, and stops there
                left = await self._to_be_written(some)
                if len(left) == len(some):
                    return [], await self._put_one_by_one(some, packed)
                taken, bad = await put([some[index] for index in left], upsert) if left else ([], [])
                return [left[index] for index in taken], [(left[index], why) for index, why in bad]

        taken, refused = await _each(rows, put)
        if taken:  # by the same, by a higher version, or in this moment by a lower one that came late
            _, bad = await put([rows[index] for index in taken], False)
            refused += [(taken[index], why) for index, why in bad]
            await self._fence()
        return refused

    async def _to_be_written(self, rows: Sequence[RecordRow]) -> list[int]:
        """Places of those that are not there in this or a higher version: the rest is a repetition."""
        owners = {"owner": {"$in": list({row.owner for row in rows})}}
        fields = {"_id": 0, "owner": 1, "map": 1, "key": 1, "v": 1}
        found = await self._records.find(owners, fields, session=self._session).to_list(None)
        versions = {(each["owner"], each["map"], each["key"]): each.get("v", -1) for each in found}
        left = []
        for index, row in enumerate(rows):
            there = versions.get((row.owner, row.map, row.key))
            if row.upsert if there is None else there < row.version:
                left.append(index)
        return left

    async def _put_one_by_one(self, rows: Sequence[RecordRow], packed: bool) -> list[tuple[int, DataError]]:
        refused = []
        for index, row in enumerate(rows):
            try:
                await self._put_alone(row, packed)
            except Exception as error:
                failure = translate(error)
                if not isinstance(failure, DataError):
                    raise
                refused.append((index, failure))
        return refused

    async def _put_alone(self, row: RecordRow, packed: bool) -> None:
        """The same for a server that cannot be asked for an upsert whose place may be taken."""
        place = {"owner": row.owner, "map": row.map, "key": row.key}
        while True:
            found = await self._records.find_one(place, {"_id": 0, "v": 1}, session=self._session)
            if found is None and row.upsert:
                with suppress(DuplicateKeyError):
                    new = {**place, **record_change(row, packed)["$set"]}
                    await self._records.insert_one(new, session=self._session)
                    return
            elif found is None or found.get("v", -1) >= row.version:
                return
            change = record_change(row, packed)
            await self._records.update_one({**place, **below(row.version)}, change, session=self._session)

    async def _fence(self) -> None:
        """Finding what an attempt before has written does not wait for its replication. This does: when a later write
        is with the majority, so are all before it."""
        await self._meta.update_one({"_id": "fence"}, {"$inc": {"n": 1}}, upsert=True, session=self._session)


async def _each(rows: Sequence[Row], step: Callable[[Sequence[Row]], Awaitable[Outcome]]) -> Outcome:
    """All rows at once; if that is refused for one of them, each half."""
    try:
        return await step(rows)
    except Exception as error:
        failure = translate(error)
        if not isinstance(failure, DataError):
            raise
        if len(rows) == 1:
            return [], [(0, failure)]
    half = len(rows) // 2
    taken, refused = await _each(rows[:half], step)
    more, bad = await _each(rows[half:], step)
    return taken + [half + index for index in more], refused + [(half + index, why) for index, why in bad]


async def _unordered(step: Awaitable[Any]) -> Outcome:
    """Of an unordered command the places that were taken, and those that are refused for good. Raises PyMongoError."""
    try:
        await step
    except BulkWriteError as error:
        failed = error.details.get("writeErrors", [])
        codes = {each.get("code") for each in failed}
        if error.details.get("writeConcernErrors") or not codes <= {DUPLICATE, *REFUSED}:
            raise
        taken = [each["index"] for each in failed if each.get("code") == DUPLICATE]
        return taken, [(e["index"], DataError(str(e.get("errmsg")))) for e in failed if e.get("code") != DUPLICATE]
    return [], []
