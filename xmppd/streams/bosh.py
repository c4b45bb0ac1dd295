"""Clients over BOSH (XEP-0124, XEP-0206): a link made of HTTP requests, and all sessions of a server by their sid.

A stream does not know that its link is none: `BoshSession` is what `net.connection` is over TCP. So a client over BOSH
has the same sign-in, limits, stream management and delivery as any other.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from secrets import token_urlsafe
from typing import TYPE_CHECKING, Final

from ..cache import Cache
from ..memory.budget import Pool, Share
from ..net.address import is_loopback, network
from ..protocol.bosh import Bodies, BodyParser, BoshError, RequestBody, condition_of
from ..protocol.bosh_requests import ANSWER_SIZE, Requests
from ..protocol.bosh_terms import Carrier, Request, refuse
from ..protocol.framing import standing_alone
from ..protocol.token_bucket import Rate, TokenBucket
from .client import ClientStream

if TYPE_CHECKING:
    from ..clock import Timer
    from .runtime import StreamServer

log = logging.getLogger("xmppd.streams.bosh")

LOOK: Final = 0.5
"""Seconds between two looks at all sessions: what waits is answered, who has left is ended. So exact are the times."""
REMEMBERED: Final = 20_000
"""Addresses whose rate of new sessions is known."""
STRANGERS: Final = 5000
"""Sessions that nobody has signed in to, of all addresses: some 20 KiB each, for a minute and a half at most. They take
no connection, so the limit of open files does not bound them."""
SLICE: Final = 32 << 10
"""Bytes of a request that are handled in one go: a read from TCP has as many, and no request holds up the others."""
REFILL: Final = 60.0
"""Seconds in which an address may begin as many sessions as it may have."""


class BoshSession:
    """One session: the link (`contracts.link.Link`) of a client's stream. `secure`: it was begun over TLS."""

    tls_version = cipher = ""
    tls_server_end_point = tls_exporter = tls_unique = None
    """No channel is bound: each request may come over another one."""
    exports = securing = False
    peer_certificates: tuple[bytes, ...] = ()
    port = 0

    def __init__(self, sessions: BoshSessions, opening: RequestBody, peer: str, secure: bool, domain: str) -> None:
        """Raises BoshError."""
        self.sessions = sessions
        self.server = server = sessions.server
        self.sid = token_urlsafe(24)
        self.peer = peer
        self.secure = secure
        self.content = opening.attributes.get("content", "")
        """The type that its client wants answers to have."""
        self.last_read = now = server.clock.monotonic()
        self.requests = Requests(opening, now, self._take)
        self.requests.first_attributes = self.requests.terms.attributes(self.sid, opening.rid)
        self.framing = Bodies()
        self.stream = ClientStream(server, "none", "none", self.framing)
        self.closed = False
        """Nothing more is taken or written."""
        self._paused = False
        self._slow = False
        """The stream was told that too much waits."""
        self._flushing = False
        self._drained: list[Callable[[], None]] = []
        self._own = self._share = Share(None, server.memory)
        """Where answers count that may be asked for again: for the session of the stream while it has one. What waits
        for its first request is charged by the stream; that of a stream which is over here."""
        self._kept = 0
        """Bytes that count there."""
        self._incoming = 0
        """Bytes of requests that wait to be handled."""
        self._sender: Pool | None = None
        """The account for which they count."""
        self._early = 0
        """Bytes of requests that wait for one which has not come."""
        self._handed = 0
        """Bytes of the first of those that wait which the stream has got already."""
        self._going_on = False
        """`_handle_waiting` is called soon."""
        self.stream.connected(self)
        assert isinstance(self.stream.parser, BodyParser)
        self.stream.parser.to = domain

    @property
    def loopback(self) -> bool:
        return is_loopback(self.peer)

    @property
    def signed_in(self) -> bool:
        return self.stream.account is not None

    def _now(self) -> float:
        return self.server.clock.monotonic()

    # ---- requests

    def receive(self, body: RequestBody, carrier: Carrier) -> None:
        """A request of this session. It is answered now or later, whatever becomes of it."""
        try:
            self.requests.receive(body, carrier, self._now())
        except BoshError as error:
            self.fail(error, carrier)
            return
        self._flush()  # before the next request is counted

    def lost(self, carrier: Carrier) -> None:
        """The connection of a request is gone."""
        self.requests.lost(carrier, self._now())

    def _take(self, request: Request) -> None:
        """The next one in order. One that brings nothing needs not wait: it fetches what is to be read. A pause fetches
        nothing."""
        waiting = self.requests.unhandled
        if waiting or (self._paused and (request.pauses or not request.empty)):
            waiting.append(request)
        else:
            self._handle(request)

    def _handle(self, request: Request) -> None:
        """Hand over the next piece of it. If there is more, it waits in front of all others."""
        body, parser, stream = request.body, self.stream.parser, self.stream
        assert body is not None and isinstance(parser, BodyParser)
        self.last_read = self._now()
        start, self._handed = self._handed, 0
        end = start + SLICE
        try:
            if start == 0:
                parser.expect(body)
                stream.charge(0, 1)
            stream.data_received(body.payload[start:end])
        except Exception:
            log.exception("a request of %s failed", self.peer)
            self.abort()
        if end < len(body.payload) and not self.closed:
            self._handed = end
            self.requests.unhandled.appendleft(request)
            self._go_on()
            return
        request.body = None
        opened = self.framing.opened
        if body.creates and opened:
            named = {"from": opened["from"], "authid": opened["id"]}
            self.requests.first_attributes = {**self.requests.first_attributes, **named}
        self._flush_soon()

    def _go_on(self) -> None:
        if self.requests.unhandled and not self._paused and not self._going_on:
            self._going_on = True
            self.server.clock.call_soon(self._handle_waiting)

    def _handle_waiting(self) -> None:
        self._going_on = False
        waiting = self.requests.unhandled
        while waiting and not self._paused and not self.closed:
            self._handle(waiting.popleft())
            if self._handed:
                break
        self._charge()

    # ---- contracts.link.Link

    def hold(self) -> None:
        """Requests are answered as they are."""

    def take_first(self) -> None:
        """Each request may come on another connection."""

    def read_in_bulk(self, much: bool) -> None:
        """Each request is read by itself."""

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        self._go_on()

    @property
    def write_buffer_size(self) -> int:
        return self.requests.out_size

    def write(self, data: bytes) -> None:
        if self.closed or not data:
            return
        self.requests.put(standing_alone(data))
        if self.requests.out_size <= ANSWER_SIZE:
            self._flush_soon()
            return
        self._flush()  # not to wait for the end of the turn, so that the writer hears at once when it is too much
        if self.requests.out_size > ANSWER_SIZE and not self._slow and not self.closed:
            self._slow = True
            self.stream.pause_writing()

    def on_drained(self, callback: Callable[[], None]) -> None:
        """Call back when the client is known to have all that was written (see `protocol.bosh_requests`)."""
        if not self.closed:
            self._drained.append(callback)
            self.requests.awaited = True
            self._flush_soon()

    def start_tls(self, context: object, domain: str = "") -> None:
        """Raises RuntimeError: it is a matter of HTTP."""
        raise RuntimeError("TLS is below HTTP")

    def forwarded_for(self, address: str) -> bool:
        """Requests are counted one by one."""
        return False

    def hand_over(self, receiver: object) -> None:
        """Raises RuntimeError: there is no connection."""
        raise RuntimeError("a session over BOSH stays one")

    def close(self) -> None:
        """Tell the end to the oldest request, or the next one."""
        if not self.closed:
            failed = self.framing.failed
            self._closes()
            if failed is not None and failed.condition == "resource-constraint":
                self.requests.drop()
            self.requests.end(condition_of(failed) if failed is not None else "", self._now())
            self._charge()
            self.server.clock.call_soon(partial(self._lost, None))

    def abort(self) -> None:
        self.fail(BoshError("internal-server-error"))

    # ---- the end

    def fail(self, error: BoshError, cause: Carrier | None = None) -> None:
        """End the session at once, because of the request of `cause`."""
        if not self.closed:
            log.info("the session of %s over BOSH ends: %s (%s)", self.peer, error.condition, error.why)
            self._closes()
            self.requests.fail(error, cause, self._now())
            self._charge()
            self.server.clock.call_soon(partial(self._lost, ConnectionAbortedError(error.condition)))
        if cause is not None:
            refuse(cause, error, self.requests.legacy)

    def _closes(self) -> None:
        self.closed = True
        self._drained.clear()
        self.requests.unhandled.clear()
        self.sessions.closes(self)

    def _lost(self, error: Exception | None) -> None:
        self.stream.connection_lost(error)

    def look(self, now: float) -> bool:
        """Answer what has waited long enough. False: the session is over and forgotten."""
        if self.requests.inactive(now):
            if not self.closed:
                log.debug("%s has left its session over BOSH", self.peer)
                self._closes()
                self._lost(TimeoutError("no request came"))
            self.requests.clear()
            self._charge()
            return False
        if not self.closed:
            self._flush()
        return True

    # ---- answers

    def _flush_soon(self) -> None:
        if not self._flushing:
            self._flushing = True
            self.server.clock.call_soon(self._flush_now)

    def _flush_now(self) -> None:
        self._flushing = False
        self._flush()

    def _flush(self) -> None:
        """Answer what can be answered; tell the stream what has gone."""
        requests, stream = self.requests, self.stream
        requests.busy = stream.waiting and stream.session is None
        requests.congested = self._slow or stream.reads_too_slowly
        requests.answer(self._now())
        self._charge()
        if self._slow and not requests.out and not self.closed:
            self._slow = False
            self.server.clock.call_soon(self._resume_writing)
        if self._drained and requests.has_all:
            callbacks, self._drained = self._drained, []
            requests.awaited = False
            for callback in callbacks:
                self.server.clock.call_soon(callback)

    def _resume_writing(self) -> None:
        if not self.closed and not self._slow:
            self.stream.resume_writing()

    def _charge(self) -> None:
        """Count what is in memory here."""
        session = self.stream.session
        share = session.channel.share if session is not None else self._own
        if share is not self._share:
            self._share.give(self._kept)
            self._share, self._kept = share, 0
        requests = self.requests
        kept = requests.answers_size + (requests.out_size if self.closed else 0)
        share.take(kept - self._kept)
        self._kept = kept
        self._charge_incoming(requests.incoming)
        if requests.early != self._early:
            self._early = requests.early
            self.server.memory.parts.count(self, self.stream.pool, self._early)

    def _charge_incoming(self, size: int) -> None:
        """So much waits to be handled."""
        pool = self.stream.pool
        if self._sender is not None:
            self._sender.incoming -= self._incoming
        if pool is not None:
            pool.incoming += size
        self.server.memory.incoming += size - self._incoming
        self._sender, self._incoming = pool, size

    def break_off(self) -> None:
        """See `memory.budget.Sender`."""
        self.fail(BoshError("policy-violation", "requests wait for one that does not come"))


class BoshSessions:
    """All sessions over BOSH of a server."""

    def __init__(self, server: StreamServer, per_address: Callable[[], int]) -> None:
        """`per_address`: how many sessions one address may have, and begin at once."""
        self.server = server
        self.per_address = per_address
        self._sessions: dict[str, BoshSession] = {}
        self._from: dict[str, int] = {}
        """Sessions by network."""
        self._strangers = 0
        """Sessions that nobody had signed in to at the last look, and all since."""
        self._rates: Cache[str, TokenBucket] = Cache(REMEMBERED, 8 << 20)
        self._timer: Timer | None = None

    def __len__(self) -> int:
        return len(self._sessions)

    def find(self, sid: str) -> BoshSession | None:
        return self._sessions.get(sid)

    def create(self, body: RequestBody, carrier: Carrier, peer: str, secure: bool, domain: str) -> BoshSession | None:
        """A new session, whose first request this is; None: there is none, and that was answered. `domain`: for a
        client that names none."""
        try:
            if self.server.stopping:
                raise BoshError("system-shutdown")
            self._admit(peer)
            session = BoshSession(self, body, peer, secure, domain)
        except BoshError as error:
            log.info("no session over BOSH for %s: %s (%s)", peer, error.condition, error.why)
            refuse(carrier, error, "ver" not in body.attributes)
            return None
        self._sessions[session.sid] = session
        self._strangers += 1
        key = network(peer)
        self._from[key] = self._from.get(key, 0) + 1
        if self._timer is None:
            self._timer = self.server.clock.call_later(LOOK, self._look)
        session.receive(body, carrier)
        return session

    def _admit(self, peer: str) -> None:
        """Raises BoshError."""
        key, most = network(peer), self.per_address()
        bucket = self._rates.get(key) or TokenBucket()
        self._rates.put(key, bucket)
        rate = Rate.of(0, 0, most / REFILL, most)
        if self._from.get(key, 0) >= most or bucket.use(rate, self.server.clock.monotonic(), 0, 1) > 0:
            raise BoshError("policy-violation", "too many sessions of that address")
        if self._strangers >= STRANGERS:
            raise BoshError("policy-violation", "too many sessions of strangers")

    def closes(self, session: BoshSession) -> None:
        """A session is over; it is kept for as long as its client may ask for its last answer again."""
        key = network(session.peer)
        left = self._from.get(key, 0) - 1
        if left > 0:
            self._from[key] = left
        else:
            self._from.pop(key, None)

    def _look(self) -> None:
        self._timer = None
        now = self.server.clock.monotonic()
        for sid, session in list(self._sessions.items()):
            try:
                kept = session.look(now)
            except Exception:
                log.exception("a session over BOSH failed")
                session.abort()
                kept = False
            if not kept:
                del self._sessions[sid]
        self._strangers = sum(not session.signed_in for session in self._sessions.values())
        if self._sessions and not (self.server.stopping and all(each.closed for each in self._sessions.values())):
            self._timer = self.server.clock.call_later(LOOK, self._look)
