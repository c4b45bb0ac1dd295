"""Block lists (XEP-0191)."""

from __future__ import annotations

from typing import Protocol

from ..jid import JID
from ..service import Service


class Blocklist(Protocol):
    def blocks(self, owner: str, other: JID) -> bool:
        """Whether `owner` (a bare JID whose working set is loaded) has blocked that address.

        For what does not pass the chains: broadcasts, subscriptions, probes (section 3.3).
        """
        ...


BLOCKLIST = Service[Blocklist]("blocklist")
