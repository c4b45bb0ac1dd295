"""One at a time: who reads an owner's records, decides and commits, has the owner's turn.

Writes are absolute, so two that decide from the same records would undo each other. On the path of one stream the
lane keeps order; a turn keeps it where several streams change the same owner (subscriptions, contact lists).
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager


class _Turns(AbstractAsyncContextManager[None]):
    """Some names, held by one."""

    __slots__ = ("_locks", "_names", "_taken")

    def __init__(self, locks: OwnerLocks, names: tuple[str, ...]) -> None:
        self._locks = locks
        self._names = names
        self._taken = 0

    async def __aenter__(self) -> None:
        if len(self._names) > 1:
            self._names = tuple(sorted(set(self._names)))
        try:
            for name in self._names:
                await self._locks.acquire(name)
                self._taken += 1
        except BaseException:
            self._release()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._release()

    def _release(self) -> None:
        for name in reversed(self._names[: self._taken]):
            self._locks.release(name)


class OwnerLocks:
    """Locks by name, first come first served; a name costs nothing while nobody holds it."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: dict[str, tuple[asyncio.Lock | None, int]] = {}
        """The lock, which is made for the first who has to wait, and for how many it is there."""

    def hold(self, *names: str) -> AbstractAsyncContextManager[None]:
        """Hold the turns of all `names`. Taken in sorted order, so two holders never wait for each other."""
        return _Turns(self, names)

    def owners(self) -> set[str]:
        """For whom a lock is held: a name is a bare JID, or a word before it."""
        return {name.rpartition(" ")[2] for name in self._held}

    def release(self, name: str) -> None:
        lock, _ = self._held[name]
        if lock is not None:
            lock.release()
        self._leave(name)

    async def acquire(self, name: str) -> None:
        held = self._held.get(name)
        if held is None:
            self._held[name] = (None, 1)
            return
        lock, users = held
        if lock is None:
            lock = asyncio.Lock()
            await lock.acquire()  # for who holds the name; that waits for nothing
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
