"""A component without a socket (XEP-0114): text in, elements out, which are shown as if they were in jabber:client."""

from __future__ import annotations

from collections import deque
from hashlib import sha1
from typing import TYPE_CHECKING

from lxml import etree

from xmppd.streams.component import ComponentStream

from .client import STREAM, Client, FakeLink, Inbox

if TYPE_CHECKING:
    from . import Harness

NS = "jabber:component:accept"
HEADER = f"<stream:stream xmlns='{NS}' xmlns:stream='http://etherx.jabber.org/streams' to='{{name}}'>"
SECRET = "a secret of some length"


class ComponentClient(Client):
    """`send` text, `receive` elements, as with a client."""

    def __init__(self, harness: Harness, name: str) -> None:
        Inbox.__init__(self, harness)
        self.name = self.jid = name
        self.link = FakeLink(self, secure=False)
        self.stream: ComponentStream = ComponentStream(harness.server, harness.server.components)  # type: ignore[assignment]
        self.id = ""
        """Of the stream."""
        self.closed = False
        self._unsent: deque[bytes] = deque()
        self._fresh()
        self._gone = False
        self.answers_pings = False
        harness.clients.append(self)
        self.stream.connected(self.link)

    def pinged(self, element: etree._Element) -> bool:
        for each in list(element.iter(f"{{{NS}}}*")):
            each.tag = "{jabber:client}" + etree.QName(each.tag).localname
        return False

    def feed(self, data: bytes) -> None:
        if data.startswith(b"<?xml"):
            self._fresh()
            self._parser.feed(data)
            [(_, header)] = self._parser.read_events()
            self._depth = 1
            self.id = str(header.get("id"))
            self.header = header
            return
        super().feed(data)

    def open(self, domain: str = "", sender: str = "") -> None:
        self.send(HEADER.format(name=domain or self.name))

    def proof(self, secret: str = SECRET) -> str:
        return sha1((self.id + secret).encode()).hexdigest()

    def shake_hands(self, secret: str = SECRET) -> None:
        self.send(f"<handshake>{self.proof(secret)}</handshake>")

    async def enter(self, secret: str = SECRET) -> ComponentClient:
        """Connected; what it is told then is left in the inbox."""
        self.open()
        self.shake_hands(secret)
        answer = await self.receive()
        assert answer.tag == "{jabber:client}handshake", etree.tostring(answer)
        return self

    async def stream_error(self) -> str:
        for element in await self.receive_all():
            if element.tag == STREAM + "error":
                return str(etree.QName(element[0].tag).localname)
        raise AssertionError("no stream error")
