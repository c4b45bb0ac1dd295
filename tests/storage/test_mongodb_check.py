"""What `xmppd store check` sees of a MongoDB store that maps and logs do not show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from bson import Binary, ObjectId

from tests.storage.clocks import LoopClock
from tests.storage.test_journal import db
from tests.storage.test_mongodb import A, entry
from xmppd.storage import open_storage
from xmppd.storage.backend import Flaw, Verifiable
from xmppd.storage.store import Store

pytestmark = pytest.mark.mongodb
__all__ = ["db"]
B = "b@example.org"


async def filled(uri: str) -> Store:
    store = await open_storage(uri, LoopClock())
    things, archive = store.map("things", dict), store.log("archive")
    await store.commit([
        things.put(A, "plain", {"a": 1}),
        things.put(A, "packed", {"$a": 1}),
        things.put(A, "gone", {}),
        *(archive.append(A, entry(id)) for id in (1, 2)),
        archive.append(B, entry(1)),
    ])  # fmt: skip
    await store.commit([things.delete(A, "gone"), archive.delete(B, [1])])
    return store


async def found(store: Store) -> tuple[list[Flaw], list[tuple[str, str]]]:
    backend = store.backend
    assert isinstance(backend, Verifiable)
    return [each async for each in backend.verify()], [each async for each in backend.places()]


async def test_a_store_in_order(mongodb_database: str) -> None:
    store = await filled(mongodb_database)
    assert await found(store) == ([], [(A, "archive"), (A, "things")])
    await store.close()


async def _refused(db: Any) -> None:
    await db["refused"].insert_one({"_id": 7, "why": "too large"})


async def _no_index(db: Any) -> None:
    await db["entries"].drop_index("owner_1_log_1_id_1")


async def _domain(db: Any) -> None:
    await db["records"].update_one({"key": "plain"}, {"$set": {"domain": "example.com"}})


async def _packed(db: Any) -> None:
    await db["records"].update_one({"key": "packed"}, {"$set": {"packed": Binary(b"\xc1")}})


async def _no_value(db: Any) -> None:
    await db["records"].update_one({"key": "plain"}, {"$unset": {"value": ""}})


async def _nobodys(db: Any) -> None:
    await db["records"].insert_one({"map": "things", "key": "x", "value": 1})


async def _no_body(db: Any) -> None:
    await db["entries"].update_one({"owner": A, "id": 1}, {"$unset": {"body": ""}})


async def _no_owner(db: Any) -> None:
    await db["entries"].insert_one({"log": "archive", "id": 9})


async def _still_there(db: Any) -> None:
    await db["entries"].update_one({"owner": B}, {"$set": {"body": Binary(b"secret")}})


async def _sent(db: Any) -> None:
    await db["sendings"].insert_many([
        {"_id": ObjectId(b"\0" * 11 + b"\1"), "owner": A, "domain": "example.org", "to": B, "data": Binary(b"<m/>")},
        {"_id": ObjectId(b"\0" * 11 + b"\2"), "gone": True},
        {"_id": ObjectId(b"\0" * 11 + b"\3"), "owner": A, "domain": "example.org", "to": B},
    ])  # fmt: skip


async def _sent_elsewhere(db: Any) -> None:
    await db["sendings"].insert_one({
        "_id": ObjectId(b"\0" * 11 + b"\1"), "owner": A, "domain": "example.com", "to": B, "data": Binary(b"<m/>")
    })  # fmt: skip


@pytest.mark.parametrize(
    ("damage", "owner", "where", "what"),
    [
        (_refused, "", "batch 7 in 'refused'", "a part of it was acknowledged and not stored: too large"),
        (_no_index, "", "the collection 'entries'", "the unique index over owner, log, id is missing"),
        (_domain, A, "things/plain", "it is listed under the domain 'example.com', so nobody finds it there"),
        (_packed, A, "things/packed", "the record is no MessagePack"),
        (_no_value, A, "things/plain", "the record has no value"),
        (_nobodys, "", "record ", "it does not say whose it is"),
        (_no_body, A, "archive#1", "the entry lacks body, so its log cannot be read"),
        (_no_owner, "", "entry ", "it does not say whose it is"),
        (_sent, A, "sending 000000000000000000000003", "it lacks data, so nobody hears it"),
        (_sent_elsewhere, A, "sending ", "it is listed under the domain 'example.com', so nobody finds it there"),
        (_still_there, B, "-archive#1", "the entry is deleted, and its body is still there"),
    ],
)
async def test_damage(
    mongodb_database: str, db: Any, damage: Callable[[Any], Any], owner: str, where: str, what: str
) -> None:
    store = await filled(mongodb_database)
    await found(store)  # all is applied
    await damage(db)
    flaws, _ = await found(store)
    assert len(flaws) == 1
    assert flaws[0].owner == owner and flaws[0].where.startswith(where) and flaws[0].what.startswith(what)
    await store.close()
