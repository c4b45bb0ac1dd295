"""Streams between servers without sockets: the other server is the test. `federate(harness)` makes a server talk to
others; `PeerStream` is one that it is sent, `CalledStream` one that it has opened itself."""

from __future__ import annotations

import asyncio
import time
from base64 import b64encode
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lxml import etree

from xmppd.config import FederationConfig
from xmppd.contracts.link import Receiver
from xmppd.net.dns import Candidate, NoSuchDomain
from xmppd.server.federation import PolicedDomains
from xmppd.streams.remote_domains import RemoteDomains
from xmppd.streams.server_in import IncomingServerStream

from .authority import Authority
from .client import STREAM, Client, Element, FakeLink, Inbox

if TYPE_CHECKING:
    from . import Harness

SERVER = "{jabber:server}"
TLS, SASL, SM = "urn:ietf:params:xml:ns:xmpp-tls", "urn:ietf:params:xml:ns:xmpp-sasl", "urn:xmpp:sm:3"
DIALBACK = "jabber:server:dialback"
HEADER = (
    "<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' "
    "xmlns:db='jabber:server:dialback'{attributes}>"
)
FEATURES = "<stream:features>{}</stream:features>"
STARTTLS = f"<starttls xmlns='{TLS}'/>"
EXTERNAL = f"<mechanisms xmlns='{SASL}'><mechanism>EXTERNAL</mechanism></mechanisms>"
SM_FEATURE = f"<sm xmlns='{SM}'/>"
DIALBACK_FEATURE = "<dialback xmlns='urn:xmpp:features:dialback'/>"
BIDI_FEATURE = "<bidi xmlns='urn:xmpp:features:bidi'/>"
BIDI = "<bidi xmlns='urn:xmpp:bidi'/>"


class PeerLink(FakeLink):
    """TLS is ready in a later turn, as it is with sockets."""

    def start_tls(self, context: object, domain: str = "") -> None:
        if self.secure or self.securing:
            raise RuntimeError("TLS is on")
        self.securing = True
        asyncio.get_running_loop().call_soon(self._secured)

    def _secured(self) -> None:
        if not self.closed:
            self.securing, self.secure = False, True
            self.client.secured = True
            self.peer_certificates = self.client.certificate  # type: ignore[attr-defined]
            self.client.stream.secured()


class _End(Client):
    """The test's end of a stream between servers."""

    stream: Any

    def __init__(self, harness: Harness) -> None:
        Inbox.__init__(self, harness)
        self.answers_pings = False
        self.certificate: tuple[bytes, ...] = ()
        self.link = PeerLink(self, secure=False)
        self.headers: list[Element] = []
        self.closed = self.secured = False
        self._unsent: deque[bytes] = deque()
        self._fresh()
        self._gone = False

    def pinged(self, element: Element) -> bool:
        return False

    def feed(self, data: bytes) -> None:
        super().feed(data)
        if data.startswith(b"<?xml"):
            self.headers.append(next(iter(etree.XML(data + b"</stream:stream>").iter())))

    @property
    def id(self) -> str:
        """Of the last stream that the server has opened."""
        return str(self.headers[-1].get("id"))


class PeerStream(_End):
    """Another server that has connected. `name`: its domain; `certificate`: what it shows."""

    def __init__(
        self, federation: Federation, name: str = "other.example", certificate: tuple[bytes, ...] = ()
    ) -> None:
        super().__init__(federation.harness)
        self.name = self.jid = name
        self.certificate = certificate
        self.stream = IncomingServerStream(federation.harness.server, federation.remotes)
        self.stream.connected(self.link)

    def header(self, to: str | None = "localhost", sender: str | None = "", version: str | None = "1.0") -> None:
        """`sender`: None for none, "" for its name."""
        given = {"to": to, "from": self.name if sender == "" else sender, "version": version}
        attributes = "".join(f" {key}='{value}'" for key, value in given.items() if value is not None)
        self.send(HEADER.format(attributes=attributes))

    async def starttls(self, **header: Any) -> Element:
        """Header, STARTTLS, header: the features."""
        self.header(**header)
        await self.receive()
        self.send(STARTTLS)
        assert (await self.receive()).tag == f"{{{TLS}}}proceed"
        await self.harness.until(lambda: self.secured)
        self.header(**header)
        return await self.receive()

    def auth(self, identity: str | None = None) -> None:
        text = "=" if identity == "" else b64encode((identity or self.name).encode()).decode()
        self.send(f"<auth xmlns='{SASL}' mechanism='EXTERNAL'>{text}</auth>")

    async def sign_in_external(self, bidi: bool = False, **header: Any) -> PeerStream:
        """Signed in by its certificate. `bidi`: for both ways (XEP-0288)."""
        await self.starttls(**header)
        if bidi:
            self.send(BIDI)
        self.auth()
        assert (await self.receive()).tag == f"{{{SASL}}}success"
        self.header(**header)
        await self.receive()
        return self

    def result(self, key: str = "key", sender: str = "", to: str = "localhost", more: str = "") -> None:
        self.send(f"<db:result from='{sender or self.name}' to='{to}'{more}>{key}</db:result>")


class CalledStream(_End):
    """One that the server has opened to `domain`."""

    def __init__(self, harness: Harness, candidate: Candidate, domain: str, local: str) -> None:
        super().__init__(harness)
        self.name = domain
        self.local = local
        self.link.secure = candidate.direct_tls

    def begin(self, stream: Receiver) -> PeerLink:
        self.stream = stream
        self.stream.connected(self.link)
        return self.link  # type: ignore[return-value]

    def answer(self, *features: str, id: str = "their-id", version: str = " version='1.0'") -> None:
        """Header and features."""
        self.send(HEADER.format(attributes=f" from='{self.name}' to='{self.local}' id='{id}'{version}"))
        if version:
            self.send(FEATURES.format("".join(features)))

    async def encrypt(self, *features: str, id: str = "their-id") -> None:
        self.answer(STARTTLS)
        assert (await self.receive()).tag == f"{{{TLS}}}starttls"
        self.send(f"<proceed xmlns='{TLS}'/>")
        await self.harness.until(lambda: self.secured)
        self.answer(*features, id=id)

    async def accept(self, managed: bool = True, bidi: bool = False, shared: bool = False) -> CalledStream:
        """It is signed in by its certificate. `managed`: with XEP-0198; `bidi`: for both ways; `shared`: it may be
        asked for further domains."""
        await self.encrypt(EXTERNAL, *([BIDI_FEATURE] if bidi else []))
        if bidi:
            assert (await self.receive()).tag == "{urn:xmpp:bidi}bidi"
        assert (await self.receive()).tag == f"{{{SASL}}}auth"
        self.send(f"<success xmlns='{SASL}'/>")
        self.answer(*([SM_FEATURE] if managed else []), *([DIALBACK_FEATURE] if shared else []))
        if managed:
            assert (await self.receive()).tag == f"{{{SM}}}enable"
            self.send(f"<enabled xmlns='{SM}'/>")
        return self

    def acknowledge(self, count: int | str) -> None:
        self.send(f"<a xmlns='{SM}' h='{count}'/>")

    async def stanzas(self) -> list[str]:
        """The ids of what has come."""
        return [str(each.get("id")) for each in await self.receive_all() if each.tag.startswith(SERVER)]


class Federation:
    """Resolver, dialler and certificates in one. `called`: the streams that the server has opened; `refuses`: by
    domain, what a call ends with; `talks`: what the other server does on each of its streams."""

    def __init__(self, harness: Harness, config: FederationConfig) -> None:
        self.harness = harness
        self.called: list[CalledStream] = []
        self.refuses: dict[str, Exception] = {}
        self.no_name: dict[str, Exception] = {}
        self.talks: Callable[[CalledStream], None] = lambda called: None
        self.direct_tls = False
        self.allowed: tuple[object, ...] = ()
        self.timeout = 20.0
        self.calls = 0
        made: Any = PolicedDomains(harness.server, config, self, self, self)  # type: ignore[arg-type]
        self.remotes: RemoteDomains = made
        harness.server.remote_domains = made
        harness.server.routes.elsewhere.servers = made

    def configure(self, **options: Any) -> None:
        """Other options, at a reload."""
        self.remotes.configure(replace(self.remotes.config, **options), self.remotes.trust)

    # ---- the resolver

    async def candidates(self, domain: str) -> list[Candidate]:
        if domain in self.no_name:
            raise self.no_name[domain]
        return [Candidate(domain, 5269, self.direct_tls, ("192.0.2.1",))]

    # ---- the dialler

    async def connect(self, candidate: Candidate, domain: str, receiver: Receiver, local_domain: str) -> PeerLink:
        self.calls += 1
        if domain in self.refuses:
            raise self.refuses[domain]
        called = CalledStream(self.harness, candidate, domain, local_domain)
        self.called.append(called)
        link = called.begin(receiver)
        self.talks(called)
        return link

    async def close(self, within: float) -> None:
        for each in self.called:
            each.cut()

    # ---- certificates

    def client_context(self, domain: str) -> object:
        return object()

    def peer_context(self, domain: str) -> object:
        return object()

    async def next_call(self, number: int = 0) -> CalledStream:
        """The stream that the server opens as number `number`."""
        assert await self.harness.until(lambda: len(self.called) > number), "nothing was called"
        return self.called[number]


def federate(harness: Harness, authority: Authority | Path | None = None, **options: Any) -> Federation:
    """`options`: of `federation:`."""
    if isinstance(authority, Authority):
        options["authorities"] = authority.file
        harness.clock.step(time.time() - harness.clock.wall)  # its certificates are of today
    return Federation(harness, FederationConfig(**options))


def error_of(element: Element) -> str:
    """The condition of a stream error."""
    assert element.tag == f"{STREAM}error", etree.tostring(element)
    return str(etree.QName(element[0].tag).localname)


def no_such_domain(name: str) -> Exception:
    return NoSuchDomain(f"{name} does not exist")
