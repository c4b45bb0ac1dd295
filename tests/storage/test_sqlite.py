"""What only SQLite can get wrong: bodies, full disks, kill -9, files that are not ours."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.storage.clocks import LoopClock
from xmppd.storage import open_storage, sqlite_schema
from xmppd.storage.api import Entry, OwnerDelete, Range, Send, StoreError
from xmppd.storage.sqlite_schema import VERSION, connect, prepare
from xmppd.storage.store import Store

A, B = "a@example.org", "b@example.org"


def entry(id: int, body: bytes = b"<m/>", peer: str = B) -> Entry:
    return Entry(id, peer, "phone", 1, body)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "store.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[Store]:
    store = await open_storage(f"sqlite:///{path}", LoopClock())
    yield store
    await store.close()


def bodies(path: Path) -> list[tuple[int, bytes]]:
    with sqlite3.connect(path) as db:
        return db.execute("SELECT refs, data FROM body ORDER BY id").fetchall()


async def test_a_body_is_stored_once_and_goes_with_its_last_entry(store: Store, path: Path) -> None:
    log = store.log("archive")
    await store.commit([log.append(A, entry(1, b"x")), log.append(B, entry(1, b"x"))])
    await store.commit([log.append(A, entry(2, b"x")), log.append(A, entry(3, b"y")), log.append(A, entry(4, b"y"))])
    assert bodies(path) == [(2, b"x"), (1, b"x"), (2, b"y")]
    await store.commit([log.delete(A, (1,))])
    assert bodies(path) == [(1, b"x"), (1, b"x"), (2, b"y")]
    await store.commit([log.replace(A, entry(3, b"tombstone"))])
    assert bodies(path) == [(1, b"x"), (1, b"x"), (1, b"y"), (1, b"tombstone")]
    await store.commit([log.trim(A, 4)])
    assert bodies(path) == [(1, b"x"), (1, b"y")]
    await store.commit([OwnerDelete(A)])
    assert bodies(path) == [(1, b"x")]
    await store.commit([log.trim(B, 2**63)])
    assert bodies(path) == []


async def test_a_repeated_batch_leaves_no_bodies_behind(store: Store, path: Path) -> None:
    log = store.log("archive")
    batch = [log.append(A, entry(1, b"x")), log.append(B, entry(1, b"x"))]
    await store.commit(batch)
    await store.commit([*batch, log.append(A, entry(2, b"x")), log.append(A, entry(3, b"new"))])
    assert bodies(path) == [(2, b"x"), (1, b"x"), (1, b"new")]


async def test_settings_on_which_durability_rests(store: Store, path: Path) -> None:
    await store.commit([store.log("archive").append(A, entry(1))])
    db = connect(str(path), 100)
    assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert db.execute("PRAGMA synchronous").fetchone() == (2,)
    db.close()
    for name in ("", "-wal", "-shm", ".lock"):
        assert os.stat(f"{path}{name}").st_mode & 0o777 == 0o600


# --- files that cannot be used ---


async def refused(path: Path, match: str) -> None:
    with pytest.raises(StoreError, match=match):
        await open_storage(f"sqlite:///{path}", LoopClock())


async def test_one_process_at_a_time(store: Store, path: Path) -> None:
    await refused(path, "in use by another process")


async def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    path.write_bytes(b"this is no database at all " * 100)
    await refused(path, "cannot be used as a store: file is not a database")
    assert path.read_bytes().startswith(b"this is no database"), "and it is left alone"


async def test_a_damaged_database(path: Path) -> None:
    store = await open_storage(f"sqlite:///{path}", LoopClock())
    await store.close()
    with path.open("r+b") as file:
        file.seek(60)
        file.write(os.urandom(4000))
    await refused(path, "cannot be used as a store")


async def test_a_database_of_another_program(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE recipes (x)")
    db.close()
    await refused(path, "another program")


async def test_a_newer_schema(path: Path) -> None:
    for _ in range(2):  # opening twice is opening once
        await (await open_storage(f"sqlite:///{path}", LoopClock())).close()
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT version FROM schema").fetchall() == [(n,) for n in range(1, VERSION + 1)]
        db.execute("INSERT INTO schema VALUES (?)", (VERSION + 1,))
    db.close()
    await refused(path, "newer version of the server")


@pytest.mark.parametrize("statement", range(sum(map(len, sqlite_schema.STEPS)) + 1))
async def test_an_upgrade_that_is_cut_off(path: Path, statement: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """T48, D14: after any statement the process is gone; the next start goes on from the last whole step."""
    steps = sqlite_schema.STEPS
    number, cut = 0, []
    for step in steps:
        kept = [*step]
        if number <= statement <= number + len(step):
            kept[statement - number :] = ["SELECT no_such_function()"]
        number += len(step)
        cut.append(tuple(kept))
    monkeypatch.setattr(sqlite_schema, "STEPS", tuple(cut))
    with pytest.raises(StoreError, match="cannot be used as a store"):
        await open_storage(f"sqlite:///{path}", LoopClock())
    monkeypatch.setattr(sqlite_schema, "STEPS", steps)
    store = await open_storage(f"sqlite:///{path}", LoopClock())
    await store.commit([store.log("log").append("a@x", Entry(1, "p@x", "", 0, b"<m/>"))])
    assert await store.log("log").last_id("a@x") == 1
    await store.close()


async def test_a_store_of_the_schema_before_is_taken_as_it_is(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Version 1 knew no sendings."""
    monkeypatch.setattr(sqlite_schema, "STEPS", sqlite_schema.STEPS[:1])
    monkeypatch.setattr(sqlite_schema, "VERSION", 1)
    path.parent.mkdir()
    prepare(str(path))
    with closing(connect(str(path), 64)) as db:
        db.execute("INSERT INTO jid VALUES (1, 'a@x', 'x')")
        db.execute("INSERT INTO name VALUES (1, 'log')")
        db.execute("INSERT INTO box VALUES (1, 1, 1)")
        db.execute("INSERT INTO body VALUES (1, 1, x'6d')")
        db.execute("INSERT INTO entry VALUES (1, 7, 1, '', 0, 1)")
    monkeypatch.undo()
    store = await open_storage(f"sqlite:///{path}", LoopClock())
    assert [each.id for each in await store.log("log").page("a@x", Range(), 10)] == [7]
    sending = Send("a@x", "b@x", b"<message/>")
    await store.commit([sending])
    assert [each.source for each in await store.unheard("x")] == [sending.source]
    await store.close()


async def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    await refused(tmp_path / "file" / "store.db", "cannot be opened: (File exists|Not a directory)")
    await refused(Path("/proc/nowhere/store.db"), "cannot be opened")


# --- faults while running ---


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """The kernel refuses to let any file of this process grow: a full disk, as SQLite sees it (case D05)."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


async def test_a_full_disk_holds_writes_up_and_nothing_else(
    store: Store, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = store.log("archive")
    await store.commit([log.append(A, entry(1))])
    with no_file_larger_than(path.with_name("store.db-wal").stat().st_size + 10_000):
        held = asyncio.create_task(store.commit([log.append(A, entry(2, os.urandom(200_000)))]))
        done, _ = await asyncio.wait([held], timeout=0.5)
        assert not done
        assert [e.id for e in await log.page(A, Range(), 10)] == [1], "reads go on"
    await held
    assert [e.id for e in await log.page(A, Range(), 10)] == [1, 2]
    assert store.available
    assert [r.levelname for r in caplog.records if r.name == "xmppd.storage"] == ["WARNING", "WARNING"]


async def test_a_locked_database_is_waited_for(store: Store, path: Path) -> None:
    log = store.log("archive")
    await store.commit([log.append(A, entry(1))])
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    held = asyncio.create_task(store.commit([log.append(A, entry(2))]))
    done, _ = await asyncio.wait([held], timeout=0.2)
    assert not done
    other.execute("ROLLBACK")
    other.close()
    await held
    assert await log.count(A, Range()) == 2


async def test_a_file_that_vanishes_is_not_replaced_by_an_empty_one(store: Store, path: Path) -> None:
    log = store.log("archive")
    await store.commit([log.append(A, entry(1))])
    with no_file_larger_than(os.stat(f"{path}-wal").st_size):
        held = asyncio.create_task(store.commit([log.append(A, entry(2))]))
        await asyncio.wait([held], timeout=0.2)  # the error makes the writer close and open again
        os.rename(path.parent, f"{path.parent}-away")
        os.mkdir(path.parent)
    done, _ = await asyncio.wait([held], timeout=0.5)
    assert not done
    os.rmdir(path.parent)  # which fails if anything has been made there
    os.rename(f"{path.parent}-away", path.parent)
    await held
    assert [e.id for e in await log.page(A, Range(), 10)] == [1, 2]


CHILD = """
import asyncio, os, sys
from tests.storage.clocks import LoopClock
from xmppd.storage import open_storage, sqlite_schema
from xmppd.storage.api import Entry

class Ack:
    def __init__(self, id): self.id = id
    def committed(self): os.write(1, b"%d\\n" % self.id)
    def failed(self, error): raise SystemExit(error)

async def main():
    store = await open_storage(sys.argv[1], LoopClock())
    log, counts = store.log("archive"), store.map("counts", int)
    id = await log.last_id("a@example.org")
    while True:
        for _ in range(7):
            id += 1
            body = b"<m>%d</m>" % id
            store.join([log.append(o, Entry(id, "p@example.org", "", 1, body)) for o in
                ("a@example.org", "b@example.org")] + [counts.put("a@example.org", "h", id)], Ack(id))
        await asyncio.sleep(0.001)

asyncio.run(main())
"""


def write_until_killed(path: Path, acks: int) -> int:
    """Run the child until it has acknowledged so much, kill it; the last id that it acknowledged."""
    command = [sys.executable, "-c", CHILD, f"sqlite:///{path}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as child:
        assert child.stdout is not None
        seen = [int(child.stdout.readline()) for _ in range(acks)]
        child.kill()
        return max([*seen, *map(int, child.stdout.read().split())])


async def test_what_was_acknowledged_survives_kill_9(path: Path) -> None:
    for round in range(4):
        acked = write_until_killed(path, 40 + round * 13)
        store = await open_storage(f"sqlite:///{path}", LoopClock())
        log = store.log("archive")
        last = await log.last_id(A)
        assert last >= acked
        for owner in (A, B):
            assert [e.id for e in await log.page(owner, Range(), 10**6)] == list(range(1, last + 1))
        assert await store.map("counts", int).read(A, "h") == last
        await store.close()
        assert all(refs == 2 for refs, _ in bodies(path))
