"""What only a database server can do: be down at start, go away, hang, come back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from motor.motor_asyncio import AsyncIOMotorClient

from tests.mongo_server import MongoServer
from tests.mongo_server.relay import relayed
from tests.storage.clocks import LoopClock
from tests.storage.conftest import Recorder
from xmppd.errors import StorageUnavailable
from xmppd.storage import make_backend, open_storage
from xmppd.storage.api import DataError, Entry, Range, StoreError
from xmppd.storage.group_commit import Limits
from xmppd.storage.mongodb.client import OPTIONS
from xmppd.storage.store import Store

pytestmark = pytest.mark.mongodb

A = "a@example.org"
IMPATIENT = Limits(commit_timeout=1.0)


def entry(id: int) -> Entry:
    return Entry(id, "p@example.org", "", 0, b"<m/>")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time-outs that fit a test."""
    for name in ("serverSelectionTimeoutMS", "connectTimeoutMS", "socketTimeoutMS"):
        monkeypatch.setitem(OPTIONS, name, 400)


@pytest.fixture
async def store(quick: None, mongodb_database: str) -> AsyncIterator[Store]:
    store = await open_storage(mongodb_database, LoopClock(), IMPATIENT)
    yield store
    await store.close(1)


async def until(condition: Any) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  a server in another process sets no event
            await asyncio.sleep(0.02)


async def test_an_outage_holds_writes_refuses_new_ones_and_ends(
    store: Store, mongodb_server: MongoServer, note: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    log = store.log("archive")
    await store.commit([log.append(A, entry(1))])
    assert await log.count(A, Range()) == 1  # applied, too
    mongodb_server.stop()
    store.join([log.append(A, entry(2))], note("2"))
    await asyncio.sleep(0.1)
    store.join([log.append(A, entry(3))], note("3"))
    await until(lambda: not store.available)
    assert note.seen == ["3: StorageUnavailable"]
    with pytest.raises(StorageUnavailable):
        store.join([log.append(A, entry(4))], note("4"))
    with pytest.raises(StorageUnavailable):
        await log.page(A, Range(), 10)
    mongodb_server.start()
    await until(lambda: store.available)
    assert note.seen[1:] == ["2"]
    await store.commit([log.append(A, entry(5))])
    assert [e.id for e in await log.page(A, Range(), 10)] == [1, 2, 5]
    lines = [r.getMessage() for r in caplog.records if r.name == "xmppd.storage"]
    assert len(lines) == 3 and "fails" in lines[0] and "refused" in lines[1] and "works again" in lines[2]


async def test_a_server_that_hangs_delays_and_loses_nothing(
    store: Store, mongodb_server: MongoServer, note: Recorder
) -> None:
    log = store.log("archive")
    await store.commit([log.append(A, entry(1))])
    mongodb_server.pause()
    try:
        store.join([log.append(A, entry(2)), log.append("b@example.org", entry(2))], note("2"))
        await asyncio.sleep(0.7)
        assert note.seen == []
    finally:
        mongodb_server.resume()
    await until(lambda: note.seen)
    assert note.seen == ["2"]
    assert [e.id for e in await log.page(A, Range(), 10)] == [1, 2]


async def test_a_server_that_is_down_at_start(
    quick: None, mongodb_server: MongoServer, mongodb_database: str, caplog: pytest.LogCaptureFixture
) -> None:
    mongodb_server.stop()
    store = await open_storage(mongodb_database, LoopClock(), IMPATIENT)
    try:
        log = store.log("archive")
        assert not store.available
        with pytest.raises(StorageUnavailable):
            await store.commit([log.append(A, entry(1))])
        with pytest.raises(StorageUnavailable):
            await log.count(A, Range())
        mongodb_server.start()
        await until(lambda: store.available)
        await store.commit([log.append(A, entry(1))])
        assert await log.count(A, Range()) == 1
        assert "does not answer" in caplog.text and "the store answers after" in caplog.text
    finally:
        await store.close()


async def test_data_survive_a_restart_of_the_server(store: Store, mongodb_server: MongoServer) -> None:
    log = store.log("archive")
    await store.commit([log.append(A, entry(1))])
    mongodb_server.stop()
    mongodb_server.start()
    await store.commit([log.append(A, entry(1)), log.append(A, entry(2))])
    assert [e.id for e in await log.page(A, Range(), 10)] == [1, 2]


async def test_a_newer_schema_is_refused(store: Store, mongodb_database: str) -> None:
    client: Any = AsyncIOMotorClient(mongodb_database)
    await client.get_default_database()["meta"].update_one({"_id": "schema"}, {"$set": {"version": 99}})
    client.close()
    backend = make_backend(mongodb_database, LoopClock())
    with pytest.raises(StoreError, match="newer version of the server"):
        await backend.open()
    await backend.close()


async def test_a_uri_that_cannot_be_used_is_an_error_with_a_text() -> None:
    for uri in ("mongodb://", "mongodb://host:port:port/x", "mongodb://h1,h2/?directConnection=true"):
        with pytest.raises(StoreError, match="URI"):
            await make_backend(uri, LoopClock()).open()


async def test_documents_are_readable_and_indexed(store: Store, mongodb_database: str) -> None:
    things = store.map("things", dict)
    await store.commit([
        things.put(A, "plain", {"name": "x", "list": [1, {"k": b"y"}]}),
        things.put(A, "packed", {"$x": 1, "a.b": 2}),
        store.log("archive").append(A, entry(1)),
    ])  # fmt: skip
    assert await store.log("archive").count(A, Range()) == 1  # applied
    client: Any = AsyncIOMotorClient(mongodb_database)
    db = client.get_default_database()
    found = {d["key"]: d async for d in db["records"].find({"owner": A})}
    assert found["plain"]["value"] == {"name": "x", "list": [1, {"k": b"y"}]}
    assert "value" not in found["packed"]
    assert found["plain"]["domain"] == "example.org"
    assert "owner_1_log_1_id_1" in await db["entries"].index_information()
    assert (await db["entries"].find_one({"owner": A}))["body"] == b"<m/>"
    client.close()
    assert await things.read_all(A) == {
        "plain": {"name": "x", "list": [1, {"k": b"y"}]},
        "packed": {"$x": 1, "a.b": 2},
    }


async def test_a_document_that_is_too_large_fails_alone(store: Store) -> None:
    log = store.log("archive")
    large = Entry(1, "p@example.org", "", 0, bytes(17 << 20))
    results = await asyncio.gather(
        store.commit([log.append(A, large)]), store.commit([log.append(A, entry(2))]), return_exceptions=True
    )
    assert [type(result) for result in results] == [DataError, type(None)]
    assert [e.id for e in await log.page(A, Range(), 10)] == [2]


async def test_a_server_that_knows_the_former_name_of_hello(mongodb_database: str) -> None:
    """MongoDB before 4.4, mongo-java-server."""
    async with relayed(mongodb_database) as relay:
        refused = 0

        def without_hello(said: dict[str, Any]) -> dict[str, Any]:
            nonlocal refused
            asked = [each for each in relay.seen if "hello" in each and each["$db"].startswith("test-")]
            if refused < len(asked) and ("maxWireVersion" in said or said.get("code") == 59):
                refused += 1
                return {"ok": 0.0, "code": 59, "codeName": "CommandNotFound", "errmsg": "no such command: 'hello'"}
            return said

        relay.answer = without_hello
        store = await open_storage(relay.uri, LoopClock())
        assert (refused, store.available) == (1, True)
        await store.commit([store.log("archive").append(A, entry(1))])
        await store.close()
