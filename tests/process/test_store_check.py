"""xmppd store check, as an administrator runs it."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.process.client import Wire
from tests.process.server import ServerProcess, configuration
from tests.storage.test_sqlite_check import tear

BROKEN = "romeo@localhost: archive#"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    """It runs; romeo has written to juliet."""
    server = ServerProcess(tmp_path)
    await server.start()
    await server.account("romeo", "juliet")
    async with await Wire.connect(server.port()) as wire:
        await wire.sign_in("romeo", "pencil")
        await wire.bind("orchard")
        wire.send("<message to='juliet@localhost' type='chat' id='m'><body>hi</body></message>")
        await wire.iq("<ping xmlns='urn:xmpp:ping'/>")
    yield server
    server.kill()


def store(server: ServerProcess) -> Path:
    return server.folder / "var" / "xmppd.db"


def damage(path: Path) -> None:
    """The bodies of what was said lose their ends."""
    with sqlite3.connect(path) as db:
        db.execute("UPDATE body SET data = CAST(substr(data, 1, length(data) - 3) AS BLOB)")
    db.close()


async def test_a_store_that_is_right(server: ServerProcess) -> None:
    await server.stop()
    outcome = await server.cli("store", "check")
    assert outcome.status == 0, outcome.text
    assert outcome.out.startswith("Looked at 2 accounts, ")
    assert outcome.out.endswith(": nothing is wrong.\n")


async def test_what_a_kill_leaves_is_right(server: ServerProcess) -> None:
    await server.crash()
    outcome = await server.cli("store", "check")
    assert outcome.status == 0, outcome.text


async def test_says_what_is_wrong(server: ServerProcess) -> None:
    await server.stop()
    damage(store(server))
    before = store(server).read_bytes()
    outcome = await server.cli("store", "check")
    assert outcome.status == 1
    assert BROKEN in outcome.out
    assert outcome.out.endswith(": 2 problems.\n")
    assert store(server).read_bytes() == before, "it has written"


async def test_of_one_owner(server: ServerProcess) -> None:
    await server.stop()
    damage(store(server))
    outcome = await server.cli("store", "check", "--owner", "Juliet@localhost")
    assert outcome.status == 1
    assert BROKEN not in outcome.out
    assert "juliet@localhost: archive#" in outcome.out
    assert "Looked at 1 accounts" in outcome.out


async def test_for_programs(server: ServerProcess) -> None:
    await server.stop()
    damage(store(server))
    outcome = await server.cli("store", "check", "--json")
    assert outcome.status == 1
    told = json.loads(outcome.out)
    assert told["found"] == {"problems": 2, "notes": 0, "unread": 0}
    assert {each["owner"] for each in told["problems"]} == {"romeo@localhost", "juliet@localhost"}
    assert told["looked_at"]["accounts"] == 2


async def test_not_while_a_server_uses_it(server: ServerProcess) -> None:
    outcome = await server.cli("store", "check")
    assert outcome.status == 3
    assert "a server runs on sqlite:///" in outcome.err
    server.socket.unlink()  # it cannot be asked, and has its store all the same
    outcome = await server.cli("store", "check", "--json")
    assert outcome.status == 3
    error = json.loads(outcome.err)["error"]
    assert error["code"] == "unavailable"
    assert "in use by another process" in error["text"]


async def test_a_copy_while_the_server_runs(server: ServerProcess) -> None:
    copy = server.folder / "copy.db"
    with sqlite3.connect(store(server)) as db, sqlite3.connect(copy) as other:
        db.backup(other)
    db.close()
    other.close()
    assert (await server.cli("store", "check", "--storage", f"sqlite:///{copy}")).status == 0
    damage(copy)
    assert (await server.cli("store", "check", "--storage", f"sqlite:///{copy}")).status == 1


async def test_what_is_no_store(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path)
    outcome = await server.cli("store", "check")
    assert (outcome.status, (tmp_path / "var" / "xmppd.db").exists()) == (3, False), outcome.text
    assert "is not there" in outcome.err
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "xmppd.db").write_text("Once upon a time")
    outcome = await server.cli("store", "check")
    assert outcome.status == 3
    assert "file is not a database" in outcome.err
    server.config.write_text(configuration("memory:"))
    assert (await server.cli("store", "check")).status == 3


async def test_a_database_that_is_torn(server: ServerProcess) -> None:
    """What cannot be read is told, and so is what can."""
    await server.stop()
    tear(store(server))
    outcome = await server.cli("store", "check")
    assert outcome.status == 3, outcome.text
    assert "-: the file: " in outcome.out
    assert "romeo@localhost: archive.check_log: cannot be read" in outcome.out
    assert "unread" in outcome.out.splitlines()[-1]


async def test_addresses_and_options_that_are_none(server: ServerProcess) -> None:
    await server.stop()
    outcome = await server.cli("store", "check", "--owner", "@localhost")
    assert outcome.status == 2
    shutil.rmtree(server.folder / "var")
    server.config.write_text("hosts: 5")
    assert (await server.cli("store", "check")).status == 2
