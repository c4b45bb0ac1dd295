"""Whose messages may come again."""

from __future__ import annotations

from typing import Protocol

from ..service import Service


class ResendsExpected(Protocol):
    def expected(self, owner: str) -> bool:
        """A stream of the account (a bare JID) broke, and it has signed in since: its new session may send again what
        the old one had sent."""
        ...


RESENDS = Service[ResendsExpected]("resends")
