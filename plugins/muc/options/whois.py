"""muc#roomconfig_whois: non-anonymous or semi-anonymous (XEP-0045 sections 7.2.3, 7.2.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..model import Value
from .base import Choice

if TYPE_CHECKING:
    from ..state import RoomState


class Whois(Choice):
    var = "muc#roomconfig_whois"
    label = "Who sees real addresses"
    default = "moderators"
    choices = (("moderators", "Moderators"), ("anyone", "Everybody"))

    def open(self, room: RoomState) -> bool:
        """Non-anonymous."""
        return self.of(room) == "anyone"

    def feature(self, room: RoomState) -> str:
        return "muc_nonanonymous" if self.open(room) else "muc_semianonymous"

    def codes(self, before: Value, after: Value) -> tuple[int, ...]:
        return (172,) if after == "anyone" else (173,)
