"""One stanza to many at another server: once for each, as the standard wants (XEP-0045 section 7.4), and serialised
once, as the copies differ in nothing but their address."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from lxml import etree

from tests.harness import Client, Element, Harness
from tests.harness.authority import Authority
from tests.harness.peer_stream import SERVER, CalledStream, Federation, PeerStream, federate
from xmppd.jid import JID
from xmppd.protocol import framing
from xmppd.stanza import Kind, Stanza, message
from xmppd.streams import remote_bounds
from xmppd.xml import E

OTHER = "other.example"
ROOM = "garden@conference.localhost"
MUC = "http://jabber.org/protocol/muc"
CLIENT = "jabber:client"
OCCUPANTS = 40
NAMES_CLIENT = "<x xmlns='jabber:client'>also</x>"
"""A child that names the namespace is written anew for a stream of servers."""


@pytest.fixture
def serialised(monkeypatch: pytest.MonkeyPatch) -> list[Stanza]:
    """The messages of which what stands behind the address was put together."""
    found: list[Stanza] = []
    build: Callable[[Stanza], bytes] = Stanza.rest.fget  # type: ignore[attr-defined]

    def rest(stanza: Stanza) -> bytes:
        if stanza._rest is None and stanza.kind is Kind.MESSAGE:
            found.append(stanza)
        return build(stanza)

    monkeypatch.setattr(Stanza, "rest", property(rest))
    return found


@pytest.fixture
def written_anew(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The insides that were parsed because they name jabber:client."""
    found: list[bytes] = []
    parse = framing.parse_inside
    monkeypatch.setattr(framing, "parse_inside", lambda inside: (found.append(inside), parse(inside))[1])
    return found


@pytest.fixture
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def fed(server: Harness, authority: Authority) -> Federation:
    return federate(server, authority)


@pytest.fixture
async def peer(fed: Federation, authority: Authority) -> PeerStream:
    return await PeerStream(fed, OTHER, authority.certificate(dns=[OTHER]).ders).sign_in_external()


class Elsewhere:
    """Our stream to the other server, which says that it has what has come."""

    def __init__(self, called: CalledStream) -> None:
        self.called = called
        self.count = 0

    async def take(self) -> list[Element]:
        """The stanzas that have come since."""
        found = [each for each in await self.called.receive_all() if each.tag.startswith(SERVER)]
        self.count += len(found)
        self.called.acknowledge(self.count)
        return found


def person(number: int) -> str:
    return f"u{number}@{OTHER}/x"


async def occupied(fed: Federation, peer: PeerStream) -> tuple[Client, Elsewhere]:
    """A room of Romeo's, in which `OCCUPANTS` people of another server are."""
    romeo = await fed.harness.login("romeo", "x", presence=True)
    romeo.send(f"<presence to='{ROOM}/romeo'><x xmlns='{MUC}'/></presence>")
    await romeo.receive_all()
    form = f"<query xmlns='{MUC}#owner'><x xmlns='jabber:x:data' type='submit'/></query>"
    assert (await romeo.iq(form, "set", to=ROOM)).get("type") == "result"
    for number in range(OCCUPANTS):
        inside = f"<x xmlns='{MUC}'><history maxstanzas='0'/></x>"
        peer.send(f"<presence from='{person(number)}' to='{ROOM}/n{number}'>{inside}</presence>")
    other = Elsewhere(await (await fed.next_call()).accept())
    while await other.take():
        pass
    assert fed.remotes.waiting == 0
    await romeo.receive_all()
    return romeo, other


async def test_a_message_to_a_room_is_serialised_once(
    fed: Federation, peer: PeerStream, serialised: list[Stanza], written_anew: list[bytes]
) -> None:
    romeo, other = await occupied(fed, peer)
    serialised.clear()
    romeo.send(f"<message to='{ROOM}' type='groupchat' id='m'><body>hello</body>{NAMES_CLIENT}</message>")
    await fed.harness.quiet()
    items = fed.remotes.lines[0].written
    assert len(items) == OCCUPANTS and len({id(item.rest) for item in items}) == 1
    found = await other.take()
    assert [each.get("to") for each in found] == [person(number) for number in range(OCCUPANTS)]
    assert {(each.get("from"), each.findtext(f"{SERVER}body")) for each in found} == {(f"{ROOM}/romeo", "hello")}
    inside = {etree.tostring(each[-1]) for each in found}
    assert len(inside) == 1
    sent = [stanza for stanza in serialised if b"stanza-id" in stanza.inside]
    assert len(sent) <= 2, "as it is, and in the namespace of the stream"
    assert len([each for each in written_anew if b"hello" in each]) == 1


async def test_an_event_to_all_is_serialised_once(server: Harness, fed: Federation, serialised: list[Stanza]) -> None:
    """Whatever fans out, and whether a stream is there or not."""
    people = [JID.parse(person(number)) for number in range(OCCUPANTS)]
    server.server.router.fan_out(message("headline", E("x", "urn:test", {}, "hello"), sender=JID.parse(ROOM)), people)
    await (await fed.next_call()).accept()
    await fed.harness.quiet()
    items = fed.remotes.lines[0].written
    assert [item.handover.stanza.to for item in items] == people and len(serialised) == 1


async def test_what_goes_to_many_counts_once(server: Harness, fed: Federation) -> None:
    """A long message to a room of many is not more than may wait for a domain: its bytes are there once."""
    text = "x" * 60_000
    people = [JID.parse(person(number)) for number in range(OCCUPANTS)]
    fed.configure(queue=1 << 18)
    server.server.router.fan_out(message("groupchat", E("body", CLIENT, {}, text), sender=JID.parse(ROOM)), people)
    assert fed.remotes.waiting == OCCUPANTS and fed.remotes.waiting_bytes < 1 << 18
    other = Elsewhere(await (await fed.next_call()).accept())
    taken = 0
    while found := await other.take():
        taken += len(found)
    assert taken == OCCUPANTS and fed.remotes.waiting == 0
    lines = fed.remotes._lines
    assert (lines.bounds.size, dict(lines.bounds.sizes)) == (remote_bounds.LINE, {})


async def test_in_order_with_what_is_kept(server: Harness, fed: Federation) -> None:
    """For whom something of the same sender waits for the store, it comes behind that; for the others at once."""
    first, second = JID.parse(person(0)), JID.parse(person(1))
    sender = JID.parse("romeo@localhost/x")
    romeo = await server.login("romeo", "x", presence=True)
    server.backend.hold()
    romeo.send(f"<message to='{first}' type='chat' id='1'><body>kept</body></message>")
    await server.quiet()
    server.server.router.fan_out(message("headline", E("body", CLIENT, {}, "2"), sender=sender), [first, second])
    other = Elsewhere(await (await fed.next_call()).accept())
    assert [(each.get("to"), each[0].text) for each in await other.take()] == [(second.full, "2")]
    server.backend.release()
    assert [(each.get("to"), each[0].text) for each in await other.take()] == [(first.full, "kept"), (first.full, "2")]


async def test_who_cannot_be_reached_leaves_the_room(fed: Federation, peer: PeerStream) -> None:
    romeo, _ = await occupied(fed, peer)
    fed.configure(block=(OTHER,))
    romeo.send(f"<message to='{ROOM}' type='groupchat' id='m'><body>hello</body></message>")
    gone = [each.get("from") for each in await romeo.receive_all() if each.get("type") == "unavailable"]
    assert sorted(gone) == sorted(f"{ROOM}/n{number}" for number in range(OCCUPANTS))
    assert not fed.remotes.lines


async def test_who_is_elsewhere_is_told_what_a_moderator_retracts(fed: Federation, peer: PeerStream) -> None:
    """XEP-0425 section 3.1; the author is elsewhere, too."""
    romeo, elsewhere = await occupied(fed, peer)
    peer.send(f"<message from='{person(1)}' to='{ROOM}' type='groupchat' id='m'><body>potions</body></message>")
    await fed.harness.quiet()
    number = (await romeo.receive_all())[-1].find("{urn:xmpp:sid:0}stanza-id")
    assert number is not None
    await elsewhere.take()
    retract = f"<moderate xmlns='urn:xmpp:message-moderate:1' id='{number.get('id')}'>{{}}</moderate>"
    answer = await romeo.iq(retract.format("<retract xmlns='urn:xmpp:message-retract:1'/>"), "set", ROOM)
    assert answer.get("type") == "result"
    await fed.harness.quiet()
    told = await elsewhere.take()
    assert {each.get("to") for each in told} == set(map(person, range(OCCUPANTS)))
    for each in told:
        mark = each.find("{urn:xmpp:message-retract:1}retract")
        assert each.get("from") == ROOM and mark is not None and mark.get("id") == number.get("id")
