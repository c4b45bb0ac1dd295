"""muc#roomconfig_maxusers (XEP-0045 section 7.2.9)."""

from __future__ import annotations

from xmppd.errors import ServiceUnavailable
from xmppd.xep.forms import Field, Submitted

from ..model import Affiliation, JoinRequest, Value
from .base import Option, OptionRoom

RESERVE = 20
"""So many admins and owners more may join a full room."""


class MaxUsers(Option):
    var = "muc#roomconfig_maxusers"
    label = "Most occupants"
    default = 0

    def of(self, room: OptionRoom) -> int:
        """The most occupants: never more than the service allows, which a value of 0 means."""
        most = room.settings.max_occupants
        return min(int(room.options.get(self.var, 0)) or most, most)

    def fields(self, room: OptionRoom) -> list[Field]:
        most = room.settings.max_occupants
        numbers = sorted({number for number in (10, 20, 50, 100, 200) if number < most} | {most, self.of(room)})
        choices = tuple((str(number), str(number)) for number in numbers)
        return [Field(self.var, "list-single", self.label, (str(self.of(room)),), choices)]

    def read(self, form: Submitted, room: OptionRoom) -> Value | None:
        if form.text(self.var) == "none":
            return 0
        return form.integer(self.var, 1, room.settings.max_occupants)

    def may_join(self, room: OptionRoom, request: JoinRequest, affiliation: Affiliation) -> None:
        present, most = len(room.sessions), self.of(room)
        if present >= most + (RESERVE if affiliation >= Affiliation.ADMIN else 0):
            raise ServiceUnavailable("the room is full", type="wait")
