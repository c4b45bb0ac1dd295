"""Group chat (XEP-0045) as other plugins see it."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Protocol

from ..hooks import Collect, Notify
from ..jid import JID
from ..service import Service
from ..stanza import Stanza
from ..storage.api import Write


class Rooms(Protocol):
    """What the plugins of accounts ask a room service."""

    def is_private_group(self, room: str) -> bool:
        """Only members may enter. `room`: a bare JID; False for one that is not in memory."""
        ...

    async def absent(self, room: JID, among: AbstractSet[str]) -> list[tuple[str, str]]:
        """As `RoomSaid.absent`, for any room of the service. Raises StorageUnavailable."""
        ...

    def exists(self, room: JID) -> bool:
        """Whether there is such a room."""
        ...

    async def add_member(self, room: JID, who: JID, made_before: float) -> str | None:
        """Let an account (a bare JID) enter: in a room for members only it becomes a member, unless it is banned. The
        name of the room; None: there is no such room, it was made later than `made_before` (seconds since 1970 UTC), so
        it is another one of that name, or the account may not enter. Raises ResourceConstraint, StorageUnavailable."""
        ...


ROOMS = Service[Rooms]("rooms")


@dataclass(frozen=True, slots=True)
class RoomSaid:
    """A message to all. `stanza`: as the occupants get it. `id`: its entry in the room's archive, 0 if it is not kept.

    `absent`: of some bare JIDs those that are members, admins or owners and not in the room, each with its reserved
    nick ("" for none). `attending`: those that are in the room.
    """

    room: JID
    stanza: Stanza
    id: int
    absent: Callable[[AbstractSet[str]], list[tuple[str, str]]]
    attending: Callable[[AbstractSet[str]], AbstractSet[str]]


ROOM_SAYS = Collect[RoomSaid, Write]("room-says", plain=True)
"""Asked on every host with accounts before the commit of a message that the room keeps: what is to be committed with
it. A handler that crashes refuses the message."""
ROOM_SAID = Notify[RoomSaid]("room-said", plain=True)
"""Told to every host with accounts, after the commit and after the occupants have got it."""
