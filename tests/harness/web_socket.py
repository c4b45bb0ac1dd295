"""A client over WebSocket without sockets: the handshake is a request to the whole server, the frames are a library's,
the parser is lxml's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from lxml import etree
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from xmppd.config import HttpListenerConfig
from xmppd.server.http_site import HttpSite

from .client import Inbox
from .http import HttpLink

if TYPE_CHECKING:
    from xmppd.contracts.link import Link, Receiver

    from . import Harness


class SocketLink(HttpLink):
    """What the server has instead of a connection, as far as a stream needs it."""

    loopback = True
    exports = False
    tls_version = cipher = ""
    tls_server_end_point = tls_exporter = tls_unique = None

    def __init__(self, client: SocketClient) -> None:
        super().__init__()
        self.client = client
        self.last_read = client.harness.clock.monotonic()

    def write(self, data: bytes) -> None:
        if not self.closed:
            self.client.feed(data)

    def on_drained(self, callback: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_soon(callback)

    def hand_over(self, receiver: Receiver) -> None:
        self.client.receiver = receiver
        receiver.connected(cast("Link", self))

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            asyncio.get_running_loop().call_soon(self.client.cut)

    abort = close


class SocketClient(Inbox):
    """One WebSocket. `send` makes a frame of a text, `receive` is the element of the next one."""

    def __init__(self, harness: Harness) -> None:
        super().__init__(harness)
        self.link = SocketLink(self)
        self.receiver: Any = None
        """Of our bytes: the HTTP server, then the WebSocket."""
        self.frames: list[str] = []
        self.close_code = 0
        """What the server's close frame says."""
        self.joined = False
        self._gone = False
        self._protocol = ClientProtocol(
            parse_uri("ws://localhost/xmpp-websocket"), subprotocols=[Subprotocol("xmpp")], max_size=None
        )

    @classmethod
    async def connect(cls, harness: Harness) -> SocketClient:
        """On which nothing was said."""
        client = cls(harness)
        site = HttpSite(harness.server, HttpListenerConfig(tls="none"))
        client.receiver = harness.server.http.receiver(site)()
        client.receiver.connected(client.link)
        client._protocol.send_request(client._protocol.connect())
        client._flush()
        assert await harness.until(lambda: client.joined), "the handshake has failed"
        return client

    def feed(self, data: bytes) -> None:
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Response):
                self.joined = event.status_code == 101 and self._protocol.handshake_exc is None
                continue
            assert isinstance(event, Frame)
            if event.opcode is Opcode.TEXT:
                self.frames.append(bytes(event.data).decode())
                element = etree.fromstring(bytes(event.data))
                if not self.pinged(element):
                    self.inbox.append(element)
            elif event.opcode is Opcode.CLOSE:
                self.close_code = int.from_bytes(bytes(event.data[:2]))
        asyncio.get_running_loop().call_soon(self._flush)

    def send(self, text: str) -> None:
        """One text frame."""
        self._protocol.send_text(text.encode())
        self._flush()

    def close(self) -> None:
        """A close frame, without <close/> before it."""
        self._protocol.send_close(1001)
        self._flush()

    def cut(self) -> None:
        """The connection breaks."""
        if not self._gone:
            self._gone = self.link.closed = True
            self.receiver.connection_lost(None)

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data and not self.link.closed:
                self.link.last_read = self.harness.clock.monotonic()
                self.receiver.data_received(data)
