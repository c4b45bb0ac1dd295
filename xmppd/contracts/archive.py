"""Message archives (XEP-0313): what is kept of the messages of an account."""

from __future__ import annotations

import enum
from typing import Final, Protocol

from ..service import Service

LOG: Final = "archive"
"""The name of the accounts' log. It holds what is archived and, hidden, what is only owed."""
KEPT_TYPES: Final = ("chat", "normal")
"""Messages of other types are never kept."""


class Worth(enum.IntEnum):
    """What a message is worth keeping for."""

    NOTHING = 0
    """For who is there now."""
    DELIVERY = 1
    """Kept out of sight until a device of the recipient has it."""
    ARCHIVE = 2
    """Kept, in the archives of sender and recipient."""


class Archive(Protocol):
    def wants(self, owner: str, resource: str, peer: str) -> bool:
        """Whether the owner's preferences (XEP-0441) let messages with that other party be archived.

        `owner` and `peer` are bare JIDs, `resource` that of the other party; the owner's working set is loaded.
        """
        ...


ARCHIVE = Service[Archive]("archive")
