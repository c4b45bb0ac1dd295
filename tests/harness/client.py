"""A client without a socket: text in, elements out. Its parser is lxml's, not the server's."""

from __future__ import annotations

import asyncio
import base64
import re
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING

from lxml import etree

from xmppd.net.engine import Timing
from xmppd.streams.client import ClientStream

if TYPE_CHECKING:
    from . import Harness

Element = etree._Element
STREAM = "{http://etherx.jabber.org/streams}"
HEADER = (
    "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' "
    "to='{domain}' version='1.0'>"
)
HIGH_WATER = Timing().high_water
HOSTS_OWN = re.compile(r"[0-9a-f]{8}-\d+")
"""The ids of IQs that a host sends."""
_serial = count(1)


class FakeLink:
    """What the server's stream holds instead of a connection (xmppd.contracts.link.Link)."""

    def __init__(self, client: Client, secure: bool) -> None:
        self.client = client
        self.secure = secure
        self.loopback = True
        self.peer = "127.0.0.1"
        self.port = 0
        self.last_read = client.harness.clock.monotonic()
        self.securing = False
        self.tls_exporter: bytes | None = None
        self.tls_unique: bytes | None = None
        self.tls_server_end_point: bytes | None = None
        self.peer_certificates: tuple[bytes, ...] = ()
        self.tls_version = ""
        self.cipher = ""
        self.slow = False
        """The stream was told that more waits than it should."""
        self.paused = False
        self.stalled = False
        """The client does not read: nothing written counts as drained."""
        self.closed = False
        self.first = False
        """What the client sends is taken ahead of strangers'."""
        self.written = bytearray()
        self.backlog: list[bytes] = []
        self._waiting: list[Callable[[], None]] = []

    @property
    def exports(self) -> bool:
        return self.tls_exporter is not None

    def write(self, data: bytes) -> None:
        if self.closed:
            return
        if self.stalled:
            self.backlog.append(data)
            if not self.slow and self.write_buffer_size > HIGH_WATER:
                self.slow = True
                self.client.stream.pause_writing()
            return
        self.written += data
        self.client.feed(data)

    @property
    def write_buffer_size(self) -> int:
        return sum(map(len, self.backlog))

    def on_drained(self, callback: Callable[[], None]) -> None:
        if self.stalled:
            self._waiting.append(callback)
        else:
            asyncio.get_running_loop().call_soon(callback)

    def go_on(self) -> None:
        self.stalled = False
        backlog, self.backlog = self.backlog, []
        for data in backlog:
            self.write(data)
        waiting, self._waiting = self._waiting, []
        for callback in waiting:
            callback()
        if self.slow:
            self.slow = False
            self.client.stream.resume_writing()

    def start_tls(self, context: object, domain: str = "") -> None:
        self.secure = True
        self.client.secured = True

    def hold(self) -> None:
        """Nothing is put off here."""

    def take_first(self) -> None:
        self.first = True

    def read_in_bulk(self, much: bool) -> None:
        """No matter here."""

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False
        self.client.push()

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            asyncio.get_running_loop().call_soon(self.client.lost)

    def abort(self) -> None:
        self.close()


class Inbox:
    """What has come, and how a test waits for it."""

    def __init__(self, harness: Harness) -> None:
        self.harness = harness
        self.inbox: deque[Element] = deque()
        self.jid = ""
        self.answers_pings = True
        """The pings behind messages are answered and not shown, as a client's library does it (`pings` counts)."""
        self.pings = 0

    def pinged(self, element: Element) -> bool:
        """Whether it is the ping behind a burst of messages, which asks for no more than an answer."""
        id = str(element.get("id"))
        if element.find("{urn:xmpp:ping}ping") is None or not HOSTS_OWN.fullmatch(id):
            return False
        self.pings += 1
        if self.answers_pings:
            answer = f"<iq xmlns='jabber:client' type='result' id='{id}' to='{element.get('from')}'/>"
            asyncio.get_running_loop().call_soon(self.send, answer)
        return True

    def send(self, text: str) -> None:
        raise NotImplementedError

    async def receive(self) -> Element:
        """The next element; fails when the server has gone quiet."""
        if not await self.harness.until(lambda: bool(self.inbox)):
            raise AssertionError(f"{self.jid or 'the client'} received nothing")
        return self.inbox.popleft()

    async def receive_all(self) -> list[Element]:
        """All that comes until the server is quiet."""
        await self.harness.quiet()
        found = list(self.inbox)
        self.inbox.clear()
        return found

    async def silence(self) -> None:
        """Nothing more comes."""
        rest = await self.receive_all()
        assert not rest, f"{self.jid} received {[etree.tostring(each).decode() for each in rest]}"


class Client(Inbox):
    """`send` text, `receive` elements."""

    def __init__(self, harness: Harness, tls: str = "none") -> None:
        super().__init__(harness)
        self.link = FakeLink(self, secure=False)
        self.stream = ClientStream(harness.server, tls)
        self.bare = ""
        self.lang = ""
        """xml:lang of the stream headers that it sends."""
        self.closed = False
        """The server has closed the stream."""
        self.secured = False
        self._unsent: deque[bytes] = deque()
        self._fresh()
        self._gone = False
        self.stream.connected(self.link)

    def _fresh(self) -> None:
        self._parser = etree.XMLPullParser(events=("start", "end"), recover=False)
        self._depth = 0

    # ---- wire

    def feed(self, data: bytes) -> None:
        if data.startswith(b"<?xml"):
            self._fresh()
        self._parser.feed(data)
        for event, element in self._parser.read_events():
            if event == "start":
                self._depth += 1
                continue
            self._depth -= 1
            if self._depth == 1:
                if not self.pinged(element):
                    self.inbox.append(element)
            elif self._depth == 0:
                self.closed = True

    def send(self, text: str | bytes) -> None:
        """Bytes on their way to the server (held while the server does not read)."""
        self._unsent.append(text.encode() if isinstance(text, str) else text)
        self.push()

    def push(self) -> None:
        while self._unsent and not self.link.paused and not self._gone:
            self.link.last_read = self.harness.clock.monotonic()
            self.stream.data_received(self._unsent.popleft())

    def open(self, domain: str = "localhost", sender: str = "") -> None:
        header = HEADER.format(domain=domain)
        header = header.replace(" to=", f" from='{sender}' to=") if sender else header
        self.send(header.replace(" to=", f" xml:lang='{self.lang}' to=") if self.lang else header)

    def cut(self) -> None:
        """The connection breaks."""
        self.link.closed = True
        self.lost()

    def lost(self) -> None:
        if not self._gone:
            self._gone = True
            self.link.closed = True
            self.stream.connection_lost(None)

    def close(self) -> None:
        """The client says goodbye."""
        self.send("</stream:stream>")

    # ---- reading

    async def stream_error(self) -> str:
        """The condition of the stream error that ends this stream; what came before is dropped."""
        for element in await self.receive_all():
            if element.tag == STREAM + "error":
                assert self.closed, "a stream error must close the stream"
                return etree.QName(element[0].tag).localname
        raise AssertionError("there was no stream error")

    async def iq(self, payload: str, type: str = "get", to: str | None = None, id: str | None = None) -> Element:
        """Send an IQ; the answer. What else comes meanwhile stays in the inbox."""
        id = id or f"q{next(_serial)}"
        target = f" to='{to}'" if to is not None else ""
        self.send(f"<iq type='{type}' id='{id}'{target}>{payload}</iq>")

        def answer() -> Element | None:
            for element in self.inbox:
                wanted = element.tag == "{jabber:client}iq" and element.get("id") == id
                if wanted and element.get("type") in ("result", "error"):
                    return element
            return None

        if not await self.harness.until(lambda: answer() is not None):
            raise AssertionError(f"no answer to {payload}")
        found = answer()
        assert found is not None
        self.inbox.remove(found)
        return found

    # ---- sign-in

    async def sign_in(self, user: str, password: str = "pencil", domain: str = "localhost") -> None:
        """Header, SASL PLAIN, header."""
        self.open(domain)
        await self.receive()
        await self.authenticate(user, password, domain)

    async def authenticate(self, user: str, password: str = "pencil", domain: str = "localhost") -> None:
        """SASL PLAIN, header."""
        initial = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
        self.send(f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{initial}</auth>")
        answer = await self.receive()
        assert answer.tag.endswith("}success"), etree.tostring(answer)
        self.bare = f"{user}@{domain}"
        self.open(domain)
        self.features = await self.receive()

    async def bind(self, resource: str | None = None) -> None:
        wanted = f"<resource>{resource}</resource>" if resource else ""
        answer = await self.iq(f"<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>{wanted}</bind>", "set")
        assert answer.get("type") == "result", etree.tostring(answer)
        self.jid = str(answer[0][0].text)
