"""What the server itself sends has an order, too: one for each entity that speaks and each account that is spoken to
(RFC 6120 section 10.1). It is there only while something of it waits."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

from ..background import Background
from ..contracts.core import Router
from ..contracts.routing import Inbound
from ..errors import InternalServerError, NotNow, StanzaError
from ..jid import JID
from ..stanza import SUBSCRIPTIONS, Kind, Stanza
from ..storage.api import Batch
from .own import Key, OwnOrder, OwnTransaction
from .remote import Departing, Departures, Elsewhere
from .sent import Sending, SentTransaction
from .transaction import is_kept

log = logging.getLogger("xmppd.routing")
WAITING: Final = 1000
"""So many stanzas of one order may wait, be it for an account to be read or for a commit …"""
BYTES: Final = 1 << 20
"""… with so many bytes …"""
TOTAL: Final = 64 << 20
"""… and so many bytes of all. What comes then is refused: a queue that long means that the store is away."""


class _Behind:
    """A `Release` that calls something when all before it has its end."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[[], None]) -> None:
        self.call = call

    def committed(self) -> None:
        self.call()

    def failed(self, error: Exception) -> None:
        self.call()


class _Expected:
    """What an entity has decided and will be carried: how many stanzas, the last of them behind `batch`."""

    __slots__ = ("batch", "count")

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.count = 0


class OwnOrders:
    """The orders of which something waits."""

    def __init__(self, router: Router, elsewhere: Elsewhere, background: Background) -> None:
        self.router = router
        self._elsewhere = elsewhere
        self._departures = Departures(elsewhere, router.storage, self, background.clock)
        self.background = background
        self.pending: dict[Key, OwnOrder] = {}
        self.size = 0
        """Bytes of what waits."""
        self._expected: dict[Key, _Expected] = {}

    def deliver(self, stanza: Stanza) -> None:
        """Route a stanza behind all that its sender has sent to that account before, carried or not."""
        to, sender = stanza.to, stanza.sender
        assert to is not None
        if self._expected and sender is not None:
            expected = self._expected.get((sender.bare, to.bare))
            if expected is not None and not expected.batch.done:
                self.router.storage.follow(expected.batch, _Behind(partial(self.deliver, stanza)))
                return
        if stanza.kind is Kind.PRESENCE and stanza.type not in SUBSCRIPTIONS and self._is_unseen(to):
            return
        self._take(self._enter(stanza, OwnTransaction))

    def deliver_copy(self, stanza: Stanza, to: JID) -> None:
        """The same for one of the many to whom a stanza goes: what the copies have in common is serialised once."""
        copy, sender = stanza.copy_to(to), stanza.sender
        if sender is not None and self._leaves_at_once(copy, (sender.bare, to.bare)):
            self._departures.hand_over(copy, None)
        else:
            self.deliver(copy)

    def _leaves_at_once(self, stanza: Stanza, key: Key) -> bool:
        """It goes to another server, nobody keeps it, and nothing waits before it."""
        to, routes = stanza.to, self.router.routes
        assert to is not None
        return (
            routes.find(to) is self._elsewhere
            and key not in self.pending
            and key not in self._expected
            and routes.reaches(to)
            and not is_kept(routes, stanza)
        )

    def expect(self, pairs: Sequence[Key], batch: Batch) -> None:
        """See contracts.core.Router."""
        for key in pairs:
            expected = self._expected.setdefault(key, _Expected(batch))
            expected.batch = batch
            expected.count += 1

    def came(self, pairs: Sequence[Key]) -> None:
        """See contracts.core.Router."""
        for key in pairs:
            expected = self._expected.get(key)
            if expected is None:
                continue  # it was carried at once
            expected.count -= 1
            if not expected.count:
                del self._expected[key]

    def carry(self, stanza: Stanza, sending: Sending | None = None) -> None:
        """Bring a stanza to its recipient's home from that of its sender, which has decided it, in the same order."""
        if stanza.to is not None and not self.router.routes.serves(stanza.to.domain):
            self._take(self._enter(stanza, partial(Departing, departures=self._departures, sending=sending)))
        else:
            self._take(self._enter(stanza, partial(SentTransaction, sending=sending)))

    def answer(self, stanza: Stanza) -> None:
        """Bring an answer of one home to who has asked at another, in the same order: to the client itself, as it would
        be told here."""
        assert stanza.to is not None
        session = self.router.routes.session(stanza.to)
        if session is None:
            self.deliver(stanza)
            return
        transaction = self._enter(stanza, OwnTransaction)
        if transaction is not None:
            transaction.then(partial(session.send, stanza))
            transaction.finish()

    def _take(self, transaction: OwnTransaction | None) -> None:
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
            self.background.spawn(self._go_on(order, wait), f"deliver to {transaction.stanza.to}")

    def owners(self) -> set[str]:
        """Bare JIDs of which something waits, and those for whom it is."""
        return {bare for keys in (self.pending, self._expected) for key in keys for bare in key}

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
        transaction = self._enter(event.stanza, OwnTransaction)
        if transaction is None:
            return
        transaction.writes = event.writes
        if admitted and release is not None:
            transaction.then(release)
        elif admitted:
            transaction.inbound.append(event)
        transaction.finish()

    def _enter(
        self, stanza: Stanza, make: Callable[[Router, Stanza, OwnOrder], OwnTransaction]
    ) -> OwnTransaction | None:
        sender, to = stanza.sender, stanza.to
        assert to is not None
        key = (sender.bare if sender is not None else "", to.bare)
        order = self.pending.get(key)
        if order is None:
            order = self.pending[key] = OwnOrder(key, self)
        transaction = make(self.router, stanza, order)
        order.pending += 1
        order.size += transaction.size
        self.size += transaction.size
        first = order.pending == 1
        full = order.pending > WAITING or (order.size > BYTES and not first)
        full = full or (self.size > TOTAL and not (first and transaction.own))  # clients choose whom they write to
        if full and not transaction.kept:
            transaction.refuse(NotNow("too much waits for this address"))
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
            wait = transaction.accept()
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

    async def _go_on(self, order: OwnOrder, wait: Awaitable[None] | None) -> None:
        while wait is not None:
            try:
                await wait
            finally:
                order.deciding = False
            wait = self._decide_all(order, order.waiting.popleft()) if order.waiting else None
