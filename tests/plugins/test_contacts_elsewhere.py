"""Contacts on another server hear of an account's nodes as those here do (XEP-0163 section 4.3)."""

from __future__ import annotations

import pytest

from tests.harness import Client, Harness
from tests.harness.peer import Peer
from xmppd.stanza import Stanza

AWAY = "elsewhere.example"
BOB = f"bob@{AWAY}"
NICK = "http://jabber.org/protocol/nick"
CAPS = "http://jabber.org/protocol/caps"
INFO = "http://jabber.org/protocol/disco#info"
ANSWER = f"<identity category='client' type='pc'/><feature var='{INFO}'/><feature var='{NICK}+notify'/>"


@pytest.fixture
async def peer(server: Harness) -> Peer:
    made = Peer(server, AWAY)
    server.server.router.routes.register(AWAY, made)
    return made


async def friends(server: Harness, peer: Peer) -> Client:
    """Romeo sees Bob, and Bob sees him."""
    romeo = await server.login("romeo", "orchard", presence=True)
    peer.send(f"<presence from='{BOB}' to='romeo@localhost' type='subscribe'/>")
    await server.quiet()
    romeo.send(f"<presence to='{BOB}' type='subscribed'/><presence to='{BOB}' type='subscribe'/>")
    await server.quiet()
    peer.send(f"<presence from='{BOB}' to='romeo@localhost' type='subscribed'/>")
    await server.quiet()
    await romeo.receive_all()
    peer.got.clear()
    return romeo


def shows(ver: str = "abc", type: str = "") -> str:
    caps = f"<c xmlns='{CAPS}' hash='sha-1' node='https://client.example/' ver='{ver}'/>" if ver else ""
    return f"<presence from='{BOB}/pc' to='romeo@localhost'{f' type={type!r}' if type else ''}>{caps}</presence>"


async def answered(server: Harness, peer: Peer, answer: str = ANSWER) -> list[Stanza]:
    """What the peer was sent, when it has answered all questions."""
    await server.quiet()
    rest = []
    for stanza in list(peer.got):
        if stanza.type == "get":
            assert stanza.sender is not None and stanza.to is not None
            peer.send(
                f"<iq type='result' id='{stanza.id}' from='{stanza.to}' to='{stanza.sender}'>"
                f"<query xmlns='{INFO}' node='https://client.example/#abc'>{answer}</query></iq>"
            )
        else:
            rest.append(stanza)
    peer.got.clear()
    await server.quiet()
    rest += peer.got
    peer.got.clear()
    return rest


async def publish(romeo: Client, nick: str) -> None:
    item = f"<publish node='{NICK}'><item id='current'><nick xmlns='{NICK}'>{nick}</nick></item></publish>"
    await romeo.iq(f"<pubsub xmlns='http://jabber.org/protocol/pubsub'>{item}</pubsub>", "set")


def events(stanzas: list[Stanza]) -> list[tuple[str, bool]]:
    """To whom, and whether it is told that it came earlier."""
    return [(str(each.to), b"urn:xmpp:delay" in each.data) for each in stanzas if b"pubsub#event" in each.data]


async def test_a_change(server: Harness, peer: Peer) -> None:
    romeo = await friends(server, peer)
    peer.send(shows())
    await answered(server, peer)
    await publish(romeo, "Romeo")
    assert events(await answered(server, peer)) == [(f"{BOB}/pc", False)]
    peer.send(shows("", "unavailable"))
    await publish(romeo, "Montague")
    assert events(await answered(server, peer)) == []


async def test_the_last_item_when_it_comes(server: Harness, peer: Peer) -> None:
    romeo = await friends(server, peer)
    await publish(romeo, "Romeo")
    peer.send(shows())
    assert events(await answered(server, peer)) == [(f"{BOB}/pc", True)]
    peer.send(shows())
    assert events(await answered(server, peer)) == [], "once"


async def test_who_is_not_interested_hears_nothing(server: Harness, peer: Peer) -> None:
    romeo = await friends(server, peer)
    peer.send(shows())
    await answered(server, peer, f"<feature var='{INFO}'/>")
    await publish(romeo, "Romeo")
    assert events(await answered(server, peer)) == []


async def test_a_stranger_hears_nothing(server: Harness, peer: Peer) -> None:
    """Presence of who is no contact counts for nothing, and costs no question."""
    romeo = await server.login("romeo", "orchard", presence=True)
    peer.send(shows())
    await server.quiet()
    assert not [each for each in peer.got if each.type == "get"]
    await publish(romeo, "Romeo")
    assert events(await answered(server, peer)) == []


async def test_only_so_many_clients_of_one_contact(server: Harness, peer: Peer) -> None:
    await friends(server, peer)
    for number in range(40):
        peer.send(shows(f"v{number}").replace("/pc", f"/pc{number}"))
        await server.quiet()
    assert len([each for each in peer.got if each.type == "get"]) == 20


async def test_a_node_that_only_some_may_read(server: Harness, peer: Peer) -> None:
    romeo = await friends(server, peer)
    peer.send(shows())
    await answered(server, peer)
    options = (
        "<publish-options><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>"
        "http://jabber.org/protocol/pubsub#publish-options</value></field><field var='pubsub#access_model'>"
        "<value>whitelist</value></field></x></publish-options>"
    )
    item = f"<publish node='{NICK}'><item id='current'><nick xmlns='{NICK}'>x</nick></item></publish>"
    await romeo.iq(f"<pubsub xmlns='http://jabber.org/protocol/pubsub'>{item}{options}</pubsub>", "set")
    assert events(await answered(server, peer)) == []
