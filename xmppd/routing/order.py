"""What the server itself sends has an order, too: one for each entity that speaks and each account that is spoken to
(RFC 6120 section 10.1). It is there only while something of it waits."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from ..background import Background
from ..contracts.core import Router
from ..contracts.order import Lane
from ..contracts.routing import Inbound
from ..errors import InternalServerError, ResourceConstraint, StanzaError
from ..jid import JID
from ..stanza import SUBSCRIPTIONS, Kind, Stanza
from ..storage.api import Counter
from .transaction import StanzaTransaction

log = logging.getLogger("xmppd.routing")
WAITING: Final = 1000
"""So many stanzas of one order may wait, be it for an account to be read or for a commit …"""
BYTES: Final = 1 << 20
"""… with so many bytes …"""
TOTAL: Final = 64 << 20
"""… and so many bytes of all. What comes then is refused: a queue that long means that the store is away."""
Key = tuple[str, str]
"""Bare JIDs of the entity that sends ("" for none) and of whom it sends to."""


class OwnOrder(Lane):
    """The server itself as an origin: what one entity of it sends to one address. `deciding`: one of its stanzas is
    being decided, the others wait in `waiting`. Implements `contracts.routes.Origin`."""

    __slots__ = ("deciding", "key", "orders", "pending", "size", "waiting")

    received = 0
    counter: Counter | None = None
    session = None
    relays = True

    def __init__(self, key: Key, orders: OwnOrders) -> None:
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

    def __init__(self, router: Router, stanza: Stanza, order: OwnOrder) -> None:
        super().__init__(router, stanza, order)
        self.order = order
        self.size = len(stanza.inside)

    def committed(self) -> None:
        try:
            super().committed()
        finally:
            self.order.orders.left(self)

    def failed(self, error: Exception) -> None:
        try:
            super().failed(error)
        finally:
            self.order.orders.left(self)


class OwnOrders:
    """The orders of which something waits."""

    def __init__(self, router: Router, background: Background) -> None:
        self.router = router
        self.background = background
        self.pending: dict[Key, OwnOrder] = {}
        self.size = 0
        """Bytes of what waits."""

    def deliver(self, stanza: Stanza) -> None:
        """Route a stanza behind all that its sender has sent to that account before."""
        to = stanza.to
        assert to is not None
        if stanza.kind is Kind.PRESENCE and stanza.type not in SUBSCRIPTIONS and self._is_unseen(to):
            return
        transaction = self._enter(stanza)
        if transaction is None:
            return
        order = transaction.order
        if order.deciding:
            if order.waiting is None:
                order.waiting = deque()
            order.waiting.append(transaction)
            return
        wait = self._decide_all(order, transaction)
        if wait is not None:
            self.background.spawn(self._go_on(order, wait), f"deliver to {stanza.to}")

    def _is_unseen(self, to: JID) -> bool:
        """It is the address of an account here that has no sessions, or of none."""
        routes = self.router.routes
        if not to.local or not routes.serves_accounts(to.domain):
            return False
        account = routes.account(to)
        return account is None or not account.sessions

    def deliver_decided(self, event: Inbound, release: Callable[[], None] | None = None, admitted: bool = True) -> None:
        """The same for what the recipient's chain has looked at: its writes are committed, and it is released as ever,
        or by `release`; not at all if it was not `admitted`."""
        transaction = self._enter(event.stanza)
        if transaction is None:
            return
        transaction.writes = event.writes
        if admitted and release is not None:
            transaction.then(release)
        elif admitted:
            transaction.inbound.append(event)
        transaction.finish()

    def _enter(self, stanza: Stanza) -> OwnTransaction | None:
        sender, to = stanza.sender, stanza.to
        assert to is not None
        key = (sender.bare if sender is not None else "", to.bare)
        order = self.pending.get(key)
        if order is None:
            order = self.pending[key] = OwnOrder(key, self)
        transaction = OwnTransaction(self.router, stanza, order)
        order.pending += 1
        order.size += transaction.size
        self.size += transaction.size
        if order.pending > WAITING or (order.pending > 1 and (order.size > BYTES or self.size > TOTAL)):
            transaction.refuse(ResourceConstraint("too much waits for this address"))
            return None
        return transaction

    def left(self, transaction: OwnTransaction) -> None:
        """Released, or refused."""
        order, size = transaction.order, transaction.size
        order.pending -= 1
        order.size -= size
        self.size -= size
        if not order.pending:
            del self.pending[order.key]

    def _decide_all(self, order: OwnOrder, transaction: OwnTransaction) -> Awaitable[None] | None:
        """This one, and those that came meanwhile. An awaitable: the rest waits for it."""
        order.deciding = True
        wait: Awaitable[None] | None = None
        try:
            while True:
                wait = self._decide(transaction)
                if wait is not None or not order.waiting:
                    return wait
                transaction = order.waiting.popleft()
        finally:
            order.deciding = wait is not None

    def _decide(self, transaction: OwnTransaction) -> Awaitable[None] | None:
        try:
            wait = self._accept(transaction)
        except StanzaError as error:
            transaction.refuse(error)
            return None
        except Exception:
            log.exception("%r could not be handled", transaction.stanza)
            transaction.refuse(InternalServerError())
            return None
        if wait is None:
            transaction.finish()
            return None
        return transaction.finish_when(wait)

    def _accept(self, transaction: OwnTransaction) -> Awaitable[None] | None:
        stanza = transaction.stanza
        assert stanza.to is not None
        return self.router.routes.find(stanza.to).accept(transaction, stanza)

    async def _go_on(self, order: OwnOrder, wait: Awaitable[None] | None) -> None:
        while wait is not None:
            try:
                await wait
            finally:
                order.deciding = False
            wait = self._decide_all(order, order.waiting.popleft()) if order.waiting else None
