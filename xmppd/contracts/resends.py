"""Whose messages may come again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from ..service import Service
from .core import Told


class ResendsExpected(Protocol):
    def expected(self, owner: str) -> bool:
        """A stream of the account (a bare JID) broke, and it has signed in since: its new session may send again what
        the old one had sent."""
        ...

    def untold(self, owner: str) -> Mapping[str, Told]:
        """By full JID of those of its streams that broke: how far the acknowledgements went that its client was sent.
        Only of clients that ask for them."""
        ...

    def counted(self, owner: str) -> None:
        """A client of the account has been told now what became of all that it had sent."""
        ...


RESENDS = Service[ResendsExpected]("resends")
