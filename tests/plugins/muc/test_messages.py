"""What is said in a room: to all, to one, invitations, voice, IQs (XEP-0045 sections 7, 8.1, 17), without a server."""

from __future__ import annotations

import pytest

from plugins.muc.bounces import bounce
from plugins.muc.elements import archived_message
from plugins.muc.messages import reflect_message
from plugins.muc.messages_to_room import decide_message
from plugins.muc.model import (
    Affiliation,
    AffiliationRecord,
    AppendEntry,
    Role,
    SaveAffiliation,
    SaveRoom,
    ServiceSettings,
    StoredSession,
)
from plugins.muc.occupancy import update_presence
from plugins.muc.occupant_iqs import forward_answer, forward_request
from plugins.muc.private_messages import private_message
from plugins.muc.room import RoomState
from plugins.muc.subject import change_subject, subject_message
from tests.plugins.muc.rooms import JULIET, NURSE, ROMEO, ROMEO_PHONE, ROOM, USER, add, make, stanza, to
from xmppd.errors import BadRequest, Forbidden, ItemNotFound, NotAcceptable
from xmppd.stanza import Stanza, parse_stanza
from xmppd.storage.api import Flags
from xmppd.xml import to_bytes

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
    """T28 (R03, R04, R05): all copies, slot, in private and in the archive; XEP-0421 section 4, XEP-0359 section 6."""
    room = make()
    out, kept = reflect_message(
        room, ROMEO, stanza(f"<message to='{ROOM.bare}' type='groupchat'><body>x</body>{FORGED}</message>"), 9
    )
    assert kept is not None
    stored = parse_stanza(archived_message(kept.body, False))
    add(room, JULIET, "juliet")
    whispered = private_message(room, JULIET, stanza(f"<message to='{ROOM.bare}/romeo' type='chat'>{FORGED}</message>"))
    presence = update_presence(room, JULIET, stanza(f"<presence to='{ROOM.bare}/juliet'>{FORGED}</presence>")).apply()
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
    ids = [reflect_message(room, ROMEO, stanza(text), now)[1] for now in (50, 50, 40, 60)]
    assert [kept.id for kept in ids if kept is not None] == [50, 51, 52, 60]


@pytest.mark.parametrize(
    ("inside", "kept"),
    [
        ("<body>x</body>", True),
        ("<active xmlns='http://jabber.org/protocol/chatstates'/>", False),
        ("<body>x</body><no-store xmlns='urn:xmpp:hints'/>", False),
        ("<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>", True),
        ("<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/><no-store xmlns='urn:xmpp:hints'/>", False),
        ("<markable xmlns='urn:xmpp:chat-markers:0'/>", False),
        ("<invite xmlns='urn:xmpp:call-invites:0'><external uri='https://call.example/1'/></invite>", True),
        ("<left xmlns='urn:xmpp:call-invites:0' id='1'/>", True),
        ("<file-sharing xmlns='urn:xmpp:sfs:0'/>", True),
        ("<x xmlns='urn:example'/>", False),
        ("<x xmlns='urn:example'/><store xmlns='urn:xmpp:hints'/>", True),
        ("<reactions xmlns='urn:xmpp:reactions:0' id='1'/>", True),
    ],
)
def test_what_is_kept(inside: str, kept: bool) -> None:
    out, entry = reflect_message(
        make(), ROMEO, stanza(f"<message to='{ROOM.bare}' type='groupchat'>{inside}</message>"), 5
    )
    assert (entry is not None) is kept
    assert out.has("urn:xmpp:sid:0", "stanza-id") is kept
    off = reflect_message(
        make(enablearchiving=False), ROMEO, stanza(f"<message to='{ROOM.bare}' type='groupchat'>{inside}</message>"), 5
    )
    assert off[1] is None


@pytest.mark.parametrize("hint", ["", "<store xmlns='urn:xmpp:hints'/>"])
def test_markers_are_no_part_of_the_discussion(hint: str) -> None:
    """Sections 7.2.12 and XEP-0333: what newcomers are shown is what was said; the archive has both."""
    marker = f"<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>{hint}"
    call = "<invite xmlns='urn:xmpp:call-invites:0'/>"
    for inside, flags in ((marker, 0), (f"<body>x</body>{marker}", Flags.GROUP), (call, Flags.GROUP)):
        _, entry = reflect_message(
            make(), ROMEO, stanza(f"<message to='{ROOM.bare}' type='groupchat'>{inside}</message>"), 5
        )
        assert entry is not None and entry.flags == flags, inside


def test_an_archived_message_shows_the_address_to_those_who_may_see_it() -> None:
    _, kept = reflect_message(
        make(), ROMEO, stanza(f"<message to='{ROOM.bare}' type='groupchat'><body>x</body></message>"), 5
    )
    assert kept is not None and kept.flags & Flags.GROUP
    assert b"romeo@montague.lit" in archived_message(kept.body, True) and b"romeo@montague.lit" not in archived_message(
        kept.body, False
    )
    assert parse_stanza(archived_message(kept.body, True)).to is None  # XEP-0313 section 5.1.2


# ---- 7.5 private messages


def test_private_messages() -> None:
    room = make()
    add(room, JULIET, "juliet")
    add(room, ROMEO_PHONE, "romeo")
    effects = private_message(
        room, JULIET, stanza(f"<message to='{ROOM.bare}/romeo' type='chat'><body>x</body></message>")
    )
    assert {str(each.stanza.to) for each in effects} == {ROMEO.full, ROMEO_PHONE.full}
    assert all(str(each.stanza.sender) == f"{ROOM.bare}/juliet" for each in effects)
    assert all(each.stanza.has("http://jabber.org/protocol/muc#user", "x") for each in effects)
    with pytest.raises(ItemNotFound):
        private_message(room, JULIET, stanza(f"<message to='{ROOM.bare}/nobody' type='chat'/>"))
    with pytest.raises(BadRequest):
        reflect_message(
            room, JULIET, stanza(f"<message to='{ROOM.bare}/romeo' type='groupchat'><body>x</body></message>"), 1
        )
    with pytest.raises(NotAcceptable):
        private_message(room, NURSE, stanza(f"<message to='{ROOM.bare}/romeo' type='chat'/>"))


# ---- 7.8.2, 7.13, 8.6


INVITE = f"<message to='{ROOM.bare}' id='i'><x xmlns='http://jabber.org/protocol/muc#user'>{{}}</x></message>"


def test_invitations_and_declines() -> None:
    room = make()
    room.options["muc#roomconfig_roomsecret"] = "sesame"
    effects = decide_message(
        room, ROMEO, stanza(INVITE.format("<invite to='juliet@capulet.lit'><reason>come</reason></invite>"))
    ).apply()
    out = effects[0].stanza
    invite = out.xml.find(f"{USER}x/{USER}invite")
    assert str(out.to) == "juliet@capulet.lit" and str(out.sender) == ROOM.bare and invite is not None
    assert invite.get("from") == ROMEO.bare and invite.findtext(f"{USER}reason") == "come"
    assert out.xml.findtext(f"{USER}x/{USER}password") == "sesame"
    decline = INVITE.format("<decline to='romeo@montague.lit'><reason>no</reason></decline>")
    got = decide_message(room, JULIET, stanza(decline)).apply()[0].stanza
    told = got.xml.find(f"{USER}x/{USER}decline")
    assert str(got.to) == ROMEO.full and told is not None and told.get("from") == JULIET.bare
    for who in (JULIET, NURSE):  # only once, and only the invited: a room is no way to write to anybody
        with pytest.raises(ItemNotFound):
            decide_message(room, who, stanza(decline))


def test_an_invitation_to_a_members_only_room_makes_a_member() -> None:
    """9.5."""
    room = make(membersonly=True)
    plan = decide_message(room, ROMEO, stanza(INVITE.format("<invite to='juliet@capulet.lit'/>")))
    assert plan.saves == [SaveAffiliation("juliet@capulet.lit", AffiliationRecord("member"))]
    assert room.affiliation(JULIET) is Affiliation.NONE, "nothing changes before the commit"
    plan.apply()
    add(room, JULIET, "juliet")
    open_room = make()
    assert decide_message(open_room, ROMEO, stanza(INVITE.format("<invite to='juliet@capulet.lit'/>"))).saves == []


def voice(*fields: tuple[str, str]) -> Stanza:
    inside = "".join(f"<field var='{var}'><value>{value}</value></field>" for var, value in fields)
    form = "<field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#request</value></field>"
    return stanza(f"<message to='{ROOM.bare}'><x xmlns='jabber:x:data' type='submit'>{form}{inside}</x></message>")


def test_voice_is_asked_for_and_granted() -> None:
    room = make(moderatedroom=True)
    add(room, JULIET, "juliet")
    add(room, NURSE, "nurse")
    asked = decide_message(room, JULIET, voice(("muc#role", "participant"))).apply()
    assert [str(each.stanza.to) for each in asked] == [ROMEO.full], "moderators only"
    grant = voice(("muc#role", "participant"), ("muc#roomnick", "juliet"), ("muc#request_allow", "true"))
    with pytest.raises(Forbidden):
        decide_message(room, NURSE, grant)
    effects = decide_message(room, ROMEO, grant).apply()
    assert room.occupants["juliet"].role is Role.PARTICIPANT
    assert to(effects, NURSE)[0][2]["role"] == "participant"


# ---- 8.1 subject


def test_the_subject_is_kept_but_is_no_history() -> None:
    room = make()
    plan = change_subject(
        room, ROMEO, stanza(f"<message to='{ROOM.bare}' type='groupchat'><subject>S</subject></message>"), 77
    )
    kept = [save.entry for save in plan.saves if isinstance(save, AppendEntry)]
    assert kept and not kept[0].flags & Flags.GROUP
    assert not room.record.subject
    plan.apply()
    told = subject_message(room).xml
    assert told.findtext("{jabber:client}subject") == "S" and told.find("{urn:xmpp:delay}delay") is not None
    saved = [save.record for save in plan.saves if isinstance(save, SaveRoom)]
    again = RoomState(ROOM, saved[0], {}, ServiceSettings(), 0)
    assert to_bytes(subject_message(again).xml) == to_bytes(told)


# ---- XEP-0421


def test_occupant_ids_are_stable_and_differ_between_rooms_and_users() -> None:
    one, other = make(), make()
    assert one.occupant_id(ROMEO.bare) == one.occupant_id(ROMEO.bare)
    again = RoomState(ROOM, one.current_record(), one.affiliations, ServiceSettings(), 0)
    assert again.occupant_id(ROMEO.bare) == one.occupant_id(ROMEO.bare)
    ids = {one.occupant_id(ROMEO.bare), other.occupant_id(ROMEO.bare), one.occupant_id(JULIET.bare)}
    assert len(ids) == 3
    assert one.occupant_id(ROMEO.bare, "again") not in ids
    assert one.occupant_id(ROMEO.bare, "again") == again.occupant_id(ROMEO.bare, "again")


def test_a_seat_that_was_kept_has_its_occupant_id() -> None:
    """A session that an older version has kept says nothing of it: it was made of the name alone."""
    room = make()
    element = room.occupant_id_element(JULIET.bare, "again")
    room.restore_session(JULIET, StoredSession("juliet", 2, "<presence/>", 0, element.decode()))
    room.restore_session(NURSE, StoredSession("nurse", 2, "<presence/>"))
    assert room.sessions[JULIET.full].id == element
    assert room.sessions[NURSE.full].id == room.occupant_id_element(NURSE.bare)


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
    plan = bounce(room, JULIET, stanza(f"<message type='error' to='{ROOM.bare}/romeo'>{error}</message>"), present)
    assert plan is not None
    effects = plan.apply()
    assert (JULIET.full not in room.sessions) is goes
    if goes:
        assert to(effects, ROMEO)[0][:2] == ("unavailable", ["333"])
    assert bounce(room, NURSE, stanza(f"<message type='error' to='{ROOM.bare}'>{error}</message>"), False) is None


def test_an_iq_is_passed_on_and_answered_only_by_who_was_asked() -> None:
    """17.4, R07."""
    room = make()
    add(room, JULIET, "juliet")
    asked = forward_request(
        room, ROMEO, stanza(f"<iq type='get' id='v' to='{ROOM.bare}/juliet'><query xmlns='jabber:iq:version'/></iq>")
    )
    out = asked[0].stanza
    assert str(out.to) == JULIET.full and str(out.sender) == f"{ROOM.bare}/romeo" and out.id != "v"
    answer = f"<iq type='result' id='{out.id}' to='{ROOM.bare}/romeo'/>"
    assert forward_answer(room, NURSE, stanza(answer)) == []
    got = forward_answer(room, JULIET, stanza(answer))[0].stanza
    assert (str(got.to), str(got.sender), got.id) == (ROMEO.full, f"{ROOM.bare}/juliet", "v")
    assert forward_answer(room, JULIET, stanza(answer)) == [], "once"
    with pytest.raises(NotAcceptable):
        forward_request(
            room,
            NURSE,
            stanza(f"<iq type='get' id='v' to='{ROOM.bare}/juliet'><query xmlns='jabber:iq:version'/></iq>"),
        )
    with pytest.raises(BadRequest):  # 6.6
        forward_request(
            room,
            NURSE,
            stanza(
                f"<iq type='get' id='v' to='{ROOM.bare}/juliet'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"
            ),
        )
