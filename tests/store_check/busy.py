"""A server that has had a busy day: something of almost every kind is in its store."""

from __future__ import annotations

from pathlib import Path

from tests.harness import Client, Harness, condition
from tests.plugins.muc.people import ROOM, admin, configure, join, say
from tests.plugins.test_files import uploaded

BASE = "https://files.example.org"
PUBSUB = "http://jabber.org/protocol/pubsub"
OTHER = "lounge@conference.localhost"


def options(folder: Path) -> dict[str, dict[str, object]]:
    """Of the plugins."""
    return {"files": {"public_url": BASE, "folder": str(folder)}, "phone": {"key": "k" * 32}}


def message(to: str, text: str, inside: str = "") -> str:
    return f"<message to='{to}@localhost' type='chat' id='{text}'><body>{text}</body>{inside}</message>"


async def busy(server: Harness) -> None:
    """Has people talk, and store what they can; at the end all of it is stored."""
    romeo = await server.login("romeo", "orchard", presence=True)
    juliet = await server.login("juliet", "balcony", presence=True)
    await server.login("nurse")
    await _befriend(server, romeo, juliet)
    await _talk(server, romeo, juliet)
    await _meet(server, romeo, juliet)
    await _store(server, romeo)
    await server.advance(30)
    romeo.send(message("juliet", "late"))  # by now all before it is certainly counted in the chat lists
    await server.advance(30)


async def _befriend(server: Harness, romeo: Client, juliet: Client) -> None:
    for one, other in ((romeo, "juliet"), (juliet, "romeo")):
        one.send(f"<presence to='{other}@localhost' type='subscribe'/>")
    await server.quiet()
    for one, other in ((romeo, "juliet"), (juliet, "romeo")):
        one.send(f"<presence to='{other}@localhost' type='subscribed'/>")
    romeo.send("<presence to='nurse@localhost' type='subscribe'/>")
    await server.quiet()


async def _talk(server: Harness, romeo: Client, juliet: Client) -> None:
    for number in range(4):
        romeo.send(message("juliet", f"m{number}"))
    await server.quiet()
    juliet.send(
        "<message to='romeo@localhost' type='chat'><displayed xmlns='urn:xmpp:chat-markers:0' id='m1'/></message>"
    )
    romeo.send(message("juliet", "short", "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='3600'/>"))
    romeo.send(message("romeo", "note"))
    for text in ("w1", "w2"):
        romeo.send(message("nurse", text))
    romeo.send(message("nurse", "hidden", "<no-permanent-store xmlns='urn:xmpp:hints'/>"))
    romeo.send(message("juliet", "wrong"))
    await server.quiet()
    retract = "<retract xmlns='urn:xmpp:message-retract:1' id='wrong'/>"
    romeo.send(f"<message to='juliet@localhost' type='chat' id='back'>{retract}</message>")
    await server.quiet()


async def _meet(server: Harness, romeo: Client, juliet: Client) -> None:
    for room, nick in ((ROOM, "romeo"), (OTHER, "owner")):
        await join(romeo, nick, room)
        await configure(romeo, room, muc__roomconfig_persistentroom="1")
    await admin(romeo, "<item jid='juliet@localhost' affiliation='member' nick='juliet'/>")
    await admin(romeo, "<item jid='tybalt@localhost' affiliation='outcast'/>")
    await join(juliet, "juliet")
    for text in ("hello", "all"):
        juliet.send(say(text, text))
    romeo.send(f"<message to='{ROOM}' type='groupchat'><subject>Verona</subject></message>")
    await server.quiet()


async def _store(server: Harness, romeo: Client) -> None:
    for payload in (
        "<vCard xmlns='vcard-temp'><FN>Romeo</FN></vCard>",
        "<query xmlns='jabber:iq:private'><notes xmlns='urn:example'>balcony</notes></query>",
        "<block xmlns='urn:xmpp:blocking'><item jid='tybalt@localhost'/></block>",
        "<enable xmlns='urn:xmpp:push:0' jid='conference.localhost' node='phone'/>",
        "<prefs xmlns='urn:xmpp:mam:2' default='always'><always><jid>juliet@localhost</jid></always><never/></prefs>",
        _publication("tune", "one", "<tune xmlns='urn:example:tune'/>"),
        _publication("urn:xmpp:bookmarks:1", ROOM, "<conference xmlns='urn:xmpp:bookmarks:1'/>"),
    ):
        assert condition(await romeo.iq(payload, "set")) == "", payload
    await uploaded(server, romeo)


def _publication(node: str, id: str, payload: str) -> str:
    return f"<pubsub xmlns='{PUBSUB}'><publish node='{node}'><item id='{id}'>{payload}</item></publish></pubsub>"
