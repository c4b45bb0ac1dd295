"""muc#roomconfig_changesubject: who may set the subject (XEP-0045 section 8.1)."""

from __future__ import annotations

from xmppd.errors import Forbidden
from xmppd.xep.forms import Field

from ..model import Occupant, Role
from .base import Flag, OptionRoom


class ChangeSubject(Flag):
    var = "muc#roomconfig_changesubject"
    label = "Participants may change the subject"

    def may_set_subject(self, room: OptionRoom, occupant: Occupant) -> None:
        if occupant.role < (Role.PARTICIPANT if self.of(room) else Role.MODERATOR):
            raise Forbidden("you may not change the subject")

    def info(self, room: OptionRoom) -> Field | None:
        return Field(self.var, "boolean", self.label, ("1" if self.of(room) else "0",))
