"""The store in MongoDB, or in any server that speaks its protocol: only plain commands are used.

Two collections, documents keyed by owner (the shard key): `entries` (logs) and `records` (maps). A document
is the unit of atomicity; a batch writes its log entries first and its records after them, so that a count or
a cursor never runs ahead of the messages it counts. Everything may be written twice.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import warnings
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from bson import Binary, encode
from bson.codec_options import CodecOptions
from bson.objectid import ObjectId
from bson.raw_bson import RawBSONDocument
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import DeleteMany, DeleteOne, UpdateOne
from pymongo.errors import BulkWriteError, OperationFailure, PyMongoError

from xmppd.errors import StorageUnavailable
from xmppd.storage.api import (
    AbsoluteWrite,
    DataError,
    Entry,
    LogAppend,
    LogDelete,
    LogReplace,
    LogTrim,
    MapClear,
    MapDelete,
    MapPut,
    OwnerDelete,
    Range,
    StoreError,
)
from xmppd.storage.backend import Done, Row
from xmppd.storage.codec import check_entry, clamp
from xmppd.storage.mongodb_documents import (
    DUPLICATE,
    LARGEST,
    entry_filter,
    from_document,
    record_fields,
    translate,
    value_of,
)
from xmppd.storage.mongodb_owner import Ownership

R = TypeVar("R")

log = logging.getLogger("xmppd.storage")

CLIENT: Any = AsyncIOMotorClient
"""The one line that chooses the driver: PyMongo's AsyncMongoClient has the same methods."""

VERSION = 1
OPTIONS: dict[str, Any] = {
    "appname": "xmppd",
    "w": "majority",
    "journal": True,
    "readConcernLevel": "majority",
    "retryWrites": False,  # the store above repeats whole batches
    "serverSelectionTimeoutMS": 3_000,
    "connectTimeoutMS": 3_000,
    "socketTimeoutMS": 10_000,
}
INDEXES = {
    "entries": (
        ([("owner", 1), ("log", 1), ("id", 1)], True),
        ([("owner", 1), ("log", 1), ("peer", 1), ("id", 1)], False),
    ),
    "records": (
        ([("owner", 1), ("map", 1), ("key", 1)], True),
        ([("map", 1), ("domain", 1), ("owner", 1)], False),
    ),
}
RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)


CLOSE_WITHIN = 1.0
"""Seconds for what is tidied up at the end: a server that is away must not hold it up."""
INTENT = {"_id": "batch"}
"""The entries of the batch under way."""


def make_client(uri: str, **more: Any) -> Any:
    """The driver's client; what it does not understand in the URI is in the log. Raises StoreError."""
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            client = CLIENT(uri, **OPTIONS, **more)
    except (PyMongoError, OSError, ValueError) as error:
        why = (error.args[-1] if error.args else error) if isinstance(error, OSError) else error
        raise StoreError(f"the MongoDB URI cannot be used: {why}") from error
    for each in said:
        if issubclass(each.category, UserWarning):
            log.warning("the MongoDB URI: %s", each.message)
    return client


class MongoBackend:
    """`backend.Backend` over the database that the URI names (`xmppd` if it names none)."""

    atomic = False

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._client: Any = None
        self._db: Any = None
        self._ready = False
        self._task: asyncio.Task[None] | None = None
        self._intended = True
        """There may be an intent in the database."""
        self._owner: Ownership | None = None

    # --- open and close ---

    async def open(self) -> None:
        """Connect, check the version, make indexes. Raises StorageUnavailable (try again) or StoreError."""
        if self._client is None:
            self._client = make_client(self._uri)
            self._db = self._client.get_default_database("xmppd")
        try:
            await self._prepare()
        except OperationFailure as error:
            if error.code in {13, 18}:
                raise StoreError(f"MongoDB refuses us: {error}") from error
            raise translate(error) from error
        except Exception as error:
            if isinstance(error, StoreError):
                raise
            raise translate(error) from error
        self._ready = True

    async def _prepare(self) -> None:
        found = await self._db["meta"].find_one({"_id": "schema"})
        if found is not None and not isinstance(found.get("version"), int):
            raise StoreError("the record 'schema' in the collection 'meta' is damaged: is it a database of ours?")
        if found is not None and found["version"] > VERSION:
            raise StoreError(
                f"the database was written by a newer version of the server"
                f" (schema {found['version']}, this one knows {VERSION})"
            )
        if self._owner is None:
            owner = Ownership(self._db["meta"])
            await owner.take()
            self._owner = owner
        for collection, indexes in INDEXES.items():
            for keys, unique in indexes:
                await self._db[collection].create_index(keys, unique=unique)
        await self._db["meta"].update_one({"_id": "schema"}, {"$set": {"version": VERSION}}, upsert=True)
        await self._complete()

    async def _complete(self) -> None:
        """The last batch of a process that was killed may be there in part: the rest of it is written now. Else the
        sender's copy of a message could be there, by which it is recognised when it is sent again, and no other."""
        intent = await self._db["intents"].find_one(INTENT)
        if intent is None:
            return
        documents = [RawBSONDocument(raw, RAW) for raw in intent["entries"]]
        commit = Commit(self._db, ())
        await commit.insert(documents)
        await self._db["intents"].delete_one(INTENT)
        self._intended = False

    async def close(self) -> None:
        """Wait for the commit under way, then disconnect."""
        self._ready = False
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
        if self._client is not None and self._intended and not self._lost:
            with suppress(Exception):  # the next start does it, too
                async with asyncio.timeout(CLOSE_WITHIN):
                    await self._db["intents"].delete_one(INTENT)
        owner, self._owner = self._owner, None
        if owner is not None:
            await owner.release()
        client, self._client = self._client, None
        if client is not None:
            closing = client.close()
            if inspect.isawaitable(closing):  # PyMongo's own async client
                await closing

    # --- commits ---

    @property
    def _lost(self) -> bool:
        return self._owner is not None and self._owner.lost

    def commit(self, writes: Sequence[AbsoluteWrite], done: Done) -> None:
        if not self._ready:
            raise StorageUnavailable("the store is not open")
        if self._lost:
            raise StorageUnavailable("another server has taken the database")
        self._task = asyncio.get_running_loop().create_task(self._commit(writes, done), name="MongoDB commit")

    async def _commit(self, writes: Sequence[AbsoluteWrite], done: Done) -> None:
        error: Exception | None = None
        try:
            commit = Commit(self._db, writes)
            if self._owner is not None:
                await self._owner.confirm()
            self._intended = await commit.intend(self._intended)
            await commit.run()
        except Exception as failure:  # it goes to the store above, which logs it
            error = translate(failure)
        done(error)

    # --- reads ---

    async def _read(self, answer: Awaitable[R]) -> R:
        try:
            return await answer
        except Exception as error:
            raise translate(error) from error

    def _collection(self, name: str) -> Any:
        if not self._ready:
            raise StorageUnavailable("the store is not open")
        return self._db[name]

    async def load(self, owner: str, maps: Sequence[str]) -> list[Row[Any]]:
        found = self._collection("records").find({"owner": owner, "map": {"$in": list(maps)}})
        documents = await self._read(found.to_list(None))
        return [Row(document["map"], document["key"], value_of(document)) for document in documents]

    async def read(self, map: str, owner: str, key: str) -> Any | None:
        place = {"owner": owner, "map": map, "key": key}
        document = await self._read(self._collection("records").find_one(place))
        return None if document is None else value_of(document)

    async def owners(self, map: str, domain: str, after: str, limit: int) -> list[str]:
        """An owner may come several times, once for each record, so this reads on behind the last one."""
        owners: list[str] = []
        while len(owners) < limit:
            place = {"map": map, "domain": domain, "owner": {"$gt": after}}
            cursor = self._collection("records").find(place, {"owner": 1, "_id": 0})
            documents = await self._read(cursor.sort([("owner", 1)]).limit(limit).to_list(limit))
            owners += dict.fromkeys(document["owner"] for document in documents)
            if len(documents) < limit:
                break
            after = owners[-1]
        return owners[:limit]

    async def scan(self, map: str, domain: str, after: tuple[str, str], limit: int) -> list[tuple[str, Row[Any]]]:
        """The rest of the owner that `after` is in, then the owners behind it: two ranges of an index."""
        owner, key = after
        places: list[dict[str, Any]] = [{"map": map, "domain": domain, "owner": {"$gt": owner}}]
        if owner:
            places.insert(0, {"map": map, "owner": owner, "key": {"$gt": key}})
        found: list[tuple[str, Row[Any]]] = []
        for place in places:
            if len(found) < limit:
                cursor = self._collection("records").find(place).sort([("owner", 1), ("key", 1)])
                documents = await self._read(cursor.limit(limit - len(found)).to_list(limit))
                found += [(each["owner"], Row(each["map"], each["key"], value_of(each))) for each in documents]
        return found

    async def page(self, log: str, owner: str, range: Range, limit: int, backwards: bool) -> list[Entry]:
        place = entry_filter(log, owner, range)
        if place is None or limit <= 0:
            return []
        cursor = self._collection("entries").find(place).sort([("id", -1 if backwards else 1)]).limit(limit)
        documents = await self._read(cursor.to_list(limit))
        if backwards:
            documents.reverse()
        return [from_document(document) for document in documents]

    async def ends(self, log: str, owner: str, range: Range) -> tuple[int, int]:
        place = entry_filter(log, owner, range)
        if place is None:
            return 0, 0
        entries = self._collection("entries")
        cursors = [entries.find(place, {"_id": 0, "id": 1}).sort([("id", way)]).limit(1) for way in (1, -1)]
        lowest, highest = await asyncio.gather(*(self._read(cursor.to_list(1)) for cursor in cursors))
        return (int(lowest[0]["id"]), int(highest[0]["id"])) if lowest and highest else (0, 0)

    async def count(self, log: str, owner: str, range: Range, limit: int | None) -> int:
        place = entry_filter(log, owner, range)
        if place is None or limit == 0:
            return 0
        self._collection("entries")
        answer = await self._read(self._db.command("count", "entries", query=place, limit=limit or 0))
        return int(answer["n"])

    async def last_id(self, log: str, owner: str) -> int:
        last = await self.page(log, owner, Range(), 1, True)
        return last[0].id if last else 0


class Commit:
    """One batch on its way: collected in order, sent as few commands as that order allows.

    Raises DataError when it is made, if what is refused can be told by looking at it.
    """

    def __init__(self, db: Any, writes: Sequence[AbsoluteWrite]) -> None:
        self._entries = db["entries"]
        self._records = db["records"]
        self._meta = db["meta"]
        self._intents = db["intents"]
        self._writes = writes
        self._new: list[RawBSONDocument] = []
        self._changes: list[UpdateOne | DeleteOne | DeleteMany] = []
        self._repeated = False
        self._steps = [self._step(write) for write in writes]

    async def intend(self, intended: bool) -> bool:
        """Several entries are written down as one document first, because MongoDB may write them in part; the one of an
        earlier batch goes, so that it brings nothing back that is deleted since. Whether there is one now."""
        entries = self._left()
        if len(entries) > 1:
            await self._intents.replace_one(INTENT, {**INTENT, "entries": entries}, upsert=True)
            return True
        if intended:
            await self._intents.delete_one(INTENT)
        return False

    def _left(self) -> list[Binary]:
        """The entries that the batch adds and does not take away again."""
        left: dict[tuple[str, str, int], Binary] = {}
        for write, step in zip(self._writes, self._steps, strict=True):
            if isinstance(write, LogAppend):
                left[write.owner, write.log, write.entry.id] = Binary(step.raw)
            elif isinstance(write, LogDelete):
                for id in write.ids:
                    left.pop((write.owner, write.log, id), None)
            elif isinstance(write, LogTrim):
                left = {
                    key: raw
                    for key, raw in left.items()
                    if key[:2] != (write.owner, write.log) or key[2] >= write.before
                }
            elif isinstance(write, OwnerDelete):
                left = {key: raw for key, raw in left.items() if key[0] != write.owner}
        return list(left.values())

    async def run(self) -> None:
        """To be called after `intend`."""
        for write, document in zip(self._writes, self._steps, strict=True):
            if isinstance(write, LogAppend):
                self._new.append(document)
            elif isinstance(write, (MapPut, MapDelete, MapClear)):
                self._changes.append(document)
            else:
                await self._barrier(write, document)
        await self._flush_entries()
        await self._flush_records()
        if self._repeated:
            # Finding what an attempt before has written does not wait for its replication. This does: when a
            # later write is with the majority, so are all before it.
            await self._meta.update_one({"_id": "fence"}, {"$set": {"by": ObjectId()}}, upsert=True)

    def _step(self, write: AbsoluteWrite) -> Any:
        """What will be sent for a write. Raises DataError."""
        if isinstance(write, LogAppend):
            return self._document(write)
        if isinstance(write, LogReplace):
            check_entry(write.entry)
            place = {"owner": write.owner, "log": write.log, "id": write.entry.id}
            change = {"flags": int(write.entry.flags), "body": Binary(write.entry.body)}
            encode({**place, **change})
            return place, {"$set": change}
        if isinstance(write, LogDelete):
            return {"owner": write.owner, "log": write.log, "id": {"$in": [clamp(id) for id in write.ids]}}
        if isinstance(write, LogTrim):
            return {"owner": write.owner, "log": write.log, "id": {"$lt": clamp(write.before)}}
        if isinstance(write, OwnerDelete):
            return {"owner": write.owner}
        place = {"owner": write.owner, "map": write.map}
        if isinstance(write, MapClear):
            encode(place)
            return DeleteMany(place)
        place["key"] = write.key
        if isinstance(write, MapDelete):
            encode(place)
            return DeleteOne(place)
        update = record_fields(write.owner, write.value)
        if len(encode({**place, **update["$set"]})) > LARGEST:
            raise DataError("a record is too large")
        return UpdateOne(place, update, upsert=True)

    def _document(self, write: LogAppend) -> RawBSONDocument:
        entry = write.entry
        check_entry(entry)
        raw = encode({
            "_id": ObjectId(),
            "owner": write.owner,
            "log": write.log,
            "id": entry.id,
            "peer": entry.peer,
            "resource": entry.resource,
            "flags": int(entry.flags),
            "body": Binary(entry.body),
        })  # fmt: skip
        if len(raw) > LARGEST:
            raise DataError("an entry is too large")
        return RawBSONDocument(raw, RAW)

    async def _barrier(self, write: AbsoluteWrite, document: Any) -> None:
        """A change of a log sees the appends before it; what deletes an owner sees all."""
        await self._flush_entries()
        if isinstance(write, LogReplace):
            await self._entries.update_one(*document)
            return
        if isinstance(write, OwnerDelete):
            await self._flush_records()
            await self._records.delete_many(document)
        await self._entries.delete_many(document)

    async def _flush_entries(self) -> None:
        documents, self._new = self._new, []
        await self.insert(documents)

    async def insert(self, documents: list[RawBSONDocument]) -> None:
        """Entries that may be there already."""
        if not documents:
            return
        try:
            await self._entries.insert_many(documents, ordered=False)
        except BulkWriteError as error:
            refused = error.details.get("writeErrors", [])
            if error.details.get("writeConcernErrors") or any(e.get("code") != DUPLICATE for e in refused):
                raise
            self._repeated = True

    async def _flush_records(self) -> None:
        changes, self._changes = self._changes, []
        if changes:
            await self._records.bulk_write(changes, ordered=True)
