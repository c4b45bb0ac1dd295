"""RFC 6121 section 4 over a whole server."""

from __future__ import annotations

import time

import pytest

from tests.harness import Client, Element, Harness, condition
from tests.harness.peer import Peer
from xmppd.contracts.roster import ROSTER, RosterItem
from xmppd.contracts.sessions import DIRECTED, PRESENCE
from xmppd.jid import JID
from xmppd.stanza import Kind, Stanza

ROMEO, JULIET = "romeo@localhost", "juliet@localhost"
DELAY = "{urn:xmpp:delay}delay"


def told(element: Element) -> str:
    """A presence as "type resource[ show]"."""
    show = element.find("{jabber:client}show")
    name = (element.get("type") or "available") + " " + str(element.get("from")).removesuffix("@localhost")
    return name.replace("@localhost/", "/") + (f" {show.text}" if show is not None else "")


async def heard(client: Client) -> list[str]:
    return [told(element) for element in await client.receive_all()]


async def subscribe(server: Harness, watcher: str, watched: str, back: bool = False) -> None:
    """As if it had been asked and granted long ago."""
    roster = server.host.service(ROSTER)
    for owner, contact, sides in ((watcher, watched, ("to", "both")), (watched, watcher, ("from", "both"))):
        await server.register(owner.partition("@")[0])
        await server.storage.load(owner)
        await server.storage.commit(roster.write(owner, contact, RosterItem(subscription=sides[back])))


async def test_initial_presence(server: Harness) -> None:
    """Section 4.2.2: to all who may see us, to all our own resources; and theirs to us."""
    await subscribe(server, ROMEO, JULIET, back=True)
    await subscribe(server, "nurse@localhost", ROMEO)
    orchard = await server.login("romeo", "orchard", presence=True)
    balcony, nurse = await server.login("juliet", "balcony", presence=True), await server.login("nurse", "n", True)
    stranger = await server.login("paris", "p", presence=True)
    unavailable = await server.login("juliet", "chamber")
    await orchard.receive_all()
    street = await server.login("romeo", "street")
    street.send("<presence><show>away</show></presence>")
    for client in (orchard, balcony, nurse):
        assert await heard(client) == ["available romeo/street away"]
    assert sorted(await heard(street)) == [
        "available juliet/balcony",
        "available romeo/orchard",
        "available romeo/street away",
    ]
    await stranger.silence()
    await unavailable.silence()


async def test_one_way(server: Harness) -> None:
    await subscribe(server, ROMEO, JULIET)
    romeo, juliet = await server.login("romeo", "r"), await server.login("juliet", "j")
    juliet.send("<presence/>")
    await juliet.receive_all()
    romeo.send("<presence/>")
    assert await heard(romeo) == ["available romeo/r", "available juliet/j"]
    await juliet.silence()


async def test_later_presence_goes_the_same_way(server: Harness) -> None:
    """Section 4.4: and nothing comes back."""
    await subscribe(server, ROMEO, JULIET, back=True)
    romeo, juliet = await server.login("romeo", "r", True), await server.login("juliet", "j", True)
    await romeo.receive_all()
    juliet.send("<presence xml:lang='en' id='p1'><show>dnd</show><status>wooing</status></presence>")
    [seen] = await romeo.receive_all()
    assert told(seen) == "available juliet/j dnd"
    assert seen.get("id") == "p1"
    assert seen.get("{http://www.w3.org/XML/1998/namespace}lang") == "en"
    assert seen.findtext("{jabber:client}status") == "wooing"
    assert await heard(juliet) == ["available juliet/j dnd"]


@pytest.mark.parametrize("end", ["says", "closes", "cut"])
async def test_going(server: Harness, end: str) -> None:
    """Section 4.5: said by the client, or by the server for it."""
    await subscribe(server, ROMEO, JULIET, back=True)
    romeo, juliet = await server.login("romeo", "r", True), await server.login("juliet", "j", True)
    other = await server.login("juliet", "other", True)
    await romeo.receive_all()
    await juliet.receive_all()
    if end == "says":
        juliet.send("<presence type='unavailable'><status>bye</status></presence>")
        assert await heard(juliet) == ["unavailable juliet/j"]
    elif end == "closes":
        juliet.close()
    else:
        juliet.cut()
    [seen] = await romeo.receive_all()
    assert told(seen) == "unavailable juliet/j"
    assert (len(seen) == 1) is (end == "says")
    assert await heard(other) == ["unavailable juliet/j"]
    if end == "says":  # it is said once
        juliet.close()
        await romeo.silence()
        await other.silence()


async def test_who_is_not_available_goes_unseen(server: Harness) -> None:
    await subscribe(server, ROMEO, JULIET, back=True)
    romeo, juliet = await server.login("romeo", "r", True), await server.login("juliet", "j")
    juliet.send("<presence type='unavailable'/>")
    await juliet.silence()
    juliet.close()
    await romeo.silence()


async def test_a_new_stream_of_the_same_resource(server: Harness) -> None:
    await subscribe(server, ROMEO, JULIET, back=True)
    romeo = await server.login("romeo", "r", True)
    await server.login("juliet", "j", True)
    await server.login("juliet", "j", True)
    assert await heard(romeo) == ["available juliet/j", "unavailable juliet/j", "available juliet/j"]


@pytest.mark.parametrize("text", ["128", "-129", "high", "", "1.5", "1 2", "٣", "9" * 5000, "1<x/>"])
async def test_a_priority_that_is_none(server: Harness, text: str) -> None:
    """Section 4.7.2.3."""
    romeo = await server.login("romeo", "r")
    romeo.send(f"<presence id='p'><priority>{text}</priority></presence>")
    answer = await romeo.receive()
    assert condition(answer) == "bad-request"
    session = server.host.account(ROMEO).sessions["r"]
    assert session.presence is None
    romeo.send("<presence><priority>1</priority><priority>2</priority></presence>")
    assert condition(await romeo.receive()) == "bad-request"


@pytest.mark.parametrize(("text", "value"), [("-128", -128), ("127", 127), (" 5\n", 5), ("+7", 7), ("00", 0)])
async def test_priorities(server: Harness, text: str, value: int) -> None:
    romeo = await server.login("romeo", "r")
    romeo.send(f"<presence><priority>{text}</priority></presence>")
    await server.quiet()
    session = server.host.account(ROMEO).sessions["r"]
    assert session.priority == value
    romeo.send("<presence/>")
    await server.quiet()
    assert session.priority == 0


async def test_old_presence_carries_its_time(server: Harness) -> None:
    """XEP-0203: what is sent at sign-in tells when it came; what is sent as it comes does not."""
    await subscribe(server, ROMEO, JULIET, back=True)
    juliet = await server.login("juliet", "j", True)
    began = server.clock.now()
    await server.advance(90)
    romeo = await server.login("romeo", "r")
    romeo.send("<presence/>")
    own, seen = await romeo.receive_all()
    assert own.find(DELAY) is None
    delay = seen.find(DELAY)
    assert delay is not None
    assert delay.get("from") == juliet.jid
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(began))
    assert str(delay.get("stamp")).startswith(stamp)
    [live] = await juliet.receive_all()
    assert live.find(DELAY) is None


# ---- directed presence (section 4.6)


async def test_who_got_it_directly_hears_of_the_end(server: Harness) -> None:
    romeo, juliet = await server.login("romeo", "r", True), await server.login("juliet", "j", True)
    romeo.send(f"<presence to='{juliet.jid}'><show>chat</show></presence>")
    assert await heard(juliet) == ["available romeo/r chat"]
    romeo.send("<presence><show>away</show></presence>")
    await juliet.silence()
    romeo.cut()
    assert await heard(juliet) == ["unavailable romeo/r"]


async def test_directed_without_ever_being_available(server: Harness) -> None:
    romeo, juliet = await server.login("romeo", "r"), await server.login("juliet", "j", True)
    romeo.send(f"<presence to='{juliet.jid}'/><presence to='{juliet.jid}'/>")
    assert await heard(juliet) == ["available romeo/r"] * 2
    romeo.send("<presence type='unavailable'/>")
    assert await heard(juliet) == ["unavailable romeo/r"]
    romeo.cut()
    await juliet.silence()


async def test_directed_to_a_contact_before_being_available(server: Harness) -> None:
    """There will be no broadcast that ends it."""
    await subscribe(server, ROMEO, JULIET, back=True)
    romeo, juliet = await server.login("romeo", "r"), await server.login("juliet", "j", True)
    romeo.send(f"<presence to='{juliet.jid}'/>")
    assert await heard(juliet) == ["available romeo/r"]
    romeo.cut()
    assert await heard(juliet) == ["unavailable romeo/r"]


async def test_directed_and_taken_back(server: Harness) -> None:
    romeo, juliet = await server.login("romeo", "r"), await server.login("juliet", "j", True)
    romeo.send(f"<presence to='{juliet.jid}'/><presence type='unavailable' to='{juliet.jid}'/>")
    assert await heard(juliet) == ["available romeo/r", "unavailable romeo/r"]
    romeo.cut()
    await juliet.silence()


async def test_a_contact_hears_of_the_end_once(server: Harness) -> None:
    await subscribe(server, ROMEO, JULIET, back=True)
    romeo, juliet = await server.login("romeo", "r", True), await server.login("juliet", "j", True)
    romeo.send(f"<presence to='{juliet.jid}'/>")
    await juliet.receive_all()
    romeo.cut()
    assert await heard(juliet) == ["unavailable romeo/r"]


@pytest.mark.server(plugins={"presence": {"directed": 2}})
async def test_directed_presence_has_a_bound(server: Harness) -> None:
    romeo = await server.login("romeo", "r", True)
    for name in ("a", "b", "a"):
        romeo.send(f"<presence to='{name}@localhost'/>")
    await romeo.silence()
    romeo.send("<presence to='c@localhost' id='c'/>")
    assert condition(await romeo.receive()) == "resource-constraint"
    romeo.send("<presence type='unavailable' to='a@localhost'/><presence to='c@localhost'/>")
    await romeo.silence()
    assert server.host.account(ROMEO).sessions["r"][DIRECTED] == ("b@localhost", "c@localhost")


async def test_a_room_is_left_once_whatever_the_nick_was(server: Harness) -> None:
    romeo, juliet = await server.login("romeo", "r", True), await server.login("juliet", "j", True)
    muc = "<x xmlns='http://jabber.org/protocol/muc'/>"
    room = "garden@conference.localhost"
    romeo.send(f"<presence to='{room}/romeo'>{muc}</presence>")
    await romeo.receive_all()
    romeo.send(
        "<iq type='set' id='i' to='garden@conference.localhost'>"
        "<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'/></query></iq>"
    )
    await romeo.receive_all()
    juliet.send(f"<presence to='{room}/juliet'>{muc}</presence>")
    await server.quiet()
    romeo.send(f"<presence to='{room}/montague'/>")
    await juliet.receive_all()
    assert server.host.account(ROMEO).sessions["r"][DIRECTED] == (f"{room}/montague",)
    romeo.cut()
    [left] = await juliet.receive_all()
    assert (left.get("type"), left.get("from")) == ("unavailable", f"{room}/montague")


async def test_presence_errors_are_delivered_and_not_kept(server: Harness) -> None:
    romeo, juliet = await server.login("romeo", "r", True), await server.login("juliet", "j", True)
    error = "<error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
    romeo.send(f"<presence type='error' to='{juliet.jid}'>{error}</presence>")
    assert condition(await juliet.receive()) == "gone"
    romeo.cut()
    await juliet.silence()
    late = await server.login("romeo", "r", True)
    await late.silence()


@pytest.mark.parametrize("attributes", ["type='nonsense'", "type='nonsense' to='juliet@localhost'"])
async def test_an_unknown_type(server: Harness, attributes: str) -> None:
    """Section 4.7.1."""
    romeo = await server.login("romeo", "r", True)
    romeo.send(f"<presence {attributes}/>")
    assert condition(await romeo.receive()) == "bad-request"


# ---- probes (section 4.3)


async def test_a_probe_by_who_may_see(server: Harness) -> None:
    await subscribe(server, ROMEO, JULIET)
    romeo = await server.login("romeo", "r", True)
    romeo.send(f"<presence type='probe' to='{JULIET}'/>")
    assert await heard(romeo) == ["unavailable juliet"]
    balcony, chamber = await server.login("juliet", "balcony", True), await server.login("juliet", "chamber", True)
    await romeo.receive_all()
    romeo.send(f"<presence type='probe' to='{JULIET}'/>")
    assert sorted(await heard(romeo)) == ["available juliet/balcony", "available juliet/chamber"]
    romeo.send(f"<presence type='probe' to='{chamber.jid}'/>")
    assert await heard(romeo) == ["available juliet/chamber"]
    await balcony.receive_all()
    await balcony.silence()


@pytest.mark.parametrize("to", [JULIET, "juliet@localhost/j", "juliet@localhost/x", "nobody@localhost"])
async def test_a_probe_by_a_stranger_tells_nothing(server: Harness, to: str) -> None:
    """P02, T33."""
    await subscribe(server, JULIET, ROMEO)  # that she sees him gives him nothing
    romeo, juliet = await server.login("romeo", "r", True), await server.login("juliet", "j", True)
    await juliet.receive_all()
    romeo.send(f"<presence type='probe' to='{to}'/>")
    answer = await romeo.receive()
    bare = to.partition("/")[0]
    assert (answer.get("type"), answer.get("from"), answer.get("to")) == ("unsubscribed", bare, romeo.jid)
    await romeo.silence()
    await juliet.silence()
    item = server.host.service(ROSTER).item(JULIET, ROMEO)
    assert item is not None and item.subscription == "to", "an answer to a client changes no list"


async def test_a_probe_of_oneself(server: Harness) -> None:
    romeo, other = await server.login("romeo", "r", True), await server.login("romeo", "o", True)
    await romeo.receive_all()
    romeo.send(f"<presence type='probe' to='{ROMEO}'/>")
    assert sorted(await heard(romeo)) == ["available romeo/o", "available romeo/r"]
    await other.silence()


async def test_a_remote_probe_is_answered_by_the_rules(server: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    remote = JID.parse("romeo@montague.example/orchard")
    await server.login("juliet", "j", True)
    probe = Stanza(Kind.PRESENCE, "probe", JID.parse(JULIET), remote)
    sent: list[Stanza] = []
    monkeypatch.setattr(server.host.router, "deliver", sent.append)
    server.host.service(PRESENCE).probe(probe, server.host.deliver)
    assert [(stanza.type, stanza.to) for stanza in sent] == [("unsubscribed", remote)]
    sent.clear()
    item = RosterItem(subscription="from")
    await server.storage.commit(server.host.service(ROSTER).write(JULIET, remote.bare, item))
    server.host.service(PRESENCE).probe(probe, server.host.deliver)
    assert [(stanza.type, stanza.to) for stanza in sent] == [("", remote)]


# ---- who may not see


async def test_the_blocked_see_nothing(server: Harness) -> None:
    """XEP-0191 section 3.3: unavailable once, then silence, both ways; and all of it again after unblocking."""
    await subscribe(server, ROMEO, JULIET, back=True)
    romeo, juliet = await server.login("romeo", "r", True), await server.login("juliet", "j", True)
    await romeo.receive_all()
    item = f"<item jid='{ROMEO}'/>"
    await juliet.iq(f"<block xmlns='urn:xmpp:blocking'>{item}</block>", "set")
    assert await heard(romeo) == ["unavailable juliet/j"]
    juliet.send("<presence><show>away</show></presence>")
    other = await server.login("juliet", "other", True)
    romeo.send(f"<presence type='probe' to='{JULIET}'/>")
    romeo.send("<presence><show>chat</show></presence>")
    assert await heard(romeo) == ["available romeo/r chat"]
    late = await server.login("romeo", "late")
    late.send("<presence/>")
    assert await heard(late) == ["available romeo/late", "available romeo/r chat"]
    await romeo.receive_all()
    assert await heard(juliet) == ["available juliet/j away", "available juliet/other"]
    other.cut()
    await romeo.silence()
    await juliet.iq(f"<unblock xmlns='urn:xmpp:blocking'>{item}</unblock>", "set")
    assert await heard(romeo) == ["available juliet/j away"]


async def test_a_roster_older_than_the_account_shows_nothing(server: Harness) -> None:
    """The name was registered again by somebody else: one side's memory alone is no subscription."""
    await subscribe(server, ROMEO, JULIET, back=True)
    await server.storage.load(JULIET)
    await server.storage.commit(server.host.service(ROSTER).write(JULIET, ROMEO, None))
    romeo, juliet = await server.login("romeo", "r", True), await server.login("juliet", "j", True)
    await romeo.silence()
    romeo.send("<presence><show>away</show></presence>")
    await juliet.silence()


@pytest.mark.in_memory
async def test_contacts_that_are_away_cost_a_look_up(server: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are neither loaded nor routed to."""
    roster = server.host.service(ROSTER)
    romeo = await server.login("romeo", "r")
    writes = []
    for number in range(300):
        writes += roster.write(ROMEO, f"c{number}@localhost", RosterItem(subscription="both"))
    await server.storage.commit(writes)
    await server.register("c0")
    routed: list[Stanza] = []
    monkeypatch.setattr(server.host.router, "deliver", routed.append)
    known = set(server.host.accounts)
    romeo.send("<presence/>")
    assert await heard(romeo) == ["available romeo/r"]
    romeo.cut()
    await server.quiet()
    assert routed == []
    assert set(server.host.accounts) == known


async def test_remote_contacts_are_routed_to(server: Harness) -> None:
    romeo = await server.login("romeo", "r")
    item = RosterItem(subscription="both")
    remote = "juliet@capulet.example"
    roster = server.host.service(ROSTER)
    await server.storage.commit(roster.write(ROMEO, remote, item))
    await server.storage.commit(roster.write(ROMEO, "nurse@capulet.example", RosterItem(subscription="none")))
    peer = Peer(server, "capulet.example")
    server.server.router.routes.register(peer.domain, peer)
    romeo.send("<presence/>")
    await romeo.receive_all()
    romeo.cut()
    await server.quiet()
    assert [(stanza.type, str(stanza.sender), str(stanza.to)) for stanza in peer.got] == [
        ("", romeo.jid, remote),
        ("probe", ROMEO, remote),
        ("unavailable", romeo.jid, remote),
    ]


async def test_a_probe_from_another_server(server: Harness) -> None:
    """Section 4.3.2: who is subscribed gets the presence of each resource, or hears that there is none; all others hear
    the same, whether there is such an account or not."""
    romeo = await server.login("romeo", "x", presence=True)
    await server.register("asleep")
    roster, seer = server.host.service(ROSTER), "nurse@capulet.example"
    for owner in (ROMEO, "asleep@localhost"):
        await server.storage.load(owner)
        await server.storage.commit(roster.write(owner, seer, RosterItem(subscription="from")))
    peer = Peer(server, "capulet.example")
    server.server.router.routes.register(peer.domain, peer)

    async def answers(to: str, sender: str = seer) -> list[tuple[str, str, str]]:
        peer.got.clear()
        peer.send(f"<presence type='probe' from='{sender}' to='{to}'/>")
        await server.until(lambda: peer.handled == peer.received)
        await server.quiet()
        return [(stanza.type, str(stanza.sender), str(stanza.to)) for stanza in peer.got]

    assert await answers(ROMEO) == [("", romeo.jid, seer)]
    assert await answers("asleep@localhost") == [("unavailable", "asleep@localhost", seer)]
    stranger = "tybalt@capulet.example"
    for to in (ROMEO, "asleep@localhost", "nobody@localhost"):
        assert await answers(to, stranger) == [("unsubscribed", to, stranger)]
    await romeo.iq(f"<block xmlns='urn:xmpp:blocking'><item jid='{seer}'/></block>", "set")
    assert await answers(ROMEO) == []
