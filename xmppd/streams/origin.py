"""A stream whose peer speaks for a domain: an origin of stanzas without a session."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from ..contracts.order import Lane
from ..jid import JID
from ..memory.budget import Pool
from ..storage.api import Counter
from .base import XmlStream

if TYPE_CHECKING:
    from ..background import Background
    from ..protocol.framing import Framing
    from ..protocol.items import Limits
    from ..protocol.token_bucket import Rate
    from ..stanza import Stanza
    from .runtime import StreamServer

UNSETTLED = 500
"""So many stanzas of one stream may wait for their commit; then it is not read."""


class OriginStream(XmlStream):
    """Implements `contracts.routes.Origin`, but for `may_send_as` and `reply`. `handled`: how many of its stanzas are
    settled, in order."""

    __slots__ = ("_pool", "handled", "incoming_charged", "incoming_size", "lane", "received", "server", "too_much")

    session = None
    relays = False
    counter: Counter | None = None

    def __init__(self, server: StreamServer, framing: Framing, limits: Limits | None = None) -> None:
        super().__init__(server, framing, limits or server.limits.before_sign_in)
        self.server = server
        self.lane = Lane()
        self.received = self.handled = 0
        self.incoming_size = self.incoming_charged = 0
        """Bytes read since all was handled; of them so many count for the process."""
        self.too_much = False
        """More waits for a commit than may."""
        self._pool = Pool()

    @property
    def background(self) -> Background:
        found: Background = self.server.default_host.background
        return found

    @property
    def rate(self) -> Rate | None:
        """What it may send; None: as a stranger."""
        return None

    def route(self, stanza: Stanza) -> None:
        """Give the router a stanza; its sender is checked."""
        wait = self.receive(stanza)
        if wait is not None:
            self.wait(wait)

    def receive(self, stanza: Stanza) -> Awaitable[None] | None:
        """The same, for who waits itself for what takes its time."""
        if not stanza.lang:
            stanza.lang = self.lang
        self.received += 1
        self.server.counts.received[stanza.kind] += 1
        return self.server.router.receive(self, stanza)

    # ---- how much of it waits

    def charge(self, size: int, stanzas: int) -> None:
        rate = self.rate
        if rate is not None:
            self.server.rate_limiter.use_own(self, rate, size, stanzas)
        else:
            super().charge(size, stanzas)

    def was_read(self, size: int) -> None:
        if self.received > self.handled:
            self.incoming_size += size
            self.server.memory.incoming += size
            self.incoming_charged += size
            self.look()

    def work_done(self) -> None:
        self.look()

    def is_full(self, part: int) -> bool:
        """Whether more waits than may, or than 1/`part` of that."""
        return self.received > self.handled and (
            self.received - self.handled > UNSETTLED // part
            or self.incoming_size > self.server.limits.incoming_size
            or self.server.memory.incoming_full(None)
        )

    def look(self) -> None:
        """Too much of it waits, or no longer."""
        full = self.is_full(2 if self.too_much else 1)
        if full and not self.too_much:
            self.too_much = True
            self.pause_reading()
        elif self.too_much and not full:
            self.too_much = False
            self.read_on()

    @property
    def throttled(self) -> bool:
        return self.too_much

    def uncharge(self) -> None:
        """Nothing of it waits."""
        self.server.memory.incoming -= self.incoming_charged
        self.incoming_size = self.incoming_charged = 0

    # ---- contracts.routes.Origin

    def refusing(self, number: int) -> None:
        """Nobody counts its stanzas."""

    def refuse(self, number: int, error: Stanza) -> None:
        self.reply(error)

    def reply(self, stanza: Stanza) -> None:
        """By the routes, as a stream may go one way only. Where it was sent to what is no address, the domain
        answers."""
        if stanza.sender is None:
            stanza.sender = JID.parse(self.domain)
        self.server.router.deliver(stanza)

    def settled(self) -> None:
        self.handled += 1
        if self.handled == self.received:
            self.uncharge()
        if self.too_much:
            self.look()

    def accounted(self, count: int) -> int:
        return count

    def may_send_as(self, sender: JID) -> bool:
        raise NotImplementedError
