"""What a kind of store has to do; the rest (batches, memory, updates) is the same for all of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from .api import AbsoluteWrite, Entry, Range, Send, Source

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Row(Generic[T]):
    """A stored record as a backend gives it back: `value` in builtin types."""

    map: str
    key: str
    value: T


Done = Callable[[Exception | None], None]


class Reads(Protocol):
    """What is asked of a kind of store. Errors: StorageUnavailable (try again later) or DataError."""

    async def load(self, owner: str, maps: Sequence[str]) -> list[Row[Any]]: ...
    async def read(self, map: str, owner: str, key: str) -> Any | None: ...
    async def owners(self, map: str, domain: str, after: str, limit: int) -> list[str]: ...
    async def scan(self, map: str, domain: str, after: tuple[str, str], limit: int) -> list[tuple[str, Row[Any]]]: ...
    async def page(self, log: str, owner: str, range: Range, limit: int, backwards: bool) -> list[Entry]: ...
    async def ends(self, log: str, owner: str, range: Range) -> tuple[int, int]: ...
    async def count(self, log: str, owner: str, range: Range, limit: int | None) -> int: ...
    async def last_id(self, log: str, owner: str) -> int: ...
    async def unheard(self, domain: str, after: Source, limit: int) -> list[Send]: ...
    async def was_heard(self, owner: str, log: str, source: Source) -> bool: ...


class Backend(Reads, Protocol):
    """One kind of store. Reads see what was committed when they were asked."""

    shared: bool
    """Another process may take it."""
    over: Callable[[str], object]
    """Called once, with the reason, when another process has taken the store: no commit is decided any more."""
    backlog_changed: Callable[[], object]
    """Called when `backlog` has become less."""

    @property
    def behind(self) -> float:
        """Seconds since the oldest commit that reads of its owner wait for."""
        ...

    @property
    def backlog(self) -> tuple[int, int]:
        """Rows and bytes (approximate) that are committed and still in memory, to be applied."""
        ...

    async def open(self) -> None:
        """Make ready. Raises StoreError, or StorageUnavailable when trying again may help."""
        ...

    async def close(self) -> None: ...

    def commit(self, writes: Sequence[AbsoluteWrite], done: Done) -> None:
        """Start to make `writes` durable; `done` is called later, on the event loop. One at a time.

        All of them or none; they take effect in their order. Before `done` is called each `Send` has its source. One
        that an attempt has given a source of its own keeps it when it is tried again: it may be there.
        """
        ...


class Direct:
    """For a kind of store in which a commit is at once where it is read, and that no other process can take."""

    shared = False
    backlog = (0, 0)
    behind = 0.0

    def __init__(self) -> None:
        self.over: Callable[[str], object] = _nothing
        self.backlog_changed: Callable[[], object] = _nothing


def _nothing(*_: object) -> None:
    """Nobody asks."""


@dataclass(frozen=True, slots=True)
class Flaw:
    """Something in a store that must not be. `owner`: whose, "" if that cannot be told. `where`: in which table, record
    or entry."""

    owner: str
    where: str
    what: str


@runtime_checkable
class Verifiable(Protocol):
    """A backend that can look at what maps and logs do not show. Nobody writes meanwhile."""

    def verify(self) -> AsyncIterator[Flaw]:
        """What is wrong with how the store keeps its maps and logs. Raises StorageUnavailable."""
        ...

    def places(self) -> AsyncIterator[tuple[str, str]]:
        """Owner and name of all maps and logs that hold something, in order. Raises StorageUnavailable."""
        ...
