"""A stanza that the server itself sends, and the order in which it stands."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable
from typing import Protocol

from ..contracts.core import Router
from ..contracts.order import Lane
from ..jid import JID
from ..stanza import Stanza
from ..storage.api import Counter
from .transaction import StanzaTransaction

log = logging.getLogger("xmppd.routing")
Key = tuple[str, str]
"""Bare JIDs of the entity that sends ("" for none) and of whom it sends to."""


class Orders(Protocol):
    """All of them (`order.OwnOrders`)."""

    def deliver(self, stanza: Stanza) -> None:
        """Route a stanza behind all that its sender has sent to that account before."""
        ...

    def answer(self, stanza: Stanza) -> None:
        """Bring an answer to the client that has asked, in the same order."""
        ...

    def left(self, transaction: OwnTransaction) -> None:
        """It is released, or refused."""
        ...


class OwnOrder(Lane):
    """The server itself as an origin: what one entity of it sends to one address. `deciding`: one of its stanzas is
    being decided, the others wait in `waiting`. Implements `contracts.routes.Origin`."""

    __slots__ = ("deciding", "key", "orders", "pending", "size", "waiting")

    received = 0
    counter: Counter | None = None
    session = None
    relays = True

    def __init__(self, key: Key, orders: Orders) -> None:
        super().__init__()
        self.key = key
        self.orders = orders
        self.deciding = False
        self.pending = 0
        """Stanzas that are neither released nor refused."""
        self.size = 0
        self.waiting: deque[OwnTransaction] | None = None

    @property
    def lane(self) -> Lane:
        return self

    def may_send_as(self, sender: JID) -> bool:
        return True

    def reply(self, stanza: Stanza) -> None:
        if stanza.to is not None:
            self.orders.deliver(stanza)

    def refusing(self, number: int) -> None:
        """Nobody counts what the server itself sends."""

    def refuse(self, number: int, error: Stanza) -> None:
        self.reply(error)

    def settled(self) -> None:
        """Its transactions tell `OwnOrders.left`, with their size."""

    def accounted(self, count: int) -> int:
        return count

    def charge(self, size: int, stanzas: int) -> None:
        """The server has no limits for itself."""


class OwnTransaction(StanzaTransaction):
    """A stanza of the server's own on its path."""

    __slots__ = ("order", "size")

    own = True
    kept = False
    """The store has it: it may wait, within the bounds of the outbox."""

    def __init__(self, router: Router, stanza: Stanza, order: OwnOrder) -> None:
        super().__init__(router, stanza, order)
        self.order = order
        self.size = len(stanza.inside)

    @property
    def home(self) -> int | None:
        """That of whom it is for."""
        return self.router.routes.homes.of(self.order.key[1])

    def committed(self) -> None:
        try:
            super().committed()
        except Exception:  # what waits behind it goes on
            log.exception("the release of %r failed; the next one runs", self.stanza)
        finally:
            self._leave()

    def failed(self, error: Exception) -> None:
        try:
            super().failed(error)
        finally:
            self._leave()

    def _leave(self) -> None:
        self.order.orders.left(self)

    def accept(self) -> Awaitable[None] | None:
        """Have it decided where it goes. An awaitable: that takes time. Raises StanzaError."""
        assert self.stanza.to is not None
        return self.router.routes.find(self.stanza.to).accept(self, self.stanza)
