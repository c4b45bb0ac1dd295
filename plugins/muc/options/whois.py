"""muc#roomconfig_whois: non-anonymous or semi-anonymous (XEP-0045 sections 7.2.3, 7.2.4)."""

from __future__ import annotations

from ..model import Value
from .base import Choice, OptionRoom


class Whois(Choice):
    var = "muc#roomconfig_whois"
    label = "Who sees real addresses"
    default = "moderators"
    choices = (("moderators", "Moderators"), ("anyone", "Everybody"))

    def is_non_anonymous(self, room: OptionRoom) -> bool:
        """Whether all occupants see real addresses."""
        return self.of(room) == "anyone"

    def feature(self, room: OptionRoom) -> str:
        return "muc_nonanonymous" if self.is_non_anonymous(room) else "muc_semianonymous"

    def codes(self, before: Value, after: Value) -> tuple[int, ...]:
        return (172,) if after == "anyone" else (173,)
