"""What service discovery tells (XEP-0030)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ..hooks import Collect, Notify
from ..jid import JID
from ..service import Service
from ..xml import Element
from .core import Account


@dataclass(frozen=True, slots=True)
class DiscoAsk:
    """A question of service discovery. `account` None: the host itself is asked."""

    requester: JID
    account: Account | None = None
    node: str = ""


@dataclass(frozen=True, slots=True)
class Identity:
    """What an entity is (XEP-0030 section 3.1; the registry of categories and types)."""

    category: str
    type: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Item:
    """One entry of a disco#items result (XEP-0030 section 4)."""

    jid: str
    name: str = ""
    node: str = ""


DISCO_FEATURES = Collect[DiscoAsk, str]("disco-features")
"""Features beside those that plugins declare in `features` (host) and `account_features` (bare JID)."""
DISCO_IDENTITIES = Collect[DiscoAsk, Identity]("disco-identities")
"""Identities of the host or of the account that is asked."""
DISCO_ITEMS = Collect[DiscoAsk, Item]("disco-items")
"""Items of the host or of the account that is asked."""
DISCO_FORMS = Collect[DiscoAsk, Element]("disco-forms")
"""XEP-0128 forms."""
DISCO_ALIASES = Collect[DiscoAsk, str]("disco-aliases")
"""For a node that shows what another node shows: that node, "" for the entity itself (XEP-0115 section 6.2)."""


@dataclass(frozen=True, slots=True)
class Replacement:
    """What somebody else tells of a namespace in place of this server (XEP-0355 section 7.2): the server's own
    features and forms of that namespace are left out, and its identities of the same categories."""

    ns: str
    identities: tuple[Identity, ...] = ()
    features: tuple[str, ...] = ()
    forms: tuple[Element, ...] = ()


DISCO_REPLACEMENTS = Collect[DiscoAsk, Replacement]("disco-replacements")
"""For the host and its accounts, without a node."""
DISCO_CHANGED = Notify[JID]("disco-changed")
"""What the host tells about itself is another thing from now on."""


class Disco(Protocol):
    """What the host tells about itself and its accounts."""

    async def info(self, ask: DiscoAsk) -> Element:
        """The <query/> of a disco#info result. Raises ItemNotFound for an unknown node."""
        ...


DISCO = Service[Disco]("disco")
