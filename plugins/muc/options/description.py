"""muc#roomconfig_roomdesc, shown as muc#roominfo_description."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xmppd.xep.forms import Field

from .base import Text

if TYPE_CHECKING:
    from ..state import RoomState


class Description(Text):
    var = "muc#roomconfig_roomdesc"
    label = "Description"

    def info(self, room: RoomState) -> Field | None:
        return Field("muc#roominfo_description", "text-single", self.label, (self.of(room),))
