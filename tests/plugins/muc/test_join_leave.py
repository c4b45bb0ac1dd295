"""Entering, leaving, nicks and history, section by section of XEP-0045, without a server."""

from __future__ import annotations

import pytest

from plugins.muc.elements import archived_message
from plugins.muc.join import discussion_history, history_range, join, read_history_limits, read_join
from plugins.muc.messages import reflect_message
from plugins.muc.model import Affiliation, AffiliationRecord, HistoryLimits, JoinRequest, Send, ServiceSettings
from plugins.muc.nick_conflicts import nick_key
from plugins.muc.occupancy import change_nick, leave, update_presence
from plugins.muc.room import RoomState
from tests.plugins.muc.rooms import JULIET, NURSE, ROMEO, ROMEO_PHONE, ROOM, add, entry, make, stanza, to
from xmppd.errors import BadRequest, Conflict, JidMalformed, NotAcceptable, ServiceUnavailable
from xmppd.stanza import Kind, Stanza
from xmppd.xml import parse

# ---- 7.2 entering


def test_others_first_then_oneself_then_the_subject() -> None:
    """7.2.2 and 7.2.15; addresses for moderators only (7.2.4)."""
    room = make(enablearchiving=False)
    effects = add(room, JULIET, "juliet")
    got = to(effects, JULIET)
    assert [(type, codes) for type, codes, _ in got] == [("", []), ("", ["110"]), ("groupchat", [])]
    assert got[0][2] == {"affiliation": "owner", "role": "moderator"}
    assert got[1][2]["jid"] == JULIET.full
    assert to(effects, ROMEO) == [("", [], {"affiliation": "none", "role": "participant", "jid": JULIET.full})]


def test_a_non_anonymous_room_shows_addresses_and_warns() -> None:
    """7.2.3: status code 100."""
    room = make(whois="anyone")
    got = to(add(room, JULIET, "juliet"), JULIET)
    assert got[0][2]["jid"] == ROMEO.full
    assert got[1][1] == ["100", "110", "170"]


def test_creation_is_told() -> None:
    """10.1.1: status code 201."""
    room = RoomState.created(ROOM, ROMEO, ServiceSettings(), 1)
    plan = join(room, entry(ROMEO, "romeo"), created=True)
    assert to(plan.apply(), ROMEO)[0][1] == ["110", "170", "201"]
    assert room.record.locked and room.affiliation(ROMEO) is Affiliation.OWNER


@pytest.mark.parametrize("nick", ["juliet", "Juliet", "JULIET", " juliet ", "ｊｕｌｉｅｔ", "juli\u00adet"])
def test_nicks_that_look_the_same_conflict(nick: str) -> None:
    """7.2.8, 17.1.1, G04."""
    room = make()
    add(room, JULIET, "juliet")
    with pytest.raises(Conflict):
        join(room, entry(NURSE, nick))
    with pytest.raises(Conflict):
        change_nick(room, ROMEO, nick, Stanza(Kind.PRESENCE))


@pytest.mark.parametrize("nick", ["juliet", "JULIET"])
def test_a_reserved_nick_conflicts(nick: str) -> None:
    room = make()
    room.affiliations[JULIET.bare] = AffiliationRecord("member", "juliet")
    with pytest.raises(Conflict):
        join(room, entry(NURSE, nick))
    add(room, JULIET, nick)


@pytest.mark.parametrize(
    ("real", "nick"),
    [
        ("juliet", "julіet"),
        ("Iago", "lago"),
        ("mike", "rnike"),
        ("juliet", "JULІET"),
        # To a reader capitals make no difference, whatever their small letters look like.
        ("bob", "\u0412\u041e\u0412"),  # Cyrillic
        ("anna", "\u0391\u039d\u039d\u0391"),  # Greek
        ("Paul", "pauI"),
        ("admin", "ADM\u0399N"),
        ("rob", "R0B"),
        ("admin", "ADMlN"),
        # Blank, but no space.
        ("juliet", "juliet\u2800"),
        ("juliet", "\U0001d159juliet"),
    ],
)
def test_nicks_that_readers_mistake_conflict(real: str, nick: str) -> None:
    """UTS 39 section 4: beside one that somebody else has, and beside a reserved one; its owner may use both."""
    room = make()
    add(room, JULIET, real)
    for refused in (
        lambda: join(room, entry(NURSE, nick)),
        lambda: change_nick(room, ROMEO, nick, Stanza(Kind.PRESENCE)),
    ):
        with pytest.raises(Conflict):
            refused()
    leaving = leave(room, JULIET, stanza("<presence type='unavailable'/>"))
    assert leaving is not None
    leaving.apply()
    room.affiliations[JULIET.bare] = AffiliationRecord("member", real)
    with pytest.raises(Conflict):
        join(room, entry(NURSE, nick))
    add(room, JULIET, nick)
    assert room.sessions[JULIET.full].nick == nick
    change_nick(room, JULIET, real, Stanza(Kind.PRESENCE)).apply()


@pytest.mark.parametrize(
    ("one", "other"), [("Elia", "Ella"), ("Kai", "Kal"), ("ALI", "ALL"), ("Ian", "Lan"), ("IT", "lt")]
)
def test_names_that_differ_do_not_conflict(one: str, other: str) -> None:
    room = make()
    add(room, JULIET, one)
    add(room, NURSE, other)
    assert len(room.occupants) == 3


def test_who_has_reserved_a_nick_may_use_it() -> None:
    """Whoever came first under one that looks like it."""
    room = make()
    room.affiliations[JULIET.bare] = AffiliationRecord("member", "juliet")
    room.affiliations[NURSE.bare] = AffiliationRecord("member", "julіet")
    add(room, NURSE, "julіet")
    add(room, JULIET, "juliet")
    assert len(room.occupants) == 3


def test_nicks_are_neither_empty_nor_endless() -> None:
    room = make()
    with pytest.raises(NotAcceptable):
        join(room, entry(JULIET, "x" * 65))
    with pytest.raises(JidMalformed):
        nick_key(room, "   ")
    with pytest.raises(JidMalformed):
        read_join(room, JULIET, stanza(f"<presence to='{ROOM.bare}'/>"), 1)


def test_several_clients_share_a_nick() -> None:
    """7.2.8: the same user, the same nick, all get everything; the nick goes with the last client."""
    room = make()
    add(room, JULIET, "juliet")
    effects = add(room, ROMEO_PHONE, "romeo")
    assert len(room.occupants) == 2 and len(room.all_jids()) == 3
    assert to(effects, ROMEO)[0][1] == ["110"]
    plan = leave(room, ROMEO, stanza("<presence type='unavailable'/>"))
    assert plan is not None
    got = plan.apply()
    assert [type for type, _, _ in to(got, ROMEO)] == ["unavailable"]
    assert [type for type, _, _ in to(got, JULIET)] == [""], "the nick is still there"
    plan = leave(room, ROMEO_PHONE, stanza("<presence type='unavailable'/>"))
    assert plan is not None
    assert [type for type, _, _ in to(plan.apply(), JULIET)] == ["unavailable"]


def test_the_room_is_full() -> None:
    """7.2.9; admins and owners get in all the same."""
    room = make(maxusers=1)
    with pytest.raises(ServiceUnavailable) as error:
        join(room, entry(JULIET, "juliet"))
    assert error.value.type == "wait"
    room.affiliations[NURSE.bare] = AffiliationRecord("admin")
    add(room, NURSE, "nurse")


def test_who_enters_again_gets_everything_again() -> None:
    """7.2.2, 17.3."""
    room = make()
    add(room, JULIET, "juliet")
    effects = add(room, JULIET, "juliet")
    assert [codes for _, codes, _ in to(effects, JULIET)] == [[], ["110", "170"], []]
    assert to(effects, ROMEO) == [] and len(room.all_jids()) == 2


def test_presence_of_a_stranger_is_answered_with_a_kick() -> None:
    """7.2.16: its client is out of step."""
    effects = update_presence(make(), JULIET, stanza(f"<presence to='{ROOM.bare}/juliet'/>")).apply()
    assert to(effects, JULIET)[0][:2] == ("unavailable", ["110", "307", "333"])


# ---- 7.2.12, 7.2.13 history


def test_history_wishes() -> None:
    now = 10_000_000_000
    ask = "<x xmlns='http://jabber.org/protocol/muc'><history {}/></x>"
    assert read_history_limits(parse(ask.format("maxstanzas='5' maxchars='90'").encode()), now) == HistoryLimits(5, 90)
    assert read_history_limits(parse(ask.format("seconds='1000'").encode()), now).since == now - 1_000_000_000
    assert read_history_limits(parse(ask.format("since='1970-01-01T00:00:01Z'").encode()), now).since == 1_000_000
    for bad in ("maxstanzas='x'", "maxchars='-1'", "since='yesterday'", "seconds='1e9'"):
        with pytest.raises(BadRequest):
            read_history_limits(parse(ask.format(bad).encode()), now)


def test_history_is_complete_messages_the_newest_ones() -> None:
    room = make()
    log = []
    for number in range(3):
        _, kept = reflect_message(
            room,
            ROMEO,
            stanza(f"<message to='{ROOM.bare}' type='groupchat'><body>{number}</body></message>"),
            100 + number,
        )
        assert kept is not None
        log.append(kept)
    effects = discussion_history(room, log, HistoryLimits(), JULIET)
    assert [each.stanza.xml.findtext("{jabber:client}body") for each in effects] == ["0", "1", "2"]
    for each in effects:
        assert isinstance(each, Send)
        delay = each.stanza.child("urn:xmpp:delay", "delay")
        assert delay is not None and delay.get("from") == ROOM.bare
        assert not each.stanza.has("http://jabber.org/protocol/muc#user", "x"), "no real address"
    one = len(archived_message(log[2].body, False)) + 120
    assert len(discussion_history(room, log, HistoryLimits(chars=one), JULIET)) == 1
    assert discussion_history(room, log, HistoryLimits(chars=10), JULIET) == []
    assert history_range(room, JoinRequest(JULIET, "j", Stanza(Kind.PRESENCE), "", HistoryLimits(chars=0)))[1] == 0
    assert history_range(room, JoinRequest(JULIET, "j", Stanza(Kind.PRESENCE), "", HistoryLimits(stanzas=7)))[1] == 7


# ---- 7.6 nicks


def test_change_of_nick() -> None:
    room = make()
    add(room, JULIET, "juliet")
    effects = update_presence(room, JULIET, stanza(f"<presence to='{ROOM.bare}/girl'/>")).apply()
    got = to(effects, ROMEO)
    assert [(type, codes) for type, codes, _ in got] == [("unavailable", ["303"]), ("", [])]
    assert got[0][2]["nick"] == "girl" and got[0][2]["role"] == "participant"
    assert [(type, codes) for type, codes, _ in to(effects, JULIET)] == [
        ("unavailable", ["110", "303"]),
        ("", ["110"]),
    ]
    assert set(room.occupants) == {"romeo", "girl"}
    update_presence(room, JULIET, stanza(f"<presence to='{ROOM.bare}/Girl'/>")).apply()
    assert room.occupants["girl"].nick == "Girl" and room.occupant_named("Girl") is not None


def test_one_of_several_clients_changes_its_nick() -> None:
    room = make()
    add(room, JULIET, "juliet")
    add(room, ROMEO_PHONE, "romeo")
    effects = update_presence(room, ROMEO_PHONE, stanza(f"<presence to='{ROOM.bare}/boy'/>")).apply()
    assert [(type, codes) for type, codes, _ in to(effects, JULIET)] == [("", [])], "romeo has not gone"
    assert set(room.occupants) == {"romeo", "juliet", "boy"}
    update_presence(room, ROMEO_PHONE, stanza(f"<presence to='{ROOM.bare}/romeo'/>")).apply()
    assert set(room.occupants) == {"romeo", "juliet"} and len(room.occupants["romeo"].sessions) == 2


def test_change_of_mood() -> None:
    """7.7."""
    room = make()
    add(room, JULIET, "juliet")
    effects = update_presence(
        room, JULIET, stanza(f"<presence to='{ROOM.bare}/juliet'><show>xa</show></presence>")
    ).apply()
    assert all(each.stanza.xml.findtext("{jabber:client}show") == "xa" for each in effects)
    assert to(effects, JULIET)[0][1] == ["110"]
