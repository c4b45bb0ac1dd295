"""Members that the server itself makes, for an invitation to the server that is one to a room, too."""

from __future__ import annotations

from xmppd.jid import JID

from .invitations import check_affiliations_fit
from .model import Affiliation, AffiliationRecord, Effect, Plan, SaveAffiliation
from .options import MEMBERS_ONLY
from .room import RoomState


def may_become_member(room: RoomState, who: JID) -> bool:
    """Whether nothing speaks against somebody in the room: a ban, or that its owner has not opened it yet."""
    return not room.record.locked and room.affiliation(who) is not Affiliation.OUTCAST


def add_member(room: RoomState, who: JID) -> Plan | None:
    """Makes somebody a member where only members enter. Raises ResourceConstraint."""
    if not MEMBERS_ONLY.of(room) or room.affiliation(who) is not Affiliation.NONE:
        return None
    check_affiliations_fit(room, 1)
    record = AffiliationRecord("member")

    def apply() -> list[Effect]:
        room.affiliations[who.bare] = record
        return []

    return Plan(saves=[SaveAffiliation(who.bare, record)], apply=apply)
