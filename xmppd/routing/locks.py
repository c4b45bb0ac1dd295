"""One at a time: who reads an owner's records, decides and commits, has the owner's turn.

Writes are absolute, so two that decide from the same records would undo each other. On the path of one stream the
lane keeps order; a turn keeps it where several streams change the same owner (subscriptions, contact lists).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class OwnerLocks:
    """Locks by name, first come first served; a name costs nothing while nobody holds it."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: dict[str, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def hold(self, *names: str) -> AsyncIterator[None]:
        """Hold the turns of all `names`. Taken in sorted order, so two holders never wait for each other."""
        taken: list[str] = []
        try:
            for name in sorted(set(names)):
                await self._acquire(name)
                taken.append(name)
            yield
        finally:
            for name in reversed(taken):
                self._held[name][0].release()
                self._leave(name)

    async def _acquire(self, name: str) -> None:
        lock, users = self._held.get(name) or (asyncio.Lock(), 0)
        self._held[name] = (lock, users + 1)
        try:
            await lock.acquire()
        except BaseException:
            self._leave(name)
            raise

    def _leave(self, name: str) -> None:
        lock, users = self._held[name]
        if users > 1:
            self._held[name] = (lock, users - 1)
        else:
            del self._held[name]
