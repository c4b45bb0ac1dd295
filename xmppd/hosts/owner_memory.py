"""What a host remembers by owner (account, room). All of it is emptied when an owner leaves for another home, because
it would be wrong when the owner comes back, and when an account is made or deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from ..cache import Cache
from ..contracts.core import M, Memory


@dataclass(frozen=True, slots=True)
class _Part:
    """One dictionary, set or cache by owner; see `OwnerMemory.owned`."""

    memory: Memory
    pairs: bool
    stays: Callable[[Any], bool] | None
    leaving: Callable[[Any], object] | None

    def owners(self) -> Iterator[str]:
        return (key[0] for key in self.memory) if self.pairs else iter(self.memory)

    def keys(self, owners: Collection[str]) -> list[Any]:
        """Those that belong to some owners."""
        memory = self.memory
        if self.pairs:
            return [key for key in memory if key[0] in owners]
        if len(owners) < len(memory):
            return [owner for owner in owners if owner in memory]
        return [owner for owner in memory if owner in owners]

    def staying(self, owners: Collection[str]) -> Iterator[str]:
        """Of some owners those for whom something is under way."""
        if self.stays is not None:
            for key in self.keys(owners):
                if self.stays(key):
                    yield key[0] if self.pairs else key

    def drop(self, owners: Collection[str]) -> None:
        memory = self.memory
        for key in self.keys(owners):
            if self.leaving is not None:
                self.leaving(key)
            if isinstance(memory, set):
                memory.discard(key)
            elif isinstance(memory, Cache):
                memory.pop(key)
            else:
                memory.pop(key, None)


class OwnerMemory:
    """All of one host."""

    def __init__(self, domain: str) -> None:
        self._at = f"@{domain}"
        self._domain = domain
        self._parts: list[_Part] = []

    def owned(
        self,
        memory: M,
        *,
        pairs: bool = False,
        stays: Callable[[Any], bool] | None = None,
        leaving: Callable[[Any], object] | None = None,
    ) -> M:
        """See `contracts.core.Host.owned`."""
        self._parts.append(_Part(memory, pairs, stays, leaving))
        return memory

    def owners(self) -> set[str]:
        """Of whom something is remembered: accounts or rooms of the host, and the host itself."""
        return {
            owner
            for part in self._parts
            for owner in part.owners()
            if owner.endswith(self._at) or owner == self._domain
        }

    def staying(self, owners: AbstractSet[str]) -> set[str]:
        """Of some owners those for whom something is under way."""
        return {owner for part in self._parts for owner in part.staying(owners)}

    def drop(self, owners: Collection[str]) -> None:
        """Empties the memory of some owners, whatever is under way."""
        for part in self._parts:
            part.drop(owners)

    def forget(self, owner: str) -> None:
        """The same for one: an account was made, or deleted."""
        self.drop((owner,))
