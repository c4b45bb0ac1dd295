"""muc#roomconfig_moderatedroom: the unaffiliated enter without voice (XEP-0045 sections 5.1.2, 7.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xmppd.errors import Forbidden

from ..model import Affiliation, Role
from .base import Flag

if TYPE_CHECKING:
    from ..model import Occupant
    from ..state import RoomState


class Moderated(Flag):
    var = "muc#roomconfig_moderatedroom"
    label = "Moderated: the unaffiliated must ask for voice"

    def feature(self, room: RoomState) -> str:
        return "muc_moderated" if self.of(room) else "muc_unmoderated"

    def role(self, room: RoomState, affiliation: Affiliation) -> Role | None:
        return Role.VISITOR if affiliation < Affiliation.MEMBER and self.of(room) else None

    def may_speak(self, room: RoomState, occupant: Occupant) -> None:
        # A visitor has no voice in an unmoderated room either: there a moderator has taken it.
        if occupant.role < Role.PARTICIPANT:
            raise Forbidden("you have no voice in this room")
