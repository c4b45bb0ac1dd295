"""muc#roomconfig_publicroom: found through service discovery."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .base import Flag

if TYPE_CHECKING:
    from ..state import RoomState


class Public(Flag):
    var = "muc#roomconfig_publicroom"
    label = "Show the room in the list of rooms"
    default = True

    def feature(self, room: RoomState) -> str:
        return "muc_public" if self.of(room) else "muc_hidden"
