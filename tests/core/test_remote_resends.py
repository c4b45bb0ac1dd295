"""What another server sends again is recognised, and only that."""

from __future__ import annotations

from tests.harness import Harness
from tests.harness.peer import Peer
from xmppd.stanza import Stanza, parse_stanza
from xmppd.streams.remote_resends import EXPECTED, RemoteResends

AWAY = "elsewhere.example"
ORIGIN = "<origin-id xmlns='urn:xmpp:sid:0' id='{}'/>"


def said(id: str, text: str = "", sender: str = f"bob@{AWAY}/pc", origin: str = "") -> str:
    inside = f"<body>{text or id}</body>" + (ORIGIN.format(origin) if origin else "")
    return f"<message from='{sender}' to='romeo@localhost' type='chat' id='{id}'>{inside}</message>"


def parsed(text: str) -> Stanza:
    stanza = parse_stanza(text.encode())
    assert stanza.sender is not None
    return stanza


async def scene(server: Harness) -> RemoteResends:
    """Romeo has three messages of Bob."""
    await server.login("romeo", presence=True)
    Peer(server, AWAY).send(said("a1"), said("a2", origin="o2"), said("a-long-and-random-id-3"))
    await server.quiet()
    return RemoteResends(server.clock, server.storage, server.server.routes)


async def test_only_after_a_stream_that_broke(server: Harness) -> None:
    found = await scene(server)
    assert not found.expects(AWAY)
    found.opened(AWAY)
    assert found.expects(AWAY), "nobody knows how the last process ended"
    await server.advance(EXPECTED + 1)
    assert not found.expects(AWAY)
    found.closed(AWAY)
    found.opened(AWAY)
    assert not found.expects(AWAY)
    found.broke(AWAY)
    assert not found.expects(AWAY)
    found.opened(AWAY)
    assert found.expects(AWAY) and not found.expects("other.example")


async def test_what_is_known(server: Harness) -> None:
    found = await scene(server)
    found.opened(AWAY)
    assert await found.is_known(parsed(said("a1")))
    assert await found.is_known(parsed(said("a2", origin="o2")))
    assert await found.is_known(parsed(said("a-long-and-random-id-3")))
    assert not await found.is_known(parsed(said("a1"))), "once"
    found.opened(AWAY)
    assert await found.is_known(parsed(said("a1"))), "again on the next stream"


async def test_what_is_new(server: Harness) -> None:
    found = await scene(server)
    found.opened(AWAY)
    assert not await found.is_known(parsed(said("a1", "something else")))
    assert not await found.is_known(parsed(said("a1", sender=f"eve@{AWAY}/pc")))
    assert not await found.is_known(parsed(said("a4")))
    assert not await found.is_known(parsed(said("a1").replace("romeo@", "juliet@")))
    assert not await found.is_known(parsed(said("a1").replace("romeo@localhost", "room@conference.localhost")))
