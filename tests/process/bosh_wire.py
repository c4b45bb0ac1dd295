"""A client over BOSH on real sockets, written from XEP-0124 and XEP-0206: each request on a connection of its own."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections import deque
from itertools import count
from secrets import randbelow

from lxml import etree

from tests.process.client import WITHIN, Element, any_certificate

BODY = "http://jabber.org/protocol/httpbind"
SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
_serial = count(1)


class Exchange:
    """One HTTP request, sent; `body` is its answer."""

    def __init__(self, data: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.data = data
        self._reader, self._writer = reader, writer
        self.status = 0
        self.headers: dict[str, str] = {}

    @classmethod
    async def send(cls, port: int, data: bytes, context: ssl.SSLContext | None, whole: bool = True) -> Exchange:
        """`whole`: the request is sent to its end."""
        host = {"server_hostname": "localhost"} if context is not None else {}
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, **host)  # type: ignore[arg-type]
        head = "POST /http-bind HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/xml\r\n"
        head += f"Content-Length: {len(data)}\r\n\r\n"
        writer.write(head.encode() + (data if whole else data[:-10]))
        await writer.drain()
        return cls(data, reader, writer)

    async def read(self) -> bytes:
        """The content of the answer."""
        async with asyncio.timeout(WITHIN + 50):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            self.status = int(head[0].split(" ")[1])
            self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:-2])}
            data = await self._reader.readexactly(int(self.headers["content-length"]))
        self._writer.close()
        return data

    async def body(self) -> Element:
        data = await self.read()
        assert self.status == 200, (self.status, data)
        return etree.fromstring(data)

    def cut(self) -> None:
        """Break the connection, whatever is on it."""
        self._writer.transport.abort()


class BoshWire:
    """A session: `post` any request, or `receive` elements with one request open all the time."""

    def __init__(self, port: int, tls: bool = True) -> None:
        self.port = port
        self.context = any_certificate() if tls else None
        self.rid = randbelow(1 << 50)
        self.sid = ""
        self.jid = ""
        self.open: deque[Exchange] = deque()
        self.inbox: deque[Element] = deque()
        self.ended: Element | None = None

    def text(self, payload: str = "", more: str = "", rid: int | None = None) -> bytes:
        if rid is None:
            self.rid += 1
            rid = self.rid
        sid = f" sid='{self.sid}'" if self.sid else ""
        return f"<body rid='{rid}'{sid} xmlns='{BODY}' xmlns:xmpp='urn:xmpp:xbosh' {more}>{payload}</body>".encode()

    async def post(self, data: bytes, whole: bool = True) -> Exchange:
        return await Exchange.send(self.port, data, self.context, whole)

    async def request(self, payload: str = "", more: str = "") -> Exchange:
        return await self.post(self.text(payload, more))

    async def create(self) -> Element:
        more = "to='localhost' wait='50' hold='1' ver='1.11' xmpp:version='1.0'"
        body = await (await self.request(more=more)).body()
        self.sid = body.get("sid", "")
        return body

    async def send(self, payload: str = "", more: str = "") -> None:
        self.open.append(await self.request(payload, more))

    async def receive(self) -> Element:
        """The next element. Raises EOFError at the end of the session."""
        while not self.inbox:
            if self.ended is not None:
                raise EOFError(self.ended.get("condition", ""))
            if not self.open:
                await self.send()
            body = await self.open.popleft().body()
            self.inbox.extend(body)
            if body.get("type") == "terminate":
                self.ended = body
        return self.inbox.popleft()

    async def find(self, name: str, **attributes: str) -> Element:
        """The next element of that name with these attributes; what comes before is dropped, pings are answered."""
        while True:
            element = await self.receive()
            if element.tag.endswith("}" + name) and all(element.get(key) == value for key, value in attributes.items()):
                return element
            if element.get("type") == "get":
                await self.send(f"<iq xmlns='jabber:client' type='result' id='{element.get('id')}' to='localhost'/>")

    async def iq(self, payload: str, type: str = "get") -> Element:
        id = f"w{next(_serial)}"
        await self.send(f"<iq xmlns='jabber:client' type='{type}' id='{id}'>{payload}</iq>")
        return await self.find("iq", id=id)

    async def sign_in(self, user: str, password: str = "pencil") -> None:
        initial = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
        success = await (await self.request(f"<auth xmlns='{SASL}' mechanism='PLAIN'>{initial}</auth>")).body()
        assert success[0].tag == f"{{{SASL}}}success", etree.tostring(success)
        await (await self.request(more="xmpp:restart='true' to='localhost'")).body()

    @classmethod
    async def login(cls, port: int, user: str, resource: str = "web", tls: bool = True) -> BoshWire:
        wire = cls(port, tls)
        await wire.create()
        await wire.sign_in(user)
        bound = await wire.iq(
            f"<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>{resource}</resource></bind>", "set"
        )
        wire.jid = str(bound[0][0].text)
        return wire
