"""xmppd user: while the server runs (over the control socket) and while it does not (in the store)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.process.client import SignInFailed, Wire
from tests.process.server import Outcome, ServerProcess, configuration, invoke


class Both:
    """The same commands, with and without a running server; `settled` is when clients may look."""

    def __init__(self, server: ServerProcess, running: bool) -> None:
        self.server, self.running = server, running

    async def user(self, *arguments: str, input: str = "") -> Outcome:
        return await self.server.cli("user", *arguments, input=input)

    async def signs_in(self, user: str, password: str) -> bool:
        if not self.running:
            await self.server.start()
        try:
            async with await Wire.connect(self.server.port()) as wire:
                await wire.sign_in(user, password)
                return True
        except SignInFailed:
            return False
        finally:
            if not self.running:
                await self.server.stop()


@pytest.fixture(params=["running", "stopped"])
async def both(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Both]:
    server = ServerProcess(tmp_path)
    if request.param == "running":
        await server.start()
    yield Both(server, request.param == "running")
    server.kill()


async def test_the_life_of_an_account(both: Both) -> None:
    added = await both.user("add", "Romeo@localhost", "--password", "pencil")
    assert (added.status, added.out) == (0, "Added romeo@localhost.\n")
    again = await both.user("add", "romeo@localhost", "--password", "other")
    assert again.status == 1
    assert "there is such an account already" in again.err
    assert await both.signs_in("romeo", "pencil")
    changed = await both.user("passwd", "romeo@localhost", "--password", "crayon")
    assert changed.status == 0
    assert not await both.signs_in("romeo", "pencil")
    assert await both.signs_in("romeo", "crayon")
    listed = await both.user("list", "localhost")
    assert (listed.status, listed.out) == (0, "romeo@localhost\n")
    deleted = await both.user("del", "romeo@localhost")
    assert deleted.status == 0
    assert (await both.user("list", "localhost")).out == ""
    at_once = await both.user("release", "romeo@localhost")
    if both.running:
        assert at_once.out == "romeo@localhost can be added again.\n"
    else:  # what others hold of it goes when the server runs
        assert "still being removed" in at_once.err and "when the server runs" in deleted.out
    assert not await both.signs_in("romeo", "crayon")
    if not both.running:
        assert (await both.user("release", "romeo@localhost")).out == "romeo@localhost can be added again.\n"
    assert (await both.user("release", "romeo@localhost")).status == 1


async def test_import(both: Both) -> None:
    file = both.server.folder / "people.txt"
    lines = [f"user{number}@localhost pass word {number}" for number in range(6)]
    file.write_text(
        "# people\n\n"
        + "\n".join(lines)
        + "\nuser1@localhost twice\nuser9@elsewhere.org x\nnobody\n@@ x\nlast@localhost\tx\n"
    )
    outcome = await both.user("import", str(file))
    assert outcome.status == 1
    assert "Added 7 of 11 accounts." in outcome.out
    assert f"{file}:9: user1@localhost: there is such an account already" in outcome.err
    assert f"{file}:10: user9@elsewhere.org: this server has accounts at localhost" in outcome.err
    assert f"{file}:11: expected `jid password`" in outcome.err
    assert f"{file}:12: @@: " in outcome.err
    there = ["last@localhost", *(f"user{number}@localhost" for number in range(6))]
    assert (await both.user("list", "localhost")).out.split() == there
    assert await both.signs_in("user5", "pass word 5")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with a configuration; no server runs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "xmppd.yaml").write_text(configuration())
    return tmp_path


def test_what_cannot_be_imported(folder: Path) -> None:
    (folder / "one.txt").write_text("romeo@localhost\n")
    (folder / "binary.txt").write_bytes(b"\xff\xfe\x00")
    for name, said, status in (("one.txt", "one.txt:1: expected `jid password`", 1), ("binary.txt", "binary.txt", 2),
                               (".", ".", 2), ("missing.txt", "missing.txt", 2)):  # fmt: skip
        outcome = invoke("user", "import", name, "--config", "xmppd.yaml")
        assert outcome.status == status, outcome
        assert said in outcome.err


def test_a_password_is_asked_for_twice(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    typed = ["pencil", "pencil", "pencil", "pensil"]
    monkeypatch.setattr("xmppd.cli.operations.getpass", lambda _: typed.pop(0))
    assert invoke("user", "add", "romeo@localhost", "-c", "xmppd.yaml").out == "Added romeo@localhost.\n"
    differs = invoke("user", "passwd", "romeo@localhost", "-c", "xmppd.yaml")
    assert (differs.status, differs.err.splitlines()[-1]) == (1, "The two are not the same.")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["add", "romeo@elsewhere.org", "-p", "x"], "this server has accounts at localhost"),
        (["add", "localhost", "-p", "x"], "an account looks like name@localhost"),
        (["add", "romeo@localhost/phone", "-p", "x"], "an account looks like name@localhost"),
        (["add", "@@", "-p", "x"], "@@"),
        (["add", "romeo@localhost", "-p", ""], "an empty password is no password"),
        (["add", "\udcff@localhost", "-p", "x"], "@localhost"),
        (["passwd", "nobody@localhost", "-p", "x"], "there is no such account"),
        (["del", "nobody@localhost"], "there is no such account"),
        (["list", "elsewhere.org"], "this server has accounts at localhost"),
    ],
)
def test_refusals(folder: Path, arguments: list[str], said: str) -> None:
    outcome = invoke("user", *arguments, "--config", "xmppd.yaml")
    assert outcome.status == 1
    assert said in outcome.err


async def test_new_password_ends_sessions_at_once(process: ServerProcess) -> None:
    await process.account("romeo", "juliet")
    async with await Wire.login(process.port(), "romeo") as romeo, await Wire.login(process.port(), "juliet") as juliet:
        outcome = await process.cli("user", "passwd", "romeo@localhost", "--password", "crayon")
        assert outcome.status == 0
        assert await romeo.stream_error() == "not-authorized"
        assert (await juliet.iq("<ping xmlns='urn:xmpp:ping'/>", to="localhost")).get("type") == "result"


async def test_deletion_ends_sessions_and_takes_all_with_it(process: ServerProcess) -> None:
    """Who takes the name next finds nothing of who had it before."""
    await process.account("romeo")
    async with await Wire.login(process.port(), "romeo") as romeo:
        item = "<query xmlns='jabber:iq:roster'><item jid='juliet@localhost' name='J'/></query>"
        assert (await romeo.iq(item, "set")).get("type") == "result"
        assert (await process.cli("user", "del", "romeo@localhost")).status == 0
        assert await romeo.stream_error() == "not-authorized"
    again = await process.cli("user", "add", "romeo@localhost", "--password", "pencil")
    assert again.status == 1 and "`xmppd user release romeo@localhost` gives it free now" in again.err
    assert (await process.cli("user", "release", "romeo@localhost")).status == 0
    await process.account("romeo")
    async with await Wire.login(process.port(), "romeo") as romeo:
        roster = await romeo.iq("<query xmlns='jabber:iq:roster'/>")
        assert len(roster[0]) == 0


async def test_a_store_in_memory_needs_the_server(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path, configuration("memory:"))
    outcome = await server.cli("user", "add", "romeo@localhost", "-p", "pencil")
    assert outcome.status == 1
    assert "the store is in memory and the server does not run" in outcome.err
    await server.start()
    try:
        assert (await server.cli("user", "add", "romeo@localhost", "-p", "pencil")).status == 0
    finally:
        assert await server.stop() == 0


async def test_nonsense_on_the_control_socket(process: ServerProcess) -> None:
    """It is answered, and the server goes on."""
    lines = [b"hello", b"[1]", b'{"operation": 1}', b'{"operation": "user.add", "arguments": [1]}', b"[" * 100_000,
             b'{"operation": "user.add", "arguments": {"jid": 1, "password": 2}}',
             b'{"operation": "user.list", "arguments": {"domain": "localhost", "state": "asleep"}}',
             b'{"operation": "user.del", "arguments": {"jids": []}}',
             b'{"operation": "user.del", "arguments": {"jids": [[]]}}',
             b'{"operation": "ping", "arguments": {"x": 1}}', b'{"operation": "ping", "more": 1}',
             b'{"operation": "user.list", "arguments": {}}', b'{"operation": "stop"}', b"\xff\xfe"]  # fmt: skip
    reader, writer = await asyncio.open_unix_connection(str(process.socket))
    for line in lines:
        writer.write(line + b"\n")
        answer = json.loads(await asyncio.wait_for(reader.readline(), 10))
        assert list(answer) == ["error"], (line, answer)
        assert answer["error"]["code"] in ("invalid", "unknown-operation"), (line, answer)
    writer.close()
    assert await process.operation("ping") == {"note": "pong"}
