"""Block lists (XEP-0191)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from ..hooks import Notify
from ..jid import JID
from ..service import Service
from ..xml import Element

REFUSED: Final = ("urn:xmpp:blocking:errors", "blocked")
"""The condition that tells a user that something of its own does not go to an address it has blocked (section 3.3)."""


class Blocklist(Protocol):
    """Whom the accounts of a host block."""

    def blocks(self, owner: str, other: JID) -> bool:
        """Whether `owner` (a bare JID whose working set is loaded) has blocked that address.

        For what does not pass the chains under that address: broadcasts, subscriptions, probes (section 3.3), what a
        room passes on for somebody.
        """
        ...

    def has_blocked(self, owner: str) -> bool:
        """Whether `owner` has blocked anybody at all."""
        ...


BLOCKLIST = Service[Blocklist]("blocklist")


@dataclass(frozen=True, slots=True)
class Blocked:
    """`owner` has blocked `jid`; `item`: what it said of it, with the report if there is one (XEP-0377)."""

    owner: JID
    jid: JID
    item: Element


BLOCKED = Notify[Blocked]("blocked")
"""A client has blocked an address, after the commit."""
