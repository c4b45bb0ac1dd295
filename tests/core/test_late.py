"""What is late says when it was accepted, whichever way it came (XEP-0203, XEP-0198 section 5)."""

from __future__ import annotations

import pytest

from tests.core.test_delivery import Reader, enable, say
from tests.core.test_snapshots import again, befriend, resume
from tests.harness import Client, Element, FakeClock, Harness
from tests.plugins.muc.people import ROOM, tavern
from xmppd.jid import JID
from xmppd.stanza import message, presence
from xmppd.xep.elements import DELAY_NS, parse_time
from xmppd.xml import E

DELAY = f"{{{DELAY_NS}}}delay"
CSI = "urn:xmpp:csi:0"
COMPOSING = "<composing xmlns='http://jabber.org/protocol/chatstates'/>"


def stamps(element: Element, sender: str = "localhost") -> list[float]:
    """The times that our domain gives, in seconds."""
    return [
        parse_time(str(each.get("stamp"))) / 1_000_000 for each in element.findall(DELAY) if each.get("from") == sender
    ]


def held_for(found: list[Element], clock: FakeClock) -> list[list[int]]:
    """Of each stanza: for how many seconds it was held, as far as it says so."""
    return [
        [round(clock.wall - each) for each in stamps(element)]
        for element in found
        if element.tag in ("{jabber:client}message", "{jabber:client}presence", "{jabber:client}iq")
    ]


async def sent_each(server: Harness, to: Client) -> None:
    """A stored message, what is in no log, presence, and an IQ."""
    romeo = await server.login("romeo", "r")
    say(romeo, to.bare, "stored")
    romeo.send(f"<message to='{to.jid}' type='chat'>{COMPOSING}</message>")
    await server.quiet()
    server.host.deliver(presence("unavailable", to=JID.parse(to.jid), sender=JID.parse(romeo.jid)))
    romeo.send(f"<iq type='get' id='v' to='{to.jid}'><query xmlns='jabber:iq:version'/></iq>")
    await server.quiet()


@pytest.mark.parametrize("seconds", [0.25, 12])
@pytest.mark.parametrize("restart", [False, True])
async def test_what_is_sent_again_after_a_resumption(server: Harness, seconds: float, restart: bool) -> None:
    """With the time when it came, each time that it is sent; nothing that was there in time; no IQ."""
    juliet = await server.login("juliet", "phone")
    previous = await enable(juliet)
    juliet.send("<presence/>")
    reader = Reader(juliet)
    await reader.read()
    await sent_each(server, juliet)
    assert held_for(await juliet.receive_all(), server.clock) == [[], [], [], []]
    juliet.cut()
    await server.advance(seconds)
    first = server
    if restart:
        server = await again(server, 0)
    try:
        late = round(seconds)
        juliet, answer = await resume(server, "juliet", previous, reader.h)
        assert answer.tag.endswith("}resumed")
        expected = [[late], [late], [late], []] if late else [[], [], [], []]
        assert held_for(await juliet.receive_all(), server.clock) == expected
        juliet.cut()
        await server.advance(5)
        juliet, _ = await resume(server, "juliet", previous, reader.h)
        assert held_for(await juliet.receive_all(), server.clock) == [[late + 5]] * 3 + [[]]
    finally:
        if server is not first:
            await server.stop()


async def test_what_came_from_the_log_bears_one_stamp(server: Harness) -> None:
    await server.register("juliet")
    romeo = await server.login("romeo")
    say(romeo, "juliet@localhost", "waits")
    await server.quiet()
    await server.advance(60)
    juliet = await server.login("juliet", "phone")
    previous = await enable(juliet)
    juliet.send("<presence/>")
    reader = Reader(juliet)
    got = [each for each in await juliet.receive_all() if each.tag.endswith("message")]
    assert held_for(got, server.clock) == [[60]]
    juliet.cut()
    await server.advance(30)
    juliet, _ = await resume(server, "juliet", previous, reader.h)
    got = [each for each in await juliet.receive_all() if each.tag.endswith("message")]
    assert held_for(got, server.clock) == [[90]]


@pytest.mark.parametrize("seconds", [0.25, 45])
@pytest.mark.parametrize("restart", [False, True])
async def test_what_a_sleeping_client_was_not_sent(server: Harness, seconds: float, restart: bool) -> None:
    await befriend(server, "romeo", "juliet")
    juliet = await server.login("juliet", "phone")
    previous = await enable(juliet)
    juliet.send("<presence/>")
    reader = Reader(juliet)
    await reader.read()
    juliet.send(f"<inactive xmlns='{CSI}'/>")
    romeo = await server.login("romeo", "r")
    await enable(romeo)  # a restart does not end its session
    romeo.send("<presence/>")
    romeo.send(f"<message to='{juliet.jid}' type='chat'>{COMPOSING}</message>")
    await juliet.silence()
    await server.advance(seconds)
    first = server
    if restart:
        server = await again(server, 0)
        juliet, _ = await resume(server, "juliet", previous, reader.h)
    else:
        juliet.send(f"<active xmlns='{CSI}'/>")
    try:
        late = round(seconds)
        own = [each for each in await juliet.receive_all() if str(each.get("from")).startswith("romeo@")]
        assert len(own) == 2
        by_server = held_for([own[1]], server.clock)
        assert by_server == ([[late]] if late else [[]])
        assert len(own[0].findall(DELAY)) == (1 if late else 0), "its presence, too"
    finally:
        if server is not first:
            await server.stop()


@pytest.mark.server(more="limits: {queue: 100}")
async def test_what_waits_behind_a_full_queue(server: Harness) -> None:
    juliet = await server.login("juliet", "phone")
    await enable(juliet)
    reader = Reader(juliet)
    to, sender = JID.parse(juliet.jid), server.host.jid
    for number in range(120):
        server.host.deliver(message("headline", E("body", "jabber:client", {}, f"{number}"), to=to, sender=sender))
    first = await juliet.receive_all()
    await server.advance(20)
    reader.h = sum(each.tag.endswith("message") for each in first)
    juliet.send(f"<a xmlns='urn:xmpp:sm:3' h='{reader.h}'/>")
    rest = await juliet.receive_all()
    assert held_for(first, server.clock) == [[]] * 100
    assert held_for(rest, server.clock) == [[20]] * 20


@pytest.mark.one_home("the other home takes it when the store answers")
async def test_what_waited_for_the_store(server: Harness) -> None:
    """Accepted while it did not answer: in chats, as copies, and in rooms."""
    romeo, juliet = await tavern(server, "juliet", muc__roomconfig_persistentroom="1")
    other = await server.login("romeo", "other", presence=True)
    await other.iq("<enable xmlns='urn:xmpp:carbons:2'/>", "set")
    await juliet.receive_all()
    await other.receive_all()
    server.backend.hold()
    say(romeo, "juliet@localhost", "to one")
    romeo.send(f"<message to='{ROOM}' type='groupchat' id='x'><body>to all</body></message>")
    await server.advance(5)
    server.backend.release()
    got = [each for each in await juliet.receive_all() if each.find("{jabber:client}body") is not None]
    assert [len(stamps(each, str(each.get("from")).partition("@")[2].partition("/")[0])) for each in got] == [1, 1]
    assert held_for([got[0]], server.clock) == [[5]]
    copies = [each for each in await other.receive_all() if each.tag.endswith("message")]
    assert held_for(copies, server.clock) == [[5]]
    say(romeo, "juliet@localhost", "in time")
    got = await juliet.receive_all()
    assert held_for(got, server.clock) == [[]]
