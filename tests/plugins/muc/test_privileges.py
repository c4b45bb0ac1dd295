"""The privilege matrix: every role and affiliation against every action (XEP-0045 sections 5, 8 to 10; T31, G01)."""

from __future__ import annotations

from itertools import product

import pytest

from plugins.muc.admin_lists import admin_list
from plugins.muc.administration import AdminItem, administer
from plugins.muc.configuration import config_form, configure
from plugins.muc.join import join
from plugins.muc.messages import reflect_message
from plugins.muc.messages_to_room import decide_message
from plugins.muc.model import Affiliation, AffiliationRecord, JoinRequest, Plan, Role, ServiceSettings
from plugins.muc.private_messages import private_message
from plugins.muc.room import RoomState
from plugins.muc.subject import change_subject
from xmppd.errors import StanzaError
from xmppd.jid import JID
from xmppd.stanza import Kind, Stanza, parse_stanza
from xmppd.xml import E, Element

O, A, M, N, X = Affiliation.OWNER, Affiliation.ADMIN, Affiliation.MEMBER, Affiliation.NONE, Affiliation.OUTCAST  # noqa: E741
MOD, PART, VIS, OUT = Role.MODERATOR, Role.PARTICIPANT, Role.VISITOR, Role.NONE

ROOM = JID.parse("tavern@rooms.lit")
ACTOR, TARGET, OTHER = (JID.parse(f"{name}@montague.lit/x") for name in ("actor", "target", "other"))
OK, FORBIDDEN, NOT_ALLOWED = "", "forbidden", "not-allowed"


def run(plan: Plan) -> None:
    plan.apply()


def outcome(call: object) -> str:
    assert callable(call)
    try:
        result = call()
    except StanzaError as error:
        return error.condition
    if isinstance(result, Plan):
        result.apply()
    return OK


def room_with(actor: Affiliation, actor_role: Role, target: Affiliation, target_role: Role) -> RoomState:
    """A room with an owner of its own, and two who have these ranks."""
    room = RoomState.created(ROOM, OTHER, ServiceSettings(lock=False), 1)
    for who, affiliation, role in ((ACTOR, actor, actor_role), (TARGET, target, target_role)):
        if role is not OUT:
            run(join(room, JoinRequest(who, who.local, Stanza(Kind.PRESENCE))))
            room.occupants[who.local].role = role
        if affiliation is not N:
            room.affiliations[who.bare] = AffiliationRecord(affiliation.name.lower())
    return room


def item(**attributes: str) -> Element:
    return E("item", "http://jabber.org/protocol/muc#admin", attributes)


RANKS = [(O, MOD), (A, MOD), (M, MOD), (N, MOD), (M, PART), (N, PART), (M, VIS), (N, VIS), (N, OUT), (X, OUT)]
TARGETS = [(O, MOD), (A, MOD), (M, MOD), (N, MOD), (M, PART), (N, PART), (M, VIS), (N, VIS)]


def expected_role(actor: Affiliation, role: Role, target: Affiliation, old: Role, new: Role) -> str:
    """Sections 5.1.1, 5.1.3, 8.2 to 8.5, 9.6 to 9.8, written down by case."""
    powerful = actor in (A, O)
    if not powerful and (role is not MOD or new is MOD):
        return FORBIDDEN  # whoever the target is
    if new is old:
        return OK
    if new is OUT:
        if old is MOD and not powerful:
            return NOT_ALLOWED  # a moderator is kicked by an admin or owner
        return NOT_ALLOWED if target > actor else OK
    if new > old:
        return OK
    if target in (A, O) or target > actor:
        return NOT_ALLOWED  # sections 8.4 and 9.7, before it matters who may take moderation
    if new is VIS and target == actor:
        return NOT_ALLOWED  # section 8.4: "at or above the moderator's level"
    return FORBIDDEN if old is MOD and not powerful else OK  # section 9: moderation is the admins'


@pytest.mark.parametrize(
    ("actor", "target", "new"), list(product(RANKS, TARGETS, (MOD, PART, VIS, OUT))), ids=lambda v: str(v)[:60]
)
def test_roles(actor: tuple[Affiliation, Role], target: tuple[Affiliation, Role], new: Role) -> None:
    room = room_with(*actor, *target)
    got = outcome(lambda: administer(room, ACTOR, [AdminItem(nick="target", role=new)]))
    wanted = expected_role(*actor, *target, new)
    assert got == wanted
    after = room.occupants["target"].role if "target" in room.occupants else OUT
    assert after is (new if wanted == OK else target[1])


AFFILIATION_TABLE = {
    # actor: {(old, new): answer}; what is not named is forbidden (sections 5.2.1, 5.2.2)
    O: {(old, new): OK for old in (O, A, M, N, X) for new in (O, A, M, N, X)},
    A: {
        **{(old, new): OK for old in (M, N, X) for new in (M, N, X)},
        # Section 9.1 of a ban; sections 10.4, 10.5, 10.7 and 10.8 of what unmakes an owner or admin.
        **{(old, X): NOT_ALLOWED for old in (O, A)},
        **{(old, new): FORBIDDEN for old in (O, A) for new in (M, N)},
        **{(old, new): FORBIDDEN for old in (O, A, M, N, X) for new in (O, A)},
    },
}


@pytest.mark.parametrize(("actor", "old", "new"), list(product(RANKS, (O, A, M, N, X), (O, A, M, N, X))))
def test_affiliations(actor: tuple[Affiliation, Role], old: Affiliation, new: Affiliation) -> None:
    room = room_with(*actor, old, OUT)
    got = outcome(lambda: administer(room, ACTOR, [AdminItem(jid=TARGET.to_bare(), affiliation=new)]))
    assert got == AFFILIATION_TABLE.get(actor[0], {}).get((old, new), FORBIDDEN)
    assert room.affiliation(TARGET) is (new if got == OK else old)


LISTS = {"owner": (O,), "admin": (O,), "member": (O, A), "outcast": (O, A)}


@pytest.mark.parametrize(("actor", "wanted", "open_room"), list(product(RANKS, LISTS, (False, True))))
def test_lists(actor: tuple[Affiliation, Role], wanted: str, open_room: bool) -> None:
    """Sections 9.2, 9.5, 10.5, 10.8; G03: nothing is listed to strangers."""
    room = room_with(*actor, N, OUT)
    room.options["muc#roomconfig_whois"] = "anyone" if open_room else "moderators"
    may = actor[0] in LISTS[wanted] or (open_room and wanted != "outcast" and actor[0] in (M, A, O))
    query = E("query", "http://jabber.org/protocol/muc#admin", {}, item(affiliation=wanted))
    assert outcome(lambda: admin_list(room, ACTOR, query)) == (OK if may else FORBIDDEN)


@pytest.mark.parametrize(("actor", "role"), list(product(RANKS, ("moderator", "participant", "visitor", "none"))))
def test_role_lists(actor: tuple[Affiliation, Role], role: str) -> None:
    """Sections 8.5 and 9.8."""
    room = room_with(*actor, N, OUT)
    may = actor[1] is MOD and role != "none" and (role != "moderator" or actor[0] in (A, O))
    query = E("query", "http://jabber.org/protocol/muc#admin", {}, item(role=role))
    assert outcome(lambda: admin_list(room, ACTOR, query)) == (OK if may else FORBIDDEN)


OWNER_QUERY = "<query xmlns='http://jabber.org/protocol/muc#owner'>{}</query>"
FORM = "<x xmlns='jabber:x:data' type='submit'/>"


@pytest.mark.parametrize("actor", RANKS)
@pytest.mark.parametrize("inside", [FORM, "<destroy/>"])
def test_owner_only(actor: tuple[Affiliation, Role], inside: str) -> None:
    """Sections 10.2 and 10.9."""
    room = room_with(*actor, N, OUT)
    query = parse_stanza(f"<iq type='set' id='1'>{OWNER_QUERY.format(inside)}</iq>".encode()).payload
    assert query is not None
    answer = OK if actor[0] is O else FORBIDDEN
    assert outcome(lambda: configure(room, ACTOR, query)) == answer
    assert outcome(lambda: config_form(room, ACTOR)) == answer


def message(inside: str, to: str = ROOM.bare, type: str = "groupchat") -> Stanza:
    stanza = parse_stanza(f"<message to='{to}' type='{type}' id='m'>{inside}</message>".encode())
    return stanza


@pytest.mark.parametrize("actor", RANKS)
def test_speaking(actor: tuple[Affiliation, Role]) -> None:
    """Section 5.1.1: messages, subject, private messages, invitations."""
    affiliation, role = actor
    absent = "not-acceptable" if role is OUT else OK
    room = room_with(affiliation, role, N, PART)
    assert outcome(lambda: reflect_message(room, ACTOR, message("<body>x</body>"), 5)) == (
        absent or (OK if role >= PART else FORBIDDEN)
    )
    subject = message("<subject>x</subject>")
    assert outcome(lambda: change_subject(room, ACTOR, subject, 5)) == (absent or (OK if role is MOD else FORBIDDEN))
    room.options["muc#roomconfig_changesubject"] = True
    assert outcome(lambda: change_subject(room, ACTOR, subject, 6)) == (absent or (OK if role >= PART else FORBIDDEN))
    psst = message("<body>x</body>", f"{ROOM.bare}/target", "chat")
    assert outcome(lambda: private_message(room, ACTOR, psst)) == absent
    room.options["muc#roomconfig_allowpm"] = "participants"
    assert outcome(lambda: private_message(room, ACTOR, psst)) == (absent or (OK if role >= PART else FORBIDDEN))
    room.options["muc#roomconfig_allowpm"] = "none"
    assert outcome(lambda: private_message(room, ACTOR, psst)) == (absent or FORBIDDEN)
    invite = message("<x xmlns='http://jabber.org/protocol/muc#user'><invite to='new@lit'/></x>", type="normal")
    assert outcome(lambda: decide_message(room, ACTOR, invite)) == absent
    room.options["muc#roomconfig_membersonly"] = True
    assert outcome(lambda: decide_message(room, ACTOR, invite)) == (absent or (OK if affiliation >= A else FORBIDDEN))
    assert (room.affiliation(JID.parse("new@lit")) is M) == (affiliation >= A and role is not OUT)


ENTRANCE = {
    # option: what outcast, none, member, admin and owner get (section 5.2.1)
    "": (FORBIDDEN, OK, OK, OK, OK),
    "muc#roomconfig_membersonly": (FORBIDDEN, "registration-required", OK, OK, OK),
    "muc#roomconfig_roomsecret": (FORBIDDEN,) + ("not-authorized",) * 4,
    "locked": (FORBIDDEN, "item-not-found", "item-not-found", "item-not-found", OK),
}


@pytest.mark.parametrize(("option", "affiliation"), list(product(ENTRANCE, Affiliation)))
def test_entrance(option: str, affiliation: Affiliation) -> None:
    room = RoomState.created(ROOM, OTHER, ServiceSettings(lock=option == "locked"), 1)
    if option.startswith("muc"):
        room.options[option] = "secret" if "secret" in option else True
    if affiliation is not N:
        room.affiliations[ACTOR.bare] = AffiliationRecord(affiliation.name.lower())
    entry = JoinRequest(ACTOR, "actor", Stanza(Kind.PRESENCE))
    assert outcome(lambda: join(room, entry)) == ENTRANCE[option][affiliation]
    assert (ACTOR.full in room.sessions) == (ENTRANCE[option][affiliation] == OK)


@pytest.mark.parametrize(("moderated", "affiliation"), list(product((False, True), (N, M, A, O))))
def test_initial_role(moderated: bool, affiliation: Affiliation) -> None:
    """The table of section 5.1.2."""
    room = RoomState.created(ROOM, OTHER, ServiceSettings(lock=False), 1)
    room.options["muc#roomconfig_moderatedroom"] = moderated
    room.affiliations[ACTOR.bare] = AffiliationRecord(affiliation.name.lower())
    run(join(room, JoinRequest(ACTOR, "actor", Stanza(Kind.PRESENCE))))
    wanted = MOD if affiliation >= A else VIS if moderated and affiliation is N else PART
    assert room.occupants["actor"].role is wanted


# ---- what the tables do not say


def test_a_list_with_one_illegal_item_changes_nothing() -> None:
    """G01: the whole batch is refused."""
    room = room_with(A, MOD, N, PART)
    legal = AdminItem(jid=TARGET.to_bare(), affiliation=M)
    illegal = AdminItem(jid=OTHER.to_bare(), affiliation=N)
    assert outcome(lambda: administer(room, ACTOR, [legal, illegal])) == FORBIDDEN
    assert room.affiliation(TARGET) is N and room.affiliation(OTHER) is O


def test_the_last_owner_stays() -> None:
    """G02, section 10.4."""
    room = RoomState.created(ROOM, OTHER, ServiceSettings(lock=False), 1)
    for new in (A, M, N):
        item = AdminItem(jid=OTHER.to_bare(), affiliation=new)
        assert outcome(lambda item=item: administer(room, OTHER, [item])) == "conflict"
    second = AdminItem(jid=TARGET.to_bare(), affiliation=O)
    leaving = AdminItem(jid=OTHER.to_bare(), affiliation=N)
    assert outcome(lambda: administer(room, OTHER, [second, leaving])) == OK
    assert room.affiliation(OTHER) is N and room.affiliation(TARGET) is O


@pytest.mark.parametrize("rank", [O, A])
def test_nobody_bans_or_kicks_himself(rank: Affiliation) -> None:
    """Section 9.1: an admin as an owner."""
    room = room_with(rank, MOD, N, PART)
    ban = AdminItem(jid=ACTOR.to_bare(), affiliation=X)
    assert outcome(lambda: administer(room, ACTOR, [ban])) == "conflict"
    assert outcome(lambda: administer(room, ACTOR, [AdminItem(nick="actor", role=OUT)])) == "conflict"


def test_a_service_admin_is_no_silent_owner() -> None:
    """G02: it has no rights until it has made itself an owner, for all to see."""
    room = room_with(N, OUT, N, PART)
    others = AdminItem(jid=TARGET.to_bare(), affiliation=X)
    assert outcome(lambda: administer(room, ACTOR, [others], service_admin=True)) == FORBIDDEN
    assert outcome(lambda: config_form(room, ACTOR)) == FORBIDDEN
    claim = AdminItem(jid=ACTOR.to_bare(), affiliation=O)
    assert outcome(lambda: administer(room, ACTOR, [claim])) == FORBIDDEN
    assert outcome(lambda: administer(room, ACTOR, [claim], service_admin=True)) == OK
    assert room.affiliation(ACTOR) is O


def test_a_domain_can_be_banned_and_nothing_else() -> None:
    room = room_with(O, MOD, N, PART)
    domain = JID.parse("montague.lit")
    assert outcome(lambda: administer(room, ACTOR, [AdminItem(jid=domain, affiliation=M)])) == NOT_ALLOWED
    assert outcome(lambda: administer(room, ACTOR, [AdminItem(jid=domain, affiliation=X)])) == OK
    assert room.affiliation(TARGET) is X and "target" not in room.occupants
    assert room.affiliation(ACTOR) is O and "actor" in room.occupants


def test_the_list_of_affiliations_is_bounded() -> None:
    room = RoomState.created(ROOM, OTHER, ServiceSettings(lock=False, affiliations=3), 1)
    items = [AdminItem(jid=JID.parse(f"u{n}@lit"), affiliation=M) for n in range(3)]
    assert outcome(lambda: administer(room, OTHER, items)) == "resource-constraint"
    assert outcome(lambda: administer(room, OTHER, items[:2])) == OK


def test_one_list_cannot_reserve_a_nick_twice() -> None:
    """Each item is checked against what the items before it leave; a nick that looks the same is the same."""
    room = room_with(O, MOD, N, OUT)
    one, other = (JID.parse(f"{name}@lit") for name in ("one", "other"))
    for nick in ("king", "KING", "kіng"):
        items = [
            AdminItem(jid=one, affiliation=M, reserve="king"),
            AdminItem(jid=other, affiliation=M, reserve=nick),
        ]
        assert outcome(lambda items=items: administer(room, ACTOR, items)) == "conflict"
    items = [AdminItem(jid=one, affiliation=M, reserve="king"), AdminItem(jid=other, affiliation=M, reserve="queen")]
    assert outcome(lambda: administer(room, ACTOR, items)) == OK
    swap = [
        AdminItem(jid=one, affiliation=M, reserve=""),
        AdminItem(jid=other, affiliation=M, reserve="king"),
        AdminItem(jid=one, affiliation=M, reserve="queen"),
    ]
    assert outcome(lambda: administer(room, ACTOR, swap)) == OK
