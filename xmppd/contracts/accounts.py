"""Accounts: what is stored of them and what others hear of them."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Final, Protocol

from ..hooks import Notify
from ..jid import JID
from ..service import Service
from ..stanza import Stanza
from ..stream.sasl import Credentials

ACCOUNT_MAP: Final = "account"
"""The resident map that makes an account exist: its key "" holds a StoredAccount."""


@dataclass(frozen=True, slots=True)
class StoredAccount:
    """SCRAM keys only, never a password. `created`: seconds since 1970 UTC."""

    credentials: Credentials
    created: float = 0.0


ACCOUNT_CREATED = Notify[JID]("account-created")
ACCOUNT_DELETED = Notify[JID]("account-deleted")
"""After the store has deleted all that the account owned and its sessions have ended."""


class Registration(Protocol):
    """In-band registration (XEP-0077) on a stream that is not signed in."""

    open: bool
    """Whether strangers may register."""

    def before_sign_in(self, stanza: Stanza, peer: str) -> Awaitable[Stanza]:
        """Answer a jabber:iq:register IQ of a stranger at address `peer`. Raises StanzaError."""
        ...


REGISTRATION = Service[Registration]("registration")
