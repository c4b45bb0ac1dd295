"""What other plugins ask a group chat service (XEP-0045)."""

from __future__ import annotations

from typing import Protocol

from ..service import Service


class Rooms(Protocol):
    def is_private_group(self, room: str) -> bool:
        """Only members may enter. `room`: a bare JID; False for one that is not in memory."""
        ...


ROOMS = Service[Rooms]("rooms")
