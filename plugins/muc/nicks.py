"""Nicks that readers take for one another, beside those that are the same (UTS 39 section 4)."""

from __future__ import annotations

from .looks import looks
from .state import RoomState


class Nicks(RoomState):
    def mistaken(self, nick: str, bare: str) -> bool:
        """Whether that nick of `bare` looks like one that somebody else has, now or reserved. Raises MalformedJid."""
        mine = looks(nick)
        others = (each.nick for each in self.occupants.values() if each.bare != bare)
        return any(mine.alike(looks(each)) for each in others) or self.members.looks_reserved(nick, bare)
