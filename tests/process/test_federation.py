"""Two servers of ours, as people of two families have them: and what goes on between people of both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.harness.dns import DnsServer
from tests.process.client import CLIENT, Wire, body
from tests.process.two_servers import Domain, talking

pytestmark = pytest.mark.timeout(120)
Two = tuple[Domain, Domain]


@pytest.fixture(params=["certificates", "dialback", "one way"])
async def two(request: pytest.FixtureRequest, tmp_path: Path, dns: DnsServer) -> AsyncIterator[Two]:
    certified = request.param != "dialback"
    bidi = request.param != "one way"
    async with talking(tmp_path, dns, not certified, dialback=not certified, bidi=bidi) as made:
        yield made


def chat(to: str, id: str, text: str = "") -> str:
    return f"<message to='{to}' type='chat' id='{id}'><body>{text or id}</body></message>"


async def test_a_chat(two: Two) -> None:
    montague, capulet = two
    romeo, juliet = await montague.client(), await capulet.client()
    romeo.send(chat(capulet.jid, "m1"))
    first = await juliet.find("message")
    assert (first.get("from"), body(first)) == (romeo.jid, "m1")
    juliet.send(chat(romeo.jid, "m2"))
    answer = await romeo.find("message")
    assert (answer.get("from"), answer.get("to"), body(answer)) == (juliet.jid, romeo.jid, "m2")


async def test_presence_and_questions(two: Two) -> None:
    montague, capulet = two
    romeo, juliet = await montague.client(), await capulet.client()
    await romeo.iq("<query xmlns='jabber:iq:roster'/>")
    romeo.send(f"<presence type='subscribe' to='{capulet.jid}'/>")
    asked = await juliet.find("presence", type="subscribe")
    assert asked.get("from") == montague.jid
    juliet.send(f"<presence type='subscribed' to='{montague.jid}'/>")
    await romeo.find("presence", type="subscribed")
    shown = await romeo.find("presence", **{"from": juliet.jid})
    assert shown.get("type") is None
    answer = await romeo.iq("<query xmlns='http://jabber.org/protocol/disco#info'/>", to=capulet.name)
    assert answer.get("type") == "result" and answer.get("from") == capulet.name
    romeo.send(f"<iq type='get' id='v1' to='{juliet.jid}'><query xmlns='jabber:iq:version'/></iq>")
    question = await juliet.find("iq", id="v1")
    assert question.get("from") == romeo.jid
    juliet.send(f"<iq type='result' id='v1' to='{romeo.jid}'><query xmlns='jabber:iq:version'/></iq>")
    answer = await romeo.find("iq", id="v1")
    assert (answer.get("type"), answer.get("from")) == ("result", juliet.jid)
    juliet.cut()
    gone = await romeo.find("presence", type="unavailable")
    assert gone.get("from") == juliet.jid


async def test_a_room(two: Two) -> None:
    montague, capulet = two
    romeo, juliet = await montague.client(), await capulet.client()
    room = f"orchard@{capulet.rooms}"
    join = "<x xmlns='http://jabber.org/protocol/muc'/>"
    juliet.send(f"<presence to='{room}/Juliet'>{join}</presence>")
    await juliet.find("presence", **{"from": f"{room}/Juliet"})
    form = "<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'/></query>"
    assert (await juliet.iq(form, "set", room)).get("type") == "result"
    romeo.send(f"<presence to='{room}/Romeo'>{join}</presence>")
    await romeo.find("presence", **{"from": f"{room}/Romeo"})
    for number in range(3):
        romeo.send(f"<message to='{room}' type='groupchat' id='g{number}'><body>g{number}</body></message>")
    for wire in (juliet, romeo):
        for number in range(3):
            while body(said := await wire.find("message", type="groupchat")) == "":
                pass
            assert (body(said), said.get("from")) == (f"g{number}", f"{room}/Romeo")


async def test_errors(two: Two) -> None:
    """Nobody there, no such domain, nobody answers at its address."""
    montague, capulet = two
    romeo = await montague.client()
    romeo.send(chat("nobody@nowhere.test", "m1"))
    error = await romeo.find("message", type="error")
    assert error.get("id") == "m1" and error.find(".//{*}remote-server-not-found") is not None
    romeo.send(f"<iq type='get' to='nobody@{capulet.name}' id='i1'><vCard xmlns='vcard-temp'/></iq>")
    answer = await romeo.find("iq", id="i1")
    assert answer.get("type") == "error" and answer.find(".//{*}service-unavailable") is not None
    await capulet.server.stop()
    romeo.send(f"<iq type='get' to='{capulet.name}' id='i2'><ping xmlns='urn:xmpp:ping'/></iq>")
    answer = await romeo.find("iq", within=30, id="i2")
    assert answer.find(".//{*}remote-server-timeout") is not None


async def came(wire: Wire, count: int) -> list[str]:
    return [body(await wire.find("message", within=40)) for _ in range(count)]


async def test_what_waits_survives_both(two: Two) -> None:
    """The other server is away, then ours is killed; each message arrives once, in order."""
    montague, capulet = two
    romeo = await montague.client()
    await romeo.enable()
    await capulet.server.stop()
    for number in range(5):
        romeo.send(chat(capulet.jid, f"m{number}"))
    await romeo.acknowledged(5)
    await montague.server.crash()
    await montague.start()
    await capulet.start()
    juliet = await capulet.client()
    assert await came(juliet, 5) == [f"m{number}" for number in range(5)]
    with pytest.raises(TimeoutError):
        await juliet.find("message", within=2)


async def test_many(two: Two) -> None:
    """More than fits anywhere at once, in order, while the other one is killed in the middle."""
    montague, capulet = two
    romeo, juliet = await montague.client(), await capulet.client()
    for number in range(200):
        romeo.send(chat(capulet.jid, f"m{number}", f"m{number}"))
        if number == 100:
            await came(juliet, 20)
            await capulet.server.crash()
    await capulet.start()
    await asyncio.sleep(0.1)
    juliet = await capulet.client("tablet")
    answer: list[str] = []
    while "m199" not in answer:
        message = await juliet.find("message", within=40)
        if message.get("type") == "chat":
            answer.append(body(message))
    archive = await archived(juliet)
    assert list(dict.fromkeys(archive)) == [f"m{number}" for number in range(200)]
    assert romeo.ended is False


async def archived(wire: Wire) -> list[str]:
    """The texts of an archive."""
    found: list[str] = []
    after = ""
    while True:
        page = f"<set xmlns='http://jabber.org/protocol/rsm'><max>100</max>{after}</set>"
        wire.send(f"<iq type='set' id='q{len(found)}'><query xmlns='urn:xmpp:mam:2'>{page}</query></iq>")
        while (element := await wire.receive()).tag != f"{CLIENT}iq" or element.get("id") != f"q{len(found)}":
            inner = element.find(".//{urn:xmpp:forward:0}forwarded/{jabber:client}message")
            if inner is not None:
                found.append(inner.findtext(f"{CLIENT}body") or "")
            last = element.find("{urn:xmpp:mam:2}result")
            after = f"<after>{last.get('id')}</after>" if last is not None else after
            if element.tag == f"{CLIENT}iq":
                break
        if element[0].get("complete") == "true":
            return found
