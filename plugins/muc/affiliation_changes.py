"""What follows when affiliations change: other roles, who must leave, who is told (XEP-0045 sections 5.1.3, 9, 10)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from secrets import token_hex
from typing import Final

from xmppd.jid import JID
from xmppd.stanza import Kind, Stanza

from .elements import MUC_USER_TAG, Notice, muc_user_element, muc_user_item
from .invitations import invitation
from .model import Affiliation, Broadcast, Effect, Occupant, Role, Send
from .options import MEMBERS_ONLY
from .presence import presence_gone, presence_to_all, presence_to_others, remove_occupants
from .room import RoomState

TOLD: Final = 50
"""So many changes of people who are not there are told to those who are: that is a courtesy (sections 10.3 and 10.6),
and one request must not become a hundred thousand messages."""


@dataclass(slots=True)
class AffiliationChange:
    """The affiliation of a bare JID or domain that has changed."""

    jid: JID
    old: Affiliation
    new: Affiliation
    reason: str


def apply_affiliations(room: RoomState, changes: Iterable[AffiliationChange], actor: str, who: JID) -> list[Effect]:
    """Gives occupants the roles of their new affiliations, removes those who may not stay, tells the others.

    `who`: the JID that has changed the affiliations, in the room under the nick `actor` ("" if it is not there).
    """
    leaving: dict[str, tuple[Occupant, Notice]] = {}
    staying: list[tuple[Occupant, AffiliationChange]] = []
    absent: list[AffiliationChange] = []
    occupants: dict[str, list[Occupant]] = {}
    for each in room.occupants.values():
        occupants.setdefault(each.bare, []).append(each)
    for change in _merged(changes):
        room.kept_roles.pop(change.jid.bare)
        here = occupants.get(change.jid.bare, []) if change.jid.local else _of_domain(room, change.jid)
        for occupant in here:
            code = _removal_code(room, occupant)
            if code:
                leaving[occupant.key] = (occupant, Notice((code,), actor, change.reason))
            else:
                staying.append((occupant, change))
        if not here:
            absent.append(change)
    own, rest = remove_occupants(room, leaving.values())
    effects = own + rest
    for occupant, change in staying:
        role = _role_after(room, occupant.role, change)
        effects += set_role(room, occupant, role, Notice((), actor, change.reason))
    for change in absent:
        if len(absent) <= TOLD:
            effects += _tell_moderators(room, change)
        if change.old is Affiliation.NONE and change.new is Affiliation.MEMBER and MEMBERS_ONLY.of(room):
            effects.append(Send(invitation(room, change.jid, who.bare, change.reason)))  # section 9.5
            room.allow_decline(change.jid.bare, who.bare)
    return effects


def _merged(changes: Iterable[AffiliationChange]) -> list[AffiliationChange]:
    """Merges the changes of each address into one, from its first affiliation to its last, where these differ."""
    merged: dict[str, AffiliationChange] = {}
    for change in changes:
        first = merged.get(change.jid.bare, change)
        merged[change.jid.bare] = AffiliationChange(change.jid, first.old, change.new, change.reason)
    return [change for change in merged.values() if change.old is not change.new]


def set_role(room: RoomState, occupant: Occupant, role: Role, notice: Notice) -> list[Effect]:
    """Gives an occupant a role and tells all occupants who see those that have it. A new moderator sees the real
    addresses of the others."""
    promoted = role is Role.MODERATOR and occupant.role is not Role.MODERATOR
    was_shown = room.is_shown(occupant)
    occupant.role = role
    effects = presence_gone(room, occupant) if was_shown else []
    effects += presence_to_all(room, occupant, notice)
    if promoted and not room.is_non_anonymous():
        # Section 8: a moderator knows the real addresses; it does from the presence of the others.
        others = room.others(occupant)
        effects += [effect for each in others for effect in presence_to_others(room, each, each.latest, (occupant,))]
    return effects


def _removal_code(room: RoomState, occupant: Occupant) -> int:
    """Returns the status code for an occupant who may not stay, 0 for one who may. Behind a membership that is
    taken away may stand a ban of the domain."""
    affiliation = room.affiliation_of(occupant)
    if affiliation is Affiliation.OUTCAST:
        return 301
    return 321 if affiliation is Affiliation.NONE and MEMBERS_ONLY.of(room) else 0


def _of_domain(room: RoomState, domain: JID) -> list[Occupant]:
    """Finds the occupants that a ban of their domain concerns: those without an affiliation of their own."""
    return [
        each
        for each in room.occupants.values()
        if each.latest.jid.domain == domain.domain and each.bare not in room.affiliations
    ]


def _role_after(room: RoomState, role: Role, change: AffiliationChange) -> Role:
    """Returns the role after a change: what one gains with an affiliation stays, admins are moderators (section
    5.1.3)."""
    initial = room.initial_role(change.new)
    if change.old >= Affiliation.ADMIN > change.new:
        return initial
    return max(role, initial)


def _tell_moderators(room: RoomState, change: AffiliationChange) -> list[Effect]:
    """Tells the affiliation of somebody who is not there to those who see real addresses (section 10.6)."""
    to = tuple(
        session.jid
        for each in room.occupants.values()
        if room.sees_addresses(each)
        for session in each.sessions.values()
    )
    x = muc_user_element(muc_user_item(change.new, Role.NONE, change.jid.bare))
    stanza = Stanza(Kind.MESSAGE, "normal", None, room.jid, token_hex(8), x, (MUC_USER_TAG,))
    return [Broadcast(stanza, to)] if to else []
