"""Whether this process is still the home: before it applies anything, because it may have stood still for hours."""

from __future__ import annotations

from typing import Any

from xmppd.clock import Clock
from xmppd.storage.journal.over import TAKEN, Over
from xmppd.storage.journal.statements import Documents, Sequences

FRESH = 10.0
"""Seconds after which it is looked again."""
HIGHEST = (1 << 40) - 1


async def newest(documents: Documents, sequence: Sequences) -> dict[str, Any] | None:
    """The one of the highest number."""
    found = await documents.find(sequence, 0, HIGHEST, 1, backwards=True)
    return found[0] if found else None


class Home:
    """As long as no table is newer than `version`.

    Statements that apply a batch are harmless when they are carried out late, but the next home keeps the places of
    what it has deleted for so long only after its begin (`deletions.KEPT`). Who sends them must have known shortly
    before that there is no next home. Both clocks are asked: the monotonic one stands still in a suspended machine.
    """

    def __init__(self, documents: Documents, clock: Clock, version: int) -> None:
        self._documents = documents
        self._clock = clock
        self._version = version
        self._seen = (clock.monotonic() - FRESH, 0.0)

    async def look(self) -> None:
        """Raises Over, or StorageUnavailable. What is older than known is a new primary that does not know it yet."""
        now = (self._clock.monotonic(), self._clock.now())
        table = await newest(self._documents, "table")
        if table is not None and table["_id"] > self._version:
            raise Over(TAKEN)
        self._seen = now

    async def check(self) -> None:
        """Look, if that is too long ago. Raises Over, or StorageUnavailable."""
        while not (self._clock.monotonic() - self._seen[0] < FRESH and abs(self._clock.now() - self._seen[1]) < FRESH):
            await self.look()
