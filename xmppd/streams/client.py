"""A client's stream (RFC 6120 sections 4 to 8): what stands in the table of `negotiation`, then one order of stanzas
into the router."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from ..contracts.core import Host
from ..contracts.sessions import STREAM_LOST
from ..contracts.stream_features import FEATURES, FeatureAsk
from ..errors import LocalError, MalformedJid, StreamError
from ..jid import JID
from ..protocol.framing import ByteStream, Framing
from ..sessions.session import LANE_BOUND, Session
from ..stanza import Kind, Stanza
from ..xml import CLIENT_NS, Written, to_bytes
from . import bind, registration
from .authentication import SaslDriver
from .base import XmlStream
from .negotiation import TABLE, TLS_NS, Event, Rules, State, Step
from .sasl_profile import Rfc6120Profile

if TYPE_CHECKING:
    from ..background import Background
    from ..contracts.core import Account
    from ..contracts.link import Link
    from ..memory.budget import Pool
    from ..protocol.items import Nonza
    from .runtime import StreamServer

UNCHARGED = 4 << 10
"""So few bytes of one session may be under way uncounted: most are handled before the next ones come."""
KEEPS_SESSION = frozenset(("connection-timeout", "system-shutdown", "reset", "internal-server-error"))
"""Ends of a stream that are not the end of a resumable session."""
BYTE_STREAM: Final = ByteStream(CLIENT_NS)


class ClientStream(XmlStream):
    """One connection of a client: the `ClientStreamHandle` of its session, a `NegotiatingStream` before."""

    __slots__ = (
        "_authentication",
        "account",
        "channel_binding",
        "client",
        "header_from",
        "host",
        "registration",
        "rules",
        "server",
        "session",
        "state",
        "unsent_charged",
    )

    def __init__(
        self, server: StreamServer, tls: str, channel_binding: str = "exporter", framing: Framing = BYTE_STREAM
    ) -> None:
        super().__init__(server, framing, server.limits.before_sign_in)
        self.server = server
        self.channel_binding = channel_binding
        self.host: Host = server.default_host
        self.state = State.STRANGER if tls == "none" else State.CLEAR
        """A loopback listener without TLS counts as safe."""
        self.rules: Rules = TABLE[self.state]
        self.account: Account | None = None
        self.session: Session | None = None
        self.unsent_charged = 0
        """Bytes that wait in the connection and count for the session."""
        self.header_from = ""
        """The bare JID of an account of this host that the header names."""
        self._authentication: SaslDriver | None = None
        self.client = ""
        """See `NegotiatingStream.client`."""
        self.registration: Any = None
        """See `NegotiatingStream.registration`."""

    @property
    def owner(self) -> str:
        """The bare JID of the account that has signed in, or is about to; "" for none."""
        if self.account is not None:
            return self.account.bare
        return self._authentication.claimed if self._authentication is not None else ""

    def _move(self, event: Event) -> None:
        """The only place where a state is left."""
        state = self.rules.next.get(event)
        if state is None:
            raise LocalError(f"{event} in state {self.state}")
        self.state, self.rules = state, TABLE[state]

    # ---- the link's side, as far as it is about sessions

    def connected(self, link: Link) -> None:
        super().connected(link)
        self.server.streams.add(self)

    def secured(self) -> None:
        super().secured()
        self._move(Event.SECURED)

    def pause_writing(self) -> None:
        session = self.session
        if session is None:
            super().pause_writing()
            return
        session.channel.pause_writing()
        self.charge_unsent()

    def resume_writing(self) -> None:
        self.unread_answers, self.reads_too_slowly = 0, False
        self.charge_unsent(0)
        session = self.session
        if session is not None:
            session.channel.resume_writing()
        self.read_on()

    def lost(self) -> None:
        self.server.streams.discard(self)
        session = self._leave()
        if session is not None and session.stream is self:
            self.server.session_manager.detach(session)

    def ended(self, error: StreamError | None) -> None:
        session = self._leave()
        if session is None or session.stream is not self:
            return
        if error is not None and error.condition in KEEPS_SESSION:
            self.server.session_manager.detach(session)
            return
        session.stream = None
        if error is not None:
            session.host.tell(STREAM_LOST, session)
        self.server.session_manager.end(session)

    def peer_closes(self) -> None:
        if self.session is not None:
            self.session.channel.stream_closed()

    def _leave(self) -> Session | None:
        """The session, which this stream carries no more."""
        self.charge_unsent(0)
        session, self.session = self.session, None
        if self.state is not State.CLOSED:
            self._move(Event.ENDED)
        return session

    # ---- bytes that wait

    def blanks_received(self) -> None:
        """In requests and frames it says nothing: there it belongs to those."""
        if self._authentication is not None and self.framing is BYTE_STREAM and not self.closed:
            try:
                self._authentication.check_blanks()
            except StreamError as error:
                self.fail(error)

    def was_read(self, size: int) -> None:
        session = self.session
        if session is not None:
            session.incoming_size += size
            unhandled = session.received - session.handled
            if unhandled and (unhandled > LANE_BOUND or session.incoming_size - session.incoming_charged > UNCHARGED):
                self._charge_session(session)

    def work_done(self) -> None:
        session = self.session
        if session is not None and session.received > session.handled:
            self._charge_session(session)

    def _charge_session(self, session: Session) -> None:
        """Some of what it has sent is not handled."""
        session.charge_incoming()
        if session.received - session.handled > LANE_BOUND or session.incoming_full:
            session.throttled = True
            self.pause_reading()

    def charge_inbox(self, size: int) -> bool:
        return self.session is None and super().charge_inbox(size)  # those of a session count there

    @property
    def pool(self) -> Pool | None:
        return self.account.pool if self.account is not None else None

    @property
    def throttled(self) -> bool:
        return self.session is not None and self.session.throttled

    def charge(self, size: int, stanzas: int) -> None:
        limiter = self.server.rate_limiter
        if limiter.on:
            limiter.use(self, size, stanzas, self.account)

    def count_unread(self, size: int) -> None:
        self.charge_unsent()
        super().count_unread(size)

    def charge_unsent(self, size: int = -1) -> None:
        """What waits in the connection of a client that does not read counts for its session. -1: all that does."""
        session = self.session
        if session is not None and (self.unsent_charged or session.channel.paused):
            size = self.link.write_buffer_size if size < 0 else size
            session.channel.share.take(size - self.unsent_charged)
            self.unsent_charged = size

    # ---- header and features

    @property
    def domain(self) -> str:
        return self.host.domain

    @property
    def background(self) -> Background:
        return self.host.background

    @property
    def peer_name(self) -> str:
        return self.account.bare if self.account is not None else "a stranger"

    @property
    def safe(self) -> bool:
        """Nobody else can read along."""
        return self.state is not State.CLEAR

    def header_received(self, attributes: Mapping[str, str]) -> None:
        host = self.server.host_for(attributes.get("to", ""))
        if host is None:
            raise StreamError("host-unknown")
        if self.account is not None and host is not self.account.host:
            raise StreamError("not-authorized", "signed in at another domain")  # T14
        self.host = host
        self.header_from = _named(attributes.get("from", ""), host.domain)

    def features(self) -> bytes:
        if self.state is not State.STRANGER:
            return self._features()
        announcement = self.authentication.announcement
        if not announcement.features:
            announcement.features = self._features()
        return announcement.features

    def _features(self) -> bytes:
        own = b"".join([FEATURES_OF[step](self) for step in self.rules.offers])
        if not self.rules.plugins:
            return own
        offer = self.authentication if self.state is State.STRANGER else None
        ask = FeatureAsk(self.safe, self.account is not None, self.session, offer)
        found = self.host.gather(FEATURES, ask)
        return own + b"".join([each.data if isinstance(each, Written) else to_bytes(each) for each in found])

    def _sasl_features(self) -> bytes:
        return Rfc6120Profile(self).features()

    # ---- stream-level elements

    def element_received(self, nonza: Nonza) -> bool:
        rules = self.rules
        if self._authentication is not None:
            self._authentication.check_element(nonza.ns)
        step = rules.elements.get(nonza.tag) or rules.elements.get(nonza.ns)
        if step is not None:
            return STEPS[step](self, nonza)
        handler = self.host.nonza_handler(nonza.tag, rules.plugins) if rules.plugins else None
        if handler is None:
            raise self._refused(nonza)
        session = self.session
        if session is not None:
            answer = handler(session, nonza)
            if answer is not None:
                session.nonza(answer.data)
        else:
            answer = handler(self, nonza)
            if isinstance(answer, Written):
                self.write(answer.data)
            elif answer is not None:
                self.wait(answer)
        return not self.closed

    def _refused(self, nonza: Nonza) -> StreamError:
        if self.state is State.CLEAR:
            return StreamError(self.rules.otherwise, "TLS first")
        if self.state is State.BOUND and nonza.ns == "jabber:server":
            return StreamError("invalid-namespace")
        return StreamError(self.rules.otherwise)

    def _start_tls(self, nonza: Nonza) -> bool:
        """Section 5.4.2."""
        self.write(f"<proceed xmlns='{TLS_NS}'/>".encode())
        self.link.start_tls(self.server.tls_context(self.host.domain))
        self.parser.reset()
        return False  # what was sent behind it in the clear never counts (T08)

    def _authenticate(self, nonza: Nonza) -> bool:
        work = Rfc6120Profile(self).received(nonza)
        if work is not None:
            self.wait(work)
        return True

    def revoke(self, bare: str) -> None:
        """See `SaslDriver.revoke`."""
        if self._authentication is not None:
            self._authentication.revoke(bare)

    @property
    def authentication(self) -> SaslDriver:
        """Signs the stream in. Raises StreamError where it cannot."""
        if self.state is not State.STRANGER:
            raise StreamError("not-authorized")
        if self._authentication is None:
            self._authentication = SaslDriver(self)
        return self._authentication

    @property
    def waits_for_person(self) -> bool:
        """Somebody fills in a form, or looks for the code of a second factor, which takes longer than signing in."""
        return self.registration is not None or (self._authentication is not None and self._authentication.pending)

    def signed_in(self, account: Account) -> None:
        """An exchange has succeeded."""
        self._move(Event.SIGNED_IN)
        self.account = account
        self.link.take_first()
        self._authentication = self.registration = None
        self.parser.limits = self.server.limits.after_sign_in

    # ---- stanzas

    def stanza_received(self, stanza: Stanza) -> None:
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
        """Before binding (section 7.1)."""
        if self._authentication is not None:
            self._authentication.check_element("")
        payload = stanza.tags[0] if stanza.kind is Kind.IQ and len(stanza.tags) == 1 else ""
        step = self.rules.requests.get(payload)
        if step is None:
            raise StreamError("not-authorized")
        self.wait(REQUESTS[step](self, stanza))

    def bind(self, resource: str) -> Awaitable[Session | None]:
        """See `NegotiatingStream.bind`."""
        return bind.bind(self, resource)

    def bound(self, session: Session) -> None:
        """This stream carries `session` now (bound, or resumed)."""
        self._move(Event.BOUND)
        self.session = session
        session.incoming_size += self.inbox_size
        self.uncharge_inbox()
        if self.reads_too_slowly:
            session.channel.paused = True


FEATURES_OF: Final[Mapping[Step, Callable[[ClientStream], bytes]]] = {
    # Required unless this listener was told that plaintext is fine: nothing else until then.
    Step.START_TLS: lambda stream: f"<starttls xmlns='{TLS_NS}'><required/></starttls>".encode(),
    Step.AUTHENTICATE: ClientStream._sasl_features,
    Step.BIND: lambda stream: bind.FEATURES,
}
STEPS: Final[Mapping[Step, Callable[[ClientStream, Nonza], bool]]] = {
    Step.START_TLS: ClientStream._start_tls,
    Step.AUTHENTICATE: ClientStream._authenticate,
}
REQUESTS: Final[Mapping[Step, Callable[[ClientStream, Stanza], Awaitable[None]]]] = {
    Step.REGISTER: registration.received,
    Step.BIND: bind.answer,
}


def _named(claimed: str, domain: str) -> str:
    """The account that a header claims to come from, "" for none. Raises StreamError for one of another domain
    (RFC 6120 section 4.9.3.9, XEP-0388 section 2.1)."""
    if not claimed:
        return ""
    try:
        jid = JID.parse(claimed)
    except MalformedJid:
        return ""  # names nobody
    if jid.domain != domain:
        raise StreamError("invalid-from")
    return jid.bare if jid.local else ""


def _check_from(claimed: str, own: JID) -> None:
    """Section 8.1.2.1, rule 2 (b): what names the account is replaced by the address of the session. Converse.js names
    another resource when it has resumed a session after its page was loaded again. Raises StreamError."""
    try:
        jid = JID.parse(claimed)
    except MalformedJid:
        raise StreamError("invalid-from") from None
    if jid.bare != own.bare:
        raise StreamError("invalid-from")
