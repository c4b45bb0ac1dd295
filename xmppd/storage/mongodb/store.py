"""A MongoDB database as the documents below a journal."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from bson import Binary
from bson.raw_bson import RawBSONDocument
from pymongo.errors import BulkWriteError, DuplicateKeyError, OperationFailure

from xmppd.storage.api import StoreError
from xmppd.storage.backend import Flaw
from xmppd.storage.journal.statements import Document, Refused, Sequences, Statement
from xmppd.storage.mongodb.check import MongoInspector
from xmppd.storage.mongodb.client import INDEXES, make_client
from xmppd.storage.mongodb.documents import DUPLICATE, RAW, translate
from xmppd.storage.mongodb.moment import Moment
from xmppd.storage.mongodb.reads import MongoReads, translated
from xmppd.storage.mongodb.statements import MongoStatements

NO_SUCH_COMMAND = 59
VERSION = 2
"""1: without a journal; what a killed process had written down of its last batch was in `intents`."""


class MongoDocuments(MongoReads):
    """`journal.statements.Documents` over the database that the URI names (`xmppd` if it names none)."""

    def __init__(self, uri: str) -> None:
        super().__init__()
        self._uri = uri
        self._client: Any = None
        self._statements: MongoStatements | None = None

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
        assert self._moment is not None
        self._statements = MongoStatements(self._db, self._moment)
        self._ready = True

    async def _prepare(self) -> None:
        said = await self._hello()
        self._moment = Moment(self._client, sessions=said.get("logicalSessionTimeoutMinutes") is not None)
        found = await self._db["meta"].find_one({"_id": "schema"})
        if found is not None and not isinstance(found.get("version"), int):
            raise StoreError("the record 'schema' in the collection 'meta' is damaged: is it a database of ours?")
        if found is not None and found["version"] > VERSION:
            raise StoreError(
                f"the database was written by a newer version of the server"
                f" (schema {found['version']}, this one knows {VERSION})"
            )
        for collection, indexes in INDEXES.items():
            for keys, unique in indexes:
                await self._db[collection].create_index(keys, unique=unique)
        if found is None or found["version"] < VERSION:
            await self._complete_intents()
            with suppress(DuplicateKeyError):  # another one that starts has written it
                await self._db["meta"].update_one({"_id": "schema"}, {"$set": {"version": VERSION}}, upsert=True)

    async def _hello(self) -> dict[str, Any]:
        """What the server says of itself; before MongoDB 4.4, and on others, the command has its former name."""
        try:
            return dict(await self._db.command("hello"))
        except OperationFailure as error:
            if error.code != NO_SUCH_COMMAND:
                raise
            return dict(await self._db.command("isMaster"))

    async def _complete_intents(self) -> None:
        """From version 1: the last batch of a process that was killed may be there in part."""
        intent = await self._db["intents"].find_one({"_id": "batch"})
        if intent is not None:
            try:
                entries = [RawBSONDocument(raw, RAW) for raw in intent["entries"]]
                await self._db["entries"].insert_many(entries, ordered=False)
            except BulkWriteError as error:
                codes = {each.get("code") for each in error.details.get("writeErrors", [])}
                if codes != {DUPLICATE} or error.details.get("writeConcernErrors"):
                    raise
        await self._db.drop_collection("intents")

    async def close(self) -> None:
        self._ready = False
        client, self._client = self._client, None
        if client is not None:
            # It tells the server which sessions end, and waits for the answer: not in the loop's thread.
            closing = await asyncio.get_running_loop().run_in_executor(None, client.close)
            if inspect.isawaitable(closing):  # PyMongo's own async client
                await closing

    # --- sequences ---

    async def insert(self, sequence: Sequences, document: Document) -> bool:
        try:
            async with self._taking(sequence) as session:
                await self._collection(sequence).insert_one(dict(_stored(document)), session=session)
        except DuplicateKeyError:
            return False
        except Exception as error:
            raise translate(error) from error
        return True

    async def insert_where_free(self, sequence: Sequences, documents: Sequence[Document]) -> None:
        try:
            await self._collection(sequence).insert_many([dict(_stored(each)) for each in documents], ordered=False)
        except BulkWriteError as error:
            codes = {each.get("code") for each in error.details.get("writeErrors", [])}
            if error.details.get("writeConcernErrors") or codes != {DUPLICATE}:
                raise translate(error) from error
        except Exception as error:
            raise translate(error) from error

    async def find(
        self, sequence: Sequences, low: int, high: int, limit: int, backwards: bool = False
    ) -> list[dict[str, Any]]:
        place = {"_id": {"$gte": low, "$lte": high}}
        cursor = self._collection(sequence).find(place).sort([("_id", -1 if backwards else 1)]).limit(limit)
        return [{**each, "_id": int(each["_id"])} for each in await translated(cursor.to_list(limit))]

    async def set(self, sequence: Sequences, number: int, fields: Mapping[str, Any]) -> None:
        async with self._taking(sequence) as session:
            change = self._collection(sequence).update_one({"_id": number}, {"$set": dict(fields)}, session=session)
            await translated(change)

    @asynccontextmanager
    async def _taking(self, sequence: Sequences) -> AsyncIterator[Any]:
        """A write to `table` is behind all that the former home has applied: reads must see what was there then, also
        before this one has applied anything. Nothing else is written in the session at that time."""
        if sequence != "table" or self._moment is None:
            yield None
            return
        yield await self._moment.writing()
        self._moment.written()

    async def remove(self, sequence: Sequences, low: int, high: int) -> None:
        await translated(self._collection(sequence).delete_many({"_id": {"$gte": low, "$lte": high}}))

    # --- what reads do not show (backend.Verifiable) ---

    def verify(self) -> AsyncIterator[Flaw]:
        return MongoInspector(self._db).flaws()

    def places(self) -> AsyncIterator[tuple[str, str]]:
        return MongoInspector(self._db).places()

    # --- applying ---

    async def run(self, statement: Statement) -> Sequence[Refused]:
        self._collection("entries")
        assert self._statements is not None
        return await self._statements.run(statement)

    async def keep_refused(self, number: int, why: str) -> None:
        batch = await translated(self._collection("journal").find_one({"_id": number}))
        kept = {**(batch or {}), "_id": number, "why": why[:1000]}
        await translated(self._collection("refused").replace_one({"_id": number}, kept, upsert=True))


def _stored(document: Document) -> dict[str, Any]:
    return {key: Binary(value) if isinstance(value, bytes) else value for key, value in document.items()}
