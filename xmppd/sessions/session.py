"""A bound resource (RFC 6120 section 7): attached to a stream, or detached and waiting to be resumed."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

from ..clock import microseconds
from ..contracts.core import Account, AcknowledgedUpTo, Host
from ..contracts.order import Lane
from ..contracts.parts import ClientStreamHandle
from ..contracts.session_keys import SessionKey
from ..delivery.channel import DeliveryChannel
from ..jid import JID
from ..stanza import Kind, Stanza
from ..storage.api import Counter
from ..xml import quoted

T = TypeVar("T")

NEVER = 1 << 62
LANE_BOUND = 500
"""So many stanzas of one stream may wait for their commit; then the stream is not read."""
REFUSALS = 2 * LANE_BOUND
"""A refusal that the client has not acknowledged holds the count back for so many stanzas: as many as a store that does
not answer may refuse at once, and a few more. What the client sends again then must still be recognised."""


class Session:
    """One full JID. Everything for a client passes `send`, in order. As an origin (contracts.routes) it is who sends
    what its client sends."""

    __slots__ = (
        "_waiting",
        "account",
        "acknowledged_up_to",
        "address",
        "channel",
        "counter",
        "delivered",
        "ended",
        "handled",
        "incoming_charged",
        "incoming_size",
        "jid",
        "lane",
        "presence",
        "priority",
        "received",
        "refusals",
        "resource",
        "resumable",
        "stream",
        "throttled",
        "values",
    )

    relays = True

    def __init__(self, account: Account, jid: JID) -> None:
        self.account = account
        self.jid = jid
        self.address = quoted(jid.full).encode()
        """The full JID as it stands in an attribute."""
        self.resource = jid.resource
        self.stream: ClientStreamHandle | None = None
        """None while detached."""
        self.presence: Stanza | None = None
        """The last available presence without `to`, None while unavailable."""
        self.priority = 0
        self.lane = Lane()
        self.received = 0
        """Stanzas taken from the client."""
        self.counter: Counter | None = None
        """Makes the count of its stanzas durable, in the batches that hold them (docs/explanation/delivery.md)."""
        self.delivered = 0
        """Stanzas to the client that were sent, or queued for it."""
        self.incoming_size = 0
        """Bytes read from the client since all that it had sent was handled."""
        self.incoming_charged = 0
        """How many of them count for the account and the process."""
        self.throttled = False
        self.resumable = 0.0
        """Seconds that the session waits for its client after the connection is lost; 0 for not at all."""
        self.handled = 0
        """Stanzas of the client whose outcome is settled: durable where they are kept (the `h` of XEP-0198)."""
        self.acknowledged_up_to: AcknowledgedUpTo | None = None
        """What the client knows of `handled`; None: nothing, since it does not ask (XEP-0198)."""
        self.refusals: list[tuple[int, int]] | None = None
        """Messages that were answered with an error: their places, and the count of sent stanzas that covers
        the error."""
        self.channel = DeliveryChannel(self)
        self.values: dict[str, Any] | None = None
        self.ended = False
        self._waiting: list[asyncio.Future[None]] | None = None

    @property
    def session(self) -> Session:
        return self

    @property
    def host(self) -> Host:
        return self.account.host

    def __getitem__(self, key: SessionKey[T]) -> T:
        values = self.values
        if values is None:
            return key.default
        found: T = values.get(key.name, key.default)
        return found

    def __setitem__(self, key: SessionKey[T], value: T) -> None:
        if self.values is None:
            self.values = {}
        self.values[key.name] = value

    @property
    def receives_messages(self) -> bool:
        """It is there for the messages of its account: available, with a priority that is not negative."""
        return self.presence is not None and self.priority >= 0

    def send(self, stanza: Stanza, log_id: int = 0) -> None:
        """Send to this client. `log_id`: the id of the log entry that this is, 0 for none."""
        self.channel.send(stanza.data, log_id, stanza)

    def nonza(self, data: bytes) -> None:
        """Write a stream-level element, uncounted, behind all that was sent."""
        if self.stream is not None:
            self.stream.write(data)
            if self.channel.paused:
                self.stream.count_unread(len(data))

    def note_acknowledgement(self) -> None:
        """The client is told now what is handled. What it said until then it will not mean again."""
        host = self.account.host
        self.acknowledged_up_to = AcknowledgedUpTo(
            self.account.released, max(microseconds(host.clock), host.router.newest)
        )

    def may_send_as(self, sender: JID) -> bool:
        """Its stream has stamped the sender."""
        return sender == self.jid

    def reply(self, stanza: Stanza) -> None:
        """Send its client an answer."""
        if not self.ended:
            self.send(stanza)

    def charge(self, size: int, stanzas: int) -> None:
        """The client has caused more work than it has sent."""
        if self.stream is not None:
            self.stream.charge(size, stanzas)

    def settled(self) -> None:
        """One more stanza of this client has found its end."""
        self.handled += 1
        if self.handled == self.received:
            charged, self.incoming_charged = self.incoming_charged, 0
            if charged:
                account = self.account
                account.pool.incoming -= charged
                account.host.server.memory.incoming -= charged
            self.incoming_size = self.stream.inbox_size if self.stream is not None else 0
        if self.throttled and self.received - self.handled < LANE_BOUND // 2 and not self.incoming_full:
            self.throttled = False
            if self.stream is not None:
                self.stream.read_on()
        if self._waiting is not None and self.handled == self.received:
            waiting, self._waiting = self._waiting, None
            for future in waiting:
                if not future.done():
                    future.set_result(None)

    @property
    def incoming_full(self) -> bool:
        """More bytes of this client are not handled than may be (`limits.incoming_size`), or some, and of all clients
        together too many."""
        if self.received == self.handled:
            return False
        server = self.account.host.server
        return self.incoming_size > server.limits.incoming_size or server.memory.incoming_full(self.account.pool)

    def charge_incoming(self) -> None:
        """Count what was read and is not handled for the account and the process."""
        more = self.incoming_size - self.incoming_charged
        self.incoming_charged = self.incoming_size
        account = self.account
        account.pool.incoming += more
        account.host.server.memory.incoming += more

    def refusing(self, number: int) -> None:
        """Its stanza of that number will be refused, when all before it is released."""
        if self.counter is not None:
            self.refusals = [*(self.refusals or ()), (number, NEVER)]

    def refuse(self, number: int, error: Stanza) -> None:
        """Tell the client that its stanza of that number is refused. Until it has acknowledged that of a message, no
        count that is told to a later stream covers the stanza: else nobody would ever hear of it."""
        if error.kind is not Kind.MESSAGE:
            self.reply(error)
            return
        refusals = [entry for entry in self.refusals or () if entry[0] != number]
        if self.ended:
            refusals.append((number, NEVER))
        else:
            covering = self.channel.refuse(error.data)
            if self.channel.queue is not None:
                refusals.append((number, covering))
                self.channel.ask()
        self.refusals = refusals or None

    def accounted(self, count: int) -> int:
        """How many of the first `count` stanzas need not be sent again after the end of the session."""
        refusals, queue = self.refusals, self.channel.queue
        if not refusals:
            return count
        refusals = self.refusals = [
            (number, covering)
            for number, covering in refusals
            if (queue is not None and queue.acknowledged < covering) and count - number < REFUSALS
        ]
        return min([count, *(number - 1 for number, _ in refusals)])

    async def all_settled(self) -> None:
        """Wait until everything taken from the client has found its end."""
        while self.handled < self.received:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting = [*(self._waiting or ()), future]
            await future

    def __repr__(self) -> str:
        return f"<session {self.jid} {'attached' if self.stream else 'detached'}>"
