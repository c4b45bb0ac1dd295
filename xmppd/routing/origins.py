"""What the server itself sends has an order, too: one for each entity that speaks and each account that is spoken to
(RFC 6120 section 10.1). It is there only while something of it waits."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from ..contracts.core import Host
from ..contracts.order import Lane
from ..contracts.routing import Inbound
from ..errors import ResourceConstraint, StanzaError
from ..stanza import Stanza
from .transaction import StanzaTransaction

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .router import Router

WAITING: Final = 1000
"""So many stanzas of one order may wait, be it for an account to be read or for a commit …"""
BYTES: Final = 1 << 20
"""… with so many bytes …"""
TOTAL: Final = 64 << 20
"""… and so many bytes of all. What comes then is refused: a queue that long means that the store is away."""
Key = tuple[str, str]
"""Bare JIDs of the entity that sends ("" for none) and of whom it sends to."""


class Origin(Lane):
    """One order. `deciding`: one of its stanzas is being decided, the others wait in `waiting`."""

    __slots__ = ("deciding", "key", "pending", "size", "waiting")

    def __init__(self, key: Key) -> None:
        super().__init__()
        self.key = key
        self.deciding = False
        self.pending = 0
        """Stanzas that are neither released nor refused."""
        self.size = 0
        self.waiting: deque[OriginTransaction] | None = None


class OriginTransaction(StanzaTransaction):
    """A stanza of the server's own on its path."""

    __slots__ = ("origin", "origins", "size")

    def __init__(self, router: Router, stanza: Stanza, origin: Origin) -> None:
        super().__init__(router, stanza, None, origin)
        self.origin = origin
        self.origins = router.origins
        self.size = len(stanza.inside)

    def committed(self) -> None:
        try:
            super().committed()
        finally:
            self.origins.left(self)

    def failed(self, error: Exception) -> None:
        try:
            super().failed(error)
        finally:
            self.origins.left(self)


class Origins:
    """The orders of which something waits."""

    def __init__(self, router: Router) -> None:
        self.router = router
        self.pending: dict[Key, Origin] = {}
        self.size = 0
        """Bytes of what waits."""

    def send(self, stanza: Stanza, host: Host) -> None:
        """Route a stanza behind all that its sender has sent to that account before."""
        transaction = self._enter(stanza)
        if transaction is None:
            return
        origin = transaction.origin
        if origin.deciding:
            if origin.waiting is None:
                origin.waiting = deque()
            origin.waiting.append(transaction)
            return
        wait = self._decide_all(origin, transaction)
        if wait is not None:
            host.background.spawn(self._go_on(origin, wait), f"deliver to {stanza.to}")

    def send_decided(self, event: Inbound, release: Callable[[], None] | None = None, admitted: bool = True) -> None:
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

    def _enter(self, stanza: Stanza) -> OriginTransaction | None:
        sender, to = stanza.sender, stanza.to
        assert to is not None
        key = (sender.bare if sender is not None else "", to.bare)
        origin = self.pending.get(key)
        if origin is None:
            origin = self.pending[key] = Origin(key)
        transaction = OriginTransaction(self.router, stanza, origin)
        origin.pending += 1
        origin.size += transaction.size
        self.size += transaction.size
        if origin.pending > WAITING or (origin.pending > 1 and (origin.size > BYTES or self.size > TOTAL)):
            transaction.refuse(ResourceConstraint("too much waits for this address"))
            return None
        return transaction

    def left(self, transaction: OriginTransaction) -> None:
        """Released, or refused."""
        origin, size = transaction.origin, transaction.size
        origin.pending -= 1
        origin.size -= size
        self.size -= size
        if not origin.pending:
            del self.pending[origin.key]

    def _decide_all(self, origin: Origin, transaction: OriginTransaction) -> Awaitable[None] | None:
        """This one, and those that came meanwhile. An awaitable: the rest waits for it."""
        origin.deciding = True
        wait: Awaitable[None] | None = None
        try:
            while True:
                wait = self._decide(transaction)
                if wait is not None or not origin.waiting:
                    return wait
                transaction = origin.waiting.popleft()
        finally:
            origin.deciding = wait is not None

    def _decide(self, transaction: OriginTransaction) -> Awaitable[None] | None:
        try:
            wait = self.router.decide_own(transaction)
        except StanzaError as error:
            transaction.refuse(error)
            return None
        if wait is None:
            transaction.finish()
            return None
        return self.router.wait(transaction, wait)

    async def _go_on(self, origin: Origin, wait: Awaitable[None] | None) -> None:
        while wait is not None:
            try:
                await wait
            finally:
                origin.deciding = False
            wait = self._decide_all(origin, origin.waiting.popleft()) if origin.waiting else None
