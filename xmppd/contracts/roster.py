"""Contact lists (RFC 6121 section 2)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass
from sys import intern
from typing import Final, Protocol

from ..hooks import Notify
from ..service import Service
from ..storage.api import Write
from .core import Account, Session

SEES_US: Final = ("from", "both")
WE_SEE: Final = ("to", "both")


@dataclass(frozen=True, slots=True)
class RosterItem:
    """`subscription`: none, to, from or both. `ask`: we asked (pending out). `pending_in`: they asked.

    `approved`: pre-approved (RFC 6121 section 3.4). An item with `listed` False is no contact: it only remembers
    that they asked (None + Pending In).
    """

    name: str = ""
    groups: tuple[str, ...] = ()
    subscription: str = "none"
    ask: bool = False
    pending_in: bool = False
    approved: bool = False
    listed: bool = True
    request: str = ""
    """The inside of the subscribe stanza as it came, to show it again at the next sign-in."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "subscription", intern(self.subscription))  # one string for all contacts of all

    @property
    def sees_us(self) -> bool:
        """They get our presence."""
        return self.subscription in SEES_US

    @property
    def we_see(self) -> bool:
        """We get their presence."""
        return self.subscription in WE_SEE

    @property
    def shown(self) -> tuple[object, ...] | None:
        """What clients see of it, to compare; None for what is no contact."""
        if not self.listed:
            return None
        return self.name, self.groups, self.subscription, self.ask, self.approved


class Roster(Protocol):
    """An owner is a bare JID whose working set is loaded (a bound session pins it).

    Whoever changes an item holds the owner's lock (`host.locks.hold(owner)`), reads, commits `write(…)`, and calls
    `push` before it releases the lock.
    """

    lists: Mapping[str, Mapping[str, RosterItem]]
    """The lists of all owners that are loaded, by bare JID, as `items` gives them: for loops over many owners."""

    def items(self, owner: str) -> Mapping[str, RosterItem]:
        """By bare JID; those with `listed` False too."""
        ...

    def item(self, owner: str, contact: str) -> RosterItem | None: ...

    def write(self, owner: str, contact: str, item: RosterItem | None) -> list[Write]:
        """The writes that put (or delete) an item and raise the roster's version.

        Raises ResourceConstraint when the owner has as many contacts, or strangers' requests, as it may have.
        """
        ...

    def push(self, owner: str, contact: str) -> None:
        """After the commit: send the roster push (section 2.1.6) to the interested resources."""
        ...

    def naming(self, names: Collection[str]) -> AsyncIterator[tuple[str, str]]:
        """All (owner, contact) of this host whose contact is among `names` (bare JIDs), in memory or not. It reads the
        lists of all accounts. Raises StorageUnavailable."""
        ...

    async def stored(self, owner: str) -> Mapping[str, RosterItem]:
        """The list of an owner that need not be in memory. Raises StorageUnavailable."""
        ...

    def interested(self, account: Account) -> list[Session]:
        """The sessions that have asked for the contact list (section 2.2)."""
        ...


ROSTER = Service[Roster]("roster")


@dataclass(frozen=True, slots=True)
class RosterPush:
    """A contact list has changed: `item` is what it says of a contact now, None if it is no contact any more."""

    owner: str
    contact: str
    item: RosterItem | None
    version: int


ROSTER_PUSHED = Notify[RosterPush]("roster-pushed", plain=True)
"""The clients of an account are told of a change of its contact list, if there are any: after the commit."""
