"""Message archives (XEP-0313): which messages of an account are stored, and how long."""

from __future__ import annotations

import enum
from typing import Final, Protocol

from ..service import Service

LOG: Final = "archive"
"""The name of the accounts' log. It holds archived messages and, hidden, those that are only to be delivered."""
STORED_TYPES: Final = ("chat", "normal")
"""Messages of other types are never stored."""


class Retention(enum.IntEnum):
    """How long a message is stored."""

    NONE = 0
    """Not at all: it is for the sessions that are there now."""
    OFFLINE = 1
    """Hidden from archive queries, until a device of the recipient has it."""
    ARCHIVE = 2
    """In the archives of sender and recipient."""


class Archive(Protocol):
    """The archives of the accounts of a host."""

    def wants(self, owner: str, resource: str, peer: str) -> bool:
        """Whether the owner's preferences (XEP-0441) let messages with that other party be archived.

        `owner` and `peer` are bare JIDs, `resource` that of the other party; the owner's working set is loaded.
        """
        ...


ARCHIVE = Service[Archive]("archive")
