"""The vCards of accounts (XEP-0054)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ..hooks import Notify
from ..jid import JID
from ..service import Service
from ..storage.api import Write
from ..xml import Element


class VCards(Protocol):
    """Reads and writes the vCards of accounts. An owner is a bare JID. All raise StorageUnavailable."""

    async def read_card(self, owner: JID) -> Element | None:
        """A <vCard/>, the caller's own; None for no card."""
        ...

    async def write_card(self, owner: JID, card: Element) -> None:
        """In the name of the account. Raises NotAcceptable for a card that is too large."""
        ...

    def card_write(self, owner: JID, card: Element) -> Write:
        """The same, to be committed by the caller."""
        ...


VCARDS = Service[VCards]("vcards")


@dataclass(frozen=True, slots=True)
class CardChanged:
    """The account and its new card."""

    owner: JID
    card: Element


CARD_CHANGED = Notify[CardChanged]("card-changed")
"""A client has stored its card; after the commit."""
