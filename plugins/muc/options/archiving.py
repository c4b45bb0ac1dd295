"""muc#roomconfig_enablearchiving: messages go into the room's archive (XEP-0313 section 5.1.2).

muc#roomconfig_enablelogging is the registered name of the same option: the archive is read by all who may join, and
that is what status codes 170 and 171 warn of (XEP-0045 sections 7.2.11 and 10.2.1).
"""

from __future__ import annotations

from xmppd.xep.forms import Field, Submitted

from ..model import Value
from .base import Flag, OptionRoom

LOGGING = "muc#roomconfig_enablelogging"


class Archiving(Flag):
    var = "muc#roomconfig_enablearchiving"
    label = "AppendEntry messages on the server"
    default = True

    def fields(self, room: OptionRoom) -> list[Field]:
        value = ("1" if self.of(room) else "0",)
        return [*super().fields(room), Field(LOGGING, "boolean", "Log the discussion (the same option)", value)]

    def read(self, form: Submitted, room: OptionRoom) -> Value | None:
        """A client may know one of the names and hand back the other as it was: what differs is meant."""
        found = [value for var in (self.var, LOGGING) if (value := form.boolean(var)) is not None]
        present = self.of(room)
        return next((value for value in found if value is not present), found[0] if found else None)

    def feature(self, room: OptionRoom) -> str:
        return "urn:xmpp:mam:2" if self.of(room) else ""

    def codes(self, before: Value, after: Value) -> tuple[int, ...]:
        return (170,) if after else (171,)
