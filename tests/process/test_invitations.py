"""xmppd invite: a link for somebody, who registers with it over a real connection."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.process.client import Wire
from tests.process.server import ROOT, ServerProcess, configuration, environment, invoke


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    server = ServerProcess(tmp_path)
    await server.start()
    yield server
    server.kill()


async def ask(wire: Wire, payload: str) -> str:
    wire.send(f"<iq type='set' id='1' to='localhost'>{payload}</iq>")
    return str((await wire.find("iq", id="1")).get("type"))


async def test_an_invitation_outlives_a_restart_and_is_used_once(server: ServerProcess) -> None:
    made = await server.cli("invite", "localhost", "--days", "3")
    assert made.status == 0, made.err
    found = re.match(r"xmpp:localhost\?register;preauth=([a-z2-7]{32})\nIt can be used once until", made.out)
    assert found, made.out
    await server.stop()
    await server.start()
    preauth = f"<preauth xmlns='urn:xmpp:pars:0' token='{found[1]}'/>"
    account = "<username>romeo</username><password>wherefore</password>"
    async with await Wire.connect(server.port()) as wire:
        assert await ask(wire, preauth) == "result"
        assert await ask(wire, f"<query xmlns='jabber:iq:register'>{account}</query>") == "result"
        await wire.sign_in("romeo", "wherefore")
        await wire.bind()
    server.kill()
    await server.start()
    async with await Wire.connect(server.port()) as wire:
        assert await ask(wire, preauth) == "error"
    assert found[1] not in (server.folder / "server.log").read_text()


async def test_list_and_revoke(server: ServerProcess) -> None:
    made = await server.cli("invite", "--uses", "5", "--json")
    id = json.loads(made.out)["id"]
    listed = await server.cli("op", "invite.list")
    assert id in listed.out and "5 left" in listed.out
    assert (await server.cli("op", "invite.revoke", id)).out == "It is revoked.\n"
    assert (await server.cli("op", "invite.list")).out == "No invitation is open.\n"
    wrong = await server.cli("invite", "elsewhere.example")
    assert wrong.status == 1 and "elsewhere.example" in wrong.err
    assert "--uses" in (await server.cli("invite", "--help")).out


async def test_a_terminal_shows_the_code(server: ServerProcess) -> None:
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "xmppd", "invite", "--config", str(server.config)]
    process = await asyncio.create_subprocess_exec(
        *command, stdin=slave, stdout=slave, stderr=subprocess.PIPE, cwd=ROOT, env=environment()
    )
    os.close(slave)
    _, complaints = await process.communicate()
    shown = b""
    try:
        while piece := os.read(master, 65536):
            shown += piece
    except OSError:
        pass  # the other end is closed: that is the end of what was shown
    finally:
        os.close(master)
    assert process.returncode == 0, complaints
    assert "█▀" in shown.decode() and "xmpp:localhost?register" in shown.decode()


async def test_the_page_of_a_link(tmp_path: Path) -> None:
    """From the shell to the browser to the client."""
    listeners = [
        {"address": "127.0.0.1", "port": 0, "tls": "starttls"},
        {"kind": "http", "address": "127.0.0.1", "port": 0, "tls": "none"},
    ]
    server = ServerProcess(tmp_path, configuration(listeners=listeners))
    try:
        await server.start()
        made = json.loads((await server.cli("invite", "--json")).out)
        assert re.fullmatch(r"http://localhost:[0-9]+/invite/[a-z2-7]{32}", made["link"]), made
        token = made["link"].rpartition("/")[2]
        async with aiohttp.ClientSession() as browser:
            address = made["link"].replace("localhost", "127.0.0.1")
            async with browser.get(address) as page:
                assert page.status == 200 and "You are invited to localhost" in await page.text()
            form = {"username": "juliet", "password": "wherefore", "again": "wherefore"}
            async with browser.post(address, data=form) as page:
                assert page.status == 200 and "juliet@localhost" in await page.text()
            async with browser.get(address) as page:
                assert page.status == 404
        async with await Wire.login(server.port(), "juliet", "wherefore"):
            assert token not in (server.folder / "server.log").read_text()
    finally:
        server.kill()


def test_while_the_server_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "xmppd.yaml").write_text(configuration())
    outcome = invoke("invite")
    assert outcome.status == 3 and "'invite' needs a running server: start it first" in outcome.err
    assert "there is no operation" not in outcome.err
    listed = invoke("op", "list")
    assert "user.add" in listed.out and "does not run" in listed.err
