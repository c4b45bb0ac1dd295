"""What the checks have made on the server and must be deleted again, whatever happens meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from .client import Refused, Visitor

Deletion = Callable[[Visitor], Awaitable[object]]


class Cleanup:
    """Noted before the server is asked to make anything; dropped when that is known to be deleted."""

    def __init__(self) -> None:
        self._deletions: dict[str, Deletion] = {}

    @property
    def remaining(self) -> list[str]:
        """What is not known to be deleted."""
        return list(self._deletions)

    def add(self, what: str, deletion: Deletion) -> None:
        """Deleting it twice must do no harm: it is tried again when the answer was lost."""
        self._deletions[what] = deletion

    def discard(self, what: str) -> None:
        """The server has refused to make it."""
        self._deletions.pop(what, None)

    async def delete(self, client: Visitor, what: str) -> bool:
        """Delete one thing. False: it may still be there."""
        deletion = self._deletions.get(what)
        if deletion is None:
            return True
        try:
            await deletion(client)
        except Refused as refused:
            if refused.condition not in ("item-not-found", "gone"):
                return False
        except (TimeoutError, ConnectionError):
            return False
        del self._deletions[what]
        return True

    async def delete_all(self, client: Visitor) -> None:
        """Delete all that remains, the newest first."""
        for what in reversed(self.remaining):
            await self.delete(client, what)

    @asynccontextmanager
    async def after(self, client: Visitor, what: str, deletion: Deletion) -> AsyncIterator[None]:
        """Delete it after the block, in which it is made."""
        self.add(what, deletion)
        try:
            yield
        finally:
            await self.delete(client, what)
