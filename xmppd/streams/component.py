"""The stream of a component (XEP-0114, jabber:component:accept): an origin of stanzas without a session, and the way to
one of the connections of a component."""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections import Counter as Multiset
from collections import deque
from collections.abc import Mapping
from hashlib import blake2b, sha1
from secrets import token_urlsafe
from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple, Protocol

from ..errors import MalformedJid, StreamError
from ..jid import JID, prepare_domain
from ..memory.budget import Pool
from ..protocol.framing import ByteStream, written_in
from ..protocol.token_bucket import Rate
from ..stanza import Kind, Stanza, iq
from ..xml import E
from .origin import OriginStream

if TYPE_CHECKING:
    from ..config import ComponentConfig
    from ..contracts.link import Link
    from ..protocol.items import Nonza
    from .runtime import StreamServer

log = logging.getLogger("xmppd.streams")

COMPONENT_NS: Final = "jabber:component:accept"
FRAMING: Final = ByteStream(COMPONENT_NS)
BESIDE: Final = 400
"""Bytes that a waiting stanza needs beside its own."""


class Waiting(NamedTuple):
    """A stanza that has not left for the component. `key`: its conversation."""

    stanza: Stanza
    data: bytes
    key: str

    @property
    def size(self) -> int:
        return 2 * len(self.data) + BESIDE


class Service(Protocol):
    """The component that a connection is one of."""

    name: str
    jid: JID
    config: ComponentConfig
    rate: Rate

    def check_room(self) -> None:
        """Another connection may come. Raises StreamError: there are as many as there may be."""
        ...

    def attach(self, connection: ComponentStream) -> None:
        """It has proved that it knows the secret."""
        ...

    def detach(self, connection: ComponentStream, left: list[Waiting]) -> None:
        """It is gone; what has not left for it."""
        ...

    def failed(self, peer: str) -> None:
        """Somebody has not known the secret."""
        ...


class Services(Protocol):
    """All components."""

    def open(self, stream: ComponentStream) -> None:
        """A connection has come, which may be anybody's."""
        ...

    def gone(self, stream: ComponentStream) -> None: ...
    def find(self, name: str) -> Service | None: ...


class ComponentStream(OriginStream):
    """One connection of a component. Implements `contracts.routes.Origin` and
    `contracts.components.ComponentConnection`.

    What was written and has not left for the kernel is remembered: when the connection breaks, the component has most
    likely not read it, so it goes to another connection or back to who has sent it."""

    __slots__ = (
        "_behind",
        "_drains",
        "_in_flight",
        "_keys",
        "_waiters",
        "asked_at",
        "attached",
        "id",
        "salt",
        "service",
        "services",
        "slow",
        "unsent",
    )

    version: ClassVar[str] = ""
    relays = True

    def __init__(self, server: StreamServer, services: Services) -> None:
        super().__init__(server, FRAMING)
        self.services = services
        self.service: Service | None = None
        self.attached = False
        self.asked_at = 0.0
        """When it was asked for a sign of life."""
        self.id = ""
        self.slow = False
        """The link was given as much as it takes now."""
        self.unsent = 0
        """Bytes that wait for the component, with what is beside them."""
        self._in_flight: deque[Waiting] = deque()
        self._behind: deque[Waiting] = deque()
        self._keys: Multiset[str] = Multiset()
        self._drains = False
        self._waiters: list[asyncio.Future[None]] = []
        self.salt = b""
        """Makes its share of the conversations another one than those of its siblings."""

    # ---- the link's side

    def connected(self, link: Link) -> None:
        super().connected(link)
        self.services.open(self)

    def pause_writing(self) -> None:
        self.slow = True

    def resume_writing(self) -> None:
        self.slow = False
        while self._behind and not self.slow:
            self._put(self._behind.popleft())
        self.look()

    def lost(self) -> None:
        self._leave()

    def ended(self, error: StreamError | None) -> None:
        self._leave()

    def _leave(self) -> None:
        self.services.gone(self)
        self.uncharge()
        if self.attached:
            assert self.service is not None
            self.attached = False
            left = [*self._in_flight, *self._behind]
            self._in_flight.clear()
            self._behind.clear()
            self._keys.clear()
            self.unsent = 0
            self._wake()
            self.service.detach(self, left)

    # ---- header and handshake (section 3)

    @property
    def name(self) -> str:
        return self.service.name if self.service is not None else ""

    @property
    def domain(self) -> str:
        return self.name or str(self.server.default_host.domain)

    @property
    def peer_name(self) -> str:
        return f"the component {self.name}" if self.attached else "a component"

    @property
    def pool(self) -> Pool | None:
        return self._pool if self.attached else None

    def make_id(self) -> str:
        self.id = super().make_id()
        return self.id

    def header_received(self, attributes: Mapping[str, str]) -> None:
        try:
            self.service = self.services.find(prepare_domain(attributes.get("to", "")))
        except MalformedJid:
            self.service = None
        if self.service is None:
            raise StreamError("host-unknown")

    def features(self) -> bytes:
        return b""  # there are none in this protocol

    def element_received(self, nonza: Nonza) -> bool:
        if self.attached:
            raise StreamError("unsupported-stanza-type")
        if nonza.tag != f"{COMPONENT_NS}|handshake" or self.service is None:
            raise StreamError("not-authorized")
        try:
            secret = self.service.config.read_secret()
        except (OSError, UnicodeError) as error:
            log.error("the secret of the component %s cannot be read: %s", self.name, error)
            raise StreamError("internal-server-error") from None
        wanted = sha1(f"{self.id}{secret}".encode(), usedforsecurity=False).hexdigest()
        if not secret or not hmac.compare_digest(nonza.text.strip().encode(), wanted.encode()):
            self.service.failed(self.peer)
            raise StreamError("not-authorized")
        self.service.check_room()
        self.salt = self.id.encode()
        self.write(b"<handshake/>")
        self.attached = True
        self.parser.limits = self.server.limits.after_sign_in
        self.link.take_first()
        self.service.attach(self)
        return True

    # ---- what it sends

    def stanza_received(self, stanza: Stanza) -> None:
        if not self.attached:
            raise StreamError("not-authorized")
        stanza.sender = self._sender(stanza)
        if stanza.kind is Kind.PRESENCE and len(stanza.inside) > self.server.limits.presence_size:
            stanza.fault = "too-big"
        self.route(stanza)

    def _sender(self, stanza: Stanza) -> JID:
        """One that is missing or no address costs the stanza, not the stream of everybody: gateways make addresses of
        names that strangers choose. Raises StreamError for that of another domain."""
        service = self.service
        assert service is not None
        try:
            sender = JID.parse(stanza.claimed)
        except MalformedJid:
            stanza.fault = "jid-malformed" if stanza.claimed else "bad-request"
            return service.jid
        if sender.domain != service.name:
            log.warning("the component %s ends: it speaks for %s", service.name, sender.domain)
            raise StreamError("invalid-from", f"not one of {service.name}")
        return sender

    @property
    def rate(self) -> Rate | None:
        return self.service.rate if self.attached and self.service is not None else None

    def charge_inbox(self, size: int) -> bool:
        return not self.attached and super().charge_inbox(size)  # `was_read` counts it

    def is_full(self, part: int) -> bool:
        """What it does not read counts as well: who asks and asks gets answers."""
        most = self.service.config.queue // (2 * part) if self.service is not None else 0
        return super().is_full(part) or self.unsent > most

    # ---- contracts.routes.Origin

    def may_send_as(self, sender: JID) -> bool:
        return sender.domain == self.name

    def reply(self, stanza: Stanza) -> None:
        if stanza.to is not None and stanza.to.domain != self.name:
            self.server.router.deliver(stanza)  # for whom it has spoken (XEP-0356)
        else:
            self.send(stanza)

    # ---- what it is sent

    def send(self, stanza: Stanza) -> None:
        if self.attached:
            self.take(Waiting(stanza, written_in(stanza, COMPONENT_NS), key_of(stanza)))

    def take(self, entry: Waiting) -> None:
        """Write it, behind all that waits. The stream ends when more waits than may: what would be left out, presence
        above all, nobody would send again."""
        self.unsent += entry.size
        self._keys[entry.key] += 1
        if self.slow or self._behind:
            self._behind.append(entry)
            assert self.service is not None
            if self.unsent > self.service.config.queue * 5 // 4:
                log.warning("the component %s ends: it does not read what it is sent", self.name)
                self.fail(StreamError("resource-constraint", "it does not read what it is sent"))
            else:
                self.look()
            return
        self._put(entry)
        if self.slow:
            self.look()

    def _put(self, entry: Waiting) -> None:
        self._in_flight.append(entry)
        if not self._drains:
            self._drains = True
            self.link.on_drained(self._drained)
        self.write(entry.data)

    def _drained(self) -> None:
        """All that was written has left."""
        self._drains = False
        keys = self._keys
        for entry in self._in_flight:
            self.unsent -= entry.size
            if keys[entry.key] > 1:
                keys[entry.key] -= 1
            else:
                del keys[entry.key]
        self._in_flight.clear()
        if self.too_much:
            self.look()
        if self._waiters:
            self._wake()

    async def room(self) -> bool:
        """See `contracts.components.ComponentConnection`."""
        while self.attached and self.service is not None and self.unsent > self.service.config.queue // 4:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter
        return self.attached

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def holds(self, key: str) -> bool:
        """Something of that conversation waits here."""
        return key in self._keys

    def weight(self, key: str) -> bytes:
        """Of the connections of a component the one with most weight has a conversation (rendezvous hashing): when one
        ends, only what was there moves."""
        return blake2b(key.encode(), digest_size=8, key=self.salt).digest()

    def ping(self, sender: JID) -> None:
        """Ask for a sign of life (XEP-0199 section 4.3); an error is one as well."""
        assert self.service is not None
        self.pinged, self.asked_at = True, self.server.clock.monotonic()
        self.send(iq("get", token_urlsafe(6), E("ping", "urn:xmpp:ping"), to=self.service.jid, sender=sender))


def key_of(stanza: Stanza) -> str:
    """The conversation: the bare JID of who sends. All that a person sends to a component then takes one way, to
    whichever of its users, as gateways keep what they know by person; and order is promised for one sender and one
    recipient only (RFC 6120 section 10.1), so it holds."""
    return stanza.sender.bare if stanza.sender is not None else ""
