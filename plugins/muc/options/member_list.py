"""muc#roomconfig_getmemberlist: which members may read the lists of affiliations (XEP-0045 sections 5.2.1, 9.5)."""

from __future__ import annotations

from ..model import Role
from .base import Choices, OptionRoom


class MemberList(Choices):
    var = "muc#roomconfig_getmemberlist"
    label = "Roles of members who may read the list of members, where all see real addresses"
    default = "moderator participant visitor"
    choices = (("moderator", "Moderators"), ("participant", "Participants"), ("visitor", "Visitors"))

    def opens_to(self, room: OptionRoom, role: Role) -> bool:
        """Whether a member who has that role may read them."""
        return role.name.lower() in self.of(room)
