"""Group chat on a real server: the rooms of a service, from making to destroying."""

from __future__ import annotations

import re

import pytest

from plugins.muc import GroupChat
from plugins.muc.model import AffiliationRecord
from tests.harness import Harness, condition, xml
from tests.plugins.muc.people import (
    MUC,
    ROOM,
    admin,
    body,
    codes,
    configure,
    item,
    join,
    join_text,
    say,
    tavern,
)
from xmppd.jid import JID


def rooms_of(server: Harness) -> GroupChat:
    plugin = server.server.hosts["conference.localhost"].plugins["muc"]
    assert isinstance(plugin, GroupChat)
    return plugin


PING = "<ping xmlns='urn:xmpp:ping'/>"
INFO = "<query xmlns='http://jabber.org/protocol/disco#info'/>"
ITEMS = "<query xmlns='http://jabber.org/protocol/disco#items'/>"


async def test_lists_of_rooms(server: Harness) -> None:
    """6.3: hidden rooms are in no list; G03."""
    romeo, *_ = await tavern(server, muc__roomconfig_roomname="Ye Tavern")
    await join(romeo, "romeo", "cellar@conference.localhost")
    await configure(
        romeo, "cellar@conference.localhost", muc__roomconfig_publicroom="0", muc__roomconfig_roomname="Secret"
    )
    nurse = await server.login("nurse", presence=True)
    items = (await nurse.iq(ITEMS, to="conference.localhost"))[0]
    assert [(each.get("jid"), each.get("name")) for each in items] == [(ROOM, "Ye Tavern")]
    shown = xml(await nurse.iq(INFO, to="cellar@conference.localhost"))
    assert "muc_hidden" in shown and "Secret" not in shown and "occupants" not in shown
    assert "Secret" in xml(await romeo.iq(INFO, to="cellar@conference.localhost"))
    assert len((await nurse.iq(ITEMS, to=ROOM))[0]) == 0
    service = xml(await nurse.iq(INFO, to="conference.localhost"))
    assert 'category="conference"' in service and f'var="{MUC}"' in service
    assert condition(await nurse.iq(INFO, to="nowhere@conference.localhost")) == "item-not-found"


async def test_a_temporary_room_vanishes_with_all_it_owned(server: Harness) -> None:
    romeo, *_ = await tavern(server)
    romeo.send(say("x"))
    await romeo.receive_all()
    romeo.send(f"<presence type='unavailable' to='{ROOM}/romeo'/>")
    await romeo.receive_all()
    assert await server.storage.log("archive").last_id(ROOM) == 0
    plugin = rooms_of(server)
    assert not plugin.rooms.directory and not plugin.rooms.slots and not plugin.rooms.made_by
    juliet = await server.login("juliet", presence=True)
    assert "201" in codes((await join(juliet, "juliet"))[0])
    assert condition(await configure(romeo)) == "item-not-found"


async def test_destroying(server: Harness) -> None:
    romeo, juliet = await tavern(server, "juliet", muc__roomconfig_persistentroom="1")
    destroy = f"<query xmlns='{MUC}#owner'><destroy jid='o@conference.localhost'><reason>x</reason></destroy></query>"
    assert condition(await juliet.iq(destroy, "set", ROOM)) == "forbidden"
    assert (await romeo.iq(destroy, "set", ROOM)).get("type") == "result"
    gone = await juliet.receive()
    assert gone.get("type") == "unavailable" and "destroy" in xml(gone)
    juliet.send(say("x"))
    assert condition(await juliet.receive()) == "item-not-found"


async def test_who_may_make_rooms(server: Harness) -> None:
    plugin = rooms_of(server)
    object.__setattr__(plugin.config, "rooms_per_user", 2)
    plugin.reconfigured()
    romeo = await server.login("romeo", presence=True)
    for number in range(2):
        await join(romeo, "romeo", f"r{number}@conference.localhost")
    romeo.send(join_text("romeo", "r2@conference.localhost"))
    assert condition(await romeo.receive()) == "resource-constraint"
    object.__setattr__(plugin.config, "create", "admins")
    plugin.reconfigured()
    romeo.send(join_text("romeo", "r3@conference.localhost"))
    assert condition(await romeo.receive()) in ("not-allowed", "resource-constraint")
    boss = await server.login("boss", presence=True)
    boss.send(join_text("boss", "r3@conference.localhost"))
    assert condition(await boss.receive()) == "not-allowed"


async def test_a_deleted_account_leaves_nothing_behind(server: Harness) -> None:
    """G02: the next owner of the name is a stranger."""
    romeo, juliet = await tavern(server, "juliet", muc__roomconfig_persistentroom="1")
    await admin(romeo, "<item jid='juliet@localhost' affiliation='admin'/>")
    await juliet.receive_all()
    await server.server.accounts.delete(JID.parse("juliet@localhost"))
    await server.quiet()
    juliet = await server.login("juliet", presence=True)
    got = await join(juliet, "juliet")
    assert item(got[1])["affiliation"] == "none"


async def test_members_only_password_and_moderation(server: Harness) -> None:
    romeo, *_ = await tavern(server, muc__roomconfig_membersonly="1")
    juliet = await server.login("juliet", presence=True)
    juliet.send(join_text("juliet"))
    assert condition(await juliet.receive()) == "registration-required"
    romeo.send(f"<message to='{ROOM}'><x xmlns='{MUC}#user'><invite to='juliet@localhost'/></x></message>")
    invitation = await juliet.receive()
    assert invitation.get("from") == ROOM and "invite" in xml(invitation)
    await join(juliet, "juliet")
    await configure(
        romeo,
        muc__roomconfig_membersonly="0",
        muc__roomconfig_moderatedroom="1",
        muc__roomconfig_passwordprotectedroom="1",
        muc__roomconfig_roomsecret="sesame",
    )
    nurse = await server.login("nurse", presence=True)
    nurse.send(join_text("nurse"))
    assert condition(await nurse.receive()) == "not-authorized"
    got = await join(nurse, "nurse", inside="<password>sesame</password><history maxstanzas='0'/>")
    assert item(got[-2])["role"] == "visitor"
    nurse.send(say("x"))
    assert condition((await nurse.receive_all())[-1]) == "forbidden"
    await admin(romeo, "<item nick='nurse' role='participant'/>")
    await nurse.receive_all()
    nurse.send(say("x"))
    assert body(await nurse.receive()) == "x"


async def test_registration(server: Harness) -> None:
    """7.10 and 7.12."""
    romeo, juliet = await tavern(server, "juliet")
    register = "<query xmlns='jabber:iq:register'>{}</query>"
    assert "muc#register_roomnick" in xml(await juliet.iq(register.format(""), "get", ROOM))
    form = (
        "<x xmlns='jabber:x:data' type='submit'>"
        f"<field var='FORM_TYPE'><value>{MUC}#register</value></field>"
        "<field var='muc#register_roomnick'><value>{}</value></field></x>"
    )
    assert condition(await juliet.iq(register.format(form.format("ROMEO")), "set", ROOM)) == "conflict"
    assert (await juliet.iq(register.format(form.format("Jules")), "set", ROOM)).get("type") == "result"
    assert item(await romeo.receive())["affiliation"] == "member"
    assert "<username>Jules" in xml(await juliet.iq(register.format(""), "get", ROOM))
    own = "<query xmlns='http://jabber.org/protocol/disco#info' node='x-roomuser-item'/>"
    assert 'name="Jules"' in xml(await juliet.iq(own, to=ROOM))
    nurse = await server.login("nurse", presence=True)
    nurse.send(join_text("jules"))
    assert condition(await nurse.receive()) == "conflict"
    assert (await juliet.iq(register.format("<remove/>"), "set", ROOM)).get("type") == "result"
    await join(nurse, "jules")


async def test_a_direct_invitation_passes_by_the_room(server: Harness) -> None:
    """XEP-0249."""
    romeo, *_ = await tavern(server)
    juliet = await server.login("juliet", presence=True)
    romeo.send(f"<message to='juliet@localhost'><x xmlns='jabber:x:conference' jid='{ROOM}' reason='come'/></message>")
    got = await juliet.receive()
    assert got.get("from") == romeo.jid and f'jid="{ROOM}"' in xml(got)


async def test_a_store_that_does_not_answer_changes_nothing(server: Harness) -> None:
    romeo, juliet = await tavern(server, "juliet", muc__roomconfig_persistentroom="1")
    server.storage.available = False
    answer = await admin(romeo, "<item jid='juliet@localhost' affiliation='outcast'/>")
    assert condition(answer) == "resource-constraint"
    romeo.send(say("x"))
    assert condition(await romeo.receive()) == "resource-constraint"
    await juliet.silence()
    server.storage.available = True
    romeo.send(say("y"))
    assert body(await juliet.receive()) == "y"


@pytest.mark.server(rooms={"muc": {"lock": False, "persistent": True, "public": False}})
async def test_defaults_come_from_the_configuration(server: Harness) -> None:
    romeo = await server.login("romeo", presence=True)
    await join(romeo, "romeo")
    features = xml(await romeo.iq(INFO, to=ROOM))
    assert "muc_persistent" in features and "muc_hidden" in features
    juliet = await server.login("juliet", presence=True)
    await join(juliet, "juliet")


async def test_malformed_requests(server: Harness) -> None:
    """T22: an answer, never a crash."""
    romeo, *_ = await tavern(server, "juliet")
    admin_ns, owner_ns = f"{MUC}#admin", f"{MUC}#owner"
    data = "<x xmlns='jabber:x:data' type='submit'>{}</x>"
    foreign = data.format("<field var='FORM_TYPE'><value>x</value></field><field var='a'/>")
    for type, payload, wanted in (
        ("set", f"<query xmlns='{admin_ns}'/>", "bad-request"),
        ("set", f"<query xmlns='{admin_ns}'><item/></query>", "bad-request"),
        ("set", f"<query xmlns='{admin_ns}'><item role='king' nick='juliet'/></query>", "bad-request"),
        ("set", f"<query xmlns='{admin_ns}'><item role='none' affiliation='none'/></query>", "bad-request"),
        ("set", f"<query xmlns='{admin_ns}'><item affiliation='member' jid='@@'/></query>", "jid-malformed"),
        ("set", f"<query xmlns='{admin_ns}'><item affiliation='member'/></query>", "bad-request"),
        ("set", f"<query xmlns='{admin_ns}'><item role='participant'/></query>", "bad-request"),
        ("set", f"<query xmlns='{admin_ns}'><item affiliation='member' nick='nobody'/></query>", "item-not-found"),
        ("set", f"<query xmlns='{admin_ns}'><item role='none' nick='nobody'/></query>", "item-not-found"),
        ("get", f"<query xmlns='{admin_ns}'><item role='visitor'/><item role='none'/></query>", "bad-request"),
        ("set", f"<query xmlns='{owner_ns}'/>", "bad-request"),
        ("set", f"<query xmlns='{owner_ns}'>{data.format('').replace('submit', 'form')}</query>", "bad-request"),
        (
            "set",
            f"<query xmlns='{owner_ns}'>{foreign}</query>",
            "bad-request",
        ),
        ("set", "<query xmlns='jabber:iq:register'/>", "bad-request"),
        ("set", "<query xmlns='urn:example'/>", "service-unavailable"),
        ("get", "<query xmlns='http://jabber.org/protocol/disco#info' node='x'/>", "item-not-found"),
        ("get", f"<query xmlns='http://jabber.org/protocol/disco#info' node='{MUC}#traffic'/>", "service-unavailable"),
    ):
        assert condition(await romeo.iq(payload, type, ROOM)) == wanted, payload
    for text, wanted in (
        (f"<presence to='{ROOM}'><x xmlns='{MUC}'/></presence>", "jid-malformed"),
        (f"<message to='{ROOM}'><body>x</body></message>", "bad-request"),
        (f"<message to='{ROOM}' type='chat'><x xmlns='{MUC}#user'><invite to='@'/></x></message>", "jid-malformed"),
        (f"<message to='{ROOM}'><x xmlns='{MUC}#user'><decline to='a@b'/></x></message>", "item-not-found"),
        (f"<message to='{ROOM}/nobody' type='chat'><body>x</body></message>", "item-not-found"),
        (f"<message to='{ROOM}/juliet' type='groupchat'><body>x</body></message>", "bad-request"),
    ):
        romeo.send(text)
        assert condition(await romeo.receive()) == wanted, text


async def test_occupant_ids_are_the_same_after_coming_back(server: Harness) -> None:
    """XEP-0421 section 4.1."""
    _, juliet = await tavern(server, "juliet")
    pattern = re.compile('occupant-id" id="([0-9a-f]{64})"|occupant-id:0" id="([0-9a-f]{64})"')

    async def id_of(nick: str) -> str:
        found = pattern.search(xml((await join(juliet, nick))[-2]))
        assert found is not None
        return found[1] or found[2]

    first = await id_of("juliet")
    juliet.send(f"<presence type='unavailable' to='{ROOM}/juliet'/>")
    await juliet.receive_all()
    assert await id_of("girl") == first


async def test_who_leaves_while_the_store_is_away_has_left(server: Harness) -> None:
    romeo, *_ = await tavern(server)
    plugin = rooms_of(server)
    server.storage.available = False
    romeo.send(f"<presence type='unavailable' to='{ROOM}/romeo'/>")
    assert codes(await romeo.receive()) == ["110"]
    server.storage.available = True
    assert list(plugin.rooms.directory) == ["tavern"]
    await server.advance(61)
    assert not plugin.rooms.directory and not plugin.rooms.slots


async def test_a_service_admin_becomes_an_owner_openly(server: Harness, caplog: pytest.LogCaptureFixture) -> None:
    """G02: told to the occupants, and logged."""
    plugin = rooms_of(server)
    plugin.host.admins = frozenset({"boss@localhost"})
    romeo, *_ = await tavern(server)
    boss = await server.login("boss", presence=True)
    destroy = f"<query xmlns='{MUC}#owner'><destroy/></query>"
    assert condition(await boss.iq(destroy, "set", ROOM)) == "forbidden"
    assert condition(await admin(boss, "<item jid='romeo@localhost' affiliation='none'/>")) == "forbidden"
    assert (await admin(boss, "<item jid='boss@localhost' affiliation='owner'/>")).get("type") == "result"
    assert item(await romeo.receive()) == {"affiliation": "owner", "role": "none", "jid": "boss@localhost"}
    assert "boss@localhost" in caplog.text


async def test_a_new_room_inherits_nothing(server: Harness) -> None:
    """G02: remains of a room that a crash left half deleted."""
    rooms = rooms_of(server).rooms
    await server.storage.commit([rooms.affiliations.put(ROOM, "tybalt@localhost", AffiliationRecord("owner"))])
    await tavern(server)
    tybalt = await server.login("tybalt", presence=True)
    assert item((await join(tybalt, "tybalt"))[-2])["affiliation"] == "none"
    assert set(await rooms.affiliations.read_all(ROOM)) == {"romeo@localhost"}


@pytest.mark.server(rooms={"muc": {"changes": 6}})
async def test_floods_of_changes_are_throttled(server: Harness) -> None:
    """G05: of one user in one room; leaving, messages, others and other rooms are not concerned."""
    romeo, juliet = await tavern(server, "juliet")
    conditions = []
    for number in range(8):
        juliet.send(f"<presence to='{ROOM}/juliet{number}' id='n'/>")
        got = [each for each in await juliet.receive_all() if each.get("id") == "n"]
        conditions += [condition(each) for each in got if each.get("type") == "error"]
    assert conditions == ["policy-violation"] * 3
    await romeo.receive_all()
    juliet.send(say("still here"))
    assert body(await romeo.receive()) == "still here"
    romeo.send(f"<presence to='{ROOM}/romeo'><show>away</show></presence>")
    assert (await romeo.receive()).get("type") is None
    await server.advance(10)
    juliet.send(f"<presence to='{ROOM}/again'/>")
    assert not [each for each in await juliet.receive_all() if each.get("type") == "error"]
    juliet.send(f"<presence to='{ROOM}/over'/>")
    assert [condition(each) for each in await juliet.receive_all()] == ["policy-violation"]
    juliet.send(f"<presence type='unavailable' to='{ROOM}/again'/>")
    assert codes(await juliet.receive()) == ["110"]
