"""Contact lists (RFC 6121 section 2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from ..service import Service
from ..storage.api import Write


@dataclass(frozen=True, slots=True)
class RosterItem:
    """`subscription`: none, to, from or both. `ask`: we asked (pending out). `pending_in`: they asked.

    An item with `listed` False is no contact: it only remembers that they asked (None + Pending In).
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

    @property
    def sees_us(self) -> bool:
        """They get our presence."""
        return self.subscription in ("from", "both")

    @property
    def we_see(self) -> bool:
        """We get their presence."""
        return self.subscription in ("to", "both")


class Roster(Protocol):
    def items(self, owner: str) -> Mapping[str, RosterItem]:
        """By bare JID. The owner's working set must be loaded (a bound session pins it)."""
        ...

    def item(self, owner: str, contact: str) -> RosterItem | None: ...

    def write(self, owner: str, contact: str, item: RosterItem | None) -> list[Write]:
        """The writes that put (or delete) an item and raise the roster's version."""
        ...

    def push(self, owner: str, contact: str) -> None:
        """After the commit: send the roster push (section 2.1.6) to the interested resources."""
        ...


ROSTER = Service[Roster]("roster")
