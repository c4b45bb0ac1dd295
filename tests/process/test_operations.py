"""xmppd op: any operation of the running server, a third party's too; and what all commands made from one share."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.process.server import ROOT, ServerProcess, configuration, environment, invoke, xmppd

PLUGINS = str(ROOT / "tests" / "third_party" / "folder" / "plugins")


@pytest.fixture
async def counting(tmp_path: Path):  # type: ignore[no-untyped-def]
    server = ServerProcess(tmp_path, configuration(plugins={"tally": {}}, plugin_path=[PLUGINS]))
    await server.start()
    yield server
    server.kill()


async def test_an_operation_of_a_third_party(counting: ServerProcess) -> None:
    listed = await counting.cli("op", "list")
    assert listed.status == 0
    assert [line for line in listed.out.splitlines() if line.startswith("tally.reset  ")]
    assert "announce" in listed.out and "user.add" in listed.out
    help = await counting.cli("op", "tally.reset", "--help")
    assert (help.status, "The account, as name@domain." in help.out) == (0, True)
    done = await counting.cli("op", "tally.reset", "romeo@localhost")
    assert (done.status, done.out) == (0, "romeo@localhost begins at zero.\n")
    as_json = await counting.cli("op", "tally.reset", "romeo@localhost", "--json")
    assert json.loads(as_json.out) == {"note": "romeo@localhost begins at zero."}
    for arguments, status, said in (
        (("tally.reset",), 2, "JID"),
        (("tally.reset", "localhost"), 1, "an account looks like name@localhost"),
        (("tally.reset", "romeo@localhost", "--colour"), 2, "--colour"),
        (("tally.wind",), 1, "there is no operation 'tally.wind'"),
    ):
        outcome = await counting.cli("op", *arguments)
        assert outcome.status == status and said in outcome.err, (arguments, outcome)


async def test_what_is_behind_two_dashes_is_no_option(counting: ServerProcess) -> None:
    for text in ("-c", "--config=none", "--json"):
        done = await xmppd("op", "announce", "--", text, cwd=counting.folder)
        assert (done.status, done.out) == (0, "told 0\n"), done


async def test_who_reads_the_output_may_stop(counting: ServerProcess) -> None:
    """As `| head` does."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "xmppd", "metrics", "--config", str(counting.config)]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env=environment(), stdout=writing, stderr=asyncio.subprocess.PIPE
    )
    os.close(writing)
    assert await process.communicate() == (None, b"")


async def test_for_programs(counting: ServerProcess) -> None:
    added = await counting.cli("user", "add", "romeo@localhost", "-p", "pencil", "--json")
    assert json.loads(added.out) == {"jid": "romeo@localhost"}
    again = await counting.cli("user", "add", "romeo@localhost", "-p", "pencil", "--json")
    assert (again.status, again.out) == (1, "")
    wrong = {"code": "conflict", "text": "romeo@localhost: there is such an account already"}
    assert json.loads(again.err) == {"error": wrong}
    listed = await counting.cli("user", "list", "localhost", "--json")
    assert json.loads(listed.out) == {"items": ["romeo@localhost"], "next": ""}
    operations = json.loads((await counting.cli("op", "--json")).out)
    assert {each["name"]: each["hosts"] for each in operations}["tally.reset"] == ["localhost"]
    assert json.loads((await counting.cli("reload", "--json")).out) == {"changed": [], "restart": []}


def test_while_the_server_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the core that the store is enough for; nothing is made by asking."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "xmppd.yaml").write_text(configuration())
    listed = invoke("op", "list")
    assert "user.add" in listed.out and "its plugins are not known" in listed.err
    assert not (tmp_path / "var").exists()
    assert invoke("op", "user.add", "romeo@localhost", "-p", "pencil").out == "Added romeo@localhost.\n"
    assert invoke("op", "user.list", "localhost", "--json").out == '{"items":["romeo@localhost"],"next":""}\n'
    assert invoke("user", "disable", "romeo@localhost").out == "Disabled romeo@localhost.\n"
    assert invoke("user", "count", "localhost", "--state", "disabled").out == "1\n"
    for arguments in (("reload",), ("session", "end", "romeo@localhost"), ("op", "session.end", "romeo@localhost")):
        outcome = invoke(*arguments)
        assert outcome.status == 3 and "no server is running here" in outcome.err, arguments
    online = invoke("user", "list", "localhost", "--state", "online", "--json")
    assert (online.status, json.loads(online.err.splitlines()[-1])["error"]["code"]) == (3, "not-running")


@pytest.mark.parametrize(("typed", "left"), [("n\n", "romeo@localhost\n"), ("y\n", "")])
def test_at_a_terminal_a_person_is_asked_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: str, left: str
) -> None:
    """What cannot be undone. A script is not asked, and `--yes` asks nobody."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "xmppd.yaml").write_text(configuration())
    invoke("user", "add", "romeo@localhost", "-p", "pencil")
    master, slave = pty.openpty()
    os.write(master, typed.encode())
    command = [sys.executable, "-m", "xmppd", "user", "del", "romeo@localhost"]
    deleting = subprocess.run(
        command, check=False, stdin=slave, capture_output=True, text=True, env=environment(), timeout=30
    )
    for each in (master, slave):
        os.close(each)
    assert "this cannot be undone. Go on?" in deleting.stdout + deleting.stderr
    assert deleting.returncode == (1 if left else 0)
    assert invoke("user", "list", "localhost").out == left
    if left:
        assert invoke("user", "del", "romeo@localhost", "--yes").status == 0
