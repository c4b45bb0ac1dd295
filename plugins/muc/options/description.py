"""muc#roomconfig_roomdesc, shown as muc#roominfo_description."""

from __future__ import annotations

from xmppd.xep.forms import Field

from .base import OptionRoom, Text


class Description(Text):
    var = "muc#roomconfig_roomdesc"
    label = "Description"

    def info(self, room: OptionRoom) -> Field | None:
        return Field("muc#roominfo_description", "text-single", self.label, (self.of(room),))
