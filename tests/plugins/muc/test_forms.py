"""The forms of rooms against XEP-0045 section 15.5, and what is announced against what works."""

from __future__ import annotations

import pytest

from plugins.muc.configuration import config_form, configure
from plugins.muc.discovery import room_info
from plugins.muc.messages_to_room import decide_message
from plugins.muc.model import Affiliation, AffiliationRecord, DeleteRoom, Effect, Role, SaveAffiliation, SaveRoom
from plugins.muc.occupancy import leave
from plugins.muc.registration import register, registration_form
from plugins.muc.room import RoomState
from plugins.muc.subject import change_subject
from plugins.muc.voice_requests import REQUEST_FORM
from tests.harness import Harness, condition, xml
from tests.plugins.muc.people import MUC, tavern
from tests.plugins.muc.people import ROOM as TAVERN
from tests.plugins.muc.rooms import JULIET, NURSE, ROMEO, ROOM, add, make, stanza, to
from xmppd.errors import BadRequest, Conflict, JidMalformed, NotAcceptable, NotAllowed, RegistrationRequired
from xmppd.jid import JID
from xmppd.xml import Element, parse

DATA = "{jabber:x:data}"
OWNERS, ADMINS = "muc#roomconfig_roomowners", "muc#roomconfig_roomadmins"

REGISTRY = {
    # Section 15.5 as it is written there
    "register": {
        "muc#register_allow": "boolean",
        "muc#register_email": "text-single",
        "muc#register_faqentry": "text-multi",
        "muc#register_first": "text-single",
        "muc#register_last": "text-single",
        "muc#register_roomnick": "text-single",
        "muc#register_url": "text-single",
    },
    "request": {
        "muc#role": "list-single",
        "muc#jid": "jid-single",
        "muc#roomnick": "text-single",
        "muc#request_allow": "boolean",
    },
    "roomconfig": {
        "muc#maxhistoryfetch": "text-single",
        "muc#roomconfig_allowpm": "list-single",
        "muc#roomconfig_allowinvites": "boolean",
        "muc#roomconfig_changesubject": "boolean",
        "muc#roomconfig_enablelogging": "boolean",
        "muc#roomconfig_getmemberlist": "list-multi",
        "muc#roomconfig_lang": "text-single",
        "muc#roomconfig_maxusers": "list-single",
        "muc#roomconfig_membersonly": "boolean",
        "muc#roomconfig_moderatedroom": "boolean",
        "muc#roomconfig_passwordprotectedroom": "boolean",
        "muc#roomconfig_persistentroom": "boolean",
        "muc#roomconfig_presencebroadcast": "list-multi",
        "muc#roomconfig_publicroom": "boolean",
        "muc#roomconfig_pubsub": "text-single",
        "muc#roomconfig_roomadmins": "jid-multi",
        "muc#roomconfig_roomdesc": "text-single",
        "muc#roomconfig_roomname": "text-single",
        "muc#roomconfig_roomowners": "jid-multi",
        "muc#roomconfig_roomsecret": "text-private",
        "muc#roomconfig_whois": "list-single",
    },
    "roominfo": {
        "muc#maxhistoryfetch": "text-single",
        "muc#roominfo_contactjid": "jid-multi",
        "muc#roominfo_description": "text-single",
        "muc#roominfo_lang": "text-single",
        "muc#roominfo_occupants": "text-single",
        "muc#roominfo_subject": "text-single",
        "muc#roominfo_subjectmod": "boolean",
        "muc#roomconfig_pubsub": "text-single",
        "muc#roomconfig_changesubject": "boolean",  # section 6.4: any field of muc#roomconfig may be there
    },
}
NOT_OFFERED = {"muc#roominfo_contactjid", "muc#roominfo_ldapgroup", "muc#roominfo_logs"}
"""The owners' addresses are not for everybody; there is no directory behind a room, and no page with its messages."""
ALSO = {"muc#roomconfig_enablearchiving": "boolean"}
"""What clients know from other servers."""


def fields_of(element: Element) -> dict[str, str]:
    found = {str(each.get("var")): str(each.get("type")) for each in element.iter(f"{DATA}field")}
    assert found.pop("FORM_TYPE") == "hidden"
    return found


def values_of(element: Element, var: str) -> list[str]:
    for each in element.iter(f"{DATA}field"):
        if each.get("var") == var:
            return [value.text or "" for value in each.iterchildren(f"{DATA}value")]
    raise AssertionError(var)


def test_the_configuration_form_is_the_registered_one() -> None:
    fields = fields_of(config_form(make(), ROMEO))
    assert fields == REGISTRY["roomconfig"] | ALSO


def test_the_other_forms_hold_registered_fields() -> None:
    room = make(moderatedroom=True, roomdesc="x", lang="en")
    room.affiliations[NURSE.bare] = AffiliationRecord("member")
    registration = fields_of(registration_form(room, NURSE))
    assert registration == {"muc#register_roomnick": REGISTRY["register"]["muc#register_roomnick"]}
    add(room, JULIET, "juliet")
    ask = decide_message(
        room, JULIET, voice("submit", "<field var='muc#role'><value>participant</value></field>")
    ).apply()
    assert fields_of(ask[0].stanza.xml) == REGISTRY["request"]
    change_subject(room, ROMEO, stanza(f"<message to='{ROOM.bare}' type='groupchat'><subject>s</subject></message>"), 1)
    info = fields_of(room_info(room, ROMEO, ""))
    assert info.items() <= REGISTRY["roominfo"].items()
    assert not NOT_OFFERED & info.keys()
    assert {"muc#roominfo_subjectmod", "muc#roominfo_description", "muc#roominfo_lang"} <= set(info)


def voice(kind: str, inside: str = "", form_type: str = REQUEST_FORM) -> object:
    told = f"<field var='FORM_TYPE'><value>{form_type}</value></field>" if form_type else ""
    return stanza(
        f"<message to='{ROOM.bare}' id='v'><x xmlns='jabber:x:data' type='{kind}'>{told}{inside}</x></message>"
    )


@pytest.mark.parametrize("form_type", [REQUEST_FORM, ""])
def test_a_moderator_may_skip_a_request_for_voice(form_type: str) -> None:
    """Section 8.6: "To skip this request, click the cancel button"."""
    assert decide_message(make(), ROMEO, voice("cancel", form_type=form_type)).apply() == []  # type: ignore[arg-type]


# ---- full lists


def submitted(room: RoomState, who: JID = ROMEO, **lists: list[str]) -> list[Effect]:
    """Of a plan that is applied."""
    plan = configured(room, who, **lists)
    return plan.apply()


def configured(room: RoomState, who: JID = ROMEO, **lists: list[str]):  # type: ignore[no-untyped-def]
    names = {
        "owners": OWNERS,
        "admins": ADMINS,
        **{name: f"muc#roomconfig_{name}" for name in lists if name not in ("owners", "admins")},
    }
    fields = "".join(
        f"<field var='{names[name]}'>{''.join(f'<value>{value}</value>' for value in values)}</field>"
        for name, values in lists.items()
    )
    told = f"<field var='FORM_TYPE'><value>{MUC}#roomconfig</value></field>"
    text = f"<query xmlns='{MUC}#owner'><x xmlns='jabber:x:data' type='submit'>{told}{fields}</x></query>"
    return configure(room, who, parse(text.encode()))


def ranks(room: RoomState) -> dict[str, str]:
    return {bare.partition("@")[0]: member.affiliation for bare, member in room.affiliations.items()}


def test_owners_and_admins_are_shown_and_set_as_full_lists() -> None:
    """Sections 10.2, 10.5 and 10.8."""
    room = make()
    room.affiliations.update(
        {JULIET.bare: AffiliationRecord("admin"), NURSE.bare: AffiliationRecord("member", "Nurse", "kind")}
    )
    form = config_form(room, ROMEO)
    assert values_of(form, OWNERS) == [ROMEO.bare] and values_of(form, ADMINS) == [JULIET.bare]
    add(room, NURSE, "nurse")
    plan = configured(room, owners=[ROMEO.bare, f"{JULIET.bare}/balcony", " "], admins=[NURSE.bare, JULIET.bare])
    assert {type(save) for save in plan.saves} == {SaveRoom, SaveAffiliation}
    before = ranks(room)
    effects = plan.apply()
    assert before == {"romeo": "owner", "juliet": "admin", "nurse": "member"}
    assert ranks(room) == {"romeo": "owner", "juliet": "owner", "nurse": "admin"}
    assert room.affiliations[NURSE.bare] == AffiliationRecord("admin", "Nurse", "kind")
    told = [item for _, _, item in to(effects, ROMEO) if item]
    assert {"affiliation": "admin", "role": "moderator", "jid": NURSE.full} in told
    assert {"affiliation": "owner", "role": "none", "jid": JULIET.bare} in told
    assert to(effects, ROMEO)[-1][1] == ["104"]
    form = config_form(room, ROMEO)
    assert values_of(form, OWNERS) == sorted([ROMEO.bare, JULIET.bare]) and values_of(form, ADMINS) == [NURSE.bare]


@pytest.mark.parametrize(
    ("lists", "after"),
    [
        ({}, {"romeo": "owner", "juliet": "owner", "nurse": "admin"}),
        ({"roomname": ["x"]}, {"romeo": "owner", "juliet": "owner", "nurse": "admin"}),
        ({"owners": [ROMEO.bare]}, {"romeo": "owner", "juliet": "admin", "nurse": "admin"}),
        ({"owners": [ROMEO.bare], "admins": [NURSE.bare]}, {"romeo": "owner", "nurse": "admin"}),
        ({"owners": [JULIET.bare]}, {"romeo": "admin", "juliet": "owner", "nurse": "admin"}),
        ({"admins": []}, {"romeo": "owner", "juliet": "owner"}),
        ({"admins": [ROMEO.bare]}, {"romeo": "owner", "juliet": "owner"}),
        ({"admins": [], "membersonly": ["1"]}, {"romeo": "owner", "juliet": "owner", "nurse": "member"}),
    ],
)
def test_what_becomes_of_who_is_on_no_list(lists: dict[str, list[str]], after: dict[str, str]) -> None:
    room = make()
    room.affiliations.update({JULIET.bare: AffiliationRecord("owner"), NURSE.bare: AffiliationRecord("admin")})
    submitted(room, **lists)
    assert ranks(room) == after


def test_lists_that_are_refused_change_nothing() -> None:
    room = make()
    for lists, error in (
        ({"owners": []}, Conflict),
        ({"owners": [""]}, Conflict),
        ({"owners": [ROMEO.bare, "@@"]}, JidMalformed),
        ({"admins": ["montague.lit"]}, NotAcceptable),
        ({"roomname": ["x"], "owners": []}, Conflict),
    ):
        with pytest.raises(error):
            configured(room, **lists)
    assert ranks(room) == {"romeo": "owner"} and "muc#roomconfig_roomname" not in room.options


def test_who_loses_a_rank_by_a_form_that_closes_the_room_stays() -> None:
    """Sections 10.2: "member" as appropriate for the room type; strangers leave with 322."""
    room = make()
    room.affiliations[NURSE.bare] = AffiliationRecord("admin")
    add(room, NURSE, "nurse")
    add(room, JULIET, "juliet")
    effects = submitted(room, admins=[], membersonly=["1"])
    assert to(effects, JULIET)[0][:2] == ("unavailable", ["110", "322"])
    assert room.occupants["nurse"].role is Role.PARTICIPANT
    assert room.affiliation(NURSE) is Affiliation.MEMBER


def test_a_room_that_ends_by_its_form_leaves_no_members() -> None:
    room = make(persistentroom=True)
    leaving = leave(room, ROMEO, stanza("<presence type='unavailable'/>"))
    assert leaving is not None
    leaving.apply()
    assert configured(room, persistentroom=["0"], admins=[JULIET.bare]).saves == [DeleteRoom()]


# ---- logging


@pytest.mark.parametrize(
    ("before", "form", "after"),
    [
        (True, {"enablelogging": "0"}, False),
        (False, {"enablelogging": "1"}, True),
        (True, {"enablearchiving": "0", "enablelogging": "1"}, False),
        (True, {"enablearchiving": "1", "enablelogging": "0"}, False),
        (False, {"enablearchiving": "0", "enablelogging": "1"}, True),
        (True, {"enablearchiving": "1", "enablelogging": "1"}, True),
        (True, {}, True),
    ],
)
def test_logging_is_the_archive_by_either_name(before: bool, form: dict[str, str], after: bool) -> None:
    """Section 10.2.1: codes 170 and 171."""
    room = make(enablearchiving=before)
    shown = config_form(room, ROMEO)
    for name in ("enablelogging", "enablearchiving"):
        assert values_of(shown, f"muc#roomconfig_{name}") == ["1" if before else "0"]
    effects = submitted(room, **{name: [value] for name, value in form.items()})
    assert room.options["muc#roomconfig_enablearchiving"] is after
    codes = [code for _, found, _ in to(effects, ROMEO) for code in found]
    assert codes == ([] if before is after else ["170" if after else "171"])


def test_another_option_gives_nobody_voice() -> None:
    """Voice that a moderator took in an unmoderated room stays taken until the room stops being moderated."""
    room = make()
    add(room, JULIET, "juliet")
    room.occupants["juliet"].role = Role.VISITOR
    submitted(room, moderatedroom=["0"], roomname=["x"])
    assert room.occupants["juliet"].role is Role.VISITOR
    submitted(room, moderatedroom=["1"])
    submitted(room, moderatedroom=["0"])
    assert room.occupants["juliet"].role is Role.PARTICIPANT


# ---- announced against what works


@pytest.mark.parametrize("closed", ["", "membersonly", "moderatedroom"])
@pytest.mark.parametrize("rank", ["outcast", "", "member", "owner"])
def test_registration_is_announced_where_it_works(closed: str, rank: str) -> None:
    """Sections 7.10 and 15.3."""
    room = make(**({closed: True} if closed else {}))
    if rank:
        room.affiliations[JULIET.bare] = AffiliationRecord(rank)
    features = {str(each.get("var")) for each in room_info(room, JULIET, "") if each.get("var")}
    works = True
    try:
        registration_form(room, JULIET)
    except NotAllowed:
        works = False
    assert works is (rank in ("member", "owner") or (not rank and not closed))
    assert ("jabber:iq:register" in features) is works and (f"{MUC}#register" in features) is works
    assert {f"{MUC}#roomconfig", f"{MUC}#roominfo", f"{MUC}#request"} <= features


def test_errors_of_registration() -> None:
    """Section 7.10, XEP-0077 section 3.2."""
    room = make()
    query = "<query xmlns='jabber:iq:register'>{}</query>"
    data = f"<x xmlns='jabber:x:data' type='{{}}'><field var='FORM_TYPE'><value>{MUC}#register</value></field>{{}}</x>"
    nick = "<field var='muc#register_roomnick'><value>jules</value></field>"

    def ask(inside: str) -> None:
        register(room, JULIET, parse(query.format(inside).encode())).apply()

    with pytest.raises(RegistrationRequired):
        ask("<remove/>")
    for inside in ("", data.format("submit", ""), data.format("cancel", nick), "<username>jules</username>"):
        with pytest.raises(BadRequest):
            ask(inside)
    ask(data.format("submit", nick))
    assert room.affiliations[JULIET.bare] == AffiliationRecord("member", "jules")


async def test_the_features_of_a_room(server: Harness) -> None:
    """XEP-0424 section 4.1: tombstones are announced where they are made, in the room that archives."""
    romeo, juliet = await tavern(server, "juliet")
    info = "<query xmlns='http://jabber.org/protocol/disco#info'/>"
    shown = xml(await juliet.iq(info, to=TAVERN))
    for feature in (f"{MUC}#register", "jabber:iq:register", "urn:xmpp:message-retract:1#tombstone", "urn:xmpp:mam:2"):
        assert f'var="{feature}"' in shown, feature
    form = f"<field var='FORM_TYPE'><value>{MUC}#roomconfig</value></field>"
    form += f"<field var='{ADMINS}'><value>juliet@localhost</value></field>"
    form += "<field var='muc#roomconfig_enablelogging'><value>0</value></field>"
    text = f"<query xmlns='{MUC}#owner'><x xmlns='jabber:x:data' type='submit'>{form}</x></query>"
    assert condition(await juliet.iq(text, "set", TAVERN)) == "forbidden"
    assert (await romeo.iq(text, "set", TAVERN)).get("type") == "result"
    plugin = server.server.hosts["conference.localhost"].plugins["muc"]
    assert set(await plugin.rooms.affiliations.read_all(TAVERN)) == {"romeo@localhost", "juliet@localhost"}  # type: ignore[attr-defined]
    assert "urn:xmpp:mam:2" not in xml(await juliet.iq(info, to=TAVERN))
