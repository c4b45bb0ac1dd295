"""muc#roomconfig_presencebroadcast: the roles whose presence the others get (XEP-0045 sections 5.1, 7.2.2, 7.7)."""

from __future__ import annotations

from ..model import Role
from .base import Choices, OptionRoom


class PresenceBroadcast(Choices):
    var = "muc#roomconfig_presencebroadcast"
    label = "Roles whose presence is shown to the others"
    default = "moderator participant visitor"
    choices = (("moderator", "Moderators"), ("participant", "Participants"), ("visitor", "Visitors"))

    def shows(self, room: OptionRoom, role: Role) -> bool:
        """Whether the others see who has that role."""
        return role.name.lower() in self.of(room)
