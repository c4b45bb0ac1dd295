"""Strangers come with an invitation: slixmpp, and nbxmpp, the library of Gajim (XEP-0077, XEP-0445)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from slixmpp.exceptions import IqError

from tests.interop.gajim import Gajim, Visit
from tests.interop.people import WITHIN, Person, eventually
from tests.process.server import ServerProcess, configuration

PASSWORD = "wherefore"


@pytest.fixture
async def inviting(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[ServerProcess]:
    server = ServerProcess(tmp_path, configuration(plugins=getattr(request, "param", None)))
    try:
        yield await server.start()
    finally:
        server.kill()
    assert "Traceback" not in server.log, server.log


async def invited(server: ServerProcess, *options: str) -> tuple[str, str]:
    """The token, and the id."""
    made = json.loads((await server.cli("invite", "--json", *options)).out)
    return made["uri"].partition("preauth=")[2].partition(";")[0], made["id"]


class Newcomer(Person):
    """Shows an invitation and registers, when the stream says that it can, and signs in on the same stream."""

    def __init__(self, name: str, server: ServerProcess, token: str) -> None:
        super().__init__(f"{name}@localhost", server.certificate, password=PASSWORD)
        self.token = token
        self.refused: list[str] = []
        self.register_plugin("xep_0077")
        self.unregister_feature("register", 50)
        self.register_feature("register", self._offered, order=50)  # slixmpp's own knows no tokens
        self.add_event_handler("register", self._register)

    async def _offered(self, features: Any) -> Any:
        shown = self.make_iq_set(ito="localhost")
        shown.append(ElementTree.Element("{urn:xmpp:pars:0}preauth", {"token": self.token}))
        self._always_send_everything = True  # before sign-in as well
        try:
            await shown.send(timeout=WITHIN)
        except IqError as error:
            self.refused.append(error.condition)
            self.abort()
            return True
        self._always_send_everything = False
        return await self.plugin["xep_0077"]._handle_register_feature(features)

    async def _register(self, _form: Any) -> None:
        account = self.make_iq_set()
        account["register"]["username"], account["register"]["password"] = self.boundjid.user, self.password
        await account.send(timeout=WITHIN)


async def test_slixmpp_registers_and_is_a_contact(inviting: ServerProcess) -> None:
    await inviting.account("romeo")
    romeo = Person("romeo@localhost", inviting.certificate)
    await romeo.sign_in(inviting.port())
    await romeo.appear()
    token, _ = await invited(inviting, "--contact", "romeo@localhost")
    juliet = Newcomer("juliet", inviting, token)
    await juliet.sign_in(inviting.port())
    await juliet.appear()
    await eventually(lambda: juliet.subscribed("romeo@localhost") and romeo.subscribed("juliet@localhost"))
    await eventually(lambda: romeo.sees("juliet@localhost") and juliet.sees("romeo@localhost"))
    for person in (romeo, juliet):
        person.leave()


@pytest.mark.parametrize("wrong", ["used", "revoked", "invented"])
async def test_slixmpp_with_what_is_no_invitation(inviting: ServerProcess, wrong: str) -> None:
    token, id = await invited(inviting)
    if wrong == "used":
        first = Newcomer("tybalt", inviting, token)
        await first.sign_in(inviting.port())
        first.leave()
    elif wrong == "revoked":
        await inviting.cli("op", "invite.revoke", id)
    juliet = Newcomer("juliet", inviting, token if wrong != "invented" else "a" * 32)
    signing_in = asyncio.ensure_future(juliet.sign_in(inviting.port()))
    await eventually(lambda: juliet.refused)
    signing_in.cancel()
    assert juliet.refused == ["item-not-found"]


async def test_gajim_registers(inviting: ServerProcess, visit: Visit) -> None:
    token, _ = await invited(inviting, "--name", "juliet")
    stranger = await visit("juliet@localhost", inviting)
    stranger.do("ask_form")
    assert await stranger.expect("form") == ["form", "forbidden"]
    assert await shown(stranger, "a" * 32) == "item-not-found"
    assert await shown(stranger, token) is None
    stranger.do("ask_form")
    assert (await stranger.expect("form"))[1:3] == [None, ["FORM_TYPE", "username", "password"]]
    assert await registered(stranger, username="rosaline", password=PASSWORD) == "not-acceptable"
    assert await registered(stranger, username="juliet", password=PASSWORD) is None
    again = await visit("tybalt@localhost", inviting)
    assert await shown(again, token) == "item-not-found"
    juliet = Person("juliet@localhost", inviting.certificate, password=PASSWORD)
    await juliet.sign_in(inviting.port())
    juliet.leave()


@pytest.mark.parametrize(
    "inviting", [{"register": {"mode": "open", "captcha_questions": ["Which colour is snow? = white"]}}], indirect=True
)
async def test_gajim_answers_a_question(inviting: ServerProcess, visit: Visit) -> None:
    """And has the picture: nbxmpp checks its hash."""
    stranger = await visit("juliet@localhost", inviting)
    stranger.do("ask_form")
    _, error, fields, picture = await stranger.expect("form")
    assert error is None and {"ocr", "qa", "username", "password"} <= set(fields)
    assert bytes.fromhex(picture).startswith(b"\x89PNG")
    assert await registered(stranger, username="juliet", password=PASSWORD, qa="red") == "not-acceptable"
    stranger.do("ask_form")
    await stranger.expect("form")
    assert await registered(stranger, username="juliet", password=PASSWORD, qa="white") is None


async def shown(client: Gajim, token: str) -> str | None:
    """The condition, if it is refused."""
    client.do("show", token)
    return (await client.expect("shown"))[1]


async def registered(client: Gajim, **values: str) -> str | None:
    """The condition, if it is refused."""
    client.do("fill", values)
    return (await client.expect("registered"))[1]
