"""What a person takes along: the command, the link, the page, the files."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator

import pytest
from lxml import etree, html

from tests.harness import Client, Harness, HttpAnswer, xml
from xmppd.config import HttpListenerConfig
from xmppd.jid import JID
from xmppd.net.listen import Listener

COMMANDS = "http://jabber.org/protocol/commands"
NODE = "urn:xmppd:own-data"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture
async def web() -> AsyncIterator[Harness]:
    """With a listener that people can open."""
    server = await Harness({"own_data": {"links": 3}}).start()
    site = HttpListenerConfig(tls="proxy", trusted_proxies=("127.0.0.1",), public_url="https://chat.example")
    server.server.listeners.configured.append((site, Listener(server.server.clock, tls="none")))
    yield server
    await server.stop()


async def asked(client: Client) -> str:
    """The answer to the command."""
    return xml(await client.iq(f"<command xmlns='{COMMANDS}' node='{NODE}' action='execute'/>", "set"))


async def token(client: Client) -> str:
    found = re.search(r"https://chat\.example/my-data/([\w-]+)", await asked(client))
    assert found is not None
    return found[1]


async def download(server: Harness, token: str, name: str) -> HttpAnswer:
    return await server.http("POST", f"/my-data/{token}", f"file={name}".encode(), FORM)


def unchunked(answer: HttpAnswer) -> bytes:
    assert answer.headers["transfer-encoding"] == "chunked"
    data, body = answer.body, b""
    while True:
        size, _, data = data.partition(b"\r\n")
        if not int(size, 16):
            return body
        body, data = body + data[: int(size, 16)], data[int(size, 16) + 2 :]


async def test_everything_is_in_the_files(web: Harness) -> None:
    romeo, juliet = await web.login("romeo"), await web.login("juliet")
    await romeo.iq("<query xmlns='jabber:iq:roster'><item jid='juliet@localhost' name='Jule &amp; me'/></query>", "set")
    await romeo.iq("<vCard xmlns='vcard-temp'><FN>Romeo</FN></vCard>", "set")
    for number in range(250):
        romeo.send(f"<message to='juliet@localhost' type='chat' id='m{number}'><body>m{number}</body></message>")
    await web.quiet()
    await juliet.receive_all()
    found = await token(romeo)
    page = await web.http("GET", f"/my-data/{found}")
    assert page.status == 200
    assert len(html.document_fromstring(page.body.decode()).xpath("//form")) == 2
    answer = await download(web, found, "account.xml")
    assert answer.status == 200
    assert "attachment" in answer.headers["content-disposition"]
    tree = etree.fromstring(unchunked(answer))
    user = tree[0][0]
    assert user.get("name") == "romeo"
    assert user.findtext("{vcard-temp}vCard/{vcard-temp}FN") == "Romeo"
    item = user.find("{jabber:iq:roster}query/{jabber:iq:roster}item")
    assert item is not None
    assert item.get("name") == "Jule & me"
    assert len(user.findall("{urn:xmpp:pie:0#mam}archive")) == 1
    assert len(user.findall("{urn:xmpp:pie:0#mam}archive/*")) == 250
    assert b"scram" not in etree.tostring(tree), "no secret of the server"
    lines = unchunked(await download(web, found, "messages.jsonl")).splitlines()
    assert [json.loads(line)["body"] for line in lines] == [f"m{number}" for number in range(250)]


async def test_each_file_once(web: Harness) -> None:
    found = await token(await web.login("romeo"))
    assert (await download(web, found, "account.xml")).status == 200
    assert (await download(web, found, "account.xml")).status == 404
    assert (await download(web, found, "shadow")).status == 404
    page = html.document_fromstring((await web.http("GET", f"/my-data/{found}")).body.decode())
    assert page.xpath("//input/@value") == ["messages.jsonl"]


async def test_a_link_ends(web: Harness) -> None:
    """By time, by a newer one, with the password, with the account; another one was never good."""
    romeo = await web.login("romeo")
    old = await token(romeo)
    new = await token(romeo)
    assert (await web.http("GET", f"/my-data/{old}")).status == 404
    assert (await web.http("GET", f"/my-data/{new}")).status == 200
    assert (await web.http("GET", f"/my-data/{new}x")).status == 404
    await web.advance(15 * 60 + 1)
    assert (await web.http("GET", f"/my-data/{new}")).status == 404
    assert (await download(web, new, "account.xml")).status == 404
    romeo = await web.login("romeo", "again")
    last = await token(romeo)
    await web.server.accounts.set_password(JID.parse("romeo@localhost"), "crayon")
    assert (await web.http("GET", f"/my-data/{last}")).status == 404
    assert not len(web.host.plugins["own_data"].links)


async def test_not_too_many_links(web: Harness) -> None:
    romeo = await web.login("romeo")
    for _ in range(3):
        await token(romeo)
    assert "resource-constraint" in await asked(romeo)


async def test_only_the_owner_is_offered_it(web: Harness) -> None:
    await web.register("romeo")
    juliet = await web.login("juliet")
    execute = f"<command xmlns='{COMMANDS}' node='{NODE}' action='execute'/>"
    assert (await juliet.iq(execute, "set", to="romeo@localhost")).get("type") == "error"


async def test_not_in_clear(web: Harness) -> None:
    found = await token(await web.login("romeo"))
    headers = {"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "http"}
    answer = await web.http("GET", f"/my-data/{found}", headers=headers, trusted_proxies=("127.0.0.1",))
    assert answer.status == 403


async def test_without_a_page(server: Harness) -> None:
    assert "no web pages" in await asked(await server.login("romeo"))
