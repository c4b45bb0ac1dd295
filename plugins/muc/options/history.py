"""muc#maxhistoryfetch: how many messages one gets on joining (XEP-0045 section 7.2.13)."""

from __future__ import annotations

from xmppd.xep.forms import Field, Submitted

from ..model import Value
from .base import Option, OptionRoom


class History(Option):
    var = "muc#maxhistoryfetch"
    label = "Most messages shown on entering"
    default = 20

    def of(self, room: OptionRoom) -> int:
        most = room.settings.history
        return min(int(room.options.get(self.var, most)), most)

    def fields(self, room: OptionRoom) -> list[Field]:
        return [Field(self.var, "text-single", self.label, (str(self.of(room)),))]

    def read(self, form: Submitted, room: OptionRoom) -> Value | None:
        return form.integer(self.var, 0, room.settings.history)

    def info(self, room: OptionRoom) -> Field | None:
        return Field(self.var, "text-single", self.label, (str(self.of(room)),))
