"""muc#roomconfig_persistentroom: the room stays when the last occupant leaves."""

from __future__ import annotations

from .base import Flag, OptionRoom


class Persistent(Flag):
    var = "muc#roomconfig_persistentroom"
    label = "AppendEntry the room when nobody is in it"

    def feature(self, room: OptionRoom) -> str:
        return "muc_persistent" if self.of(room) else "muc_temporary"
