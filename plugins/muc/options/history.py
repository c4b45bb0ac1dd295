"""muc#maxhistoryfetch: how many messages one gets on entering (XEP-0045 section 7.2.13)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xmppd.xep.forms import Field, Submitted

from ..model import Value
from .base import Option

if TYPE_CHECKING:
    from ..state import RoomState


class History(Option):
    var = "muc#maxhistoryfetch"
    label = "Most messages shown on entering"
    default = 20

    def of(self, room: RoomState) -> int:
        most = room.settings.history
        return min(int(room.options.get(self.var, most)), most)

    def fields(self, room: RoomState) -> list[Field]:
        return [Field(self.var, "text-single", self.label, (str(self.of(room)),))]

    def read(self, form: Submitted, room: RoomState) -> Value | None:
        return form.integer(self.var, 0, room.settings.history)

    def info(self, room: RoomState) -> Field | None:
        return Field(self.var, "text-single", self.label, (str(self.of(room)),))
