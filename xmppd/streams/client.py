"""A client's stream (RFC 6120 sections 4 to 7): negotiation, then one order of stanzas into the router."""

from __future__ import annotations

import enum
import logging
import re
from collections import deque
from collections.abc import Awaitable, Callable
from secrets import token_urlsafe
from typing import TYPE_CHECKING, Final

from ..contracts.accounts import REGISTRATION
from ..contracts.core import Host
from ..contracts.sessions import BINDING, FEATURES, STREAM_LOST, FeatureAsk
from ..errors import (
    BadRequest,
    MalformedJid,
    ResourceConstraint,
    StanzaError,
    StorageUnavailable,
    StreamError,
)
from ..jid import JID
from ..protocol.header import stream_error, stream_header
from ..protocol.items import Item, Nonza, StreamOpen
from ..protocol.parser import StreamParser
from ..protocol.token_bucket import TokenBucket
from ..sessions.session import LANE_BOUND, Session
from ..stanza import Kind, Stanza
from ..xml import CLIENT_NS, XML_NS, Written, escape, find, text_of, to_bytes
from .authentication import SASL_NS, SaslNegotiation
from .runtime import StreamServer

if TYPE_CHECKING:
    from ..contracts.core import Account
    from ..contracts.link import Link

log = logging.getLogger("xmppd.streams")

TLS_NS: Final = "urn:ietf:params:xml:ns:xmpp-tls"
BIND_NS: Final = "urn:ietf:params:xml:ns:xmpp-bind"
SIGNED_IN_FEATURES: Final = (
    f"<bind xmlns='{BIND_NS}'/><session xmlns='urn:ietf:params:xml:ns:xmpp-session'><optional/></session>".encode()
)
"""RFC 3921 clients ask for a session; it is a no-op (draft-cridland-xmpp-session)."""
REGISTER_TAG: Final = "jabber:iq:register|query"
LANGUAGE: Final = re.compile(r"[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8}){0,7}").fullmatch
"""A language tag (RFC 5646) that may be written on every stanza of a stream: no other is, and none that is long."""
INBOX = 100
"""So many stanzas may wait behind a slow one; then the connection is not read."""
UNREAD = 64 << 10
"""So many bytes of answers may wait for a client that does not read; then it is not read either."""


UNCHARGED = 4 << 10
"""So few bytes of one session may be under way uncounted: most are handled before the next ones come."""


class State(enum.IntEnum):
    """How far the negotiation is. Each state is left in one direction only."""

    STRANGER = 0
    SIGNED_IN = 1
    BOUND = 2
    CLOSED = 3


class ClientStream:
    """One connection of a client. A `Receiver` for its link, the `ClientStreamHandle` of its session."""

    __slots__ = (
        "_held_back",
        "account",
        "answers",
        "born",
        "bucket",
        "channel_binding",
        "choked",
        "host",
        "inbox",
        "lang",
        "lent",
        "link",
        "opened",
        "parser",
        "piled",
        "pinged",
        "plain_ok",
        "server",
        "session",
        "shaped",
        "sign_in",
        "state",
        "tls_offered",
        "unsent",
        "waiting",
        "write",
    )

    def __init__(self, server: StreamServer, tls: str, channel_binding: str = "exporter") -> None:
        self.server = server
        self.channel_binding = channel_binding
        self.tls_offered = tls == "starttls"
        self.plain_ok = tls == "none"
        """A loopback listener without TLS counts as safe."""
        self.link: Link
        self.write: Callable[[bytes], None]
        """The link's own, without a step between."""
        self.host: Host = server.default_host
        self.parser = StreamParser(server.limits.before_sign_in)
        self.state = State.STRANGER
        self.opened = False
        self.lang = ""
        """The language of the stream's header (RFC 6120 section 4.7.4): that of stanzas which name none."""
        self.sign_in: SaslNegotiation | None = None
        self.account: Account | None = None
        self.session: Session | None = None
        self.inbox: deque[Item] | None = None
        self.piled = 0
        """Bytes read since the inbox was last empty."""
        self.lent = 0
        """So many of them count for the process: there is no session yet."""
        self.answers = 0
        """Bytes of answers at stream level that were written while the client did not read."""
        self.choked = False
        """It does not read what it has asked for, so it is not read."""
        self.unsent = 0
        """Bytes that wait in the connection and count for its session."""
        self.waiting = False
        self.born = server.clock.monotonic()
        self.pinged = False
        self.bucket = TokenBucket()
        self.shaped = False
        """It waits because it sent too much."""
        self._held_back = False

    # ---- the link's side (net.link.Receiver)

    def connected(self, link: Link) -> None:
        self.link, self.write = link, link.write
        self.server.streams.add(self)

    def secured(self) -> None:
        """TLS is there: nothing of before counts (section 5.4.3.3), time neither: the handshake has its own limit."""
        self.parser.reset()
        self.opened = False
        self.born = self.server.clock.monotonic()

    def data_received(self, data: bytes) -> None:
        if self.state is State.CLOSED:
            return
        self.pinged = False
        items = self.parser.feed(data)
        for item in items:
            if self.waiting:
                self._queue(item)
            elif not self._take(item):
                return
        fault = self.parser.fault
        if fault is not None and not self.closed:
            if self.waiting:
                self._queue(fault)
            else:
                self.fail(fault)
            return
        size = len(data)
        self.charge(size, len(items))
        if self.inbox:
            self._pile(size)
        session = self.session
        if session is not None:
            session.taken += size
            unhandled = session.received - session.handled
            if unhandled and (unhandled > LANE_BOUND or session.taken - session.charged > UNCHARGED):
                self._weigh(session)
        if self.server.storage.congested:
            self._hold_back()
            self.server.storage.on_relief(self.relieved)

    def pause_writing(self) -> None:
        session = self.session
        if session is None:
            self.choked = True
            self._hold_back()
            return
        session.channel.pause_writing()
        self.weigh_unsent()

    def resume_writing(self) -> None:
        self.answers, self.choked = 0, False
        self.weigh_unsent(0)
        session = self.session
        if session is not None:
            session.channel.resume_writing()
        self._read_on()

    def connection_lost(self, error: Exception | None) -> None:
        self.state = State.CLOSED
        self.server.streams.discard(self)
        session = self._leave()
        if session is not None and session.stream is self:
            self.server.session_manager.detach(session)

    # ---- the session's side (sessions.Carrier)

    @property
    def closed(self) -> bool:
        return self.state is State.CLOSED

    @property
    def secure(self) -> bool:
        return self.link.secure

    @property
    def peer(self) -> str:
        return self.link.peer

    @property
    def last_read(self) -> float:
        return self.link.last_read

    def on_drained(self, callback: Callable[[], None]) -> None:
        self.link.on_drained(callback)

    def relieved(self) -> None:
        self._read_on()

    def answered(self, size: int) -> None:
        self.answers += size
        self.weigh_unsent()
        if self.answers > UNREAD:
            self.choked = True
            self._hold_back()

    def weigh_unsent(self, size: int = -1) -> None:
        """What waits in the connection of a client that does not read counts for its session."""
        session = self.session
        if session is not None and (self.unsent or session.channel.paused):
            size = self.link.write_buffer_size if size < 0 else size
            session.channel.share.take(size - self.unsent)
            self.unsent = size

    def charge(self, size: int, stanzas: int) -> None:
        shaping = self.server.rate_limiter
        if shaping.on:
            shaping.use(self, size, stanzas)

    def shape(self, wait: bool) -> None:
        """It sends more than it may (limits.Shaping), or may go on."""
        self.shaped = wait
        if wait:
            self._hold_back()
        else:
            self._read_on()

    def stop_reading(self) -> None:
        """The server stops."""
        self._hold_back()

    def read_again(self) -> None:
        """The server stops, and wants an answer first."""
        if self._held_back and self.state is not State.CLOSED:
            self._held_back = False
            self.link.resume_reading()

    def end(self, condition: str, text: str = "") -> None:
        self.fail(StreamError(condition, text))

    def close(self) -> None:
        """Say goodbye and close."""
        if self.state is State.CLOSED:
            return
        if self.opened:
            self.link.write(b"</stream:stream>")
        self._closed()

    def _closed(self, lost: bool = False) -> None:
        """`lost`: not by a goodbye."""
        self.state = State.CLOSED
        self.link.close()
        session = self._leave()
        if session is not None and session.stream is self:
            session.stream = None
            if lost:
                session.host.tell(STREAM_LOST, session)
            self.server.session_manager.end(session)

    def fail(self, error: StreamError) -> None:
        """Stream error and close (section 4.9)."""
        if self.state is State.CLOSED:
            return
        if not self.opened:
            self._header({})
        self.link.write(stream_error(error) + b"</stream:stream>")
        session = self.session
        if session is not None and session.stream is self and error.condition in KEEPS_SESSION:
            self._leave()
            self.state = State.CLOSED
            self.link.close()
            self.server.session_manager.detach(session)
            return
        self._closed(lost=True)

    # ---- one thing after the other

    def _queue(self, item: Item | StreamError) -> None:
        if self.inbox is None:
            self.inbox = deque()
        self.inbox.append(item)  # type: ignore[arg-type]
        if len(self.inbox) > INBOX:
            self._hold_back()

    def _leave(self) -> Session | None:
        """The session, which this stream carries no more."""
        self.weigh_unsent(0)
        session, self.session = self.session, None
        return session

    def _pile(self, size: int) -> None:
        """It waits behind something that takes its time."""
        self.piled += size
        flooded = False
        if self.session is None:
            memory = self.server.memory
            self.lent += size
            memory.incoming += size
            flooded = memory.flooded(None)
        if flooded or self.piled > self.server.limits.incoming_size:
            self._hold_back()

    def _weigh(self, session: Session) -> None:
        """Some of what it has sent is not handled."""
        session.weigh()
        if session.received - session.handled > LANE_BOUND or session.heavy:
            session.throttled = True
            self._hold_back()

    def _hold_back(self) -> None:
        if not self._held_back:
            self._held_back = True
            self.link.pause_reading()

    def _read_on(self) -> None:
        session = self.session
        busy = self.server.stopping or self.shaped or self.choked or (session is not None and session.throttled)
        busy = busy or self.piled > self.server.limits.incoming_size
        busy = busy or (self.lent > 0 and self.server.memory.flooded(None))
        if self._held_back and not busy and len(self.inbox or ()) <= INBOX // 2 and not self.server.storage.congested:
            self._held_back = False
            if self.state is not State.CLOSED:
                self.link.resume_reading()

    def wait(self, work: Awaitable[None]) -> None:
        """What follows on this stream waits for `work`."""
        self.waiting = True
        self.host.background.spawn(self._work(work), "stream")

    async def _work(self, work: Awaitable[None]) -> None:
        try:
            await work
        except StreamError as error:
            self.fail(error)
        except StorageUnavailable as error:
            # What can be answered with an error of its own is, where it is asked; this is for the rest (<resume/>).
            log.warning("a stream of %s ends: %s", self.account or "a stranger", error)
            self.fail(StreamError("resource-constraint", "the store does not answer now"))
        except Exception:
            log.exception("a stream of %s failed", self.account or "a stranger")
            self.fail(StreamError("internal-server-error"))
        finally:
            self.waiting = False
        inbox = self.inbox
        while inbox and not self.waiting:
            item = inbox.popleft()
            if isinstance(item, StreamError):
                self.fail(item)
            elif not self._take(item):
                inbox.clear()
        if not inbox:
            self.inbox = None
            self.piled = 0
            self._give_back()
        session = self.session
        if session is not None and session.received > session.handled:
            self._weigh(session)
        self._read_on()

    def _give_back(self) -> None:
        lent, self.lent = self.lent, 0
        self.server.memory.incoming -= lent

    def _take(self, item: Item) -> bool:
        """False: what came behind it in the same read does not count."""
        try:
            if type(item) is Stanza:
                self._stanza(item)
                return self.state is not State.CLOSED
            if type(item) is Nonza:
                return self._nonza(item)
            if type(item) is StreamOpen:
                self._open(item)
                return self.state is not State.CLOSED
            if self.session is not None:
                self.session.channel.stream_closed()
            self.close()
        except StreamError as error:
            self.fail(error)
        return False

    # ---- stanzas

    def _stanza(self, stanza: Stanza) -> None:
        session = self.session
        if session is None:
            self._early(stanza)
            return
        stanza.sender = session.jid
        if not stanza.lang:
            stanza.lang = self.lang  # section 8.1.5: before it is archived or sent to anyone
        if stanza.claimed and stanza.claimed != session.jid.full:
            _check_from(stanza.claimed, session.jid)
        session.received += 1
        self.server.counts.received[stanza.kind] += 1
        wait = self.server.router.receive(session, stanza)
        if wait is not None:
            self.wait(wait)

    def _early(self, stanza: Stanza) -> None:
        """Before binding (section 7.1): the bind request, or a registration where that is open."""
        if self.state is State.SIGNED_IN and stanza.kind is Kind.IQ and stanza.tags == (f"{BIND_NS}|bind",):
            self.wait(self._prepare(stanza))
            return
        registration = self.host.find(REGISTRATION)
        asks = self.state is State.STRANGER and stanza.tags == (REGISTER_TAG,) and self.safe
        if asks and registration is not None and registration.open:
            self.wait(self._register(registration.before_sign_in(stanza, self.peer), stanza))
            return
        raise StreamError("not-authorized")

    async def _register(self, work: Awaitable[Stanza], stanza: Stanza) -> None:
        try:
            answer = await work
        except StanzaError as error:
            answer = stanza.error(error)
        except StorageUnavailable:
            answer = stanza.error(ResourceConstraint("the store does not answer now"))
        self.write(answer.data)

    async def _prepare(self, stanza: Stanza) -> None:
        """Plugins may need to look something up for a new session."""
        assert self.account is not None
        errors = await self.host.told(BINDING, self.account)
        if any(isinstance(error, StorageUnavailable) for error in errors):
            self.write(stanza.error(ResourceConstraint("the store does not answer now")).data)
            return
        if not self.closed and self.session is None:
            self._bind(stanza)

    def _bind(self, stanza: Stanza) -> None:
        assert self.account is not None
        try:
            if stanza.type != "set" or not stanza.id:
                raise BadRequest()
            payload = stanza.payload
            assert payload is not None
            wanted = text_of(find(payload, BIND_NS, "resource")).strip()
            session = self.server.session_manager.bind(self.account, wanted, self)
        except StanzaError as error:
            self.write(stanza.error(error).data)
            return
        self.bound(session)
        inside = f"<bind xmlns='{BIND_NS}'><jid>{escape(session.jid.full)}</jid></bind>".encode()
        self.write(Stanza(Kind.IQ, "result", None, None, stanza.id, inside, (f"{BIND_NS}|bind",)).data)

    def bound(self, session: Session) -> None:
        """This stream carries `session` now (bound, or resumed)."""
        self.session = session
        session.taken += self.piled
        self._give_back()
        if self.choked:
            session.channel.paused = True
        self.state = State.BOUND

    # ---- stream-level elements

    def _nonza(self, nonza: Nonza) -> bool:
        if nonza.ns == SASL_NS and self.state is State.STRANGER:
            return self._sasl(nonza)
        if nonza.ns == TLS_NS and nonza.name == "starttls" and self._may_secure():
            self.write(f"<proceed xmlns='{TLS_NS}'/>".encode())
            self.link.start_tls(self.server.tls_context(self.host.domain))
            self.parser.reset()
            return False  # what was sent behind it in the clear never counts (T08)
        tag = f"{nonza.ns}|{nonza.name}"
        if self.session is not None:
            handler = self.host.nonza_handler(tag, "bound")
            if handler is not None:
                handler(self.session, nonza)
                return not self.closed
        elif self.state in (State.STRANGER, State.SIGNED_IN):
            handler = self.host.nonza_handler(tag, "signed-in" if self.state is State.SIGNED_IN else "stranger")
            if handler is not None:
                work = handler(self, nonza)
                if work is not None:
                    self.wait(work)
                return not self.closed
        if nonza.ns == CLIENT_NS or self.state is not State.BOUND:
            raise StreamError("not-authorized" if self.state is not State.BOUND else "unsupported-stanza-type")
        raise StreamError("invalid-namespace" if nonza.ns == "jabber:server" else "unsupported-stanza-type")

    def _may_secure(self) -> bool:
        return self.tls_offered and not self.link.secure and self.state is State.STRANGER

    @property
    def safe(self) -> bool:
        """Nobody else can read along."""
        return self.link.secure or self.plain_ok

    def _sasl(self, nonza: Nonza) -> bool:
        if not self.safe:
            raise StreamError("policy-violation", "TLS first")
        if self.sign_in is None:
            self.sign_in = SaslNegotiation(self)
        work = self.sign_in.take(nonza)
        if work is not None:
            self.wait(work)
        return True

    def signed_in(self, account: Account) -> None:
        """SASL succeeded: the client opens a new stream (section 6.3.2)."""
        self.account = account
        self.state = State.SIGNED_IN
        self.sign_in = None
        self.opened = False
        self.parser.limits = self.server.limits.after_sign_in
        self.parser.reset()

    # ---- headers and features

    def _open(self, opening: StreamOpen) -> None:
        attributes = opening.attributes
        if self.opened:
            raise StreamError("bad-format")
        to = attributes.get("to", "")
        if opening.namespace != CLIENT_NS:
            raise StreamError("invalid-namespace")
        host = self.server.host_for(to)
        if host is None:
            raise StreamError("host-unknown")
        if self.account is not None and host is not self.account.host:
            raise StreamError("not-authorized", "signed in at another domain")  # T14
        self.host = host
        lang = attributes.get(f"{XML_NS}|lang", "")
        self.lang = lang if LANGUAGE(lang) else ""
        major = attributes.get("version", "0.9").partition(".")[0]
        if not (major.isascii() and major.isdigit()) or int(major[:4]) < 1:
            self._header(attributes)
            raise StreamError("unsupported-version")
        self._header(attributes)
        self.write(b"<stream:features>" + self._features() + b"</stream:features>")

    def _header(self, attributes: dict[str, str]) -> None:
        answer = {"from": self.host.domain, "id": token_urlsafe(16), "version": "1.0", f"{XML_NS}|lang": "en"}
        claimed = attributes.get("from")
        if claimed:
            answer["to"] = claimed
        self.opened = True
        self.link.write(stream_header(answer, CLIENT_NS))

    def _features(self) -> bytes:
        """What can be negotiated now (section 4.3.2)."""
        ask = FeatureAsk(self.safe, self.state is State.SIGNED_IN)
        if self.state is State.SIGNED_IN:
            return SIGNED_IN_FEATURES + self._plugin_features(ask)
        if self._may_secure():
            # Required unless this listener was told that plaintext is fine: nothing else until then.
            return f"<starttls xmlns='{TLS_NS}'><required/></starttls>".encode()
        if self.sign_in is None:
            self.sign_in = SaslNegotiation(self)
        return self.sign_in.features() + self._plugin_features(ask)

    def _plugin_features(self, ask: FeatureAsk) -> bytes:
        found = self.host.gather(FEATURES, ask)
        return b"".join([each.data if isinstance(each, Written) else to_bytes(each) for each in found])


KEEPS_SESSION = frozenset(("connection-timeout", "system-shutdown", "reset", "internal-server-error"))
"""Ends of a stream that are not the end of a resumable session."""


def _check_from(claimed: str, own: JID) -> None:
    """Section 8.1.2.1. Raises StreamError."""
    try:
        jid = JID.parse(claimed)
    except MalformedJid:
        raise StreamError("invalid-from") from None
    if jid.full not in (own.full, own.bare):
        raise StreamError("invalid-from")
