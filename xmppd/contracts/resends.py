"""Accounts whose clients may send messages again that are stored already (XEP-0198 section 5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from ..service import Service
from .core import AcknowledgedUpTo


class ResendDetection(Protocol):
    """Knows whose clients may send messages again, and how far they were acknowledged."""

    def expects(self, owner: str) -> bool:
        """Whether a stream of the account (a bare JID) broke and it has signed in since: its new session may send again
        what the old one had sent."""
        ...

    def last_acknowledgements(self, owner: str) -> Mapping[str, AcknowledgedUpTo]:
        """By full JID of those of its streams that broke: how far the acknowledgements went that the client was sent.
        Only of clients that ask for them."""
        ...

    def all_acknowledged(self, owner: str) -> None:
        """A client of the account has got the acknowledgement of all that it had sent."""
        ...


RESENDS = Service[ResendDetection]("resends")
