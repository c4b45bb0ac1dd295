"""muc#roomconfig_changesubject: who may set the subject (XEP-0045 section 8.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xmppd.errors import Forbidden
from xmppd.xep.forms import Field

from ..model import Role
from .base import Flag

if TYPE_CHECKING:
    from ..model import Occupant
    from ..state import RoomState


class ChangeSubject(Flag):
    var = "muc#roomconfig_changesubject"
    label = "Participants may change the subject"

    def may_set_subject(self, room: RoomState, occupant: Occupant) -> None:
        if occupant.role < (Role.PARTICIPANT if self.of(room) else Role.MODERATOR):
            raise Forbidden("you may not change the subject")

    def info(self, room: RoomState) -> Field | None:
        return Field(self.var, "boolean", self.label, ("1" if self.of(room) else "0",))
