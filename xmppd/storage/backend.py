"""What a kind of store has to do; the rest (batches, memory, updates) is the same for all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from .api import AbsoluteWrite, Entry, Range

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Row(Generic[T]):
    """A stored record as a backend gives it back: `value` in builtin types."""

    map: str
    key: str
    value: T


Done = Callable[[Exception | None], None]


class Backend(Protocol):
    """One kind of store. Errors: StorageUnavailable (try again later) or DataError."""

    atomic: bool
    """Whether a commit is all or nothing."""

    async def open(self) -> None:
        """Make ready. Raises StoreError, or StorageUnavailable when trying again may help."""
        ...

    async def close(self) -> None: ...

    def commit(self, writes: Sequence[AbsoluteWrite], done: Done) -> None:
        """Start to make `writes` durable; `done` is called later, on the event loop. One at a time.

        Writes take effect in their order; where the store is not atomic, log entries come before records.
        """
        ...

    async def load(self, owner: str, maps: Sequence[str]) -> list[Row[Any]]: ...
    async def read(self, map: str, owner: str, key: str) -> Any | None: ...
    async def owners(self, map: str, domain: str, after: str, limit: int) -> list[str]: ...
    async def scan(self, map: str, domain: str, after: tuple[str, str], limit: int) -> list[tuple[str, Row[Any]]]: ...
    async def page(self, log: str, owner: str, range: Range, limit: int, backwards: bool) -> list[Entry]: ...
    async def ends(self, log: str, owner: str, range: Range) -> tuple[int, int]: ...
    async def count(self, log: str, owner: str, range: Range, limit: int | None) -> int: ...
    async def last_id(self, log: str, owner: str) -> int: ...
