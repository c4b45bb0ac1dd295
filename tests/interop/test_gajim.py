"""People with Gajim's library, nbxmpp."""

from __future__ import annotations

import ssl
from base64 import b64encode
from functools import partial
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree

import aiohttp
import pytest
from slixmpp import JID

from tests.interop.conftest import People
from tests.interop.gajim import Start
from tests.interop.people import WITHIN, Person, eventually

PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 100


@pytest.mark.parametrize("tls", ["starttls", "direct"])
@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"])
async def test_sign_in(people: People, gajim: Start, tls: str, mechanism: str) -> None:
    romeo = await gajim("romeo", tls, mechanism)
    await people.server.logged(f"{people.bare('romeo')} signed in from 127.0.0.1 by {mechanism}\n")
    romeo.do("quit")
    await romeo.expect("disconnected")


async def test_contacts_and_chat(people: People, gajim: Start) -> None:
    """Its roster, a subscription with a slixmpp client, messages both ways, and the archive of them."""
    juliet, romeo = await people.login("juliet"), await gajim("romeo")
    mate = people.bare("juliet")
    romeo.do("roster")
    assert await romeo.expect("roster") == ["roster", {}]
    romeo.do("available")
    romeo.do("add", mate, "Juliet")
    await romeo.expect("added")
    romeo.do("subscription", mate, "subscribe")
    await romeo.expect("presence", mate, "subscribed")
    await romeo.expect("presence", mate, "subscribe")
    romeo.do("subscription", mate, "subscribed")
    await eventually(partial(juliet.sees, people.bare("romeo")), "Gajim is seen")
    romeo.do("roster")
    assert await romeo.expect("roster") == ["roster", {mate: ["Juliet", "both"]}]
    romeo.do("say", mate, "It is the east")
    heard = await juliet.hear()
    assert (str(heard["from"]), heard["body"]) == (f"{people.bare('romeo')}/gajim", "It is the east")
    juliet.say(people.bare("romeo"), "Ay me")
    assert (await romeo.expect("message"))[2:] == ["Ay me", "chat"]
    romeo.do("history")
    assert (await romeo.expect("archived"))[1] == "It is the east"
    assert (await romeo.expect("archived"))[1] == "Ay me"
    assert await romeo.expect("history") == ["history", True]


async def test_group_chat(people: People, gajim: Start) -> None:
    juliet, romeo = await people.login("juliet"), await gajim("romeo")
    room = people.room("orchard")
    await juliet.plugin["xep_0045"].join_muc_wait(JID(room), "Juliet", timeout=WITHIN)
    form = await juliet.plugin["xep_0045"].get_room_config(JID(room), timeout=WITHIN)
    form["type"] = "submit"
    await juliet.plugin["xep_0045"].set_room_config(JID(room), form, timeout=WITHIN)
    juliet.say(room, "before", "groupchat")
    await juliet.hear()
    romeo.do("join", room, "Romeo")
    await romeo.expect("presence", f"{room}/Juliet", "available", False)
    await romeo.expect("presence", f"{room}/Romeo", "available", True)
    assert (await romeo.expect("message"))[1:] == [f"{room}/Juliet", "before", "groupchat"]
    romeo.do("say", room, "soft", "groupchat")
    assert (await romeo.expect("message"))[1:] == [f"{room}/Romeo", "soft", "groupchat"]
    assert (await juliet.hear())["body"] == "soft"


async def test_avatars_and_bookmarks(people: People, gajim: Start) -> None:
    """What slixmpp publishes Gajim sees, and the other way round, each in the form it knows."""
    juliet, romeo = await people.login("juliet"), await gajim("romeo")
    picture = b"\x89PNG of juliet"
    photo = f"<PHOTO><TYPE>image/png</TYPE><BINVAL>{b64encode(picture).decode()}</BINVAL></PHOTO>"
    await ask(juliet, "set", f"<vCard xmlns='vcard-temp'>{photo}</vCard>")
    romeo.do("roster")
    await romeo.expect("roster")
    romeo.do("available")
    romeo.do("subscription", people.bare("juliet"), "subscribe")
    await romeo.expect("presence", people.bare("juliet"), "subscribed")
    romeo.do("avatar", people.bare("juliet"))
    assert await romeo.expect("avatar") == ["avatar", picture.hex()]
    answer = await ask(juliet, "get", "<vCard xmlns='vcard-temp'/>")
    assert answer.xml.find(".//{vcard-temp}PHOTO") is not None

    room = people.room("orchard")
    romeo.do("bookmark", room, "Orchard")
    assert await romeo.expect("bookmarked") == ["bookmarked", True]
    other = await people.login("romeo", "old")
    stored = await ask(other, "get", "<query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'/></query>")
    conference = stored.xml.find(".//{storage:bookmarks}conference")
    assert conference is not None
    assert (conference.get("jid"), conference.get("name"), conference.get("autojoin")) == (room, "Orchard", "true")
    kept = "<storage xmlns='storage:bookmarks'><conference jid='b@conference.localhost' name='B'/></storage>"
    await ask(other, "set", f"<query xmlns='jabber:iq:private'>{kept}</query>")
    romeo.do("bookmarks")
    assert await romeo.expect("bookmarks") == ["bookmarks", {"b@conference.localhost": ["B", False]}]


async def test_pictures(people: People, gajim: Start, tmp_path: Path) -> None:
    """One each way, over https, which Gajim demands."""
    juliet, romeo = await people.login("juliet"), await gajim("romeo")
    romeo.do("available")
    romeo.do("upload", "upload.localhost", "très cool.png", "image/png", PICTURE.hex())
    _, status, address = await romeo.expect("put")
    assert (status, address.startswith("https://localhost:")) == (201, True)
    romeo.do("say", people.bare("juliet"), address)
    heard = (await juliet.hear())["body"]
    trusting = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=str(people.server.certificate)))
    async with aiohttp.ClientSession(connector=trusting) as http, http.get(heard) as answer:
        assert (answer.content_type, await answer.read()) == ("image/png", PICTURE)
        other = PICTURE[::-1]
        put, get = await slot(juliet, "b.png", len(other))
        async with http.put(put, data=other, headers={"Content-Type": "image/png"}) as stored:
            assert stored.status == 201
    juliet.say(people.bare("romeo"), get)
    shown = (await romeo.expect("message"))[2]
    romeo.do("fetch", shown)
    assert (await romeo.expect("file"))[1:] == [200, "image/png", len(other), other.hex()]


async def slot(person: Person, name: str, size: int) -> tuple[str, str]:
    """The addresses to put and to get."""
    person.register_plugin("xep_0363")
    found = await person.plugin["xep_0363"].request_slot(
        JID("upload.localhost"), name, size, "image/png", timeout=WITHIN
    )
    return found["http_upload_slot"]["put"]["url"], found["http_upload_slot"]["get"]["url"]


async def ask(person: Person, type: Literal["get", "set"], payload: str) -> Any:
    iq = person.Iq()
    iq["type"] = type
    iq.append(ElementTree.fromstring(payload))
    return await iq.send(timeout=WITHIN)


async def test_resumption(people: People, gajim: Start) -> None:
    """XEP-0198 as Gajim does it."""
    juliet, romeo = await people.login("juliet"), await gajim("romeo")
    romeo.do("available")
    juliet.say(people.bare("romeo"), "one")
    await romeo.expect("message")
    romeo.do("cut")
    await romeo.expect("disconnected")
    juliet.say(people.bare("romeo"), "two")
    await juliet.settled()
    romeo.do("connect")
    await romeo.expect("resume-successful")
    assert (await romeo.expect("message"))[2] == "two"
