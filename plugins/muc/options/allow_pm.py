"""muc#roomconfig_allowpm: who may send private messages (XEP-0045 section 7.5)."""

from __future__ import annotations

from xmppd.errors import Forbidden

from ..model import Occupant, Role
from .base import Choice, OptionRoom

_LEAST = {"anyone": Role.VISITOR, "participants": Role.PARTICIPANT, "moderators": Role.MODERATOR}


class AllowPm(Choice):
    var = "muc#roomconfig_allowpm"
    label = "Who may send private messages"
    default = "anyone"
    choices = (
        ("anyone", "Anyone"),
        ("participants", "Those with voice"),
        ("moderators", "Moderators"),
        ("none", "Nobody"),
    )

    def may_send_private(self, room: OptionRoom, occupant: Occupant, to: Occupant) -> None:
        least = _LEAST.get(self.of(room))
        if occupant is to or (least is not None and occupant.role >= least):
            return
        # Whoever has no voice must still be able to reach those who could give it.
        if to.role is Role.MODERATOR and least is not None:
            return
        raise Forbidden("private messages are not allowed here")
