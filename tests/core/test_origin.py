"""An origin without a session, as a server's stream or a component is: in order, with backpressure and refusals."""

from __future__ import annotations

import pytest

from tests.harness import Client, Element, Harness
from tests.harness.peer import Peer
from xmppd.jid import JID

AWAY = "elsewhere.example"
CLIENT = "{jabber:client}"


def said(number: int | str, to: str = "romeo@localhost", type: str = "chat", sender: str = f"a@{AWAY}/x") -> str:
    return f"<message from='{sender}' to='{to}' type='{type}' id='{number}'><body>{number}</body></message>"


def ids(found: list[Element]) -> list[str]:
    return [each.get("id", "") for each in found if each.tag == f"{CLIENT}message"]


@pytest.fixture
async def romeo(server: Harness) -> Client:
    return await server.login("romeo", "x", presence=True)


async def test_in_order(server: Harness, romeo: Client) -> None:
    """Stored or not, to an account in memory or to one that must be read first, answered or not."""
    peer = Peer(server, AWAY)
    await server.register("juliet")
    ping = f"<iq from='{AWAY}' to='localhost' type='get' id='4'><ping xmlns='urn:xmpp:ping'/></iq>"
    server.backend.hold()
    peer.send(said(1), said(2, type="headline"), said(3, "juliet@localhost"), ping, said(5, type="headline"), said(6))
    await server.quiet()
    assert ids(await romeo.receive_all()) == [] and not peer.got
    server.backend.release()
    assert ids(await romeo.receive_all()) == ["1", "2", "5", "6"]
    assert peer.texts() == ["result 4"] and peer.handled == peer.received == 6


async def test_backpressure(server: Harness, romeo: Client) -> None:
    """It stops while too much of it waits for a commit, and goes on."""
    peer = Peer(server, AWAY, bound=3)
    server.backend.hold()
    peer.send(*map(said, range(10)))
    await server.quiet()
    assert (peer.received, len(peer.unsent)) == (3, 7)
    server.backend.release()
    assert ids(await romeo.receive_all()) == [str(number) for number in range(10)]
    assert peer.most == 3 and peer.handled == 10


async def test_refusals_come_in_their_place(server: Harness, romeo: Client) -> None:
    peer = Peer(server, AWAY)
    server.backend.hold()
    peer.send(said(1), said(2, "nobody@localhost"), said(3), said(4, "nobody@localhost", type="error"))
    await server.quiet()
    assert not peer.got and peer.refused == [2]
    server.backend.release()
    assert ids(await romeo.receive_all()) == ["1", "3"]
    assert peer.texts() == ["error 2"] and peer.handled == 4


async def test_a_store_that_refuses(server: Harness, romeo: Client) -> None:
    peer = Peer(server, AWAY)
    server.backend.fail(OSError("disk full"))
    peer.send(said(1), f"<iq from='{AWAY}' to='localhost' type='get' id='2'><ping xmlns='urn:xmpp:ping'/></iq>")
    await server.quiet()
    assert peer.handled == peer.received == 2, "settled once, whatever happens"
    assert peer.texts() == ["error 1", "result 2"] and ids(await romeo.receive_all()) == []


async def test_it_speaks_for_its_own_addresses_only(server: Harness, romeo: Client) -> None:
    peer = Peer(server, AWAY)
    peer.send(said(1, sender="juliet@localhost/x"), said(2, sender=f"a@sub.{AWAY}"), said(3))
    assert ids(await romeo.receive_all()) == ["3"]
    conditions = [stanza.xml[-1][0].tag for stanza in peer.got]
    assert peer.texts() == ["error 1", "error 2"] and all(each.endswith("}forbidden") for each in conditions)


async def test_this_server_is_no_relay(server: Harness, romeo: Client) -> None:
    """Between two other servers; a component may send to them, and they may send to it."""
    one, other = Peer(server, AWAY), Peer(server, "third.example")
    component = Peer(server, "irc.localhost", relays=True, remote=False)
    for peer in (one, other, component):
        server.server.router.routes.register(peer.domain, peer)
    one.send(said(1, "b@third.example"), said(2, "c@irc.localhost"), said(3, "d@unknown.example"))
    component.send(said(4, "b@third.example", sender="c@irc.localhost"), said(5, sender="c@irc.localhost"))
    romeo.send(said(6, "b@third.example", sender=romeo.jid))
    assert ids(await romeo.receive_all()) == ["5"]
    assert (one.texts(), component.texts()) == (["error 1", "error 3"], ["chat 2"])
    assert other.texts() == ["chat 4", "chat 6"]


@pytest.mark.parametrize(
    "stanza",
    [
        "<message id='1'><body>x</body></message>",
        f"<message from='a@{AWAY}' id='1'><body>x</body></message>",
        "<message to='romeo@localhost' id='1'><body>x</body></message>",
        f"<iq from='{AWAY}' to='localhost' type='get' id='1'/>",
        f"<iq from='{AWAY}' to='localhost' type='what' id='1'><ping xmlns='urn:xmpp:ping'/></iq>",
        f"<presence from='a@{AWAY}' to='romeo@localhost' type='what' id='1'/>",
    ],
)
async def test_bad_stanzas(server: Harness, romeo: Client, stanza: str) -> None:
    peer = Peer(server, AWAY)
    peer.send(stanza)
    assert await romeo.receive_all() == []
    [answer] = peer.got
    assert answer.type == "error" and "bad-request" in answer.data.decode() and peer.handled == 1


async def test_presence_and_subscriptions(server: Harness, romeo: Client) -> None:
    """As RFC 6121 has it between two domains."""
    peer = Peer(server, AWAY)
    server.server.router.routes.register(AWAY, peer)
    peer.send(f"<presence from='a@{AWAY}' to='romeo@localhost' type='subscribe' id='1'/>")
    [asked] = await romeo.receive_all()
    assert (asked.get("type"), asked.get("from")) == ("subscribe", f"a@{AWAY}")
    romeo.send(f"<presence to='a@{AWAY}' type='subscribed'/>")
    await romeo.receive_all()
    assert [(stanza.type, stanza.sender and stanza.sender.full) for stanza in peer.got] == [
        ("subscribed", "romeo@localhost"),
        ("", romeo.jid),
    ]
    peer.texts()
    peer.send(f"<presence from='a@{AWAY}' to='romeo@localhost' type='probe'/>")
    await server.quiet()
    assert [stanza.sender and stanza.sender.full for stanza in peer.got] == [romeo.jid]
    assert server.server.router.routes.account(JID.parse(f"a@{AWAY}")) is None
