"""A running server, a real receiver of the webhook, and a newcomer with an ordinary client (slixmpp)."""

from __future__ import annotations

import asyncio
import json
import stat
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import slixmpp
from slixmpp.exceptions import IqError

from tests.plugins.test_phone_senders import SECRET, Provider, provider
from tests.plugins.webhook_signature import is_genuine
from tests.process.server import ServerProcess, configuration

__all__ = ["provider"]
CODE = "{urn:xmppd:phone:0}code"
NUMBER = "+49 151 12345678"


def text(provider: Provider) -> str:
    phone = {"sender": "webhook", "webhook": provider.url, "webhook_secret": SECRET}
    return configuration(plugins={"register": {"mode": "open", "captcha": False}, "phone": phone})


@pytest.fixture
async def server(tmp_path: Path, provider: Provider) -> AsyncIterator[ServerProcess]:
    server = ServerProcess(tmp_path, text(provider))
    await server.start()
    yield server
    server.kill()


class Newcomer(slixmpp.ClientXMPP):
    """Fills in what he is asked; the code from his telephone is in `code` when it has come."""

    def __init__(self, server: ServerProcess, provider: Provider, name: str = "romeo") -> None:
        super().__init__(f"{name}@localhost", "wherefore")
        self.provider = provider
        self.name = name
        self.done: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.ca_certs = server.certificate
        self.register_plugin("xep_0004")
        self.register_plugin("xep_0077", {"create_account": True, "force_registration": True})
        self.register_plugin("xep_0050")
        self.add_event_handler("register", self.register)
        self.add_event_handler("session_start", lambda _: self.done.set_result("signed in"))
        self.add_event_handler("failed_all_auth", lambda _: self.done.set_result("not signed in"))
        self.connect("127.0.0.1", server.port())

    async def register(self, form: slixmpp.stanza.Iq) -> None:
        """The form as the server gives it: what it has to be asked for, and then the form of the error."""
        fields = form["register"]["form"].get_fields()
        assert {"username", "password", "phone", CODE} <= set(fields)
        assert "+49" in fields["phone"]["label"] and "sent" in fields[CODE]["label"]
        try:
            await self.submit({"username": self.name, "password": "wherefore", "phone": NUMBER})
        except IqError as error:
            assert error.iq["error"]["condition"] == "not-acceptable" and "code was sent" in error.iq["error"]["text"]
            second = error.iq["register"]["form"].get_fields()
            await self.submit({next(each for each in second if each != "FORM_TYPE"): self.provider.codes[-1]})

    async def submit(self, values: dict[str, str]) -> None:
        iq = self.make_iq_set()
        iq["register"]["form"]["type"] = "submit"
        iq["register"]["form"].add_field("FORM_TYPE", "hidden", value="jabber:iq:register")
        for var, value in values.items():
            iq["register"]["form"].add_field(var, value=value)
        await iq.send()


async def test_a_newcomer(server: ServerProcess, provider: Provider) -> None:
    client = Newcomer(server, provider)
    assert await asyncio.wait_for(client.done, 20) == "signed in"
    ((headers, body),) = provider.requests
    assert is_genuine(headers, body, SECRET, time.time()) and json.loads(body)["to"] == "+4915112345678"
    found = await client.plugin["xep_0050"].send_command(client.boundjid.bare, "urn:xmppd:phone:0")
    assert "has a phone number" in str(found)
    await client.disconnect()
    told = await server.cli("op", "phone.find", "+49 151 12345678")
    assert "romeo@localhost" in told.out, told.err
    key = server.folder / "var" / "phone.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    held = (server.folder / "server.log").read_text()
    assert json.loads(body)["code"] not in held and "15112345678" not in held and key.read_text().strip() not in held


async def test_a_restart_in_between(server: ServerProcess, provider: Provider) -> None:
    """Killed behind the sending: the code is still good, and the key is the same."""
    from tests.process.client import Wire

    def form(**values: str) -> str:
        fields = "".join(f"<field var='{var}'><value>{value}</value></field>" for var, value in values.items())
        x = f"<x xmlns='jabber:x:data' type='submit'>{fields}</x>"
        return f"<iq type='set' id='1' to='localhost'><query xmlns='jabber:iq:register'>{x}</query></iq>"

    account = {"username": "romeo", "password": "wherefore", "phone": NUMBER}
    async with await Wire.connect(server.port()) as wire:
        wire.send(form(**account))
        assert (await wire.find("iq", id="1")).get("type") == "error"
    server.kill()
    await server.start()
    async with await Wire.connect(server.port()) as wire:
        wire.send(form(**account, **{CODE: provider.codes[-1]}))
        assert (await wire.find("iq", id="1")).get("type") == "result"
        await wire.sign_in("romeo", "wherefore")
    assert len(provider.requests) == 1
