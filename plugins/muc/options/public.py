"""muc#roomconfig_publicroom: found through service discovery."""

from __future__ import annotations

from .base import Flag, OptionRoom


class Public(Flag):
    var = "muc#roomconfig_publicroom"
    label = "Show the room in the list of rooms"
    default = True

    def feature(self, room: OptionRoom) -> str:
        return "muc_public" if self.of(room) else "muc_hidden"
