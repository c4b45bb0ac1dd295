"""The numbered outbound queue of a session with acknowledgements (XEP-0198 section 4). Sans-I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from ..memory.budget import Share

WRAP = 2**32


class HandledTooHigh(Exception):
    """The client acknowledged what was never sent (XEP-0198 section 4)."""

    def __init__(self, h: int, sent: int) -> None:
        super().__init__(f"h={h}, sent {sent}")
        self.h = h
        self.sent = sent


class OutboundQueue:
    """What was sent and is not acknowledged, oldest first: (bytes, id of the log entry or 0, when it was accepted in
    microseconds since 1970 UTC, 0 for not known). `size`: bytes in all."""

    __slots__ = ("acknowledged", "asked", "items", "share", "size", "unasked")

    def __init__(self, share: Share | None = None) -> None:
        self.items: deque[tuple[bytes, int, int]] = deque()
        self.acknowledged = 0
        self.asked = 0
        """Count sent when the last <r/> went out."""
        self.share = share or Share()
        self.size = 0
        self.unasked = 0
        """Bytes sent since then."""

    def __len__(self) -> int:
        return len(self.items)

    @property
    def sent(self) -> int:
        return self.acknowledged + len(self.items)

    def append(self, data: bytes, log_id: int, at: int) -> None:
        self.items.append((data, log_id, at))
        size = len(data)
        self.size += size
        self.unasked += size
        self.share.take(size)

    def is_outdated(self, h: int) -> bool:
        """`h` is less than what was acknowledged before (modulo 2^32)."""
        return len(self.items) < (h - self.acknowledged) % WRAP >= WRAP // 2

    def acknowledge(self, h: int) -> list[int]:
        """The log ids that `h` covers anew. Raises HandledTooHigh."""
        new = (h - self.acknowledged) % WRAP
        if new > len(self.items):
            if self.is_outdated(h):
                return []  # overtaken by a newer count: harmless
            raise HandledTooHigh(h, self.sent % WRAP)
        self.acknowledged += new
        pop = self.items.popleft
        log_ids: list[int] = []
        freed = 0
        for _ in range(new):
            data, log_id, _ = pop()
            freed += len(data)
            if log_id:
                log_ids.append(log_id)
        self.size -= freed
        self.share.give(freed)
        return log_ids

    def unacknowledged(self) -> Iterator[tuple[bytes, int]]:
        """What is to be sent again, and when it was accepted."""
        return ((data, at) for data, _, at in self.items)
