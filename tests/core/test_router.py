"""What a client sends: what is refused before anything else looks at it, where the rest goes, and in which order."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.harness import Client, Harness, condition
from tests.harness.peer import Peer
from xmppd.contracts.order import Lane

AWAY = "elsewhere.example"
PING = "<ping xmlns='urn:xmpp:ping'/>"
ADDRESSES = "http://jabber.org/protocol/address"


@pytest.fixture
async def romeo(server: Harness) -> Client:
    return await server.login("romeo", "x", presence=True)


@pytest.fixture
def away(server: Harness) -> Peer:
    peer = Peer(server, AWAY)
    server.server.router.routes.register(AWAY, peer)
    return peer


@pytest.mark.parametrize(
    ("stanza", "told"),
    [
        (f"<iq type='get' to='{AWAY}'>{PING}</iq>", "bad-request"),
        (f"<iq type='get' id='1' to='{AWAY}'/>", "bad-request"),
        (f"<iq type='set' id='1' to='{AWAY}'>{PING}{PING}</iq>", "bad-request"),
        (f"<iq type='what' id='1' to='{AWAY}'>{PING}</iq>", "bad-request"),
        (f"<presence type='what' to='a@{AWAY}'/>", "bad-request"),
        ("<presence><priority>many</priority></presence>", "bad-request"),
        ("<message to='@'><body>x</body></message>", "jid-malformed"),
    ],
)
async def test_bad_stanzas(server: Harness, romeo: Client, away: Peer, stanza: str, told: str) -> None:
    """RFC 6120 section 8.2.3; each is answered once, and what follows is taken."""
    romeo.send(stanza)
    romeo.send(f"<message id='next' to='a@{AWAY}'><body>x</body></message>")
    assert [condition(each) for each in await romeo.receive_all()] == [told]
    assert away.texts() == ["normal next"]


async def test_presence_that_is_too_big(server: Harness, romeo: Client) -> None:
    server.server.limits = replace(server.server.limits, presence_size=100)
    romeo.send(f"<presence><status>{'x' * 200}</status></presence>")
    [answer] = await romeo.receive_all()
    assert condition(answer) == "policy-violation"


async def test_without_an_address(server: Harness, romeo: Client) -> None:
    """A message is for the own account, a request is answered in its name (RFC 6120 section 10.3)."""
    romeo.send("<message type='headline' id='1'><body>x</body></message>")
    [own] = await romeo.receive_all()
    assert (own.get("id"), own.get("to")) == ("1", romeo.bare)
    answer = await romeo.iq("<query xmlns='jabber:iq:roster'/>")
    assert answer.get("type") == "result"
    assert condition(await romeo.iq("<query xmlns='nobody:knows'/>")) == "service-unavailable"


async def test_every_stanza_is_settled_once(server: Harness, romeo: Client, away: Peer) -> None:
    """Stored, dropped, answered, refused or passed on."""
    session = server.server.router.routes.account_named(romeo.bare).sessions["x"]  # type: ignore[union-attr]
    before = session.handled
    sent = [
        "<message to='romeo@localhost' type='chat'><body>x</body></message>",
        "<message to='nobody@localhost' type='chat'><body>x</body></message>",
        "<presence to='nobody@localhost'/>",
        "<presence to='nobody@localhost' type='subscribe'/>",
        f"<iq type='get' id='1'>{PING}</iq>",
        "<iq type='result' id='none'/>",
        f"<message to='a@{AWAY}'><body>x</body></message>",
        "<message to='a@unknown.example'><body>x</body></message>",
        "<presence/>",
    ]
    romeo.send("".join(sent))
    await romeo.receive_all()
    assert session.handled == session.received >= before + len(sent)  # and what the client answers to pings


async def test_answers_and_messages_in_the_order_of_what_was_sent(server: Harness, romeo: Client) -> None:
    """A request is decided behind what came before it, and answered before what comes after it."""
    server.backend.hold()
    romeo.send(
        f"<message to='{romeo.bare}' type='chat' id='1'><body>x</body></message>"
        f"<iq type='get' id='2' to='localhost'>{PING}</iq>"
        f"<message to='{romeo.jid}' type='headline' id='3'><body>x</body></message>"
        "<message to='nobody@localhost' id='4'><body>x</body></message>"
    )
    await romeo.silence()
    server.backend.release()
    assert [each.get("id") for each in await romeo.receive_all()] == ["1", "2", "3", "4"]


async def test_one_stanza_to_many(server: Harness, romeo: Client, away: Peer) -> None:
    """XEP-0033: one that is refused stops no other, and each goes by the routes."""
    juliet = await server.login("juliet", "y", presence=True)
    to = ["juliet@localhost", f"a@{AWAY}", "b@unknown.example", "garden@conference.localhost"]
    addresses = "".join(f"<address type='to' jid='{jid}'/>" for jid in to)
    romeo.send(
        f"<message to='localhost' id='1'><addresses xmlns='{ADDRESSES}'>{addresses}</addresses><body>x</body></message>"
    )
    errors = {(each.get("from"), condition(each)) for each in await romeo.receive_all()}
    assert errors == {
        ("b@unknown.example", "remote-server-not-found"),
        ("garden@conference.localhost", "feature-not-implemented"),
    }
    assert away.texts() == ["normal 1"]
    assert [each.get("id") for each in await juliet.receive_all()] == ["1"]


async def test_an_idle_lane(server: Harness, romeo: Client) -> None:
    """`until_idle` waits for the commit, and for nothing where nothing waits."""
    router = server.server.router
    await router.until_idle(Lane())
    session = router.routes.account_named(romeo.bare).sessions["x"]  # type: ignore[union-attr]
    server.backend.hold()
    romeo.send("<message to='romeo@localhost' type='chat' id='1'><body>x</body></message>")
    done: list[bool] = []

    async def wait() -> None:
        await router.until_idle(session.lane)
        done.append(session.lane.idle)

    server.server.background.spawn(wait(), "test")
    await server.quiet()
    assert done == []
    server.backend.release()
    await server.quiet()
    assert done == [True]


@pytest.mark.server(hosts={"plain.example": {"standard": False}})
async def test_without_rules_for_presence(server: Harness, away: Peer) -> None:
    """Presence to somebody is routed, subscriptions are nobody's matter."""
    await server.register("romeo", "plain.example")
    romeo = server.connect()
    await romeo.sign_in("romeo", domain="plain.example")
    await romeo.bind("x")
    romeo.send(f"<presence to='a@{AWAY}'/><presence to='a@{AWAY}' type='subscribe'/>")
    assert await romeo.receive_all() == []
    assert away.texts() == [""]
