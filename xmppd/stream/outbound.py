"""The numbered outbound queue of a session with acknowledgements (XEP-0198 section 4). Sans-I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

WRAP = 2**32


class HandledTooHigh(Exception):
    """The client acknowledged what was never sent (XEP-0198 section 4)."""

    def __init__(self, h: int, sent: int) -> None:
        super().__init__(f"h={h}, sent {sent}")
        self.h = h
        self.sent = sent


class OutboundQueue:
    """What was sent and is not acknowledged: (bytes, id of the log entry or 0), oldest first."""

    __slots__ = ("acknowledged", "asked", "items")

    def __init__(self) -> None:
        self.items: deque[tuple[bytes, int]] = deque()
        self.acknowledged = 0
        self.asked = 0
        """Count sent when the last <r/> went out."""

    def __len__(self) -> int:
        return len(self.items)

    @property
    def sent(self) -> int:
        return self.acknowledged + len(self.items)

    def append(self, data: bytes, stamp: int) -> None:
        self.items.append((data, stamp))

    def acknowledge(self, h: int) -> list[int]:
        """The log ids that `h` covers anew. Raises HandledTooHigh."""
        new = (h - self.acknowledged) % WRAP
        if new > len(self.items):
            if (self.acknowledged - h) % WRAP < WRAP // 2:
                return []  # an old count, overtaken by a newer one: harmless
            raise HandledTooHigh(h, self.sent % WRAP)
        self.acknowledged += new
        pop = self.items.popleft
        return [stamp for _, stamp in (pop() for _ in range(new)) if stamp]

    def unacknowledged(self) -> Iterator[bytes]:
        return (data for data, _ in self.items)
