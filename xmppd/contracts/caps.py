"""What the clients of this server say they are interested in (XEP-0115, XEP-0163 section 4.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ..hooks import Notify
from ..jid import JID
from ..service import Service
from .core import Account, Session


class Caps(Protocol):
    """What the available sessions of a host have announced (XEP-0115)."""

    def wants(self, session: Session, node: str) -> bool:
        """Whether an available session has announced the feature "`node`+notify"; a plain call."""
        ...

    def wanted_elsewhere(self, account: str, contact: str, node: str) -> Sequence[JID]:
        """The full JIDs of a contact on another server, which an account (both bare JIDs) sees, that have announced
        it; a plain call."""
        ...


CAPS = Service[Caps]("caps")


@dataclass(frozen=True, slots=True)
class Interest:
    """`names`: what is new since the session's last presence. `contact`: a bare JID, if nodes of that contact alone are
    new to the session, for it has not seen the contact before; "" for all whom it sees."""

    session: Session
    names: frozenset[str]
    contact: str = ""


@dataclass(frozen=True, slots=True)
class InterestElsewhere:
    """Of a contact's client on another server: `names` are new since its last presence to the account."""

    account: Account
    who: JID
    names: frozenset[str]


INTERESTED_ELSEWHERE = Notify[InterestElsewhere]("interested-elsewhere")
"""A contact's client on another server has become interested in nodes."""
INTERESTED = Notify[Interest]("interested")
"""An available session has become interested in nodes: with its initial presence, or later; or sees a
contact from now on."""
