"""Voice that a moderator has given or taken, kept for the next visit (XEP-0045 section 5.1).

Whose voice was taken does not get it back by entering again, and who was given it need not ask again. It is kept while
the room is in memory, by bare JID, and ends with another affiliation: the room's affiliations are what lasts.
"""

from __future__ import annotations

from xmppd.jid import JID

from .model import Affiliation, Occupant, Role
from .room import RoomState


def keep_voice(room: RoomState, occupant: Occupant) -> None:
    """Keeps whether an occupant has voice, if it is otherwise than its affiliation says."""
    usual = room.initial_role(room.affiliation_of(occupant))
    if occupant.role is usual or occupant.role not in (Role.VISITOR, Role.PARTICIPANT):
        room.kept_roles.pop(occupant.bare)
    else:
        room.kept_roles.put(occupant.bare, occupant.role)


def role_on_entering(room: RoomState, who: JID) -> Role:
    """Returns the role that somebody enters with: the usual one (section 5.1.2), or the kept one."""
    affiliation = room.affiliation(who)
    usual = room.initial_role(affiliation)
    kept = room.kept_roles.get(who.bare) if affiliation < Affiliation.ADMIN else None
    return usual if kept is None else kept
