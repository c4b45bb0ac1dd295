"""muc#roomconfig_moderatedroom: the unaffiliated join without voice (XEP-0045 sections 5.1.2, 7.4)."""

from __future__ import annotations

from xmppd.errors import Forbidden

from ..model import Affiliation, Occupant, Role
from .base import Flag, OptionRoom


class Moderated(Flag):
    var = "muc#roomconfig_moderatedroom"
    label = "Moderated: the unaffiliated must ask for voice"

    def feature(self, room: OptionRoom) -> str:
        return "muc_moderated" if self.of(room) else "muc_unmoderated"

    def initial_role(self, room: OptionRoom, affiliation: Affiliation) -> Role | None:
        return Role.VISITOR if affiliation < Affiliation.MEMBER and self.of(room) else None

    def may_speak(self, room: OptionRoom, occupant: Occupant) -> None:
        # A visitor has no voice in an unmoderated room either: there a moderator has taken it.
        if occupant.role < Role.PARTICIPANT:
            raise Forbidden("you have no voice in this room")
