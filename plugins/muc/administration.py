"""Requests of muc#admin that change roles and affiliations: kick, voice, ban, membership, ownership (XEP-0045 sections
8 to 10). Who may do it is in `privileges`, what follows in `affiliation_changes`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from xmppd.errors import BadRequest, Conflict, ItemNotFound, JidMalformed, MalformedJid, NotAllowed
from xmppd.jid import JID
from xmppd.xml import Element, children, find, text_of

from .affiliation_changes import AffiliationChange, apply_affiliations, set_role
from .affiliations import AffiliationList
from .elements import Notice
from .invitations import check_affiliations_fit
from .kept_roles import keep_voice
from .model import (
    ADMIN_NS,
    AFFILIATIONS,
    REASON_LENGTH,
    ROLES,
    Affiliation,
    AffiliationRecord,
    Effect,
    Occupant,
    Plan,
    Role,
    SaveAffiliation,
)
from .nick_conflicts import nick_key
from .presence import remove_occupants
from .privileges import check_affiliation, check_role, may_give, may_moderate
from .room import RoomState

ITEMS: Final = 200
"""The most items of one request."""


@dataclass(frozen=True, slots=True)
class AdminItem:
    """One <item/> of a request. Of `role` and `affiliation` one is set; `reserve`: the nick to reserve."""

    nick: str = ""
    jid: JID | None = None
    role: Role | None = None
    affiliation: Affiliation | None = None
    reason: str = ""
    reserve: str | None = None


def read_items(query: Element) -> list[AdminItem]:
    """Parses the items of a muc#admin request. Raises BadRequest, JidMalformed."""
    found = []
    for each in children(query, ADMIN_NS, "item"):
        role, affiliation, nick = each.get("role"), each.get("affiliation"), each.get("nick")
        if (role is None) is (affiliation is None):
            raise BadRequest("an item has a role or an affiliation")
        if (role is not None and role not in ROLES) or (affiliation is not None and affiliation not in AFFILIATIONS):
            raise BadRequest("no such role or affiliation")
        try:
            jid = JID.parse(each.get("jid", "")).to_bare() if each.get("jid") else None
        except MalformedJid:
            raise JidMalformed() from None
        reason = text_of(find(each, ADMIN_NS, "reason"))[:REASON_LENGTH]
        found.append(
            AdminItem(
                nick or "",
                jid,
                ROLES[role] if role is not None else None,
                AFFILIATIONS[affiliation] if affiliation is not None else None,
                reason,
                nick if jid is not None and affiliation is not None else None,
            )
        )
    if not found or len(found) > ITEMS:
        raise BadRequest(f"from 1 to {ITEMS} items")
    return found


def administer(room: RoomState, who: JID, items: Iterable[AdminItem], service_admin: bool = False) -> Plan:
    """Decides a request for other roles and affiliations: all items or none (section 9.5).

    A service admin may make itself an owner, openly; it has no other rights of its own (T31, G02).
    Raises Forbidden, NotAllowed, Conflict, ItemNotFound, BadRequest, ResourceConstraint.
    """
    affiliations = AffiliationList(room.affiliations)
    roles, changes = list[tuple[Occupant, Role, str]](), list[AffiliationChange]()
    for item in items:
        if item.role is not None:
            roles.append(_check_role_item(room, who, item))
        else:
            changes.append(_change_affiliation(room, who, item, affiliations, service_admin))
    if has_owner(room.affiliations) and not has_owner(affiliations):
        raise Conflict("a room has at least one owner")
    check_affiliations_fit(room, len(affiliations) - len(room.affiliations))
    concerned = {*affiliations, *room.affiliations}
    changed = {bare for bare in concerned if affiliations.get(bare) != room.affiliations.get(bare)}
    plan = Plan([SaveAffiliation(bare, affiliations.get(bare)) for bare in sorted(changed)])
    actor = room.sessions[who.full].nick if who.full in room.sessions else ""

    def apply() -> list[Effect]:
        room.affiliations = affiliations
        kicked = {
            occupant.key: (occupant, Notice((307,), actor, reason))
            for occupant, role, reason in roles
            if role is Role.NONE and room.occupants.get(occupant.key) is occupant
        }
        # Section 8.2: who is kicked hears of it before the moderator does, the others behind the answer.
        effects, rest = remove_occupants(room, kicked.values())
        plan.before_reply = len(effects)
        effects += rest
        for occupant, role, reason in roles:
            if room.occupants.get(occupant.key) is occupant and role is not occupant.role:
                effects += set_role(room, occupant, role, Notice(actor=actor, reason=reason))
                keep_voice(room, occupant)
        return effects + apply_affiliations(room, changes, actor, who)

    plan.apply = apply
    return plan


def has_owner(affiliations: Mapping[str, AffiliationRecord]) -> bool:
    return any(record.affiliation == "owner" for record in affiliations.values())


def _check_role_item(room: RoomState, who: JID, item: AdminItem) -> tuple[Occupant, Role, str]:
    """Checks an item that changes a role; returns the occupant, the new role and the reason.

    Raises Forbidden, NotAllowed, BadRequest, Conflict, ItemNotFound.
    """
    assert item.role is not None
    acting = room.sessions.get(who.full)
    affiliation = room.affiliation(who)
    role = acting.role if acting is not None else Role.NONE
    may_moderate(affiliation, role, item.role)  # before anything is told about who is there
    if not item.nick:
        raise BadRequest("a role is given to a nick")  # section 17.4
    target = room.occupant_named(item.nick)
    if target is None:
        raise ItemNotFound("nobody of that nick is here")
    if item.role is not target.role:
        check_role(affiliation, role, room.affiliation_of(target), target.role, item.role)
        if acting is target:
            raise Conflict("not your own role")
    return target, item.role, item.reason


def _change_affiliation(
    room: RoomState, who: JID, item: AdminItem, affiliations: AffiliationList, service_admin: bool
) -> AffiliationChange:
    """Checks an item against the affiliations that the items before it leave, and changes them there.

    Raises Forbidden, NotAllowed, Conflict, BadRequest, ItemNotFound.
    """
    assert item.affiliation is not None
    actor, new = room.affiliation(who), item.affiliation
    claims = service_admin and item.jid is not None and item.jid.bare == who.bare and new is Affiliation.OWNER
    if not claims:
        may_give(actor, new)  # before anything is told about who is there
    jid = item.jid or _jid_of_nick(room, item.nick)
    if jid.bare == who.bare and new is Affiliation.OUTCAST:
        raise Conflict("you cannot ban yourself")  # section 9.1, also for an admin
    known = affiliations.get(jid.bare)
    old = AFFILIATIONS[known.affiliation] if known is not None else Affiliation.NONE
    if not claims:
        check_affiliation(actor, old, new)
    if not jid.local and new not in (Affiliation.OUTCAST, Affiliation.NONE):
        raise NotAllowed("a whole domain can only be banned")
    if new is Affiliation.NONE:
        affiliations.discard(jid.bare)
    else:
        nick = item.reserve if item.reserve is not None else known.nick if known is not None else ""
        if new is Affiliation.OUTCAST:
            nick = ""  # section 9.1
        if nick:
            _check_reservable(room, affiliations, nick, jid)
        affiliations[jid.bare] = AffiliationRecord(new.name.lower(), nick, item.reason)
    return AffiliationChange(jid, old, new, item.reason)


def _check_reservable(room: RoomState, affiliations: AffiliationList, nick: str, jid: JID) -> None:
    """Checks that a nick can be reserved for a JID. Raises Conflict, JidMalformed, NotAcceptable."""
    owner = affiliations.nick_owner(nick_key(room, nick))
    if owner is not None and owner != jid.bare:
        raise Conflict("that nick is reserved")
    if owner is None and affiliations.resembles_reserved(nick, jid.bare):
        raise Conflict("that nick looks like one that is reserved")


def _jid_of_nick(room: RoomState, nick: str) -> JID:
    """Finds the bare JID behind a nick. Raises BadRequest, ItemNotFound."""
    if not nick:
        raise BadRequest("an affiliation is given to an address")  # section 17.4
    target = room.occupant_named(nick)
    if target is None:
        raise ItemNotFound("nobody of that nick is here")
    return target.latest.jid.to_bare()
