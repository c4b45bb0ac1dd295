"""muc#roomconfig_allowinvites: in a members-only room an invitation makes a member (XEP-0045 section 9.5), so it is
for admins unless the owner says otherwise. Anybody may invite to an open room."""

from __future__ import annotations

from xmppd.errors import Forbidden

from ..model import Affiliation, Occupant
from .base import Flag, OptionRoom
from .members_only import MembersOnly

_members_only = MembersOnly()


class AllowInvites(Flag):
    var = "muc#roomconfig_allowinvites"
    label = "AffiliationList may invite others to a members-only room"

    def may_invite(self, room: OptionRoom, occupant: Occupant, affiliation: Affiliation) -> None:
        if _members_only.of(room) and affiliation < Affiliation.ADMIN and not self.of(room):
            raise Forbidden("only admins may invite to this room")
