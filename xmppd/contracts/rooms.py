"""Group chat (XEP-0045) as other plugins see it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Protocol

from ..hooks import Notify
from ..jid import JID
from ..service import Service
from ..stanza import Stanza


class Rooms(Protocol):
    def is_private_group(self, room: str) -> bool:
        """Only members may enter. `room`: a bare JID; False for one that is not in memory."""
        ...


ROOMS = Service[Rooms]("rooms")


@dataclass(frozen=True, slots=True)
class RoomSaid:
    """A message to all, `stanza` as the occupants get it. `absent`: of some bare JIDs those that are members, admins or
    owners and not in the room, each with its reserved nick ("" for none)."""

    room: JID
    stanza: Stanza
    absent: Callable[[AbstractSet[str]], Iterable[tuple[str, str]]]


ROOM_SAID = Notify[RoomSaid]("room-said", plain=True)
"""Told to every host with accounts, after the commit and after the occupants have got it."""
