"""What a database does not take: nothing that was acknowledged is lost beside it, nothing waits for it for ever."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pymongo.errors import BulkWriteError, WriteConcernError

from tests.storage.test_journal import B, backend, db, ids, write
from tests.storage.test_mongodb import A, entry
from xmppd.errors import StorageUnavailable
from xmppd.storage.api import DataError, LogAppend, MapPut
from xmppd.storage.journal.statements import ROOM, PutRecords, RecordRow
from xmppd.storage.mongodb import statements
from xmppd.storage.mongodb.documents import translate

pytestmark = pytest.mark.mongodb
__all__ = ["db"]


def deep(levels: int, list_too: bool) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": [value] if list_too else value}
    return value


STRANGE: dict[str, Any] = {
    "infinite": float("inf"),
    "not a number": {"x": [float("nan")]},
    "lists in lists": [[1], [2, [3]]],
    "deep": deep(400, False),
    "deep with lists": deep(100, True),
    "many small items": [1] * 2_000_000,
}


@pytest.mark.parametrize("name", STRANGE)
async def test_a_record_that_a_server_cannot_hold_is_packed(mongodb_database: str, db: Any, name: str) -> None:
    store = backend(mongodb_database)
    await store.open()
    await write(store, MapPut("m", A, "good", 1), MapPut("m", A, "bad", STRANGE[name]), LogAppend("log", A, entry(1)))
    async with asyncio.timeout(9):
        good, bad = await store.read("m", A, "good"), await store.read("m", A, "bad")
    assert (good, repr(bad)) == (1, repr(STRANGE[name]))
    assert await ids(store, A) == [1]
    assert await db["refused"].count_documents({}) == 0
    await store.close()


async def test_what_is_refused_as_one_can_read_it_is_packed(
    mongodb_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a server that takes less than we know."""
    monkeypatch.setattr("xmppd.storage.mongodb.documents.plain", lambda value: True)
    store = backend(mongodb_database)
    await store.open()
    await write(store, *(MapPut("m", A, str(n), [[n]] if n % 5 == 0 else n) for n in range(12)))
    assert [await store.read("m", A, str(n)) for n in range(12)] == [[[n]] if n % 5 == 0 else n for n in range(12)]
    await store.close()


async def test_one_that_is_refused_takes_nothing_with_it(
    mongodb_database: str, db: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither other rows of the round, nor its own batch out of the operator's sight."""
    change, document = statements.record_change, statements.entry_document

    def changed(row: Any, packed: bool = False) -> Any:
        if row.key == "bad":
            raise DataError("refused")
        return change(row, packed)

    def documented(row: Any) -> Any:
        if row.entry.id == 2:
            raise DataError("refused")
        return document(row)

    monkeypatch.setattr(statements, "record_change", changed)
    monkeypatch.setattr(statements, "entry_document", documented)
    store = backend(mongodb_database)
    await store.open()
    await write(store, *(LogAppend("log", owner, entry(id)) for owner in (A, B) for id in (1, 2, 3)))
    await write(store, *(MapPut("m", A, key, 1) for key in ("x", "bad", "y")))
    assert (await ids(store, A), await ids(store, B)) == ([1, 3], [1, 3])
    assert [await store.read("m", A, key) for key in ("x", "bad", "y")] == [1, None, 1]
    kept = [each async for each in db["refused"].find().sort("_id", 1)]
    assert [each["_id"] - ROOM for each in kept] == [1, 2]
    assert all(each["batch"] and each["why"] == "refused" for each in kept)
    assert sum(each.levelname == "CRITICAL" for each in caplog.records) == 3
    await store.close()


async def test_a_lower_version_that_comes_in_the_same_moment_does_not_stay(mongodb_database: str) -> None:
    """A server that finds no record, and then its place taken, says only that it is taken."""
    store = backend(mongodb_database)
    await store.open()
    made: Any = store.documents
    await made.run(PutRecords([RecordRow(ROOM + 1, A, "m", "k", 1)]))
    records = made._statements._records

    class Racing:
        """The record of the lower version came between the look and the insert."""

        raced = False

        def __getattr__(self, name: str) -> Any:
            return getattr(records, name)

        async def bulk_write(self, changes: Any, **more: Any) -> Any:
            if not self.raced:
                self.raced = True
                raise BulkWriteError({"writeErrors": [{"index": 0, "code": 11000, "errmsg": "taken"}]})
            return await records.bulk_write(changes, **more)

    made._statements._records = Racing()
    await made.run(PutRecords([RecordRow(ROOM + 2, A, "m", "k", 2)]))
    assert await store.read("m", A, "k") == 2
    await store.close()


@pytest.mark.parametrize("code", [2, 9, 64, 91, 100, 189, 11602])
def test_a_write_that_a_majority_does_not_have_is_not_refused(code: int) -> None:
    """It is done: its number must not be given to another batch."""
    assert isinstance(translate(WriteConcernError("waiting for replication", code)), StorageUnavailable)
