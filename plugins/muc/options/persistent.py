"""muc#roomconfig_persistentroom: the room stays when the last occupant leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .base import Flag

if TYPE_CHECKING:
    from ..state import RoomState


class Persistent(Flag):
    var = "muc#roomconfig_persistentroom"
    label = "Keep the room when nobody is in it"

    def feature(self, room: RoomState) -> str:
        return "muc_persistent" if self.of(room) else "muc_temporary"
