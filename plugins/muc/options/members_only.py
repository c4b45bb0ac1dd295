"""muc#roomconfig_membersonly (XEP-0045 section 7.2.6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xmppd.errors import RegistrationRequired

from ..model import Affiliation
from .base import Flag

if TYPE_CHECKING:
    from ..entering import Entry
    from ..state import RoomState


class MembersOnly(Flag):
    var = "muc#roomconfig_membersonly"
    label = "Only members may enter"

    def feature(self, room: RoomState) -> str:
        return "muc_membersonly" if self.of(room) else "muc_open"

    def may_enter(self, room: RoomState, entry: Entry, affiliation: Affiliation) -> None:
        if affiliation < Affiliation.MEMBER and self.of(room):
            raise RegistrationRequired("only members may enter this room")
