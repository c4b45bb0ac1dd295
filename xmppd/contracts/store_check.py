"""What must hold in a store that no server uses: `xmppd store check` looks at what the core knows of, plugins at their
own records.

A handler reads, and says what must not be (`StoreCheck.problem`). What a crash may leave, and the server puts right by
itself, is a note. Of what it cannot read it says nothing: that is told of already.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

from ..hooks import Collect, Notify
from ..storage.api import Entry, Log, Map, Range

T = TypeVar("T")
EVERYTHING = Range()


class StoreCheck(Protocol):
    """The check of the store, as the plugins of one host see it. All that reads raises StorageUnavailable."""

    now: int
    """Microseconds since 1970 UTC."""
    beside: bool
    """Whether what lies beside the store (uploaded files) belongs to it; False for a copy of a store."""

    def problem(self, owner: str, where: str, what: str) -> None:
        """Tell of something that must not be. `where`: in which record or entry, as `in_map` and `in_log` write it."""
        ...

    def note(self, owner: str, where: str, what: str) -> None:
        """Tell of something that the server puts right by itself."""
        ...

    def concerns(self, owner: str) -> bool:
        """Whether this owner is to be looked at."""
        ...

    def is_future(self, id: int) -> bool:
        """Whether a log id (microseconds since 1970 UTC) is later than a clock that was set back can explain."""
        ...

    def records(self, map: Map[T], domain: str = "") -> AsyncIterator[tuple[str, str, T]]:
        """Owner, key and record of all owners at a domain ("": the host's) that are to be looked at, in order."""
        ...

    def entries(self, log: Log, owner: str, range: Range = EVERYTHING) -> AsyncIterator[Entry]:
        """The entries of a log in order, page by page."""
        ...

    async def has_account(self, bare: str) -> bool:
        """Whether there is such an account on this server, or was one until just now (it is being removed)."""
        ...


@dataclass(frozen=True, slots=True)
class AccountCheck:
    """One account is looked at. `bare`: its bare JID."""

    bare: str
    store: StoreCheck


@dataclass(frozen=True, slots=True)
class OwnedPlace:
    """A map or a log (`name`) of an owner that is no account and no host."""

    owner: str
    name: str


CHECK_STORE = Notify[StoreCheck]("check-store")
"""Look at what belongs to the host, and to owners that are no accounts. Nothing is started: a plugin has had its
`setup` only."""

CHECK_ACCOUNT = Notify[AccountCheck]("check-account")
"""Look at what belongs to an account of the host; asked for each, one after the other."""

OWNED = Collect[OwnedPlace, bool]("owned")
"""Whether an owner exists that is no account and no host (a room), or may have that map or log without existing. Every
host is asked, until one says True."""


def in_map(map: str, key: str = "") -> str:
    """The place of a record, as it is told."""
    return f"{map}/{key}" if key else map


def in_log(log: str, id: int) -> str:
    """The place of an entry, as it is told."""
    return f"{log}#{id}"
