"""How much may wait for other servers."""

from __future__ import annotations

from collections import Counter
from typing import Final

from ..config import FederationConfig
from .remote_line import Item

STANZAS: Final = 20_000
"""So many stanzas may wait for one other domain."""
LINE: Final = 8 << 10
"""Bytes of a line, and of the attempt to connect it."""


class Bounds:
    """`size`: bytes of all that waits; `kept`: of the stanzas, those that the store keeps."""

    def __init__(self) -> None:
        self.size = 0
        self.kept = 0
        self.sizes: Counter[str] = Counter()
        """Bytes that wait, by their domain."""
        self.counts: Counter[str] = Counter()

    @property
    def waiting(self) -> int:
        """Stanzas that wait."""
        return sum(self.counts.values())

    def full(self, remote: str, size: int, config: FederationConfig) -> bool:
        """Whether so many bytes more are too many. One stanza is never too much."""
        if self.counts[remote] >= STANZAS or (self.counts[remote] and self.sizes[remote] + size > config.queue):
            return True
        return bool(self.counts) and self.size + size > config.queues

    def add(self, remote: str, item: Item) -> None:
        self.size += item.size
        self.kept += item.handover.patient
        self.sizes[remote] += item.size
        self.counts[remote] += 1

    def remove(self, remote: str, item: Item) -> None:
        self.size -= item.size
        self.kept -= item.handover.patient
        self.sizes[remote] -= item.size
        self.counts[remote] -= 1
        if not self.counts[remote]:
            del self.counts[remote], self.sizes[remote]
