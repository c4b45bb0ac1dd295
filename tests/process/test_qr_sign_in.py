"""A code, a phone, a token: over real sockets, and the token is good after a restart of the server."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness.sasl2 import agent, authenticate, ht
from tests.process import http_wire
from tests.process.client import Wire
from tests.process.server import ServerProcess, configuration

NODE = "urn:xmppd:qr-sign-in"
FORMS = "jabber:x:data"
PAGE = "99999999-2222-4333-8444-555555555555"
SASL2 = "{urn:xmpp:sasl:2}"


@pytest.fixture
async def process(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    listeners = [{"port": 0}, {"kind": "http", "port": 0, "tls": "none"}]
    found = ServerProcess(tmp_path, configuration(plugins={"qr_sign_in": {}}, listeners=listeners))
    await found.start()
    await found.account("romeo")
    yield found
    found.kill()
    assert "Traceback" not in found.log, found.log


async def post(process: ServerProcess, name: str, **body: str) -> dict[str, Any]:
    found = re.search(r"listening on \S+ port (\d+) \(http", process.log)
    assert found is not None, process.log
    data = json.dumps(body).encode()
    lines = ("Content-Type: application/json", f"Content-Length: {len(data)}", "Sec-Fetch-Site: same-origin")
    answer = await http_wire.ask(int(found[1]), "POST", f"/qr-sign-in/{name}", *lines, body=data)
    assert answer.status == 200, answer
    told: dict[str, Any] = json.loads(answer.body)
    return told


async def by_token(process: ServerProcess, token: str) -> str:
    """ "success" or "failure"."""
    async with await Wire.connect(process.port()) as wire:
        more = f"<fast xmlns='urn:xmpp:fast:0'/>{agent(PAGE)}"
        wire.send(authenticate("HT-SHA-256-NONE", ht("romeo", token), more))
        return str((await wire.receive()).tag).removeprefix(SASL2)


async def test_a_page_is_signed_in(process: ServerProcess) -> None:
    page = await post(process, "code")
    waiting = asyncio.create_task(post(process, "answer", secret=page["secret"], id=PAGE))
    node = f"{NODE}#{page['code']}"
    commands = "http://jabber.org/protocol/commands"
    async with await Wire.login(process.port(), "romeo") as phone:
        phone.send(f"<iq type='set' id='1' to='localhost'><command xmlns='{commands}' node='{node}'/></iq>")
        session = (await phone.find("{jabber:client}iq"))[0].get("sessionid")
        yes = f"<x xmlns='{FORMS}' type='submit'><field var='approve'><value>1</value></field></x>"
        asked = f"<command xmlns='{commands}' node='{node}' sessionid='{session}'>{yes}</command>"
        phone.send(f"<iq type='set' id='2' to='localhost'>{asked}</iq>")
        found = await waiting
    assert (found["state"], found["jid"]) == ("approved", "romeo@localhost")
    assert (await post(process, "answer", secret=page["secret"], id=PAGE)) == {"state": "gone"}
    assert await by_token(process, found["token"]) == "success"
    for text in (page["code"], page["secret"], found["token"]):
        assert text not in process.log
    for _ in range(2):  # the key behind the tokens is made at the first start
        await process.stop()
        await process.start()
        assert await by_token(process, found["token"]) == "success"
