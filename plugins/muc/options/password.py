"""A password to join (XEP-0045 section 7.2.5): two fields, one value, "" for none."""

from __future__ import annotations

from hmac import compare_digest

from xmppd.errors import NotAcceptable, NotAuthorized
from xmppd.xep.forms import Field, Submitted

from ..model import Affiliation, JoinRequest, Value
from .base import OptionRoom, Text

PROTECTED = "muc#roomconfig_passwordprotectedroom"


class Password(Text):
    var = "muc#roomconfig_roomsecret"
    label = "Password"
    length = 200

    def fields(self, room: OptionRoom) -> list[Field]:
        secret = self.of(room)
        return [
            Field(PROTECTED, "boolean", "A password is needed to enter", ("1" if secret else "0",)),
            Field(self.var, "text-private", self.label, (secret,)),
        ]

    def read(self, form: Submitted, room: OptionRoom) -> Value | None:
        protected, secret = form.boolean(PROTECTED), super().read(form, room)
        if protected is False:
            return ""
        if protected and not (self.of(room) if secret is None else secret):
            raise NotAcceptable("a password-protected room needs a password")
        return secret

    def feature(self, room: OptionRoom) -> str:
        return "muc_passwordprotected" if self.of(room) else "muc_unsecured"

    def may_join(self, room: OptionRoom, request: JoinRequest, affiliation: Affiliation) -> None:
        secret = self.of(room)
        if secret and not compare_digest(secret.encode(), request.password.encode()):
            raise NotAuthorized("this room needs a password")
