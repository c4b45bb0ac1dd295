"""muc#roomconfig_enablearchiving: messages are kept in the room's archive (XEP-0313 section 5.1.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..model import Value
from .base import Flag

if TYPE_CHECKING:
    from ..state import RoomState


class Archiving(Flag):
    var = "muc#roomconfig_enablearchiving"
    label = "Keep messages on the server"
    default = True

    def feature(self, room: RoomState) -> str:
        return "urn:xmpp:mam:2" if self.of(room) else ""

    def codes(self, before: Value, after: Value) -> tuple[int, ...]:
        return (170,) if after else (171,)
