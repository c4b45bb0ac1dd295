"""One order of stanzas, and the batch that its next stanza must follow (RFC 6120 section 10.1)."""

from __future__ import annotations

from ..storage.api import Batch


class Lane:
    """One order: an inbound stream or a room. `tail` is the last batch that holds something of it."""

    __slots__ = ("tail",)

    def __init__(self) -> None:
        self.tail: Batch | None = None

    @property
    def idle(self) -> bool:
        """Nothing of it waits for a commit."""
        return self.tail is None or self.tail.done
