"""Group chat on a real server: what people with clients see."""

from __future__ import annotations

import re

import pytest

from plugins.muc import GroupChat
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


async def test_a_new_room_is_locked_until_it_is_configured(server: Harness) -> None:
    """10.1.1 to 10.1.3."""
    romeo = await server.login("romeo", presence=True)
    got = await join(romeo, "romeo")
    assert "201" in codes(got[0])
    juliet = await server.login("juliet", presence=True)
    juliet.send(join_text("juliet"))
    assert condition(await juliet.receive()) == "item-not-found"
    assert condition(await juliet.iq(INFO, to=ROOM)) == "item-not-found"
    assert (await configure(romeo)).get("type") == "result"
    await join(juliet, "juliet")
    assert condition(await configure(juliet)) == "forbidden"


async def test_all_hear_what_is_said_with_the_same_id(server: Harness) -> None:
    romeo, juliet = await tavern(server, "juliet")
    juliet.send(say("hello", "m1"))
    heard = [await client.receive() for client in (romeo, juliet)]
    assert [(each.get("from"), each.get("id"), body(each)) for each in heard] == [(f"{ROOM}/juliet", "m1", "hello")] * 2
    assert heard[0].get("to") == romeo.jid and heard[1].get("to") == juliet.jid
    ids = {each.find("{urn:xmpp:sid:0}stanza-id").get("id") for each in heard}  # type: ignore[union-attr]
    assert len(ids) == 1


async def test_outsiders(server: Harness) -> None:
    """G06, section 17.2: messages, private messages, IQs from somebody who is not there."""
    romeo, _ = await tavern(server, "juliet")
    nurse = await server.login("nurse", presence=True)
    for text, answer in (
        (say("x"), "not-acceptable"),
        (f"<message type='chat' to='{ROOM}/romeo' id='m'><body>x</body></message>", "not-acceptable"),
        (f"<message to='{ROOM}' id='m'><body>x</body></message>", "not-acceptable"),
        (f"<message type='groupchat' to='{ROOM}' id='m'><subject>x</subject></message>", "not-acceptable"),
        (
            "<message type='groupchat' to='nowhere@conference.localhost' id='m'><body>x</body></message>",
            "item-not-found",
        ),
    ):
        nurse.send(text)
        got = await nurse.receive()
        assert (condition(got), got.get("id")) == (answer, "m"), text
    assert condition(await nurse.iq(PING, to=f"{ROOM}/romeo")) == "not-acceptable"
    assert condition(await nurse.iq(PING, to="nowhere@conference.localhost/x")) == "not-acceptable"
    assert condition(await nurse.iq(INFO, to=f"{ROOM}/romeo")) == "bad-request"
    for word in ("owner", "admin", "member", "outcast"):
        listed = await admin(nurse, f"<item affiliation='{word}'/>", "get")
        assert condition(listed) == "forbidden" and "romeo" not in xml(listed)
    await romeo.silence()


async def test_the_error_says_which_room(server: Harness) -> None:
    await tavern(server)
    nurse = await server.login("nurse", presence=True)
    nurse.send(say("x"))
    error = (await nurse.receive()).find("{jabber:client}error")
    assert error is not None and error.get("by") == ROOM


async def test_self_ping(server: Harness) -> None:
    """XEP-0410 section 4."""
    romeo, juliet = await tavern(server, "juliet")
    assert (await juliet.iq(PING, to=f"{ROOM}/juliet")).get("type") == "result"
    await juliet.silence()
    await admin(romeo, "<item nick='juliet' role='none'/>")
    assert condition(await juliet.iq(PING, to=f"{ROOM}/juliet")) == "not-acceptable"
    features = [str(each.get("var")) for each in (await romeo.iq(INFO, to=ROOM))[0]]
    assert f"{MUC}#self-ping-optimization" in features and "urn:xmpp:occupant-id:0" in features
    assert f"{MUC}#stable_id" in features and "muc_semianonymous" in features


async def test_an_iq_to_an_occupant_reaches_its_client(server: Harness) -> None:
    """17.4."""
    romeo, juliet = await tavern(server, "juliet")
    romeo.send(f"<iq type='get' id='v1' to='{ROOM}/juliet'><query xmlns='jabber:iq:version'/></iq>")
    asked = await juliet.receive()
    assert asked.get("from") == f"{ROOM}/romeo" and asked.get("to") == juliet.jid
    juliet.send(
        f"<iq type='result' id='{asked.get('id')}' to='{asked.get('from')}'>"
        "<query xmlns='jabber:iq:version'><name>q</name></query></iq>"
    )
    answer = await romeo.receive()
    assert (answer.get("id"), answer.get("from"), answer.get("type")) == ("v1", f"{ROOM}/juliet", "result")


async def test_who_disconnects_leaves(server: Harness) -> None:
    romeo, juliet = await tavern(server, "juliet")
    juliet.cut()
    gone = await romeo.receive()
    assert gone.get("type") == "unavailable" and gone.get("from") == f"{ROOM}/juliet"
    assert item(gone)["role"] == "none"


async def test_leaving(server: Harness) -> None:
    romeo, juliet = await tavern(server, "juliet")
    juliet.send(f"<presence type='unavailable' to='{ROOM}/juliet'><status>bye</status></presence>")
    own, others = await juliet.receive(), await romeo.receive()
    assert codes(own) == ["110"] and codes(others) == []
    assert others.findtext("{jabber:client}status") == "bye"
    juliet.send(f"<presence type='unavailable' to='{ROOM}/juliet'/>")
    await juliet.silence()


async def test_presence_of_other_types_is_no_entrance(server: Harness) -> None:
    """17.3."""
    await tavern(server)
    nurse = await server.login("nurse", presence=True)
    nurse.send(f"<presence type='probe' to='{ROOM}/romeo'/>")
    nurse.send(f"<presence type='unavailable' to='{ROOM}/nurse'/>")
    await nurse.silence()


async def test_history_subject_and_live_messages_come_in_order(server: Harness) -> None:
    """7.2.12 to 7.2.16."""
    romeo, *_ = await tavern(server)
    romeo.send(f"<message type='groupchat' to='{ROOM}' id='s'><subject>Fish</subject></message>")
    for number in range(30):
        romeo.send(say(str(number)))
    await server.quiet()
    juliet = await server.login("juliet", presence=True)
    got = await join(juliet, "juliet", inside="")
    assert [body(each) for each in got[2:-1]] == [str(number) for number in range(10, 30)]
    assert got[-1].findtext("{jabber:client}subject") == "Fish"
    delays = [each.find("{urn:xmpp:delay}delay") for each in got[2:]]
    assert all(each is not None and each.get("from") == ROOM for each in delays)
    for wish, count in (("maxstanzas='3'", 3), ("maxchars='0'", 0), ("seconds='0'", 20), ("maxstanzas='99'", 20)):
        got = await join(juliet, "juliet", inside=f"<history {wish}/>")
        assert len(got) == 3 + count, wish
    await server.advance(100)
    got = await join(juliet, "juliet", inside="<history seconds='50'/>")
    assert len(got) == 3


async def test_nothing_falls_between_history_and_live_messages(server: Harness) -> None:
    """A message whose commit hangs while somebody enters comes once: in the history."""
    romeo, _ = await tavern(server, "nurse")
    juliet = await server.login("juliet", presence=True)
    server.backend.hold()
    romeo.send(say("one"))
    juliet.send(join_text("juliet", inside=""))
    await server.quiet()
    romeo.send(say("two"))
    await server.quiet()
    server.backend.release()
    got = await juliet.receive_all()
    texts = [body(each) for each in got if body(each)]
    assert texts == ["one", "two"]
    assert [each.find("{urn:xmpp:delay}delay") is not None for each in got if body(each)] == [True, False]


async def test_nobody_hears_what_is_not_stored(server: Harness) -> None:
    """DESIGN section 6.1: stored, then seen."""
    romeo, juliet = await tavern(server, "juliet")
    server.backend.hold()
    romeo.send(say("one"))
    romeo.send(
        f"<message type='groupchat' to='{ROOM}'><active xmlns='http://jabber.org/protocol/chatstates'/></message>"
    )
    juliet.send(f"<message type='chat' to='{ROOM}/romeo'><body>psst</body><no-store xmlns='urn:xmpp:hints'/></message>")
    await server.quiet()
    assert not juliet.inbox and not romeo.inbox
    server.backend.release()
    heard = await juliet.receive_all()
    assert [body(each) for each in heard] == ["one", ""]
    assert [body(each) for each in await romeo.receive_all()] == ["one", "", "psst"]


async def test_a_change_waits_for_what_was_said_before_it(server: Harness) -> None:
    """A kick behind a message of the kicked: the message is heard, then the kick."""
    romeo, juliet = await tavern(server, "juliet")
    server.backend.hold()
    juliet.send(say("last words"))
    romeo.send(
        f"<iq type='set' id='k' to='{ROOM}'><query xmlns='{MUC}#admin'><item nick='juliet' role='none'/></query></iq>"
    )
    juliet.send(say("too late"))
    await server.quiet()
    server.backend.release()
    got = await juliet.receive_all()
    order = [body(each) or ",".join(codes(each)) or condition(each) for each in got]
    assert order[0] == "last words" and "110,307" in order
    assert "307" in [code for each in await romeo.receive_all() for code in codes(each)]


async def test_an_error_puts_a_ghost_out(server: Harness) -> None:
    romeo, juliet = await tavern(server, "juliet")
    error = "<error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
    juliet.send(f"<message type='error' to='{ROOM}/romeo'>{error}</message>")
    assert codes(await romeo.receive()) == ["333"]
    assert codes(await juliet.receive()) == ["110", "333"]


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
    assert not plugin.rooms.directory and not plugin.rooms.live and not plugin.rooms.made_by
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
    romeo = await server.login("romeo", presence=True)
    for number in range(2):
        await join(romeo, "romeo", f"r{number}@conference.localhost")
    romeo.send(join_text("romeo", "r2@conference.localhost"))
    assert condition(await romeo.receive()) == "resource-constraint"
    object.__setattr__(plugin.config, "create", "admins")
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
        ("set", f"<query xmlns='{admin_ns}'><item affiliation='member'/></query>", "item-not-found"),
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
    assert not plugin.rooms.directory and not plugin.rooms.live


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
