"""The rules of a room, section by section of XEP-0045, without a server."""

from __future__ import annotations

import pytest

from plugins.muc.admin import AdminItem
from plugins.muc.entering import Entry, Wanted, visible, wanted
from plugins.muc.model import (
    Affiliation,
    Cast,
    Effect,
    Keep,
    Member,
    Plan,
    Role,
    SaveMember,
    SaveRoom,
    Send,
    Settings,
    Vanish,
)
from plugins.muc.room import Room
from xmppd.errors import BadRequest, Conflict, Forbidden, ItemNotFound, JidMalformed, NotAcceptable, ServiceUnavailable
from xmppd.jid import JID
from xmppd.stanza import Kind, Stanza, parse_stanza
from xmppd.storage.api import Entry as LogEntry
from xmppd.storage.api import Flags
from xmppd.xml import parse, to_bytes

ROOM = JID.parse("tavern@rooms.lit")
USER = "{http://jabber.org/protocol/muc#user}"
ROMEO = JID.parse("romeo@montague.lit/orchard")
ROMEO_PHONE = JID.parse("romeo@montague.lit/phone")
JULIET = JID.parse("juliet@capulet.lit/balcony")
NURSE = JID.parse("nurse@capulet.lit/hall")


def stanza(text: str) -> Stanza:
    return parse_stanza(text.encode())


def entry(who: JID, nick: str, inside: str = "") -> Entry:
    return Entry(who, nick, stanza(f"<presence to='{ROOM.bare}/{nick}'>{inside}</presence>"))


def make(**options: bool | str | int) -> Room:
    """romeo's open room with romeo in it."""
    room = Room.created(ROOM, ROMEO, Settings(lock=False), 1)
    room.options.update({f"muc#roomconfig_{name}": value for name, value in options.items()})
    room.enter(entry(ROMEO, "romeo")).apply()
    return room


def add(room: Room, who: JID, nick: str) -> list[Effect]:
    return room.enter(entry(who, nick)).apply()


def sent(effects: list[Effect]) -> list[tuple[str, str, list[str], dict[str, str]]]:
    """(to, type, codes, item) for each client that gets something of muc#user."""
    found = []
    for effect in effects:
        targets = effect.to if isinstance(effect, Cast) else (effect.stanza.to,)
        x = effect.stanza.child("http://jabber.org/protocol/muc#user", "x")
        item = x.find(f"{USER}item") if x is not None else None
        codes = sorted(str(each.get("code")) for each in x.iter(f"{USER}status")) if x is not None else []
        for to in targets:
            assert to is not None
            found.append(
                (
                    to.full,
                    effect.stanza.type,
                    codes,
                    {str(k): str(v) for k, v in item.attrib.items()} if item is not None else {},
                )
            )
    return found


def to(effects: list[Effect], who: JID) -> list[tuple[str, list[str], dict[str, str]]]:
    return [(type, codes, item) for full, type, codes, item in sent(effects) if full == who.full]


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
    room = Room.created(ROOM, ROMEO, Settings(), 1)
    plan = room.enter(entry(ROMEO, "romeo"), created=True)
    assert to(plan.apply(), ROMEO)[0][1] == ["110", "170", "201"]
    assert room.record.locked and room.affiliation(ROMEO) is Affiliation.OWNER


@pytest.mark.parametrize("nick", ["juliet", "Juliet", "JULIET", " juliet ", "ｊｕｌｉｅｔ", "juli\u00adet"])
def test_nicks_that_look_the_same_conflict(nick: str) -> None:
    """7.2.8, 17.1.1, G04."""
    room = make()
    add(room, JULIET, "juliet")
    with pytest.raises(Conflict):
        room.enter(entry(NURSE, nick))
    with pytest.raises(Conflict):
        room.change_nick(ROMEO, nick, Stanza(Kind.PRESENCE))


@pytest.mark.parametrize("nick", ["juliet", "JULIET"])
def test_a_reserved_nick_conflicts(nick: str) -> None:
    room = make()
    room.members[JULIET.bare] = Member("member", "juliet")
    with pytest.raises(Conflict):
        room.enter(entry(NURSE, nick))
    add(room, JULIET, nick)


def test_nicks_are_neither_empty_nor_endless() -> None:
    room = make()
    with pytest.raises(NotAcceptable):
        room.enter(entry(JULIET, "x" * 65))
    with pytest.raises(JidMalformed):
        room.nick_key("   ")
    with pytest.raises(JidMalformed):
        room.read_entry(JULIET, stanza(f"<presence to='{ROOM.bare}'/>"), 1)


def test_several_clients_share_a_nick() -> None:
    """7.2.8: the same user, the same nick, all get everything; the nick goes with the last client."""
    room = make()
    add(room, JULIET, "juliet")
    effects = add(room, ROMEO_PHONE, "romeo")
    assert len(room.occupants) == 2 and len(room.everyone()) == 3
    assert to(effects, ROMEO)[0][1] == ["110"]
    plan = room.leave(ROMEO, stanza("<presence type='unavailable'/>"))
    assert plan is not None
    got = plan.apply()
    assert [type for type, _, _ in to(got, ROMEO)] == ["unavailable"]
    assert [type for type, _, _ in to(got, JULIET)] == [""], "the nick is still there"
    plan = room.leave(ROMEO_PHONE, stanza("<presence type='unavailable'/>"))
    assert plan is not None
    assert [type for type, _, _ in to(plan.apply(), JULIET)] == ["unavailable"]


def test_the_room_is_full() -> None:
    """7.2.9; admins and owners get in all the same."""
    room = make(maxusers=1)
    with pytest.raises(ServiceUnavailable) as error:
        room.enter(entry(JULIET, "juliet"))
    assert error.value.type == "wait"
    room.members[NURSE.bare] = Member("admin")
    add(room, NURSE, "nurse")


def test_who_enters_again_gets_everything_again() -> None:
    """7.2.2, 17.3."""
    room = make()
    add(room, JULIET, "juliet")
    effects = add(room, JULIET, "juliet")
    assert [codes for _, codes, _ in to(effects, JULIET)] == [[], ["110", "170"], []]
    assert to(effects, ROMEO) == [] and len(room.everyone()) == 2


def test_presence_of_a_stranger_is_answered_with_a_kick() -> None:
    """7.2.16: its client is out of step."""
    effects = make().present(JULIET, stanza(f"<presence to='{ROOM.bare}/juliet'/>")).apply()
    assert to(effects, JULIET)[0][:2] == ("unavailable", ["110", "307", "333"])


# ---- 7.2.12, 7.2.13 history


def test_history_wishes() -> None:
    now = 10_000_000_000
    ask = "<x xmlns='http://jabber.org/protocol/muc'><history {}/></x>"
    assert wanted(parse(ask.format("maxstanzas='5' maxchars='90'").encode()), now) == Wanted(5, 90)
    assert wanted(parse(ask.format("seconds='1000'").encode()), now).since == now - 1_000_000_000
    assert wanted(parse(ask.format("since='1970-01-01T00:00:01Z'").encode()), now).since == 1_000_000
    for bad in ("maxstanzas='x'", "maxchars='-1'", "since='yesterday'", "seconds='1e9'"):
        with pytest.raises(BadRequest):
            wanted(parse(ask.format(bad).encode()), now)


def test_history_is_complete_messages_the_newest_ones() -> None:
    room = make()
    log = []
    for number in range(3):
        _, kept = room.say(
            ROMEO, stanza(f"<message to='{ROOM.bare}' type='groupchat'><body>{number}</body></message>"), 100 + number
        )
        assert kept is not None
        log.append(kept)
    effects = room.history(log, Wanted(), JULIET)
    assert [each.stanza.xml.findtext("{jabber:client}body") for each in effects] == ["0", "1", "2"]
    for each in effects:
        assert isinstance(each, Send)
        delay = each.stanza.child("urn:xmpp:delay", "delay")
        assert delay is not None and delay.get("from") == ROOM.bare
        assert not each.stanza.has("http://jabber.org/protocol/muc#user", "x"), "no real address"
    one = len(visible(log[2].body, False)) + 120
    assert len(room.history(log, Wanted(chars=one), JULIET)) == 1
    assert room.history(log, Wanted(chars=10), JULIET) == []
    assert room.history_range(Entry(JULIET, "j", Stanza(Kind.PRESENCE), "", Wanted(chars=0)))[1] == 0
    assert room.history_range(Entry(JULIET, "j", Stanza(Kind.PRESENCE), "", Wanted(stanzas=7)))[1] == 7


# ---- 7.4 messages, T28


FORGED = (
    "<stanza-id xmlns='urn:xmpp:sid:0' by='tavern@rooms.lit' id='1'/>"
    "<stanza-id xmlns='urn:xmpp:sid:0' by='TAVERN@Rooms.LIT' id='2'/>"
    "<stanza-id xmlns='urn:xmpp:sid:0' by='tavern@rooms.lit/romeo' id='3'/>"
    "<stanza-id xmlns='urn:xmpp:sid:0' by='other.lit' id='4'/>"
    "<occupant-id xmlns='urn:xmpp:occupant-id:0' id='a'/><occupant-id xmlns='urn:xmpp:occupant-id:0' id='b'/>"
    "<delay xmlns='urn:xmpp:delay' from='tavern@rooms.lit' stamp='2001-01-01T00:00:00Z'/>"
    "<delay xmlns='urn:xmpp:delay' from='rooms.lit' stamp='2001-01-01T00:00:00Z'/>"
    "<x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='owner' jid='juliet@capulet.lit'/></x>"
    "<x xmlns='http://jabber.org/protocol/muc#user'><status code='110'/></x>"
)


def test_forgeries_are_stripped_everywhere() -> None:
    """T28 (R03, R04, R05): all copies, live, in private and in the archive; XEP-0421 section 4, XEP-0359 section 6."""
    room = make()
    out, kept = room.say(
        ROMEO, stanza(f"<message to='{ROOM.bare}' type='groupchat'><body>x</body>{FORGED}</message>"), 9
    )
    assert kept is not None
    stored = parse_stanza(visible(kept.body, False))
    add(room, JULIET, "juliet")
    whispered = room.whisper(JULIET, stanza(f"<message to='{ROOM.bare}/romeo' type='chat'>{FORGED}</message>"))
    presence = room.present(JULIET, stanza(f"<presence to='{ROOM.bare}/juliet'>{FORGED}</presence>")).apply()
    for each in (out, stored, whispered[0].stanza, presence[0].stanza):
        ids = [(c.get("by"), c.get("id")) for c in each.xml.iter("{urn:xmpp:sid:0}stanza-id")]
        assert [pair for pair in ids if pair[0] != "other.lit"] == ([(ROOM.bare, "9")] if each in (out, stored) else [])
        occupant_ids = [c.get("id") for c in each.xml.iter("{urn:xmpp:occupant-id:0}occupant-id")]
        assert len(occupant_ids) == 1 and len(occupant_ids[0] or "") == 64
        assert not list(each.xml.iter("{urn:xmpp:delay}delay"))
        assert all(item.get("jid") != "juliet@capulet.lit" for item in each.xml.iter(f"{USER}item"))
    assert not out.has("http://jabber.org/protocol/muc#user", "x")


def test_archived_ids_rise_even_if_the_clock_does_not() -> None:
    room = make()
    text = f"<message to='{ROOM.bare}' type='groupchat'><body>x</body></message>"
    ids = [room.say(ROMEO, stanza(text), now)[1] for now in (50, 50, 40, 60)]
    assert [kept.id for kept in ids if kept is not None] == [50, 51, 52, 60]


@pytest.mark.parametrize(
    ("inside", "kept"),
    [
        ("<body>x</body>", True),
        ("<active xmlns='http://jabber.org/protocol/chatstates'/>", False),
        ("<body>x</body><no-store xmlns='urn:xmpp:hints'/>", False),
        ("<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>", False),
        ("<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/><store xmlns='urn:xmpp:hints'/>", True),
        ("<reactions xmlns='urn:xmpp:reactions:0' id='1'/>", True),
    ],
)
def test_what_is_kept(inside: str, kept: bool) -> None:
    out, entry = make().say(ROMEO, stanza(f"<message to='{ROOM.bare}' type='groupchat'>{inside}</message>"), 5)
    assert (entry is not None) is kept
    assert out.has("urn:xmpp:sid:0", "stanza-id") is kept
    off = make(enablearchiving=False).say(
        ROMEO, stanza(f"<message to='{ROOM.bare}' type='groupchat'>{inside}</message>"), 5
    )
    assert off[1] is None


def test_an_archived_message_shows_the_address_to_those_who_may_see_it() -> None:
    _, kept = make().say(ROMEO, stanza(f"<message to='{ROOM.bare}' type='groupchat'><body>x</body></message>"), 5)
    assert kept is not None and kept.flags & Flags.GROUP
    assert b"romeo@montague.lit" in visible(kept.body, True) and b"romeo@montague.lit" not in visible(kept.body, False)
    assert parse_stanza(visible(kept.body, True)).to is None  # XEP-0313 section 5.1.2


# ---- 7.5 private messages


def test_private_messages() -> None:
    room = make()
    add(room, JULIET, "juliet")
    add(room, ROMEO_PHONE, "romeo")
    effects = room.whisper(JULIET, stanza(f"<message to='{ROOM.bare}/romeo' type='chat'><body>x</body></message>"))
    assert {str(each.stanza.to) for each in effects} == {ROMEO.full, ROMEO_PHONE.full}
    assert all(str(each.stanza.sender) == f"{ROOM.bare}/juliet" for each in effects)
    assert all(each.stanza.has("http://jabber.org/protocol/muc#user", "x") for each in effects)
    with pytest.raises(ItemNotFound):
        room.whisper(JULIET, stanza(f"<message to='{ROOM.bare}/nobody' type='chat'/>"))
    with pytest.raises(BadRequest):
        room.say(JULIET, stanza(f"<message to='{ROOM.bare}/romeo' type='groupchat'><body>x</body></message>"), 1)
    with pytest.raises(NotAcceptable):
        room.whisper(NURSE, stanza(f"<message to='{ROOM.bare}/romeo' type='chat'/>"))


# ---- 7.6 nicks


def test_change_of_nick() -> None:
    room = make()
    add(room, JULIET, "juliet")
    effects = room.present(JULIET, stanza(f"<presence to='{ROOM.bare}/girl'/>")).apply()
    got = to(effects, ROMEO)
    assert [(type, codes) for type, codes, _ in got] == [("unavailable", ["303"]), ("", [])]
    assert got[0][2]["nick"] == "girl" and got[0][2]["role"] == "participant"
    assert [(type, codes) for type, codes, _ in to(effects, JULIET)] == [
        ("unavailable", ["110", "303"]),
        ("", ["110"]),
    ]
    assert set(room.occupants) == {"romeo", "girl"}
    room.present(JULIET, stanza(f"<presence to='{ROOM.bare}/Girl'/>")).apply()
    assert room.occupants["girl"].nick == "Girl" and room.named("Girl") is not None


def test_one_of_several_clients_changes_its_nick() -> None:
    room = make()
    add(room, JULIET, "juliet")
    add(room, ROMEO_PHONE, "romeo")
    effects = room.present(ROMEO_PHONE, stanza(f"<presence to='{ROOM.bare}/boy'/>")).apply()
    assert [(type, codes) for type, codes, _ in to(effects, JULIET)] == [("", [])], "romeo has not gone"
    assert set(room.occupants) == {"romeo", "juliet", "boy"}
    room.present(ROMEO_PHONE, stanza(f"<presence to='{ROOM.bare}/romeo'/>")).apply()
    assert set(room.occupants) == {"romeo", "juliet"} and len(room.occupants["romeo"].seats) == 2


def test_change_of_mood() -> None:
    """7.7."""
    room = make()
    add(room, JULIET, "juliet")
    effects = room.present(JULIET, stanza(f"<presence to='{ROOM.bare}/juliet'><show>xa</show></presence>")).apply()
    assert all(each.stanza.xml.findtext("{jabber:client}show") == "xa" for each in effects)
    assert to(effects, JULIET)[0][1] == ["110"]


# ---- 7.8.2, 7.13, 8.6


INVITE = f"<message to='{ROOM.bare}' id='i'><x xmlns='http://jabber.org/protocol/muc#user'>{{}}</x></message>"


def test_invitations_and_declines() -> None:
    room = make()
    room.options["muc#roomconfig_roomsecret"] = "sesame"
    effects = room.tell_room(
        ROMEO, stanza(INVITE.format("<invite to='juliet@capulet.lit'><reason>come</reason></invite>"))
    ).apply()
    out = effects[0].stanza
    invite = out.xml.find(f"{USER}x/{USER}invite")
    assert str(out.to) == "juliet@capulet.lit" and str(out.sender) == ROOM.bare and invite is not None
    assert invite.get("from") == ROMEO.bare and invite.findtext(f"{USER}reason") == "come"
    assert out.xml.findtext(f"{USER}x/{USER}password") == "sesame"
    decline = INVITE.format("<decline to='romeo@montague.lit'><reason>no</reason></decline>")
    got = room.tell_room(JULIET, stanza(decline)).apply()[0].stanza
    told = got.xml.find(f"{USER}x/{USER}decline")
    assert str(got.to) == ROMEO.full and told is not None and told.get("from") == JULIET.bare
    for who in (JULIET, NURSE):  # only once, and only the invited: a room is no way to write to anybody
        with pytest.raises(ItemNotFound):
            room.tell_room(who, stanza(decline))


def test_an_invitation_to_a_members_only_room_makes_a_member() -> None:
    """9.5."""
    room = make(membersonly=True)
    plan = room.tell_room(ROMEO, stanza(INVITE.format("<invite to='juliet@capulet.lit'/>")))
    assert plan.saves == [SaveMember("juliet@capulet.lit", Member("member"))]
    assert room.affiliation(JULIET) is Affiliation.NONE, "nothing changes before the commit"
    plan.apply()
    add(room, JULIET, "juliet")
    open_room = make()
    assert open_room.tell_room(ROMEO, stanza(INVITE.format("<invite to='juliet@capulet.lit'/>"))).saves == []


def voice(*fields: tuple[str, str]) -> Stanza:
    inside = "".join(f"<field var='{var}'><value>{value}</value></field>" for var, value in fields)
    form = "<field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#request</value></field>"
    return stanza(f"<message to='{ROOM.bare}'><x xmlns='jabber:x:data' type='submit'>{form}{inside}</x></message>")


def test_voice_is_asked_for_and_granted() -> None:
    room = make(moderatedroom=True)
    add(room, JULIET, "juliet")
    add(room, NURSE, "nurse")
    asked = room.tell_room(JULIET, voice(("muc#role", "participant"))).apply()
    assert [str(each.stanza.to) for each in asked] == [ROMEO.full], "moderators only"
    grant = voice(("muc#role", "participant"), ("muc#roomnick", "juliet"), ("muc#request_allow", "true"))
    with pytest.raises(Forbidden):
        room.tell_room(NURSE, grant)
    effects = room.tell_room(ROMEO, grant).apply()
    assert room.occupants["juliet"].role is Role.PARTICIPANT
    assert to(effects, NURSE)[0][2]["role"] == "participant"


# ---- 8, 9: what follows from a change


def change(room: Room, **item: object) -> list[Effect]:
    return room.administer(ROMEO, [AdminItem(**item)]).apply()  # type: ignore[arg-type]


def test_kick_and_ban() -> None:
    """8.2 code 307, 9.1 code 301; the actor's nick and the reason are told."""
    for code, item in (
        ("307", {"nick": "juliet", "role": Role.NONE, "reason": "rude"}),
        ("301", {"jid": JULIET.to_bare(), "affiliation": Affiliation.OUTCAST, "reason": "rude"}),
    ):
        room = make()
        add(room, JULIET, "juliet")
        add(room, NURSE, "nurse")
        effects = change(room, **item)
        assert to(effects, JULIET)[0][:2] == ("unavailable", sorted(["110", code]))
        assert to(effects, NURSE)[0][:2] == ("unavailable", [code])
        x = effects[0].stanza.child("http://jabber.org/protocol/muc#user", "x")
        assert x is not None and x.findtext(f"{USER}item/{USER}reason") == "rude"
        actor = x.find(f"{USER}item/{USER}actor")
        assert actor is not None and actor.get("nick") == "romeo"
        assert JULIET.full not in room.seats


def test_who_loses_membership_of_a_members_only_room_leaves() -> None:
    """9.4: code 321, and no other presence."""
    room = make(membersonly=True)
    room.members[JULIET.bare] = Member("member")
    add(room, JULIET, "juliet")
    effects = change(room, jid=JULIET.to_bare(), affiliation=Affiliation.NONE)
    assert [got[:2] for got in to(effects, JULIET)] == [("unavailable", ["110", "321"])]


def test_roles_follow_affiliations() -> None:
    """5.1.3."""
    room = make(moderatedroom=True)
    add(room, JULIET, "juliet")
    for affiliation, role in (
        (Affiliation.MEMBER, Role.PARTICIPANT),
        (Affiliation.ADMIN, Role.MODERATOR),
        (Affiliation.MEMBER, Role.PARTICIPANT),
        (Affiliation.NONE, Role.PARTICIPANT),
    ):
        effects = change(room, jid=JULIET.to_bare(), affiliation=affiliation)
        assert room.occupants["juliet"].role is role
        own = [item for _, codes, item in to(effects, JULIET) if "110" in codes]
        assert [item["affiliation"] for item in own] == [affiliation.name.lower()]


def test_a_new_moderator_learns_the_addresses() -> None:
    """8, 13.1: through presence."""
    room = make()
    add(room, JULIET, "juliet")
    add(room, NURSE, "nurse")
    effects = change(room, nick="juliet", role=Role.MODERATOR)
    assert {item.get("jid") for _, _, item in to(effects, JULIET)} == {ROMEO.full, JULIET.full, NURSE.full}
    assert len(to(effects, NURSE)) == 1


def test_a_ban_takes_the_reserved_nick() -> None:
    room = make()
    room.members[JULIET.bare] = Member("member", "juliet")
    change(room, jid=JULIET.to_bare(), affiliation=Affiliation.OUTCAST)
    assert room.members[JULIET.bare].nick == ""


def test_a_new_member_of_a_members_only_room_is_invited() -> None:
    """9.5."""
    effects = change(make(membersonly=True), jid=JULIET.to_bare(), affiliation=Affiliation.MEMBER)
    assert any(isinstance(each, Send) and str(each.stanza.to) == JULIET.bare for each in effects)


# ---- 10 configuration


def query(inside: str) -> object:
    payload = stanza(
        f"<iq type='set' id='1'><query xmlns='http://jabber.org/protocol/muc#owner'>{inside}</query></iq>"
    ).payload
    assert payload is not None
    return payload


def settings(form: str = "submit", **values: str) -> object:
    fields = "".join(
        f"<field var='muc#roomconfig_{var}'><value>{value}</value></field>" for var, value in values.items()
    )
    kind = "<field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#roomconfig</value></field>"
    return query(f"<x xmlns='jabber:x:data' type='{form}'>{kind if values else ''}{fields}</x>")


@pytest.mark.parametrize(
    ("values", "codes"),
    [
        ({"roomname": "The Tavern"}, ["104"]),
        ({"whois": "anyone"}, ["172"]),
        ({"enablearchiving": "0"}, ["171"]),
        ({"roomname": "x", "whois": "anyone", "enablearchiving": "0"}, ["104", "171", "172"]),
        ({"roomname": ""}, None),
    ],
)
def test_changes_are_announced(values: dict[str, str], codes: list[str] | None) -> None:
    """10.2.1."""
    room = make()
    effects = room.configure(ROMEO, settings(**values)).apply()  # type: ignore[arg-type]
    assert [got for _, got, _ in to(effects, ROMEO)] == ([codes] if codes else [])


@pytest.mark.parametrize(
    "values",
    [
        {"passwordprotectedroom": "1"},
        {"passwordprotectedroom": "1", "roomsecret": ""},
        {"maxusers": "0"},
        {"maxusers": "100000"},
        {"whois": "nobody"},
        {"lang": "not a language"},
        {"roomname": "x" * 201},
    ],
)
def test_configurations_that_are_not_acceptable(values: dict[str, str]) -> None:
    room = make()
    with pytest.raises(NotAcceptable):
        room.configure(ROMEO, settings(**values))  # type: ignore[arg-type]


def test_a_room_that_becomes_members_only_is_left_by_the_others() -> None:
    """Code 322."""
    room = make()
    add(room, JULIET, "juliet")
    effects = room.configure(ROMEO, settings(membersonly="1")).apply()  # type: ignore[arg-type]
    assert to(effects, JULIET)[0][:2] == ("unavailable", ["110", "322"])
    assert set(room.occupants) == {"romeo"}


def test_cancelling_the_first_configuration_destroys_the_room() -> None:
    """10.1.3; later it changes nothing."""
    room = Room.created(ROOM, ROMEO, Settings(), 1)
    room.enter(entry(ROMEO, "romeo")).apply()
    plan = room.configure(ROMEO, settings("cancel"))  # type: ignore[arg-type]
    assert plan.ends and to(plan.apply(), ROMEO)[0][0] == "unavailable"
    assert not make().configure(ROMEO, settings("cancel")).saves  # type: ignore[arg-type]


def test_destruction() -> None:
    """10.9: one presence each, with the other venue."""
    room = make()
    add(room, JULIET, "juliet")
    plan = room.configure(ROMEO, query("<destroy jid='other@rooms.lit'><reason>moved</reason></destroy>"))  # type: ignore[arg-type]
    effects = plan.apply()
    assert plan.ends and not room.seats
    assert [len(to(effects, who)) for who in (ROMEO, JULIET)] == [1, 1]
    x = effects[0].stanza.child("http://jabber.org/protocol/muc#user", "x")
    assert x is not None
    destroy = x.find(f"{USER}destroy")
    assert destroy is not None and destroy.get("jid") == "other@rooms.lit"
    assert destroy.findtext(f"{USER}reason") == "moved"


@pytest.mark.parametrize(
    ("persistent", "locked", "ends"), [(False, False, True), (True, False, False), (True, True, True)]
)
def test_a_temporary_or_unconfigured_room_goes_with_the_last_one(persistent: bool, locked: bool, ends: bool) -> None:
    room = Room.created(ROOM, ROMEO, Settings(lock=locked), 1)
    room.options["muc#roomconfig_persistentroom"] = persistent
    room.enter(entry(ROMEO, "romeo")).apply()
    plan = room.leave(ROMEO, stanza("<presence type='unavailable'/>"))
    assert plan is not None and plan.ends is ends and (Vanish() in plan.saves) is ends
    assert room.leave(JULIET, stanza("<presence type='unavailable'/>")) is None  # 17.3.2: silence


# ---- 8.1 subject


def test_the_subject_is_kept_but_is_no_history() -> None:
    room = make()
    plan = room.change_subject(
        ROMEO, stanza(f"<message to='{ROOM.bare}' type='groupchat'><subject>S</subject></message>"), 77
    )
    kept = [save.entry for save in plan.saves if isinstance(save, Keep)]
    assert kept and not kept[0].flags & Flags.GROUP
    assert not room.record.subject
    plan.apply()
    told = room.subject().xml
    assert told.findtext("{jabber:client}subject") == "S" and told.find("{urn:xmpp:delay}delay") is not None
    saved = [save.record for save in plan.saves if isinstance(save, SaveRoom)]
    again = Room(ROOM, saved[0], {}, Settings(), 0)
    assert to_bytes(again.subject().xml) == to_bytes(told)


# ---- XEP-0421


def test_occupant_ids_are_stable_and_differ_between_rooms_and_users() -> None:
    one, other = make(), make()
    assert one.occupant_id(ROMEO.bare) == one.occupant_id(ROMEO.bare)
    again = Room(ROOM, one.saved(), one.members, Settings(), 0)
    assert again.occupant_id(ROMEO.bare) == one.occupant_id(ROMEO.bare)
    ids = {one.occupant_id(ROMEO.bare), other.occupant_id(ROMEO.bare), one.occupant_id(JULIET.bare)}
    assert len(ids) == 3


# ---- 17.2.2 ghosts, 17.4 IQs


@pytest.mark.parametrize(
    ("condition", "present", "goes"),
    [
        ("item-not-found", True, True),
        ("recipient-unavailable", True, True),
        ("remote-server-timeout", None, True),
        ("service-unavailable", False, True),
        ("service-unavailable", None, True),
        ("service-unavailable", True, False),
        ("feature-not-implemented", False, False),
    ],
)
def test_ghosts(condition: str, present: bool | None, goes: bool) -> None:
    room = make()
    add(room, JULIET, "juliet")
    error = f"<error type='cancel'><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
    plan = room.bounced(JULIET, stanza(f"<message type='error' to='{ROOM.bare}/romeo'>{error}</message>"), present)
    assert plan is not None
    effects = plan.apply()
    assert (JULIET.full not in room.seats) is goes
    if goes:
        assert to(effects, ROMEO)[0][:2] == ("unavailable", ["333"])
    assert room.bounced(NURSE, stanza(f"<message type='error' to='{ROOM.bare}'>{error}</message>"), False) is None


def test_an_iq_is_passed_on_and_answered_only_by_who_was_asked() -> None:
    """17.4, R07."""
    room = make()
    add(room, JULIET, "juliet")
    asked = room.relayed(
        ROMEO, stanza(f"<iq type='get' id='v' to='{ROOM.bare}/juliet'><query xmlns='jabber:iq:version'/></iq>")
    )
    out = asked[0].stanza
    assert str(out.to) == JULIET.full and str(out.sender) == f"{ROOM.bare}/romeo" and out.id != "v"
    answer = f"<iq type='result' id='{out.id}' to='{ROOM.bare}/romeo'/>"
    assert room.answered(NURSE, stanza(answer)) == []
    got = room.answered(JULIET, stanza(answer))[0].stanza
    assert (str(got.to), str(got.sender), got.id) == (ROMEO.full, f"{ROOM.bare}/juliet", "v")
    assert room.answered(JULIET, stanza(answer)) == [], "once"
    with pytest.raises(NotAcceptable):
        room.relayed(
            NURSE, stanza(f"<iq type='get' id='v' to='{ROOM.bare}/juliet'><query xmlns='jabber:iq:version'/></iq>")
        )
    with pytest.raises(BadRequest):  # 6.6
        room.relayed(
            NURSE,
            stanza(
                f"<iq type='get' id='v' to='{ROOM.bare}/juliet'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"
            ),
        )


def test_the_service_ends() -> None:
    """11.2: code 332."""
    room = make()
    add(room, JULIET, "juliet")
    effects = room.shut_down()
    assert sorted((full, codes) for full, _, codes, _ in sent(effects)) == [
        (JULIET.full, ["110", "332"]),
        (ROMEO.full, ["110", "332"]),
    ]


def test_plans_change_nothing_until_applied() -> None:
    """Decide, commit, release: a commit that fails must leave the room as it was."""
    room = make()
    before = (set(room.seats), dict(room.members), dict(room.options), room.record)
    plans: list[Plan | None] = [
        room.enter(entry(JULIET, "juliet")),
        room.leave(ROMEO, Stanza(Kind.PRESENCE, "unavailable")),
        room.change_nick(ROMEO, "boy", Stanza(Kind.PRESENCE)),
        room.administer(ROMEO, [AdminItem(jid=JULIET.to_bare(), affiliation=Affiliation.OWNER)]),
        room.configure(ROMEO, settings(roomname="x")),  # type: ignore[arg-type]
        room.destroyed(),
    ]
    assert all(plan is not None for plan in plans)
    assert (set(room.seats), dict(room.members), dict(room.options), room.record) == before
    assert isinstance(room.history([LogEntry(1, "", "", 0, b"<message/>")], Wanted(), JULIET)[0], Send)
