"""The policy of a message by its kind: one table for archive, carbons, push, unread counts and inactive clients."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from .archive import Retention


class Push(enum.IntEnum):
    """Whether a device that is not connected is woken (XEP-0357)."""

    NEVER = 0
    QUIET = 1
    """It changes what was said or what is unread (a correction, a retraction, read elsewhere): no alert."""
    ALERT = 2
    URGENT = 3
    """A call rings."""


class Idle(enum.IntEnum):
    """What happens to it while the client is inactive (XEP-0352)."""

    NOW = 0
    """It goes out, behind all that was held back."""
    LATER = 1
    """Held back, in order."""
    LATEST = 2
    """Held back; a later one of the same sender takes its place."""


@dataclass(frozen=True, slots=True)
class MessagePolicy:
    """`retention`: how long it is stored. `carbon_sent`, `carbon_received`: whether the sender's and the recipient's
    other devices get a copy (XEP-0280).

    `unread`: it counts as an unread message of its conversation and moves that to the top of the inbox (XEP-0430).
    """

    retention: Retention
    carbon_sent: bool
    carbon_received: bool
    push: Push
    unread: bool
    idle: Idle
