"""Rates of bytes and stanzas: the generic cell rate algorithm, without a timer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

LONGEST: Final = 60.0
"""Seconds that a connection waits at most: what one read brought is bounded, and a dead peer must be noticed."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Two buckets in seconds: what a byte and a stanza use, and how much may be used at once. 0.0: no limit."""

    byte: float
    stanza: float
    bytes_burst: float
    stanzas_burst: float

    @classmethod
    def of(cls, bytes: float, bytes_burst: float, stanzas: float, stanzas_burst: float) -> Rate:
        """So many bytes and stanzas a second, and so many at once."""
        byte = 1 / bytes if bytes else 0.0
        stanza = 1 / stanzas if stanzas else 0.0
        return cls(byte, stanza, byte * bytes_burst, stanza * stanzas_burst)

    @property
    def unlimited(self) -> bool:
        return not self.byte and not self.stanza


class TokenBucket:
    """How far the buckets of one connection or account are used: when each will be full again (monotonic)."""

    __slots__ = ("bytes_at", "stanzas_at")

    def __init__(self) -> None:
        self.bytes_at = 0.0
        self.stanzas_at = 0.0

    def use(self, rate: Rate, now: float, size: int, stanzas: int) -> float:
        """Take from both. The seconds until there is room again, 0.0 when there is some."""
        # Runs for every read: no calls, no max().
        bytes_at, stanzas_at = self.bytes_at, self.stanzas_at
        self.bytes_at = bytes_at = (bytes_at if bytes_at > now else now) + size * rate.byte
        self.stanzas_at = stanzas_at = (stanzas_at if stanzas_at > now else now) + stanzas * rate.stanza
        if bytes_at - now <= rate.bytes_burst and stanzas_at - now <= rate.stanzas_burst:
            return 0.0
        self.bytes_at = min(bytes_at, now + rate.bytes_burst + LONGEST)
        self.stanzas_at = min(stanzas_at, now + rate.stanzas_burst + LONGEST)
        return max(self.bytes_at - rate.bytes_burst, self.stanzas_at - rate.stanzas_burst) - now
