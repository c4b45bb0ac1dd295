"""The small client of `client.py` over WebSocket (RFC 7395), with the frames of a library."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

from lxml import etree
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.typing import Origin, Subprotocol
from websockets.uri import parse_uri

from tests.process.client import STREAMS, WITHIN, Wire, any_certificate

FRAMING = "{urn:ietf:params:xml:ns:xmpp-framing}"


class Refused(Exception):
    """The handshake has failed; its text is the status."""


class SocketWire(Wire):
    """`closed`: the reason in the server's close frame."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, protocol: ClientProtocol) -> None:
        super().__init__(reader, writer)
        self._protocol = protocol
        self.closed = 0
        self.frames: list[str] = []
        """Text frames as they came."""
        self.pings = 0

    @classmethod
    async def dial(
        cls, port: int, tls: str = "none", origin: str = "", subprotocols: tuple[str, ...] = ("xmpp",)
    ) -> SocketWire:
        """A WebSocket on which nothing was said. Raises Refused."""
        options: dict[str, Any] = {"ssl": any_certificate(), "server_hostname": "localhost"} if tls == "https" else {}
        address = f"{'wss' if options else 'ws'}://localhost:{port}/xmpp-websocket"
        protocol = ClientProtocol(
            parse_uri(address),
            origin=Origin(origin) if origin else None,
            subprotocols=[Subprotocol(each) for each in subprotocols] or None,
            max_size=None,
        )
        wire = cls(*await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port, **options), WITHIN), protocol)
        protocol.send_request(protocol.connect())
        wire._flush()
        while protocol.handshake_exc is None and protocol.state.name == "CONNECTING":
            data = await asyncio.wait_for(wire._reader.read(65536), WITHIN)
            protocol.receive_data(data)
            for event in protocol.events_received():
                if isinstance(event, Response) and event.status_code != 101:
                    wire.cut()
                    raise Refused(str(event.status_code))
            if not data:
                raise Refused("nothing")
        if protocol.handshake_exc is not None:
            raise Refused(str(protocol.handshake_exc))
        return wire

    @classmethod
    async def connect(cls, port: int, tls: str = "none", context: ssl.SSLContext | None = None) -> SocketWire:
        wire = await cls.dial(port, tls)
        await wire.open()
        return wire

    async def open(self) -> None:
        self.send("<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='localhost' version='1.0'/>")
        answer = await self.receive()
        assert answer.tag == f"{FRAMING}open", etree.tostring(answer)
        self.features = await self.receive()
        assert self.features.tag == f"{STREAMS}features", etree.tostring(self.features)

    def send(self, text: str) -> None:
        """A stanza without a namespace gets the one of clients."""
        name = text[1:].split(" ", 1)[0].split(">", 1)[0].rstrip("/")
        if name in ("message", "presence", "iq"):
            text = text.replace(f"<{name}", f"<{name} xmlns='jabber:client'", 1)
        self._protocol.send_text(text.encode())
        self._flush()

    def send_frame(self, frame: Frame) -> None:
        """Whatever it is."""
        self._writer.write(frame.serialize(mask=True))

    def close_socket(self) -> None:
        """A close frame, without <close/>."""
        self._protocol.send_close(1001)
        self._flush()

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self._writer.write(data)

    def _take(self, data: bytes) -> None:
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            assert isinstance(event, Frame)
            if event.opcode is Opcode.TEXT:
                self.frames.append(bytes(event.data).decode())
                element = etree.fromstring(bytes(event.data))
                self.ended = self.ended or element.tag == f"{FRAMING}close"
                self._inbox.append(element)
            elif event.opcode is Opcode.CLOSE:
                self.closed = int.from_bytes(bytes(event.data[:2]))
                self.ended = True
            elif event.opcode is Opcode.PING:
                self.pings += 1
        self._flush()
