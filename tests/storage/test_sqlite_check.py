"""What `xmppd store check` sees of an SQLite file that maps and logs do not show."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.storage.clocks import LoopClock
from xmppd.storage.api import Entry, LogAppend, LogDelete, LogReplace, MapPut, OwnerDelete, Send
from xmppd.storage.backend import Verifiable
from xmppd.storage.sqlite import SqliteBackend
from xmppd.storage.store import Store

A, B, ROOM = "a@localhost", "b@localhost", "room@conference.localhost"


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A store that was written to, and closed."""
    path = tmp_path / "store.db"
    store = Store(SqliteBackend(str(path)), LoopClock())
    await store.open()
    shared = b"<message>said to two</message>"
    await store.commit([
        LogAppend("archive", A, Entry(1, B, "", 0, shared)),
        LogAppend("archive", B, Entry(1, A, "", 1, shared)),
        LogAppend("archive", A, Entry(2, B, "", 0, b"<message>2</message>")),
        LogAppend("archive", ROOM, Entry(3, ROOM, "nick@of@ats", 4, b"<message>3</message>")),
        LogAppend("pubsub", A, Entry(4, "node@with@ats", "item", 0, b"x\ny")),
        MapPut("card", A, "", {"name": "A"}),
        MapPut("card", B, "", {"name": "B"}),
        MapPut("gone", "c@localhost", "", {}),
        Send(A, B, b"<message>sent</message>"),
    ])  # fmt: skip
    await store.commit([LogReplace("archive", A, Entry(2, "", "", 0, b"<message>tombstone</message>"))])
    await store.commit([LogDelete("archive", B, (1,)), OwnerDelete("c@localhost")])
    await store.close()
    return path


@pytest.fixture
async def backend(path: Path) -> AsyncIterator[SqliteBackend]:
    backend = SqliteBackend(str(path))
    await backend.open()
    yield backend
    await backend.close()


def damage(path: Path, *statements: str) -> None:
    with sqlite3.connect(path) as db:
        for statement in statements:
            db.execute(statement)
    db.close()


def tear(path: Path) -> None:
    """The first page of the entries is garbage."""
    with sqlite3.connect(path) as db:
        db.execute("VACUUM")
        page = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'entry'").fetchone()[0]
        size = db.execute("PRAGMA page_size").fetchone()[0]
    db.close()
    for beside in ("-wal", "-shm"):
        Path(f"{path}{beside}").unlink(missing_ok=True)
    data = bytearray(path.read_bytes())
    data[(page - 1) * size : (page - 1) * size + 16] = b"\xff" * 16
    path.write_bytes(data)


async def flaws(backend: Verifiable) -> list[str]:
    return [f"{flaw.owner}: {flaw.where}: {flaw.what}" async for flaw in backend.verify()]


async def test_what_is_right_is_right(backend: SqliteBackend) -> None:
    assert isinstance(backend, Verifiable)
    assert await flaws(backend) == []


async def test_the_places_that_hold_something(backend: SqliteBackend) -> None:
    """Neither an owner that was deleted, nor a log that was emptied, nor a peer."""
    places = [each async for each in backend.places()]
    assert sorted(places) == [(A, "archive"), (A, "card"), (A, "pubsub"), (B, "card"), (ROOM, "archive")]


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("UPDATE body SET refs = refs + 1 WHERE id = 1", ": body 1: 2 entries are said to have it, and 1 have it"),
        ("UPDATE entry SET body = 1 WHERE id = 2", ": body 1: 1 entries are said to have it, and 2 have it"),
        ("INSERT INTO body VALUES (77, 1, x'00')", ": body 77: no entry has it (1 are said to)"),
        ("DELETE FROM body WHERE id = (SELECT body FROM entry WHERE id = 3)", f"{ROOM}: archive#3: the entry's body"),
        ("UPDATE entry SET peer = 999 WHERE id = 3", f"{ROOM}: archive#3: the entry's peer has no name"),
        ("DELETE FROM box WHERE log = (SELECT id FROM name WHERE name = 'pubsub')", "#4: the entry belongs to no log"),
        ("DELETE FROM jid WHERE name = 'b@localhost'", ": card/: the record belongs to no map of an owner"),
        ("UPDATE jid SET domain = 'other' WHERE name = 'a@localhost'", f"{A}: domain other: the owner is listed under"),
        ("UPDATE sending SET peer = 999", f"{A}: sending 1: the sending does not say from whom"),
        ("UPDATE sending SET owner = 999", ": sending 1: the sending does not say from whom"),
        ("UPDATE record SET value = x'c1' WHERE key = ''", f"{A}: card: the record is no MessagePack"),
    ],
)  # fmt: skip
async def test_damage(path: Path, statement: str, expected: str) -> None:
    damage(path, statement)
    backend = SqliteBackend(str(path))
    await backend.open()
    try:
        assert any(expected in line for line in await flaws(backend)), await flaws(backend)
    finally:
        await backend.close()


async def test_a_page_that_is_torn(path: Path) -> None:
    """SQLite's own check finds it, and what the tables say is not looked at any more."""
    tear(path)
    backend = SqliteBackend(str(path))
    await backend.open()
    try:
        found = await flaws(backend)
    finally:
        await backend.close()
    assert found
    assert all(line.startswith(": the file: ") for line in found), found


async def test_more_flaws_than_are_read_at_once(path: Path) -> None:
    damage(path, *(f"INSERT INTO body VALUES ({number}, 1, x'00')" for number in range(100, 1300)))
    backend = SqliteBackend(str(path))
    await backend.open()
    try:
        assert len(await flaws(backend)) == 1200
    finally:
        await backend.close()
