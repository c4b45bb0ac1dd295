"""A block list that Prosody publishes with its module `pubsub`, as xmppbl.org does, followed by this server."""

from __future__ import annotations

import asyncio
from hashlib import sha256
from typing import Any

import pytest
from slixmpp import JID
from slixmpp.exceptions import IqError
from slixmpp.xmlstream import ET

from tests.interop.conftest import Members
from tests.interop.peers import LISTER, Federation
from tests.interop.people import WITHIN, Person
from xmppd.errors import STANZAS_NS

NODE = "muc_bans_sha256"
MANY = 620
"""Entries at the start: more than the newest that are asked for first (0.12 has no pages)."""


def hashed(jid: str) -> str:
    return sha256(jid.encode()).hexdigest()


@pytest.fixture
async def lister(federation: Federation) -> Person:
    """The administrator of the list, which is empty."""
    prosody = federation.prosody
    await asyncio.to_thread(prosody.account, LISTER)
    person = Person(f"{LISTER}@{prosody.domain}", prosody.trusted)
    person.register_plugin("xep_0060")
    await person.sign_in(prosody.client_port, address=prosody.address)
    try:
        await person.plugin["xep_0060"].delete_node(JID(prosody.lists), NODE, timeout=WITHIN)
    except IqError as error:
        assert error.condition == "item-not-found"
    form = person.plugin["xep_0004"].make_form("submit")
    form.add_field("FORM_TYPE", "hidden", value="http://jabber.org/protocol/pubsub#node_config")
    form.add_field("pubsub#max_items", value="1000")
    form.add_field("pubsub#persist_items", value="1")
    await person.plugin["xep_0060"].create_node(JID(prosody.lists), NODE, config=form, timeout=WITHIN)
    return person


async def publish(lister: Person, federation: Federation, jid: str, text: str = "") -> None:
    report = ET.Element("{urn:xmpp:reporting:1}report", {"reason": "urn:xmpp:reporting:spam"})
    ET.SubElement(report, "{urn:xmpp:reporting:1}text").text = text
    where = JID(federation.prosody.lists)
    await lister.plugin["xep_0060"].publish(where, NODE, id=hashed(jid), payload=report, timeout=WITHIN)


async def retract(lister: Person, federation: Federation, jid: str) -> None:
    where = JID(federation.prosody.lists)
    await lister.plugin["xep_0060"].retract(where, NODE, hashed(jid), notify=True, timeout=WITHIN)


async def has(federation: Federation, entries: int) -> None:
    """The list that is followed has so many entries."""
    async with asyncio.timeout(WITHIN):
        while True:
            found: Any = await federation.ours.server.operation("block-list.list")
            if found["lists"][0]["entries"] == entries:
                return
            await asyncio.sleep(0.1)


async def test_a_list_that_prosody_publishes(federation: Federation, members: Members, lister: Person) -> None:
    """Read at once, followed as it changes; who is on it is neither heard nor let in."""
    ours, prosody = federation.ours, federation.prosody
    members.clients.append(lister)
    romeo, spammer = await members.login(ours, "romeo"), await members.login(prosody, "spammer")
    for number in range(MANY):
        await publish(lister, federation, f"u{number}@spam.example")
    told = await ours.server.operation("block-list.refresh")
    assert told["note"] == f"1 read, {MANY} entries."
    spammer.say(romeo.boundjid.bare, "first")
    assert (await romeo.hear())["body"] == "first"

    await publish(lister, federation, spammer.boundjid.bare, "Sells stolen cards")
    await has(federation, MANY + 1)
    refused: asyncio.Queue[Any] = asyncio.Queue()
    spammer.add_event_handler("message_error", refused.put_nowait)
    spammer.say(romeo.boundjid.bare, "second")
    error = await asyncio.wait_for(refused.get(), WITHIN)
    assert error.xml.find(f".//{{{STANZAS_NS}}}policy-violation") is not None  # which slixmpp does not know
    assert prosody.lists in error["error"]["text"]
    shown: Any = await ours.server.operation("block-list.list", address=spammer.boundjid.bare)
    assert (shown["refused"], shown["lists"][0]["listed"]) == (True, "spam: Sells stolen cards")
    room = JID(members.room(ours, "tavern"))
    await romeo.plugin["xep_0045"].join_muc_wait(room, "romeo", timeout=WITHIN)
    await romeo.plugin["xep_0045"].set_room_config(room, romeo.plugin["xep_0004"].make_form("submit"), timeout=WITHIN)
    with pytest.raises(Exception, match="forbidden"):
        await spammer.plugin["xep_0045"].join_muc_wait(room, "spammer", timeout=WITHIN)

    await retract(lister, federation, spammer.boundjid.bare)
    await has(federation, MANY)
    spammer.say(romeo.boundjid.bare, "third")
    assert (await romeo.hear())["body"] == "third"
    await lister.plugin["xep_0060"].purge(JID(prosody.lists), NODE, timeout=WITHIN)
    await has(federation, 0)
