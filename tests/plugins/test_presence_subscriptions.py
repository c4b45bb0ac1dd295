"""RFC 6121 section 3 over a whole server, and a model of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.harness import Client, Element, Harness, condition
from xmppd.config import parse_config
from xmppd.contracts.roster import ROSTER, RosterItem
from xmppd.contracts.sessions import PRESENCE
from xmppd.jid import JID
from xmppd.stanza import Kind, Stanza
from xmppd.storage.api import DataError

NS = "jabber:iq:roster"
ROMEO, JULIET = "romeo@localhost", "juliet@localhost"


def told(element: Element) -> str:
    """A presence as "type sender", a push as "push contact subscription[ ask][ approved]"."""
    if element.tag == "{jabber:client}presence":
        return f"{element.get('type') or 'available'} {element.get('from')}"
    item = element.find(f"{{{NS}}}query/{{{NS}}}item")
    if item is None:
        return f"iq {element.get('type')}"
    extra = "".join(f" {name}" for name in ("ask", "approved") if item.get(name))
    return f"push {item.get('jid')} {item.get('subscription')}{extra}"


async def heard(client: Client) -> list[str]:
    return [told(element) for element in await client.receive_all()]


async def person(server: Harness, name: str, resource: str, presence: bool = True) -> Client:
    """A client that has asked for its contact list, available or not."""
    client = await server.login(name, resource)
    await client.iq(f"<query xmlns='{NS}'/>")
    if presence:
        client.send("<presence/>")
        await client.receive_all()
    return client


def send(client: Client, type: str, to: str, inside: str = "") -> None:
    client.send(f"<presence type='{type}' to='{to}'>{inside}</presence>")


def item(server: Harness, owner: str, contact: str) -> RosterItem | None:
    found: RosterItem | None = server.host.service(ROSTER).item(owner, contact)
    return found


async def friends(server: Harness) -> tuple[Client, Client]:
    """Two people who are subscribed to each other and available."""
    romeo, juliet = await person(server, "romeo", "orchard"), await person(server, "juliet", "balcony")
    for one, other in ((romeo, JULIET), (juliet, ROMEO)):
        send(one, "subscribe", other)
        await server.quiet()
    for one, other in ((romeo, JULIET), (juliet, ROMEO)):
        send(one, "subscribed", other)
        await server.quiet()
    await romeo.receive_all()
    await juliet.receive_all()
    return romeo, juliet


async def test_asking_and_granting(server: Harness) -> None:
    """Sections 3.1.2 to 3.1.6, with every order that they give."""
    romeo, juliet = await person(server, "romeo", "orchard"), await person(server, "juliet", "balcony")
    send(romeo, "subscribe", "juliet@localhost/balcony", "<status>it is me</status>")
    assert await heard(romeo) == [f"push {JULIET} none ask"]
    [request] = await juliet.receive_all()
    assert told(request) == f"subscribe {ROMEO}"
    assert request.get("to") == JULIET
    assert request[0].text == "it is me"

    send(juliet, "subscribed", "romeo@localhost/orchard")
    assert await heard(romeo) == [f"subscribed {JULIET}", f"push {JULIET} to", f"available {juliet.jid}"]
    assert await heard(juliet) == [f"push {ROMEO} from"]


async def test_denying(server: Harness) -> None:
    """Section 3.2: the stranger is told, and nothing is left at the contact."""
    romeo, juliet = await person(server, "romeo", "orchard"), await person(server, "juliet", "balcony")
    send(romeo, "subscribe", JULIET)
    await romeo.receive_all()
    await juliet.receive_all()
    send(juliet, "unsubscribed", ROMEO)
    assert await heard(romeo) == [f"unsubscribed {JULIET}", f"push {JULIET} none"]
    assert await heard(juliet) == []
    assert item(server, JULIET, ROMEO) is None


async def test_cancelling(server: Harness) -> None:
    """Section 3.2: all resources become unavailable to the one who saw them."""
    romeo, juliet = await friends(server)
    chamber = await person(server, "juliet", "chamber")
    await romeo.receive_all()
    await juliet.receive_all()
    send(juliet, "unsubscribed", ROMEO)
    gone = {f"unavailable {juliet.jid}", f"unavailable {chamber.jid}"}
    first, second, *rest = await heard(romeo)
    assert (first, second) == (f"unsubscribed {JULIET}", f"push {JULIET} from")
    assert set(rest) == gone
    assert await heard(juliet) == await heard(chamber) == [f"push {ROMEO} to"]


async def test_leaving(server: Harness) -> None:
    """Section 3.3: the contact hears it, and becomes unavailable to the one who left."""
    romeo, juliet = await friends(server)
    send(romeo, "unsubscribe", JULIET)
    assert await heard(juliet) == [f"unsubscribe {ROMEO}", f"push {ROMEO} to"]
    assert set(await heard(romeo)) == {f"push {JULIET} from", f"unavailable {juliet.jid}"}


async def test_a_request_waits_until_it_is_answered(server: Harness) -> None:
    """Section 3.1.3: at every initial presence, as it came, through a restart of the account's memory."""
    romeo = await person(server, "romeo", "orchard")
    await server.register("juliet")
    send(romeo, "subscribe", JULIET, "<nick xmlns='http://jabber.org/protocol/nick'>Romeo</nick>")
    await romeo.receive_all()
    for resource in ("balcony", "chamber"):
        juliet = await person(server, "juliet", resource, presence=False)
        await juliet.silence()
        juliet.send("<presence/>")
        own, request = await juliet.receive_all()
        assert told(own) == f"available {juliet.jid}"
        assert told(request) == f"subscribe {ROMEO}"
        assert request[0].text == "Romeo"
        juliet.send("<presence><show>away</show></presence>")
        assert await heard(juliet) == [f"available {juliet.jid}"]
        juliet.close()
        await server.quiet()
    juliet = await person(server, "juliet", "balcony")
    send(juliet, "unsubscribed", ROMEO)
    await juliet.receive_all()
    juliet.send("<presence type='unavailable'/><presence/>")
    assert await heard(juliet) == [f"unavailable {juliet.jid}", f"available {juliet.jid}"]


async def test_a_second_request_is_not_delivered_again(server: Harness) -> None:
    romeo, juliet = await person(server, "romeo", "orchard"), await person(server, "juliet", "balcony")
    send(romeo, "subscribe", JULIET)
    assert await heard(juliet) == [f"subscribe {ROMEO}"]
    send(romeo, "subscribe", JULIET)
    assert await heard(juliet) == []
    assert await heard(romeo) == [f"push {JULIET} none ask"]


@pytest.mark.server(plugins={"presence": {"request_bytes": 20}})
async def test_a_long_request_is_kept_without_its_content(server: Harness) -> None:
    romeo = await person(server, "romeo", "orchard")
    await server.register("juliet")
    send(romeo, "subscribe", JULIET, f"<status>{'x' * 100}</status>")
    await romeo.receive_all()
    juliet = await person(server, "juliet", "balcony", presence=False)
    juliet.send("<presence/>")
    _, request = await juliet.receive_all()
    assert told(request) == f"subscribe {ROMEO}"
    assert len(request) == 0


@pytest.mark.server(plugins={"roster": {"requests": 1}})
async def test_a_flood_of_requests_is_not_kept(server: Harness) -> None:
    """T41: beyond the limit they are as if they had not come; contacts still can ask."""
    juliet = await person(server, "juliet", "balcony")
    for name in ("romeo", "paris"):
        send(await person(server, name, "r"), "subscribe", JULIET)
        await server.quiet()
    assert await heard(juliet) == [f"subscribe {ROMEO}"]
    assert item(server, JULIET, "paris@localhost") is None


async def test_whoever_does_not_exist_is_silent(server: Harness) -> None:
    """T33: nothing tells an account that is not there from one that does not answer."""
    romeo = await person(server, "romeo", "orchard")
    await server.register("juliet")
    seen = []
    for contact in (JULIET, "nobody@localhost"):
        for type in ("subscribe", "unsubscribe", "subscribed", "unsubscribed", "probe"):
            send(romeo, type, contact)
            seen.append([each.replace(contact, "?") for each in await heard(romeo)])
    assert seen[:5] == seen[5:]


async def test_own_address(server: Harness) -> None:
    romeo = await person(server, "romeo", "orchard")
    for type in ("subscribe", "subscribed", "unsubscribe", "unsubscribed"):
        send(romeo, type, ROMEO)
    assert await heard(romeo) == []
    assert item(server, ROMEO, ROMEO) is None


async def test_who_sees_already_is_answered_at_once(server: Harness) -> None:
    """Section 3.1.3: and the contact is not bothered."""
    romeo, juliet = await friends(server)
    before = item(server, JULIET, ROMEO)
    lost = server.host.service(ROSTER).write(ROMEO, JULIET, RosterItem())
    await server.storage.commit(lost)
    send(romeo, "subscribe", JULIET)
    assert await heard(romeo) == [f"push {JULIET} none ask", f"subscribed {JULIET}", f"push {JULIET} to"]
    assert await heard(juliet) == []
    assert item(server, JULIET, ROMEO) == before


async def test_approval_in_advance(server: Harness) -> None:
    """Section 3.4."""
    romeo, juliet = await person(server, "romeo", "orchard"), await person(server, "juliet", "balcony")
    send(juliet, "subscribed", ROMEO)
    assert await heard(juliet) == [f"push {ROMEO} none approved"]
    assert await heard(romeo) == []
    send(romeo, "subscribe", JULIET)
    asked = f"push {JULIET} none ask"  # section 3.1.2
    assert await heard(romeo) == [asked, f"subscribed {JULIET}", f"push {JULIET} to", f"available {juliet.jid}"]
    assert await heard(juliet) == [f"push {ROMEO} from approved"]


async def test_approval_in_advance_is_taken_back(server: Harness) -> None:
    romeo, juliet = await person(server, "romeo", "orchard"), await person(server, "juliet", "balcony")
    send(juliet, "subscribed", ROMEO)
    send(juliet, "unsubscribed", ROMEO)
    assert await heard(juliet) == [f"push {ROMEO} none approved", f"push {ROMEO} none"]
    send(romeo, "subscribe", JULIET)
    assert await heard(juliet) == [f"subscribe {ROMEO}"]


@pytest.mark.parametrize("resource", ["orchard", None])
async def test_removal_ends_both_ways(server: Harness, resource: str | None) -> None:
    """Section 2.5.2."""
    romeo, juliet = await friends(server)
    remove = f"<query xmlns='{NS}'><item jid='{JULIET}' subscription='remove'/></query>"
    assert (await romeo.iq(remove, "set", to=ROMEO if resource is None else None)).get("type") == "result"
    first, *rest = await heard(romeo)
    assert first == f"push {JULIET} remove"
    assert rest == [f"unavailable {juliet.jid}"]
    words = await heard(juliet)
    assert words == [
        f"unsubscribe {ROMEO}",
        f"push {ROMEO} to",
        f"unsubscribed {ROMEO}",
        f"push {ROMEO} none",
        f"unavailable {romeo.jid}",
    ]
    assert item(server, JULIET, ROMEO) == RosterItem()
    juliet.send("<presence><show>away</show></presence>")
    await romeo.silence()


async def test_removal_withdraws_a_request_and_denies_one(server: Harness) -> None:
    romeo, juliet = await person(server, "romeo", "orchard"), await person(server, "juliet", "balcony")
    for one, other in ((romeo, JULIET), (juliet, ROMEO)):
        send(one, "subscribe", other)
        await server.quiet()
    await romeo.receive_all()
    await juliet.receive_all()
    await romeo.iq(f"<query xmlns='{NS}'><item jid='{JULIET}' subscription='remove'/></query>", "set")
    assert await heard(juliet) == [f"unsubscribe {ROMEO}", f"unsubscribed {ROMEO}", f"push {ROMEO} none"]
    assert item(server, JULIET, ROMEO) == RosterItem()


async def test_only_the_interested_hear_of_changes(server: Harness) -> None:
    """Section 2.2: a client that has not asked for the list gets requests, no pushes, no answers."""
    romeo = await person(server, "romeo", "orchard")
    plain = await server.login("romeo", "plain", presence=True)
    juliet = await person(server, "juliet", "balcony")
    await romeo.receive_all()
    send(romeo, "subscribe", JULIET)
    await server.quiet()
    send(juliet, "subscribed", ROMEO)
    assert await heard(plain) == [f"available {juliet.jid}"]
    send(juliet, "subscribe", ROMEO)
    assert await heard(plain) == [f"subscribe {JULIET}"]


async def test_nothing_is_seen_that_is_not_stored(server: Harness) -> None:
    romeo, juliet = await person(server, "romeo", "orchard"), await person(server, "juliet", "balcony")
    server.backend.hold()
    send(romeo, "subscribe", JULIET)
    await romeo.silence()
    await juliet.silence()
    server.backend.release()
    assert await heard(romeo) == [f"push {JULIET} none ask"]
    assert await heard(juliet) == [f"subscribe {ROMEO}"]


async def test_what_the_store_refuses_happened_on_neither_side(server: Harness) -> None:
    romeo, juliet = await person(server, "romeo", "orchard"), await person(server, "juliet", "balcony")
    server.backend.fail(DataError("no"))
    send(romeo, "subscribe", JULIET)
    assert condition(await romeo.receive()) == "internal-server-error"
    await juliet.silence()
    assert item(server, ROMEO, JULIET) is item(server, JULIET, ROMEO) is None


async def test_crossing_stanzas_of_two_streams(server: Harness) -> None:
    """Both decide while neither is stored: each takes its turn, and both come true."""
    romeo, juliet = await person(server, "romeo", "orchard"), await person(server, "juliet", "balcony")
    server.backend.hold()
    send(romeo, "subscribe", JULIET)
    send(juliet, "subscribed", ROMEO)
    send(juliet, "subscribe", ROMEO)
    send(romeo, "subscribed", JULIET)
    await server.quiet()
    server.backend.release()
    await server.quiet()
    for owner, contact in ((ROMEO, JULIET), (JULIET, ROMEO)):
        found = item(server, owner, contact)
        assert found is not None
        assert found.subscription == "both"


async def test_each_side_is_a_decision_of_its_own(server: Harness) -> None:
    """As between two domains: the contact's host hears what is committed, and decides then."""
    romeo, juliet = await person(server, "romeo", "orchard"), await person(server, "juliet", "balcony")
    server.backend.hold()
    send(romeo, "subscribe", JULIET)
    await server.quiet()
    server.backend.release(1)
    assert await heard(romeo) == [f"push {JULIET} none ask"]
    assert await heard(juliet) == []
    send(juliet, "subscribed", ROMEO)  # she has not been asked: an approval in advance, behind the request
    server.backend.release()
    assert await heard(juliet) == [f"subscribe {ROMEO}", f"push {ROMEO} from"]
    assert await heard(romeo) == [f"subscribed {JULIET}", f"push {JULIET} to", f"available {juliet.jid}"]


async def test_presence_between_the_two_decisions(server: Harness) -> None:
    """It comes behind what lets it be seen."""
    romeo, juliet = await person(server, "romeo", "orchard"), await person(server, "juliet", "balcony")
    send(romeo, "subscribe", JULIET)
    await romeo.receive_all()
    await juliet.receive_all()
    server.backend.hold()
    send(juliet, "subscribed", ROMEO)
    await server.quiet()
    server.backend.release(1)
    juliet.send("<presence><show>away</show></presence>")
    assert await heard(juliet) == [f"push {ROMEO} from", f"available {juliet.jid}"]
    assert await heard(romeo) == []
    server.backend.release()
    elements = await romeo.receive_all()
    assert [told(each) for each in elements] == [
        f"subscribed {JULIET}",
        f"push {JULIET} to",
        *[f"available {juliet.jid}"] * 2,
    ]
    assert [each.findtext("{jabber:client}show") for each in elements[2:]] == [None, "away"]


async def test_what_is_lost_between_two_commits_is_put_right(server: Harness) -> None:
    """A request is sent again at the next sign-in (section 3.1.2)."""
    romeo, juliet = await person(server, "romeo", "orchard"), await person(server, "juliet", "balcony")
    server.backend.hold()
    send(romeo, "subscribe", JULIET)
    await server.quiet()
    server.backend.release(1)
    server.backend.fail(DataError("no"))
    server.backend.release()
    await server.quiet()
    assert item(server, ROMEO, JULIET) == RosterItem(ask=True)
    assert item(server, JULIET, ROMEO) is None
    assert await heard(juliet) == []
    romeo.send("<presence type='unavailable'/><presence/>")
    assert await heard(juliet) == [f"subscribe {ROMEO}"]
    romeo.send("<presence type='unavailable'/><presence/>")
    assert await heard(juliet) == [], "it waits there already"


async def test_a_subscription_that_the_contact_does_not_know(server: Harness) -> None:
    """The probe at the next sign-in tells (section 4.3.2), and what is shown to nobody any more is not believed."""
    romeo, juliet = await friends(server)
    roster = server.host.service(ROSTER)
    await server.storage.commit(roster.write(JULIET, ROMEO, RosterItem(subscription="to")))
    romeo.send("<presence type='unavailable'/><presence/>")
    words = await heard(romeo)
    assert [each for each in words if ROMEO not in each] == [f"unsubscribed {JULIET}", f"push {JULIET} from"]
    assert item(server, ROMEO, JULIET) == RosterItem(subscription="from")
    await juliet.receive_all()


async def test_from_elsewhere(server: Harness) -> None:
    """A remote contact's stanzas come one by one."""
    juliet = await person(server, "juliet", "balcony")
    rules, account = server.host.service(PRESENCE), server.host.account(JULIET)
    sender = JID.parse("romeo@montague.example/orchard")

    async def arrives(type: str) -> list[str]:
        await rules.arriving_subscription(account, Stanza(Kind.PRESENCE, type, account.jid, sender))
        return await heard(juliet)

    assert await arrives("subscribe") == ["subscribe romeo@montague.example"]
    assert await arrives("subscribe") == []
    send(juliet, "subscribed", "romeo@montague.example")
    assert await heard(juliet) == ["push romeo@montague.example from"]
    send(juliet, "subscribe", "romeo@montague.example")
    assert await heard(juliet) == ["push romeo@montague.example from ask", "error romeo@montague.example"], (
        "not reached"
    )
    assert await arrives("subscribed") == [
        "subscribed romeo@montague.example",
        "push romeo@montague.example both",
    ]
    assert await arrives("unsubscribe") == ["unsubscribe romeo@montague.example", "push romeo@montague.example to"]
    assert await arrives("unsubscribed") == [
        "unsubscribed romeo@montague.example",
        "push romeo@montague.example none",
    ]


TWO_HOSTS = """
hosts:
  localhost: {}
  capulet.example: {}
listeners:
  - {address: 127.0.0.1, port: 5222, tls: none}
storage: "memory:"
"""


@pytest.mark.in_memory
async def test_between_two_domains_of_this_server() -> None:
    server = Harness()
    server.config = parse_config(TWO_HOSTS, "test.yaml")
    await server.start()
    try:
        romeo = await person(server, "romeo", "orchard")
        await server.register("juliet", "capulet.example")
        juliet = server.connect()
        await juliet.sign_in("juliet", domain="capulet.example")
        await juliet.bind("balcony")
        await juliet.iq(f"<query xmlns='{NS}'/>")
        juliet.send("<presence/>")
        await juliet.receive_all()
        there = "juliet@capulet.example"
        send(romeo, "subscribe", there)
        assert await heard(juliet) == [f"subscribe {ROMEO}"]
        send(juliet, "subscribed", ROMEO)
        assert await heard(romeo) == [
            f"push {there} none ask",
            f"subscribed {there}",
            f"push {there} to",
            f"available {juliet.jid}",
        ]
        assert await heard(juliet) == [f"push {ROMEO} from"]
        romeo.send("<presence type='unavailable'/><presence/>")
        assert f"available {juliet.jid}" in await heard(romeo)
        juliet.cut()
        assert await heard(romeo) == [f"unavailable {juliet.jid}"]
        await romeo.iq(f"<query xmlns='{NS}'><item jid='{there}' subscription='remove'/></query>", "set")
        await server.quiet()
        assert server.server.hosts["capulet.example"].service(ROSTER).item(there, ROMEO) == RosterItem()
    finally:
        await server.stop()


async def block(client: Client, contact: str) -> None:
    answer = await client.iq(f"<block xmlns='urn:xmpp:blocking'><item jid='{contact}'/></block>", "set")
    assert answer.get("type") == "result"


async def test_the_blocked_ask_in_vain_and_may_leave(server: Harness) -> None:
    """XEP-0191 section 3.3; an end is noted unseen, so the two lists do not disagree."""
    romeo, juliet = await friends(server)
    paris = await person(server, "paris", "street")
    await block(juliet, "paris@localhost")
    send(paris, "subscribe", JULIET)
    await juliet.silence()
    assert item(server, JULIET, "paris@localhost") is None
    await block(juliet, ROMEO)
    await romeo.receive_all()
    send(romeo, "unsubscribe", JULIET)
    assert item(server, JULIET, ROMEO) is not None
    assert await heard(juliet) == [f"push {ROMEO} to"]


async def test_a_deleted_account_takes_its_leave(server: Harness) -> None:
    """XEP-0077 section 3.2: of contacts that are there and of those that are not."""
    romeo, juliet = await friends(server)
    send(await person(server, "paris", "street"), "subscribe", ROMEO)
    await romeo.receive_all()
    send(romeo, "subscribe", "nurse@localhost")
    await server.register("nurse")
    send(romeo, "subscribe", "nurse@localhost")
    await romeo.receive_all()
    await server.server.accounts.delete(JID.parse(ROMEO))
    gone, *rest = await heard(juliet)
    assert gone == f"unavailable {romeo.jid}"
    assert rest == [
        f"unsubscribe {ROMEO}",
        f"unsubscribed {ROMEO}",
        f"push {ROMEO} none",
    ]
    await server.storage.load("nurse@localhost")
    assert item(server, "nurse@localhost", ROMEO) is None
    assert item(server, JULIET, ROMEO) == RosterItem()
    assert item(server, "paris@localhost", ROMEO) == RosterItem()


@pytest.mark.parametrize("first", [0, 1])
async def test_a_name_and_an_answer_at_once(server: Harness, first: int) -> None:
    """The contact list and the subscriptions change the same record from two streams."""
    romeo, juliet = await person(server, "romeo", "orchard"), await person(server, "juliet", "balcony")
    send(romeo, "subscribe", JULIET)
    await server.quiet()
    server.backend.hold()
    named = f"<query xmlns='{NS}'><item jid='{JULIET}' name='Juliet'/></query>"
    steps = [
        lambda: romeo.send(f"<iq type='set' id='n'>{named}</iq>"),
        lambda: send(juliet, "subscribed", ROMEO),
    ]
    steps[first]()
    await server.quiet()
    steps[1 - first]()
    await server.quiet()
    server.backend.release()
    await server.quiet()
    assert item(server, ROMEO, JULIET) == RosterItem(name="Juliet", subscription="to")


# ---- a model


@dataclass
class Model:
    """Who asked whom, who sees whom, who approved whom in advance; pairs (from, to) of 0 and 1."""

    asked: set[tuple[int, int]] = field(default_factory=set)
    sees: set[tuple[int, int]] = field(default_factory=set)
    approved: set[tuple[int, int]] = field(default_factory=set)

    def apply(self, who: int, type: str) -> None:
        me, them = (who, 1 - who), (1 - who, who)
        if type == "subscribe" and me not in self.sees:
            if them in self.approved:
                self.sees.add(me)
            else:
                self.asked.add(me)
        elif type == "unsubscribe" or type == "remove":
            self.asked.discard(me)
            self.sees.discard(me)
        elif type == "subscribed":
            if them in self.asked:
                self.asked.discard(them)
                self.sees.add(them)
            elif them not in self.sees:
                self.approved.add(me)
        if type in ("unsubscribed", "remove"):
            self.asked.discard(them)
            self.sees.discard(them)
            self.approved.discard(me)

    def facts(self, who: int) -> tuple[bool, bool, bool, bool, bool]:
        me, them = (who, 1 - who), (1 - who, who)
        return me in self.sees, me in self.asked, them in self.sees, them in self.asked, me in self.approved


def facts(found: RosterItem | None) -> tuple[bool, bool, bool, bool, bool]:
    known = found or RosterItem()
    return known.we_see, known.ask, known.sees_us, known.pending_in, known.approved


STEPS = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.sampled_from(("subscribe", "subscribed", "unsubscribe", "unsubscribed", "remove")),
    ),
    max_size=25,
)


async def act(server: Harness, people: list[Client], who: int, type: str, number: int) -> None:
    contact = people[1 - who].bare
    if type == "remove":
        remove = f"<query xmlns='{NS}'><item jid='{contact}' subscription='remove'/></query>"
        people[who].send(f"<iq type='set' id='r{number}'>{remove}</iq>")
    else:
        send(people[who], type, contact)


async def check_sight(people: list[Client], sees: set[tuple[int, int]]) -> None:
    """What the rosters say is what is seen."""
    for client in people:
        await client.receive_all()
    for who in (0, 1):
        people[who].send("<presence><show>away</show></presence>")
        own = f"available {people[who].jid}"
        assert await heard(people[who]) == [own]
        assert await heard(people[1 - who]) == ([own] if (1 - who, who) in sees else [])


async def play_in_turn(steps: list[tuple[int, str]]) -> None:
    server = await Harness().start()
    try:
        people = [await person(server, "romeo", "r"), await person(server, "juliet", "j")]
        bare, model = (ROMEO, JULIET), Model()
        for number, (who, type) in enumerate(steps):
            known = item(server, bare[who], bare[1 - who])
            await act(server, people, who, type, number)
            await server.quiet()
            if type != "remove" or (known is not None and known.listed):
                model.apply(who, type)
            for each in (0, 1):
                assert facts(item(server, bare[each], bare[1 - each])) == model.facts(each)
        await check_sight(people, model.sees)
    finally:
        await server.stop()


async def play_at_once(steps: list[tuple[int, str]]) -> None:
    """Two streams, nothing waits: what crosses may leave the two lists apart, as between two domains. The next sign-in
    mends what an account believes of the other: it sees nobody who does not say so, and what it asks is known there."""
    server = await Harness().start()
    try:
        people = [await person(server, "romeo", "r"), await person(server, "juliet", "j")]
        for number, (who, type) in enumerate(steps):
            await act(server, people, who, type, number)
        await server.quiet()
        for client in people:
            client.send("<presence type='unavailable'/><presence/>")
            await server.quiet()
        romeo = item(server, ROMEO, JULIET) or RosterItem()
        juliet = item(server, JULIET, ROMEO) or RosterItem()
        for one, other in ((romeo, juliet), (juliet, romeo)):
            assert other.sees_us or not one.we_see
            assert other.pending_in or not one.ask
        sees = {(0, 1)} if romeo.we_see else set()
        await check_sight(people, sees | ({(1, 0)} if juliet.we_see else set()))
    finally:
        await server.stop()


@settings(max_examples=40, deadline=None)
@given(steps=STEPS)
def test_both_rosters_equal_the_model(steps: list[tuple[int, str]]) -> None:
    asyncio.run(play_in_turn(steps))


@settings(max_examples=40, deadline=None)
@given(steps=STEPS)
def test_what_crosses_is_mended(steps: list[tuple[int, str]]) -> None:
    asyncio.run(play_at_once(steps))
