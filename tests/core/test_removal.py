"""The end of an account: a job that survives a crash, names that nobody can take, rights that nobody inherits."""

from __future__ import annotations

import msgspec
import pytest

from tests.harness import Client, FakeClock, Harness, condition
from tests.plugins.muc.people import admin, configure, join
from tests.plugins.pubsub.test_access import options
from xmppd.admin.accounts import AccountExists
from xmppd.admin.removal import NameReserved
from xmppd.contracts.roster import ROSTER, RosterItem
from xmppd.errors import ItemNotFound, StorageUnavailable
from xmppd.jid import JID
from xmppd.storage.store import Store

PUBSUB = "http://jabber.org/protocol/pubsub"
ROMEO = JID.parse("romeo@localhost")
REMOVE = "<query xmlns='jabber:iq:register'><remove/></query>"
SERVICE = {"pubsub.localhost": {"type": "pubsub"}}
ROOMS = tuple(f"room-{number}@conference.localhost" for number in range(4))
KEPT = {
    "blocklist": "a block is the blocker's",
    "roster": "a contact stays on a list, without a subscription",
    "account-quarantine": "it says that the name cannot be taken",
}


async def node(client: Client, name: str, to: str | None, affiliation: str, jid: str = ROMEO.bare) -> None:
    """A node of the client that names romeo."""
    configured = f"<create node='{name}'/><configure>{options('node_config', access_model='whitelist')}</configure>"
    assert condition(await client.iq(f"<pubsub xmlns='{PUBSUB}'>{configured}</pubsub>", "set", to=to)) == ""
    for element in (
        f"<affiliations node='{name}'><affiliation jid='{jid}' affiliation='{affiliation}'/></affiliations>",
        f"<subscriptions node='{name}'><subscription jid='{jid}' subscription='subscribed'/></subscriptions>",
    ):
        answer = await client.iq(f"<pubsub xmlns='{PUBSUB}#owner'>{element}</pubsub>", "set", to=to)
        assert condition(answer) == ""


async def known_everywhere(server: Harness) -> Client:
    """romeo has a right in every kind of place; his client."""
    romeo, juliet = await server.login("romeo", "orchard", presence=True), await server.login("juliet", presence=True)
    nurse = await server.login("nurse", presence=True)
    for room in ROOMS[:2]:  # a member of one, owner of the other
        owner, other = (juliet, ROMEO) if room == ROOMS[0] else (romeo, JID.parse("juliet@localhost"))
        await join(owner, "owner", room)
        await configure(owner, room, muc__roomconfig_persistentroom="1")
        await admin(owner, f"<item jid='{other}' affiliation='member'/>", room=room)
    await join(romeo, "alone", ROOMS[2])
    await configure(romeo, ROOMS[2], muc__roomconfig_persistentroom="1", muc__roomconfig_membersonly="1")
    await join(juliet, "juliet", ROOMS[3])
    await configure(juliet, ROOMS[3], muc__roomconfig_persistentroom="1")
    await join(romeo, "guest", ROOMS[3])
    await node(juliet, "hers", None, "member")
    await node(juliet, "services", "pubsub.localhost", "publisher")
    await node(romeo, "his", "pubsub.localhost", "member", "juliet@localhost")
    for one, other in ((romeo, "juliet"), (juliet, "romeo")):
        one.send(f"<presence to='{other}@localhost' type='subscribe'/>")
        await server.quiet()
    for one, other in ((romeo, "juliet"), (juliet, "romeo"), (nurse, "romeo")):  # the nurse approves in advance
        one.send(f"<presence to='{other}@localhost' type='subscribed'/>")
        await server.quiet()
    await juliet.iq("<block xmlns='urn:xmpp:blocking'><item jid='romeo@localhost'/></block>", "set")
    for client in (romeo, juliet, nurse):
        await client.receive_all()
    item = server.host.service(ROSTER).item("nurse@localhost", ROMEO.bare)
    assert item is not None and item.approved, "it was a test of nothing"
    return romeo


def traces(server: Harness) -> list[tuple[str, str, str]]:
    """What the store holds that names romeo, but for what may; archives are their owners'."""
    found = []
    for (map, owner), records in server.backend._maps.items():
        for key, data in records.items():
            if not any(ROMEO.bare in each for each in (owner, key, data.decode(errors="replace"))):
                continue
            if map == "roster" and key == ROMEO.bare:
                item = msgspec.convert(msgspec.msgpack.decode(data), RosterItem)
                if (item.subscription, item.ask, item.pending_in, item.approved) == ("none", False, False, False):
                    continue
            elif map in KEPT:
                continue
            found.append((map, owner, key))
    return found


async def after_a_crash(server: Harness) -> Harness:
    clock = FakeClock(server.clock.wall + 5)
    backend = server.backend.survivor()
    backend.clock = clock
    return await Harness(store=Store(backend, clock), clock=clock, hosts=SERVICE).start()


@pytest.mark.server(hosts=SERVICE)
async def test_nothing_names_the_account(server: Harness) -> None:
    """G02: rooms, nodes, contact lists, approvals; on every host."""
    romeo = await known_everywhere(server)
    assert traces(server)
    assert condition(await romeo.iq(REMOVE, "set")) == ""
    await server.quiet()
    assert traces(server) == []
    assert not server.server.accounts.remover.pending
    rooms = server.server.hosts["conference.localhost"].plugins["muc"].rooms
    assert "room-2" not in rooms.directory, "nobody was left to enter it"
    assert [each.bare for each in rooms.slots[ROOMS[3]].room.occupants.values()] == ["juliet@localhost"]


@pytest.mark.server(hosts=SERVICE)
async def test_a_crash_at_any_commit(server: Harness) -> None:
    """Whatever was on the disk when the process ended, the next one does the rest, and the name is not free before."""
    romeo = await known_everywhere(server)
    await server.quiet()
    server.backend.hold()
    romeo.send(f"<iq type='set' id='r'>{REMOVE}</iq>")
    commits = 0
    while True:
        await server.quiet()
        after = await after_a_crash(server)
        await after.quiet()
        if commits:
            assert traces(after) == [], f"a crash behind commit {commits}"
            with pytest.raises(NameReserved):
                await after.server.accounts.create(ROMEO, "wherefore")
        await after.stop()
        if not server.backend.held:
            break
        server.backend.release(1)
        commits += 1
    assert commits > 8, "it was a test of nothing"


@pytest.mark.server(hosts=SERVICE)
async def test_a_crash_while_the_job_is_taken_up(server: Harness) -> None:
    """The mark is enough: nobody signs in, whatever the store made of the batch with the mark."""
    await known_everywhere(server)
    names = server.server.accounts.names
    await server.storage.commit([names.mark(ROMEO)])  # an older database may have the account still
    after = await after_a_crash(server)
    with pytest.raises(AssertionError, match="not-authorized"):
        await after.connect().sign_in("romeo")
    await after.quiet()
    assert traces(after) == []
    await after.stop()


async def test_the_name_cannot_be_taken_before_the_end(server: Harness) -> None:
    accounts = server.server.accounts
    await accounts.create(ROMEO, "wherefore")
    await server.storage.load(ROMEO.bare)
    server.backend.unreachable = True  # what must be read for the job cannot be
    await accounts.delete(ROMEO)
    await server.quiet()
    assert accounts.remover is not None and accounts.remover.pending
    server.backend.unreachable = False
    with pytest.raises(NameReserved, match="still being removed"):
        await accounts.create(ROMEO, "wherefore")
    with pytest.raises(NameReserved, match="still being removed"):
        await accounts.release(ROMEO)
    with pytest.raises(AccountExists):
        await accounts.create(ROMEO, "wherefore", stranger=True)
    await server.advance(31)
    assert not accounts.remover.pending, "it is tried again"
    with pytest.raises(NameReserved, match=r"kept free until .*; `xmppd user release romeo@localhost`"):
        await accounts.create(ROMEO, "wherefore")


async def test_quarantine_ends(server: Harness) -> None:
    server.host.quarantine = 5 * 3600.0  # a month is a million looks at all streams
    accounts = server.server.accounts
    await accounts.create(ROMEO, "wherefore")
    await accounts.delete(ROMEO)
    await server.quiet()
    await server.advance(4 * 3600)
    with pytest.raises(NameReserved):
        await accounts.create(ROMEO, "wherefore")
    await server.advance(3 * 3600)
    assert await accounts.names.quarantines.read_all(ROMEO.bare) == {}, "it is swept"
    await accounts.create(ROMEO, "wherefore")


async def test_an_administrator_lifts_it(server: Harness) -> None:
    accounts = server.server.accounts
    with pytest.raises(ItemNotFound):
        await accounts.release(ROMEO)
    await accounts.create(ROMEO, "wherefore")
    await accounts.delete(ROMEO)
    await server.quiet()
    await accounts.release(ROMEO)
    await accounts.create(ROMEO, "wherefore")


async def test_without_quarantine(server: Harness) -> None:
    server.host.quarantine = 0.0
    accounts = server.server.accounts
    await accounts.create(ROMEO, "wherefore")
    await accounts.delete(ROMEO)
    await server.quiet()
    await accounts.create(ROMEO, "wherefore")


async def test_a_part_that_fails_is_asked_again(server: Harness) -> None:
    """Done is done only when all hosts say so."""
    plugin = server.server.hosts["conference.localhost"].plugins["muc"]
    real, tries = plugin.rooms.rooms_naming, []

    async def naming(names: frozenset[str]) -> list[JID]:
        tries.append(names)
        if len(tries) < 3:
            raise StorageUnavailable("away")
        return list(await real(names))

    plugin.rooms.rooms_naming = naming
    await server.server.accounts.create(ROMEO, "wherefore")
    await server.server.accounts.delete(ROMEO)
    await server.advance(40)
    assert len(tries) == 2 and server.server.accounts.remover.pending
    await server.advance(40)
    assert len(tries) == 3 and not server.server.accounts.remover.pending
