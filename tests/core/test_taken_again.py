"""A name that is taken again: what the former account has said and published is not the newcomer's."""

from __future__ import annotations

import asyncio

import pytest

from tests.core.test_removal import PUBSUB, REMOVE, ROMEO, SERVICE
from tests.harness import PASSWORD as PENCIL
from tests.harness import Client, Element, Harness, condition, credentials, xml
from tests.plugins.muc.people import ROOM, admin, join, tavern
from tests.plugins.muc.test_duplicates import DELAY, LONG, heard, kept, say
from tests.plugins.pubsub.test_access import options
from tests.plugins.test_reports import block, waiting
from tests.plugins.test_retraction import archive, retract
from xmppd.contracts.accounts import StoredAccount
from xmppd.jid import JID
from xmppd.routing.routes import NEVER

OCCUPANT_ID = "{urn:xmpp:occupant-id:0}occupant-id"
STANZA_ID = "{urn:xmpp:sid:0}stanza-id"


async def made(server: Harness, resource: str = "first") -> Client:
    """romeo, registered as people do it."""
    await server.server.accounts.create(ROMEO, PENCIL)
    return await back(server, resource)


async def back(server: Harness, resource: str = "again") -> Client:
    client = server.connect()
    await client.sign_in("romeo")
    await client.bind(resource)
    client.send("<presence/>")
    await client.receive_all()
    return client


async def taken_again(server: Harness, romeo: Client) -> Client:
    """The account is removed, and somebody else has the name."""
    await server.advance(1)
    assert condition(await romeo.iq(REMOVE, "set")) == ""
    await server.quiet()
    await server.server.accounts.release(ROMEO)
    await server.advance(1)
    return await made(server)


def stanza_id(message: Element) -> str:
    found = message.find(STANZA_ID)
    assert found is not None
    return str(found.get("id"))


def occupant_id(elements: list[Element]) -> str:
    """Of the last presence that is seen on entering: one's own."""
    found = [each.find(OCCUPANT_ID) for each in elements if each.tag == "{jabber:client}presence"]
    assert found[-1] is not None
    return str(found[-1].get("id"))


async def test_the_former_messages_are_not_taken_back(server: Harness) -> None:
    """XEP-0424 section 5: only their author may."""
    juliet, romeo = await server.login("juliet", presence=True), await made(server)
    romeo.send("<message to='juliet@localhost' type='chat' id='m1'><body>the former</body></message>")
    await server.quiet()
    romeo = await taken_again(server, romeo)
    romeo.send("<message to='juliet@localhost' type='chat' id='m2'><body>the newcomer</body></message>")
    retract(romeo, "m1", by="r1")
    retract(romeo, "m2", by="r2")
    await server.quiet()
    await juliet.receive_all()
    there = "".join(map(xml, await archive(juliet)))
    assert "the former" in there
    assert "the newcomer" not in there, "one's own can be taken back"


async def test_not_by_an_account_that_goes_at_once(server: Harness) -> None:
    """Its retraction is looked at when the account is no longer in memory."""
    juliet, romeo = await server.login("juliet", presence=True), await made(server)
    romeo.send("<message to='juliet@localhost' type='chat' id='m1'><body>the former</body></message>")
    await server.quiet()
    romeo = await taken_again(server, romeo)
    server.backend.hold()
    retract(romeo, "m1")
    await server.quiet()
    going = asyncio.ensure_future(server.server.accounts.delete(ROMEO))
    await server.quiet()
    server.backend.release()
    await going
    await server.quiet()
    await juliet.receive_all()
    assert "the former" in "".join(map(xml, await archive(juliet)))


async def room_of(server: Harness) -> tuple[Client, Client]:
    """juliet's room, in which romeo is."""
    await server.server.accounts.create(ROMEO, PENCIL)
    romeo, juliet = await tavern(server, "juliet", muc__roomconfig_persistentroom="1")
    await admin(romeo, "<item jid='juliet@localhost' affiliation='owner'/>")
    await juliet.receive_all()
    await romeo.receive_all()
    return romeo, juliet


async def test_in_a_room(server: Harness) -> None:
    romeo, juliet = await room_of(server)
    romeo.send(f"<message to='{ROOM}' type='groupchat' id='m1'><body>the former</body></message>")
    id = stanza_id(await juliet.receive())
    romeo = await taken_again(server, romeo)
    await join(romeo, "romeo")
    await juliet.receive_all()
    retract(romeo, id, ROOM, "groupchat")
    await server.quiet()
    await juliet.receive_all()
    assert "the former" in "".join(map(xml, await archive(juliet, ROOM)))
    romeo.send(f"<message to='{ROOM}' type='groupchat' id='m2'><body>the newcomer</body></message>")
    id = stanza_id(await juliet.receive())
    retract(romeo, id, ROOM, "groupchat", "r2")
    await server.quiet()
    await juliet.receive_all()
    assert "the newcomer" not in "".join(map(xml, await archive(juliet, ROOM)))


async def test_a_private_message_is_its_occupants(server: Harness) -> None:
    """All have the bare JID of the room, and a nick can be another's by now."""
    romeo, juliet = await room_of(server)
    for number in (1, 2):
        romeo.send(f"<message to='{ROOM}/juliet' type='chat' id='m{number}'><body>whisper {number}</body></message>")
    await server.quiet()
    retract(romeo, "m2", f"{ROOM}/juliet", by="r1")
    await server.quiet()
    romeo.send(f"<presence type='unavailable' to='{ROOM}/romeo'/>")
    mallory = await server.login("mallory", presence=True)
    await join(mallory, "romeo")
    retract(mallory, "m1", f"{ROOM}/juliet", by="r2")
    await server.quiet()
    await juliet.receive_all()
    there = "".join(map(xml, await archive(juliet)))
    assert "whisper 1" in there
    assert "whisper 2" not in there


async def test_the_occupant_id_is_another(server: Harness) -> None:
    """XEP-0421 section 4.1: others would take the newcomer for who had the name before."""
    romeo, juliet = await room_of(server)

    async def id_of(client: Client, nick: str) -> str:
        client.send(f"<presence type='unavailable' to='{ROOM}/{nick}'/>")
        await client.receive_all()
        found = occupant_id(await join(client, nick))
        await juliet.receive_all()
        return found

    former = await id_of(romeo, "romeo")
    assert await id_of(romeo, "other") == former, "it is the user's, not the nick's"
    romeo = await taken_again(server, romeo)
    newcomer = await id_of(romeo, "romeo")
    assert newcomer != former
    assert await id_of(await back(server), "phone") == newcomer, "with every client"
    romeo.send(f"<presence to='{ROOM}/renamed'/>")
    assert occupant_id(await romeo.receive_all()) == newcomer
    romeo.send(f"<message to='{ROOM}' type='groupchat' id='m'><body>hail</body></message>")
    said = (await romeo.receive()).find(OCCUPANT_ID)
    assert said is not None and said.get("id") == newcomer
    rooms = server.server.hosts["conference.localhost"].plugins["muc"].rooms
    await rooms.store_sessions()
    sessions = await rooms.stored_sessions.read_all(ROOM)
    assert newcomer in sessions[f"{ROMEO.bare}/first"].id, "a restart does not change it"


async def test_the_occupant_ids_of_accounts_that_are_there_stay(server: Harness) -> None:
    """Their records say nothing that could change them."""
    assert StoredAccount(credentials()).incarnation == ""
    _, juliet = await tavern(server, "juliet")
    room = server.server.hosts["conference.localhost"].plugins["muc"].rooms.slots[ROOM].room
    assert occupant_id(await join(juliet, "juliet")) == room.occupant_id("juliet@localhost")


async def test_what_the_former_said_is_no_resend(server: Harness) -> None:
    romeo, juliet = await room_of(server)
    say(romeo, "hail", LONG)
    assert await heard(juliet) == ["hail"]
    romeo = await taken_again(server, romeo)
    romeo.cut()
    await server.quiet()
    romeo = await back(server)
    await join(romeo, "romeo")
    await juliet.receive_all()
    before = await kept(server)
    say(romeo, "hail", LONG, DELAY)
    assert await heard(juliet) == ["hail"]
    assert await kept(server) == before + 1


@pytest.mark.server(hosts=SERVICE)
async def test_the_former_items_are_not_its_own(server: Harness) -> None:
    """XEP-0060 section 7.2: who may publish on an open node takes away what it has published."""
    juliet, romeo = await server.login("juliet"), await made(server)
    form = options("node_config", access_model="open", publish_model="open")
    create = f"<pubsub xmlns='{PUBSUB}'><create node='open'/><configure>{form}</configure></pubsub>"
    assert condition(await juliet.iq(create, "set", to="pubsub.localhost")) == ""

    async def ask(client: Client, verb: str, id: str, payload: str = "") -> str:
        item = f"<{verb} node='open'><item id='{id}'>{payload}</item></{verb}>"
        return condition(await client.iq(f"<pubsub xmlns='{PUBSUB}'>{item}</pubsub>", "set", to="pubsub.localhost"))

    x = "<x xmlns='urn:x'/>"
    assert [await ask(romeo, "publish", id, x) for id in ("a", "a")] == ["", ""], "one's own is replaced"
    romeo = await taken_again(server, romeo)
    assert await ask(romeo, "publish", "a", x) == "forbidden"
    assert await ask(romeo, "retract", "a") == "forbidden"
    assert await ask(romeo, "publish", "b", x) == ""
    assert await ask(romeo, "publish", "b", x) == ""
    assert await ask(romeo, "retract", "b") == ""


async def test_an_invitation_is_not_declined_by_another(server: Harness) -> None:
    _, juliet = await tavern(server, "juliet")
    nurse = JID.parse("nurse@localhost")
    await server.server.accounts.create(nurse, PENCIL)
    user = "http://jabber.org/protocol/muc#user"
    juliet.send(f"<message to='{ROOM}'><x xmlns='{user}'><invite to='{nurse}'/></x></message>")
    await server.quiet()
    room = server.server.hosts["conference.localhost"].plugins["muc"].rooms.slots[ROOM].room
    assert list(room.invitations) == [(nurse.bare, "juliet@localhost")]
    await server.server.accounts.delete(nurse)
    await server.quiet()
    assert not room.invitations


async def test_a_report_shows_nothing_of_the_former(server: Harness) -> None:
    chief, juliet, romeo = await server.login("admin"), await server.login("juliet", presence=True), await made(server)
    ids = []
    for body in ("cheap pills", "good morning"):
        romeo.send(f"<message to='juliet@localhost' type='chat'><body>{body}</body></message>")
        ids.append(stanza_id(await juliet.receive()))
        if body == "cheap pills":
            romeo = await taken_again(server, romeo)
    shown = "".join(f"<stanza-id xmlns='urn:xmpp:sid:0' by='juliet@localhost' id='{id}'/>" for id in ids)
    await block(juliet, ROMEO.bare, shown)
    (report,) = await waiting(chief)
    assert "good morning" in report["messages"]
    assert "cheap pills" not in report["messages"]


async def test_since_when_a_name_is_ones_own(server: Harness) -> None:
    await made(server)
    routes, now = server.server.router.routes, int(server.clock.now() * 1_000_000)
    assert routes.since(ROMEO) == now
    for nobody in ("romeo@elsewhere.example", "localhost", f"{ROOM}/romeo"):
        assert routes.since(JID.parse(nobody)) == 0, "nothing is known of it"
    assert routes.since(JID.parse("nobody@localhost")) == NEVER, "it is gone, or going"
