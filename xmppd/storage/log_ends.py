"""The ends of logs in memory: asked for at each sign-in, changed by each message."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection

from xmppd.cache import BESIDE, Cache
from xmppd.storage.api import Flags, LogAppend, LogDelete, LogReplace, LogTrim

KEPT, KEPT_BYTES = 50_000, 16 << 20
_HIDDEN = int(Flags.HIDDEN)

Key = tuple[str, str]
"""The name of a log, and its owner."""


class LogEnds:
    """The lowest and the highest id of the entries that are not hidden. Every commit brings them up to date, or what it
    may have made wrong is forgotten."""

    __slots__ = ("_changed", "_found", "_reading")

    def __init__(self, most: int = KEPT, size: int = KEPT_BYTES) -> None:
        self._found: Cache[Key, list[int]] = Cache(most, size, lambda key, _: BESIDE + len(key[1]))
        self._reading: dict[Key, int] = {}
        """So many reads are on their way."""
        self._changed: set[Key] = set()
        """Of those: something was committed meanwhile, which they may or may not have seen."""

    async def get(self, key: Key, read: Callable[[], Awaitable[tuple[int, int]]]) -> tuple[int, int]:
        """(0, 0) where there is no entry. `read`: asks the store, if they are not in memory. Raises what it raises."""
        known = self._found.get(key)
        if known is not None:
            return known[0], known[1]
        reading = self._reading
        reading[key] = reading.get(key, 0) + 1
        try:
            found = await read()
            if key not in self._changed:
                self._found.put(key, list(found))
            return found
        finally:
            reading[key] -= 1
            if not reading[key]:
                del reading[key]
                self._changed.discard(key)

    # ---- commits

    def appended(self, write: LogAppend) -> None:
        entry = write.entry
        if entry.flags & _HIDDEN:
            return
        key = (write.log, write.owner)
        ends = self._found.get(key)
        if ends is not None:
            id = entry.id
            ends[1] = max(ends[1], id)
            if id < ends[0] or not ends[0]:
                ends[0] = id
        elif key in self._reading:
            self._changed.add(key)

    def changed(self, write: LogDelete | LogTrim | LogReplace) -> None:
        key = (write.log, write.owner)
        ends = self._found.get(key)
        if ends is not None:
            if isinstance(write, LogDelete):
                still = ends[0] not in write.ids and ends[1] not in write.ids
            else:
                still = isinstance(write, LogTrim) and write.before <= ends[0]
            if still:
                return
        self._forget(key)

    def deleted(self, owner: str) -> None:
        """All that it has had."""
        for key in {*self._found, *self._reading}:
            if key[1] == owner:
                self._forget(key)

    # ---- owners whose home is elsewhere

    def owners(self) -> set[str]:
        """Whose ends are in memory."""
        return {owner for _, owner in self._found}

    def is_reading(self, owner: str) -> bool:
        """Whether the store is asked for an end of a log of an owner."""
        return any(key[1] == owner for key in self._reading)

    def unload(self, owners: Collection[str]) -> None:
        """Forget the ends of all logs of some owners."""
        for key in [key for key in self._found if key[1] in owners]:
            self._found.pop(key)

    def _forget(self, key: Key) -> None:
        self._found.pop(key)
        if key in self._reading:
            self._changed.add(key)
