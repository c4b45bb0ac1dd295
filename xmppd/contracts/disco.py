"""What service discovery tells (XEP-0030)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..hooks import Collect
from ..jid import JID
from ..xml import Element

if TYPE_CHECKING:
    from ..account import Account


@dataclass(frozen=True, slots=True)
class DiscoAsk:
    """`account` None: the host itself is asked."""

    requester: JID
    account: Account | None = None
    node: str = ""


@dataclass(frozen=True, slots=True)
class Identity:
    category: str
    type: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Item:
    jid: str
    name: str = ""
    node: str = ""


DISCO_FEATURES = Collect[DiscoAsk, str]("disco-features")
"""Features beside those that plugins declare in `features` (host) and `account_features` (bare JID)."""
DISCO_IDENTITIES = Collect[DiscoAsk, Identity]("disco-identities")
DISCO_ITEMS = Collect[DiscoAsk, Item]("disco-items")
DISCO_FORMS = Collect[DiscoAsk, Element]("disco-forms")
"""XEP-0128 forms."""
