"""Group chat on a real server: what people with clients see."""

from __future__ import annotations

from dataclasses import replace

import pytest

from plugins.muc import GroupChat
from plugins.muc.model import AffiliationRecord
from plugins.muc.registry import RoomSlot, _weight
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
from tests.plugins.muc.rooms import make


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


@pytest.mark.one_home("what is held comes to the room behind who enters, and is live")
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


@pytest.mark.one_home("what the other one says is not stored, and waits for nothing of the first one's home")
async def test_nobody_hears_what_is_not_stored(server: Harness) -> None:
    """docs/explanation/delivery.md: stored, then seen."""
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


def test_what_an_idle_room_keeps_in_memory_counts() -> None:
    """Its subject, options and reserved nicks: so many rooms stay, of so many bytes."""

    def weight(**changes: object) -> int:
        slot = RoomSlot()
        slot.room = make()
        slot.room.record = replace(slot.room.record, **changes)  # type: ignore[arg-type]
        return _weight(ROOM, slot)

    assert weight(subject="x" * 200_000) >= weight() + 200_000
    slot = RoomSlot()
    slot.room = make()
    for number in range(100):
        slot.room.affiliations[f"u{number}@lit"] = AffiliationRecord("member", "x" * 60)
    assert _weight(ROOM, slot) > weight() + 100 * 1500
    slot = RoomSlot()
    slot.room = make()
    for number in range(100):
        slot.room.allow_decline(f"u{number}@lit", "x" * 1000)
        slot.change_rate.count(f"u{number}@lit", 0.0, 5)
    assert _weight(ROOM, slot) > weight() + 100 * 1200
