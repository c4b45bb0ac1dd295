"""A client over BOSH without sockets: each request is an HTTP request to the whole server. Its parser is lxml's."""

from __future__ import annotations

import base64
from collections import deque
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, cast

from lxml import etree

from xmppd.config import HttpListenerConfig
from xmppd.server.http_site import HttpSite

from .http import HttpAnswer, HttpLink, read_answer

if TYPE_CHECKING:
    from xmppd.contracts.link import Link

    from . import Harness

Element = etree._Element
BODY = "http://jabber.org/protocol/httpbind"
SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
_serial = count(1)


class Sent:
    """A request on its way, over a connection of its own, and its answer when it has come."""

    def __init__(self, harness: Harness, data: bytes, secure: bool, peer: str, headers: dict[str, str]) -> None:
        self.harness = harness
        self.data = data
        self.link = HttpLink()
        self.link.secure, self.link.peer = secure, peer
        site = HttpSite(harness.server, HttpListenerConfig(tls="none"))
        self.connection = harness.server.http.receiver(site)()
        self.connection.connected(cast("Link", self.link))
        head = {"Host": "localhost", "Content-Length": str(len(data)), "Connection": "close", **headers}
        lines = ["POST /http-bind HTTP/1.1", *(f"{name}: {value}" for name, value in head.items()), "", ""]
        self.connection.data_received("\r\n".join(lines).encode() + data)
        self._gone = False

    @property
    def answered(self) -> bool:
        return self.link.closed

    def cut(self) -> None:
        """The connection breaks."""
        if not self._gone:
            self._gone = True
            self.connection.connection_lost(ConnectionResetError())

    async def answer(self) -> HttpAnswer:
        assert await self.harness.until(lambda: self.answered), f"no answer to {self.data.decode()}"
        self.cut()
        return read_answer(bytes(self.link.written))

    async def body(self) -> Element:
        """The <body/> of the answer."""
        answer = await self.answer()
        assert answer.status == 200, answer
        element = etree.fromstring(answer.body)
        assert element.tag == f"{{{BODY}}}body", answer.body
        return element

    async def waits(self) -> bool:
        """Whether the server keeps it waiting."""
        await self.harness.quiet()
        return not self.answered


@dataclass
class BoshClient:
    """`send` makes a request; `receive` follows the long poll of a client that has one request open."""

    harness: Harness
    wait: int = 50
    hold: int = 1
    rid: int = 1_573_741_820
    sid: str = ""
    secure: bool = True
    peer: str = "127.0.0.1"
    jid: str = ""
    first: Element | None = None
    """The session creation response."""
    inbox: deque[Element] = field(default_factory=deque)
    ended: Element | None = None
    open: list[Sent] = field(default_factory=list)

    def post(self, text: str | bytes, **headers: str) -> Sent:
        """Any request."""
        return Sent(self.harness, text.encode() if isinstance(text, str) else text, self.secure, self.peer, headers)

    def text(self, payload: str = "", rid: int | None = None, more: str = "") -> str:
        """The next request, or that of `rid`."""
        if rid is None:
            self.rid += 1
            rid = self.rid
        sid = f" sid='{self.sid}'" if self.sid else ""
        return f"<body rid='{rid}'{sid} xmlns='{BODY}' xmlns:xmpp='urn:xmpp:xbosh' {more}>{payload}</body>"

    def request(self, payload: str = "", rid: int | None = None, more: str = "") -> Sent:
        return self.post(self.text(payload, rid, more))

    async def create(self, more: str = "", domain: str = "localhost", version: str = "1.11") -> Element:
        """Begin a session; the answer."""
        ver = f" ver='{version}'" if version else ""
        terms = f"to='{domain}' wait='{self.wait}' hold='{self.hold}'{ver} xml:lang='en' xmpp:version='1.0' {more}"
        body = await self.request(more=terms).body()
        self.sid = body.get("sid", "")
        self.first = body
        return body

    # ---- a client that follows the rules

    def send(self, payload: str = "", more: str = "") -> Sent:
        """A request whose answer is read by `receive`."""
        self.open.append(self.request(payload, more=more))
        return self.open[-1]

    async def receive(self) -> Element:
        """The next element. A request is open all the time, as XEP-0124 section 10 wants it."""
        while not self.inbox:
            assert self.ended is None, f"the session is over: {etree.tostring(self.ended).decode()}"
            if not self.open:
                self.send()
            await self._read()
        return self.inbox.popleft()

    async def _read(self) -> None:
        """The next answer."""
        body = await self.open[0].body()
        self.open.pop(0)
        self.inbox.extend(body)
        if body.get("type") == "terminate":
            self.ended = body

    async def quiet(self) -> list[Element]:
        """All that comes until the server has no more to say."""
        if not self.open:
            self.send()
        await self.harness.quiet()
        while self.open and self.open[0].answered:
            await self._read()
            if not self.open and self.ended is None:
                self.send()
            await self.harness.quiet()
        found = list(self.inbox)
        self.inbox.clear()
        return found

    async def iq(self, payload: str, type: str = "get", to: str = "") -> Element:
        id, address = f"b{next(_serial)}", f" to='{to}'" if to else ""
        self.send(f"<iq xmlns='jabber:client' type='{type}' id='{id}'{address}>{payload}</iq>")
        kept = []
        while True:
            element = await self.receive()
            if element.tag == "{jabber:client}iq" and element.get("id") == id:
                self.inbox.extendleft(reversed(kept))
                return element
            kept.append(element)

    async def sign_in(self, user: str) -> None:
        """PLAIN, and the new stream."""
        initial = base64.b64encode(f"\0{user}\0pencil".encode()).decode()
        success = await self.request(f"<auth xmlns='{SASL}' mechanism='PLAIN'>{initial}</auth>").body()
        assert success[0].tag == f"{{{SASL}}}success", etree.tostring(success)
        features = await self.request(more="to='localhost' xmpp:restart='true'").body()
        assert features[0].tag == "{http://etherx.jabber.org/streams}features", etree.tostring(features)

    async def bind(self, resource: str = "") -> None:
        wanted = f"<resource>{resource}</resource>" if resource else ""
        answer = await self.iq(f"<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>{wanted}</bind>", "set")
        assert answer.get("type") == "result", etree.tostring(answer)
        self.jid = str(answer[0][0].text)

    @classmethod
    async def login(cls, harness: Harness, user: str, resource: str = "", more: str = "", **options: int) -> BoshClient:
        """A bound session of user@localhost (the account is made if it is not there)."""
        await harness.register(user)
        client = cls(harness, **options)
        await client.create(more)
        await client.sign_in(user)
        await client.bind(resource)
        return client
