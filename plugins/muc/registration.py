"""Registration with a room: a reserved nick, which makes a member (XEP-0045 section 7.10)."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from xmppd.errors import BadRequest, Conflict, Forbidden, JidMalformed, MalformedJid, NotAllowed, RegistrationRequired
from xmppd.jid import JID
from xmppd.xep.forms import Field, form, read_form
from xmppd.xml import E, Element, find

from .affiliation_changes import AffiliationChange, apply_affiliations
from .invitations import check_affiliations_fit
from .model import MUC_NS, Affiliation, AffiliationRecord, Effect, Plan, SaveAffiliation
from .nick_conflicts import is_confusable, nick_key
from .options import MEMBERS_ONLY, MODERATED
from .room import RoomState

REGISTER_FORM: Final = MUC_NS + "#register"
REGISTER_NS: Final = "jabber:iq:register"


def may_register(room: RoomState, who: JID) -> bool:
    """Whether somebody may reserve a nick. Who is no member may where that is no way around the owner's decision on who
    joins or speaks."""
    affiliation = room.affiliation(who)
    if affiliation is Affiliation.OUTCAST or room.record.locked:
        return False
    return affiliation >= Affiliation.MEMBER or not (MEMBERS_ONLY.of(room) or MODERATED.of(room))


def _check_may_register(room: RoomState, who: JID) -> None:
    if not may_register(room, who):
        raise NotAllowed("only admins make members of this room")


def registration_form(room: RoomState, who: JID) -> Element:
    """Answers a get: the form to fill in, or the nick that one has reserved. Raises NotAllowed."""
    record = room.affiliations.get(who.bare)
    if record is not None and record.nick:
        name = E("username", REGISTER_NS, {}, record.nick)
        return E("query", REGISTER_NS, {}, E("registered", REGISTER_NS), name)
    _check_may_register(room, who)
    field = Field("muc#register_roomnick", "text-single", "Desired nick", required=True)
    text = "Say under which nick you want to be known in this room."
    x = form("form", REGISTER_FORM, (field,), f"Registration with {room.jid.bare}", text)
    return E("query", REGISTER_NS, {}, E("instructions", REGISTER_NS, {}, text), x)


def register(room: RoomState, who: JID, query: Element) -> Plan:
    """Reserves a nick, which makes the unaffiliated members; <remove/> takes it back.

    Raises NotAllowed, BadRequest, JidMalformed, NotAcceptable, Conflict, ResourceConstraint, Forbidden,
    RegistrationRequired.
    """
    known = room.affiliations.get(who.bare)
    affiliation = room.affiliation(who)
    if find(query, REGISTER_NS, "remove") is not None:
        return _unregister(room, who, known, affiliation)
    _check_may_register(room, who)
    submitted = read_form(query)
    nick = submitted.text("muc#register_roomnick") if submitted is not None else None
    if submitted is None or submitted.type != "submit" or submitted.form_type != REGISTER_FORM or not nick:
        raise BadRequest("a nick is needed")
    key = nick_key(room, nick)
    try:
        nick = room.jid.with_resource(nick).resource
    except MalformedJid:
        raise JidMalformed("not a nick") from None
    occupant, owner = room.occupants.get(key), room.affiliations.nick_owner(key)
    if (occupant is not None and occupant.bare != who.bare) or (owner is not None and owner != who.bare):
        raise Conflict("that nick is taken")
    if owner is None and is_confusable(room, nick, who.bare):
        raise Conflict("that nick looks like another's")
    new = affiliation if affiliation > Affiliation.NONE else Affiliation.MEMBER
    record = AffiliationRecord(new.name.lower(), nick, known.reason if known is not None else "")
    check_affiliations_fit(room, 0 if known is not None else 1)
    return change_own_affiliation(room, who, record, AffiliationChange(who.to_bare(), affiliation, new, ""))


def _unregister(room: RoomState, who: JID, known: AffiliationRecord | None, affiliation: Affiliation) -> Plan:
    if affiliation is Affiliation.OUTCAST:
        raise Forbidden()
    if known is None:
        raise RegistrationRequired("you are not registered")  # XEP-0077 section 3.2
    bare = who.to_bare()
    if affiliation is Affiliation.MEMBER:
        return change_own_affiliation(room, who, None, AffiliationChange(bare, affiliation, Affiliation.NONE, ""))
    record = replace(known, nick="")
    return change_own_affiliation(room, who, record, AffiliationChange(bare, affiliation, affiliation, ""))


def change_own_affiliation(
    room: RoomState, who: JID, record: AffiliationRecord | None, change: AffiliationChange
) -> Plan:
    """Stores the record of somebody's own affiliation (None deletes it), with what follows from the change."""

    def apply() -> list[Effect]:
        if record is None:
            room.affiliations.discard(who.bare)
        else:
            room.affiliations[who.bare] = record
        return apply_affiliations(room, (change,), "", who)

    return Plan([SaveAffiliation(who.bare, record)], apply)
