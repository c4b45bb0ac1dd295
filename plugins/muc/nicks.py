"""Nicks that readers take for one another, beside those that are the same (UTS 39 section 4)."""

from __future__ import annotations

from collections.abc import Mapping

from .looks import looks
from .model import Member
from .state import RoomState


class Nicks(RoomState):
    def mistaken(self, nick: str, bare: str) -> bool:
        """Whether that nick of `bare` looks like one that somebody else has, now or reserved. Raises MalformedJid."""
        mine = looks(nick)
        others = (each.nick for each in self.occupants.values() if each.bare != bare)
        return any(mine.alike(looks(each)) for each in others) or looks_reserved(nick, bare, self.members)


def looks_reserved(nick: str, bare: str, members: Mapping[str, Member]) -> bool:
    """Whether that nick of `bare` looks like one that is reserved for another of those. Raises MalformedJid."""
    mine = looks(nick)
    others = (member.nick for owner, member in members.items() if member.nick and owner != bare)
    return any(mine.alike(looks(each)) for each in others)
