"""What a stream of another server, or a component, is to the router: an origin without a session, and a destination for
a whole domain. It has no bytes: tests hand it stanzas, and see what it was sent."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable
from typing import TYPE_CHECKING

from xmppd.contracts.order import Lane
from xmppd.contracts.routes import Arrival
from xmppd.jid import JID
from xmppd.stanza import Stanza, parse_stanza
from xmppd.storage.api import Counter, Write

if TYPE_CHECKING:
    from . import Harness


class Peer:
    """Speaks for a domain. `relays`: as a component's, what it sends may go to other servers; `bound`: so many of its
    stanzas may wait, then it sends no more. Implements `contracts.routes.Origin` and `Destination`."""

    session = None
    counter: Counter | None = None

    def __init__(
        self, server: Harness, domain: str, relays: bool = False, remote: bool = True, bound: int = 10
    ) -> None:
        self.server = server
        self.domain = domain
        self.relays = relays
        self.remote = remote
        self.bound = bound
        self.lane = Lane()
        self.received = self.handled = 0
        self.most = 0
        """So many waited at once."""
        self.charged = 0
        self.unsent: deque[Stanza] = deque()
        self.deciding = False
        self.got: list[Stanza] = []
        """What was sent to it: stanzas for its domain, answers and refusals."""
        self.refused: list[int] = []
        self.stores: list[Write] = []
        """Committed with the next stanza that comes, before that counts as delivered."""

    def send(self, *texts: str) -> None:
        """Give stanzas to the router, as far as not too much waits; the rest when there is room."""
        self.unsent.extend(parse_stanza(text.encode()) for text in texts)
        self._send_on()

    def _send_on(self) -> None:
        while self.unsent and not self.deciding and self.received - self.handled < self.bound:
            self.received += 1
            self.most = max(self.most, self.received - self.handled)
            wait = self.server.server.router.receive(self, self.unsent.popleft())
            if wait is not None:
                self.deciding = True
                self.server.server.background.spawn(self._decided(wait), "a peer's stanza")

    async def _decided(self, wait: Awaitable[None]) -> None:
        await wait
        self.deciding = False
        self._send_on()

    # ---- contracts.routes.Origin

    def may_send_as(self, sender: JID) -> bool:
        return sender.domain == self.domain

    def reply(self, stanza: Stanza) -> None:
        self.got.append(stanza)

    def refusing(self, number: int) -> None:
        self.refused.append(number)

    def refuse(self, number: int, error: Stanza) -> None:
        self.got.append(error)

    def settled(self) -> None:
        self.handled += 1
        self._send_on()

    def accounted(self, count: int) -> int:
        return count

    def charge(self, size: int, stanzas: int) -> None:
        self.charged += size

    # ---- contracts.routes.Destination

    def accept(self, arrival: Arrival, stanza: Stanza) -> Awaitable[None] | None:
        for write in self.stores:
            arrival.write(write)
        self.stores = []
        arrival.then(lambda: self.got.append(stanza))
        return None

    def texts(self) -> list[str]:
        """What it was sent until now, each as "type id": for a message without a type "normal"."""
        found, self.got = self.got, []
        return [f"{stanza.type} {stanza.id}".strip() for stanza in found]
