"""muc#roomconfig_membersonly (XEP-0045 section 7.2.6)."""

from __future__ import annotations

from xmppd.errors import RegistrationRequired

from ..model import Affiliation, JoinRequest
from .base import Flag, OptionRoom


class MembersOnly(Flag):
    var = "muc#roomconfig_membersonly"
    label = "Only members may enter"

    def feature(self, room: OptionRoom) -> str:
        return "muc_membersonly" if self.of(room) else "muc_open"

    def may_join(self, room: OptionRoom, request: JoinRequest, affiliation: Affiliation) -> None:
        if affiliation < Affiliation.MEMBER and self.of(room):
            raise RegistrationRequired("only members may enter this room")
