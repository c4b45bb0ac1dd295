"""muc#roomconfig_pubsub: the publish-subscribe node that goes with the room (XEP-0045 section 6.4)."""

from __future__ import annotations

from xmppd.errors import NotAcceptable
from xmppd.xep.forms import Field, Submitted

from ..model import Value
from .base import OptionRoom, Text


class Pubsub(Text):
    var = "muc#roomconfig_pubsub"
    label = "XMPP URI of the pubsub node of this room"
    length = 2000

    def read(self, form: Submitted, room: OptionRoom) -> Value | None:
        text = super().read(form, room)
        if text and not str(text).startswith("xmpp:"):
            raise NotAcceptable("not the URI of a pubsub node (RFC 5122)")
        return text

    def info(self, room: OptionRoom) -> Field | None:
        uri = self.of(room)
        return Field(self.var, "text-single", self.label, (uri,)) if uri else None
