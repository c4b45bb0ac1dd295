"""One stanza to many: each gets its own address, through the chains of its account, in order with what came before."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness import Client, Element, Harness
from tests.harness.peer import Peer
from tests.plugins.contract import folder
from xmppd.contracts.roster import ROSTER, RosterItem
from xmppd.jid import JID
from xmppd.stanza import Stanza, message, presence
from xmppd.xml import E

__all__ = ["folder"]

CLIENT = "jabber:client"
ROOM = JID.parse("garden@conference.localhost/nurse")


def said(text: str = "hello", type: str = "headline") -> Stanza:
    return message(type, E("body", CLIENT, {}, text), sender=ROOM)


async def heard(client: Client) -> list[tuple[str | None, str | None]]:
    """The `to` and the body of each message."""
    return [(each.get("to"), each.findtext(f"{{{CLIENT}}}body")) for each in await client.receive_all()]


@pytest.fixture
async def people(server: Harness) -> list[Client]:
    return [await server.login(name, "x", presence=True) for name in ("romeo", "juliet", "nurse")]


async def test_each_gets_its_own_address(server: Harness, people: list[Client]) -> None:
    server.server.router.fan_out(said(), [JID.parse(client.jid) for client in people])
    assert [await heard(client) for client in people] == [[(client.jid, "hello")] for client in people]


async def test_who_is_gone_gets_nothing(server: Harness, people: list[Client]) -> None:
    """Neither the sender hears of it nor another session of the same account."""
    gone = ["romeo@localhost/other", "romeo@localhost", "nobody@localhost/x", "garden@conference.localhost/y"]
    romeo = JID.parse(people[0].jid)
    server.server.router.fan_out(said(), [*map(JID.parse, gone), romeo])
    assert await heard(people[0]) == [(people[0].jid, "hello")]
    assert not server.server.router.own_orders.pending


async def test_a_block_list_counts_for_its_owner_alone(server: Harness, people: list[Client]) -> None:
    block = f"<block xmlns='urn:xmpp:blocking'><item jid='{ROOM.bare}'/></block>"
    assert (await people[1].iq(block, "set")).get("type") == "result"
    addresses = [JID.parse(client.jid) for client in people]
    server.server.router.fan_out(presence(sender=ROOM), addresses)
    assert [len(await client.receive_all()) for client in people] == [1, 0, 1]
    server.server.router.fan_out(said(type="groupchat"), addresses)
    assert [len(await client.receive_all()) for client in people] == [1, 0, 1]


async def test_in_order_with_what_is_stored(server: Harness, people: list[Client]) -> None:
    """For whom something of the same sender waits, it comes behind that; for the others at once."""
    router = server.server.router
    server.backend.hold()
    router.deliver(said("stored", "chat").stamped(to=JID.parse(people[0].bare)))
    router.fan_out(said("to all"), [JID.parse(client.jid) for client in people])
    assert [len(await client.receive_all()) for client in people] == [0, 1, 1]
    server.backend.release()
    assert [body for _, body in await heard(people[0])] == ["stored", "to all"]


async def test_what_waited_for_the_store_says_since_when(server: Harness, people: list[Client]) -> None:
    delay = "{urn:xmpp:delay}delay"
    at = int(server.clock.now() * 1_000_000)
    await server.advance(100)
    addresses = [JID.parse(client.jid) for client in people]
    for number, late in ((at, True), (int(server.clock.now() * 1_000_000), False), (0, False)):
        server.server.router.fan_out(said(), addresses, number)
        for client in people:
            [element] = [each for each in await client.receive_all() if each.tag.endswith("message")]
            assert (element.find(delay) is not None) is late


async def test_presence_to_contacts(server: Harness, people: list[Client]) -> None:
    """To those whose own list says that they see the account, in what it does not block; elsewhere by the routes."""
    peer = Peer(server, "elsewhere.example")
    server.server.router.routes.register(peer.domain, peer)
    lists, romeo = server.host.service(ROSTER), server.host.account("romeo@localhost")
    second = await server.login("juliet", "second", presence=True)
    await server.storage.commit(lists.write("juliet@localhost", romeo.bare, RosterItem(subscription="to")))
    await server.storage.commit(lists.write("nurse@localhost", romeo.bare, RosterItem(subscription="from")))
    await people[1].receive_all()
    contacts = ["juliet@localhost", "nurse@localhost", "nobody@localhost", "a@elsewhere.example", "elsewhere.example"]
    session = romeo.sessions["x"]
    router, stanza = server.server.router, presence(sender=session.jid)
    router.fan_to_contacts(stanza, romeo, contacts, lambda jid: jid.resource == "second", [session])
    assert [len(await client.receive_all()) for client in (*people, second)] == [1, 1, 0, 0]
    assert [str(each.to) for each in peer.got] == ["a@elsewhere.example", "elsewhere.example"]


async def test_contacts_are_probed(server: Harness, people: list[Client]) -> None:
    """Here, their host says what they show; the answer of who shows nothing mends the list of who asked; elsewhere, the
    probe goes by the routes. Who is not there is passed over."""
    peer = Peer(server, "elsewhere.example")
    server.server.router.routes.register(peer.domain, peer)
    lists, romeo = server.host.service(ROSTER), server.host.account("romeo@localhost")
    await server.register("asleep")
    contacts = ["juliet@localhost", "nurse@localhost", "asleep@localhost", "a@elsewhere.example"]
    for contact in contacts:
        await server.storage.commit(lists.write(romeo.bare, contact, RosterItem(subscription="to")))
    await server.storage.commit(lists.write("juliet@localhost", romeo.bare, RosterItem(subscription="from")))
    server.server.router.probe(romeo.sessions["x"], contacts)
    await server.quiet()
    heard = [(each.get("type"), each.get("from")) for each in await people[0].receive_all() if "presence" in each.tag]
    assert heard == [(None, people[1].jid)]
    assert not lists.item(romeo.bare, "nurse@localhost").we_see
    assert lists.item(romeo.bare, "asleep@localhost").we_see
    assert [(each.type, str(each.sender), str(each.to)) for each in peer.got] == [
        ("probe", romeo.bare, "a@elsewhere.example")
    ]


async def test_an_event_goes_to_who_is_interested(folder: Path) -> None:
    """The host of each recipient says which sessions are; the account may leave some out."""
    (folder / "interests.py").write_text(INTERESTS, "utf-8")
    server = await Harness(plugins={"entity_caps": False, "interests": {}}, more=f"plugin_path: ['{folder}']").start()
    try:
        romeo, juliet = await server.login("romeo", "x"), await server.login("juliet", "x")
        asked, other = await server.login("juliet", "asked"), await server.login("juliet", "other")
        for client in (romeo, juliet, asked, other):
            client.send("<presence/>")
            await client.receive_all()
        account = server.host.account("romeo@localhost")
        contacts = ["romeo@localhost", "juliet@localhost", "nobody@localhost", "a@elsewhere.example"]
        event = message("headline", E("event", "urn:event", {}), sender=account.jid)
        for may_read, expected in ((None, [1, 1, 1, 0]), (lambda jid: jid.resource == "asked", [0, 0, 1, 0])):
            for client in (romeo, juliet, asked, other):
                await client.receive_all()
            server.server.router.fan_to_interested(event, account, "n", contacts, may_read)
            assert [len(await client.receive_all()) for client in (romeo, juliet, asked, other)] == expected
    finally:
        await server.stop()


INTERESTS = """
from xmppd.contracts.caps import CAPS
from xmppd.plugin import NoConfig, Plugin, Session

class Interests(Plugin[NoConfig]):
    provides = (CAPS,)

    def wants(self, session: Session, node: str) -> bool:
        return node == "n" and session.resource != "other"

    def wanted_elsewhere(self, account: str, contact: str, node: str):
        return ()
"""
HANDLERS = """
from xmppd.contracts.routing import ARRIVED, INBOUND, Inbound
from xmppd.errors import NotAllowed
from xmppd.plugin import Kind, NoConfig, Plugin, Stage, Verdict, on

class Handlers(Plugin[NoConfig]):
    def setup(self) -> None:
        self.seen = []

    @on(INBOUND, Stage.GUARD, kinds=(Kind.MESSAGE,), types=("headline",))
    def asked(self, event: Inbound) -> Verdict | None:
        self.seen.append((event.owner.bare, event.stanza.to.full, event.origin, event.session))
        if event.owner.jid.local == "romeo":
            raise NotAllowed()
        return Verdict.DROP if event.owner.jid.local == "juliet" else None

    @on(ARRIVED, kinds=(Kind.MESSAGE,), types=("headline",))
    def arrived(self, event: Inbound) -> None:
        event.targets = [(session, stanza.with_inside()) for session, stanza in event.targets] * 2
"""


async def test_through_the_chains_of_each_account(folder: Path) -> None:
    """Each is asked once, with its address; who refuses is left out; who gets it may be changed at release."""
    (folder / "handlers.py").write_text(HANDLERS, "utf-8")
    server = await Harness(plugins={"handlers": {}}, more=f"plugin_path: ['{folder}']").start()
    try:
        people = [await server.login(name, "x", presence=True) for name in ("romeo", "juliet", "nurse")]
        server.server.router.fan_out(said(), [JID.parse(client.jid) for client in people])
        got: list[list[Element]] = [await client.receive_all() for client in people]
        assert [len(each) for each in got] == [0, 0, 2]
        assert all(each.get("to") == people[2].jid and not len(each) for each in got[2])
        expected = [(client.bare, client.jid, None, None) for client in people]
        assert server.host.plugins["handlers"].seen == expected
    finally:
        await server.stop()


async def test_hand_over_keeps_the_address(server: Harness, people: list[Client]) -> None:
    """To chosen sessions of an account, under the address that it has; not to one that has ended meanwhile."""
    other = await server.login("romeo", "y", presence=True)
    await people[0].receive_all()
    account = server.host.account("romeo@localhost")
    stanza = said().stamped(to=account.jid)
    server.server.router.hand_over(stanza, account, [account.sessions["y"]])
    assert (await heard(other), await heard(people[0])) == ([("romeo@localhost", "hello")], [])
    block = f"<block xmlns='urn:xmpp:blocking'><item jid='{ROOM.bare}'/></block>"
    await people[0].iq(block, "set")
    server.server.router.hand_over(stanza, account, list(account.sessions.values()))
    assert (await heard(other), await heard(people[0])) == ([], [])
