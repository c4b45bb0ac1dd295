"""How many streams there are between our server and the peers: one for both directions (XEP-0288) with Prosody, and one
for all domains of ours (XEP-0220 section 2.5.1) with both."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from slixmpp import JID

from tests.interop.conftest import Members
from tests.interop.peers import Federation, Peer, Trust
from tests.interop.people import WITHIN, Person

OURS = ["ours.example", "rooms.ours.example"]


async def fresh(federation: Federation) -> None:
    """Our server has no streams."""
    await asyncio.to_thread(federation.ours.stop)
    await asyncio.to_thread(federation.ours.start)


async def streams(federation: Federation, peer: Peer) -> list[Any]:
    listed = await federation.ours.server.operation("domain.list", domain=peer.domain)
    return [each for domain in listed["domains"] for each in domain["streams"]]


async def hosts(federation: Federation, peer: Peer) -> list[str]:
    """The domains of ours that may send on streams of ours."""
    return [str(each["host"]) for each in await streams(federation, peer) if each["direction"] == "out"]


def calls(prosody: Peer) -> int:
    """Connections of other servers that it has taken, and those that it has opened."""
    return prosody.log.count("Incoming s2s connection\n") + prosody.log.count("opening a new outgoing connection")


async def talk(one: Person, other: Person, count: int = 5) -> None:
    """Both ways, in order."""
    for speaker, listener in ((one, other), (other, one)):
        for number in range(count):
            speaker.say(listener.boundjid.bare, f"m{number}")
        assert [(await listener.hear())["body"] for _ in range(count)] == [f"m{number}" for number in range(count)]


@pytest.mark.parametrize("begins", ["us", "them"])
async def test_one_stream_serves_both(federation: Federation, members: Members, begins: str) -> None:
    """Where certificates prove something, no other connection is opened; dialback needs one to ask about a key."""
    await fresh(federation)
    peer = federation.prosody
    romeo, juliet = await members.login(federation.ours, "romeo"), await members.login(peer, "juliet")
    here, there = (romeo, juliet) if begins == "us" else (juliet, romeo)
    taken = calls(peer)
    await here.plugin["xep_0199"].send_ping(JID(there.boundjid.host), timeout=WITHIN)
    await talk(here, there)
    found = await streams(federation, peer)
    assert found and all(each["both_ways"] for each in found), found
    if federation.trust is not Trust.SELF_SIGNED:
        (only,) = found
        assert (only["direction"], only["proof"]) == ("out" if begins == "us" else "in", "certificate")
        assert calls(peer) - taken == 1


@pytest.mark.parametrize("name", ["prosody", "ejabberd"])
async def test_our_rooms_use_the_same_stream(federation: Federation, members: Members, name: str) -> None:
    """Of two domains of ours the second asks on the stream of the first; of ejabberd only where dialback is in use."""
    await fresh(federation)
    peer: Peer = getattr(federation, name)
    romeo, juliet = await members.login(federation.ours, "romeo"), await members.login(peer, "juliet")
    await romeo.plugin["xep_0199"].send_ping(JID(peer.domain), timeout=WITHIN)
    room = members.room(federation.ours, "garden")
    await romeo.plugin["xep_0045"].join_muc_wait(JID(room), "Romeo", timeout=WITHIN)
    form = await romeo.plugin["xep_0045"].get_room_config(room, timeout=WITHIN)
    form["type"] = "submit"
    await romeo.plugin["xep_0045"].set_room_config(room, form, timeout=WITHIN)
    invitations = asyncio.Queue[Any]()
    juliet.add_event_handler("groupchat_invite", invitations.put_nowait)
    romeo.plugin["xep_0045"].invite(JID(room), JID(juliet.boundjid.bare))
    asked = asyncio.get_running_loop().time()
    invited = await asyncio.wait_for(invitations.get(), WITHIN)
    assert invited["from"].bare == room and asyncio.get_running_loop().time() - asked < 3.0
    end = asyncio.get_running_loop().time() + WITHIN
    while sorted(out := await hosts(federation, peer)) != OURS:
        # Prosody calls the rooms to ask about the key, for both ways: the message may have gone by that one
        assert asyncio.get_running_loop().time() < end, out
        await asyncio.sleep(0.1)
    asks = name == "prosody" or federation.trust is not Trust.AUTHORITY
    assert await opened(federation, peer) == (1 if asks else 2), out


async def opened(federation: Federation, peer: Peer) -> float:
    """Streams of ours to a domain: those that the metrics count, without the ones to others (block lists)."""
    name = 'xmppd_remote_streams{direction="out"} '
    lines = (await federation.ours.server.cli("metrics")).out.splitlines()
    (found,) = [float(each.removeprefix(name)) for each in lines if each.startswith(name)]
    listed = (await federation.ours.server.operation("domain.list"))["domains"]
    others = [each for domain in listed if domain["domain"] != peer.domain for each in domain["streams"]]
    elsewhere: int = sum(each["direction"] == "out" for each in others)
    return found - elsewhere
