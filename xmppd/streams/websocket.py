"""Clients over WebSocket (RFC 7395): a client's stream whose connection is a WebSocket."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from ..clock import Timer
from ..contracts.http import HttpError, HttpRequest
from ..errors import StreamError
from ..protocol import websocket
from ..protocol.framing import FrameParser, Frames, standing_alone
from ..protocol.websocket import FrameReader, close_frame, frame
from ..xml import CLIENT_NS
from .base import SMALL_PART
from .client import ClientStream

if TYPE_CHECKING:
    from ..clock import Clock
    from ..contracts.link import Link
    from .runtime import StreamServer

LOOK: Final = 10.0
"""Seconds between two looks at all WebSockets."""
SILENT: Final = 3
"""A WebSocket on which nothing was sent at so many looks in turn is pinged: proxies cut those that are silent for a
minute."""
FRAMES: Final = Frames(CLIENT_NS)
SUBPROTOCOL: Final = "xmpp"
"""Section 3.1."""
_HEADER: Final = 6
"""Bytes of the header of a short frame."""
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class WebSockets:
    """All WebSockets of a process: those on which nothing is sent are pinged now and then."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.open: set[WebSocketLink] = set()
        self._timer: Timer | None = None

    def add(self, link: WebSocketLink) -> None:
        self.open.add(link)
        if self._timer is None:
            self._timer = self.clock.call_later(LOOK, self._look)

    def _look(self) -> None:
        self._timer = self.clock.call_later(LOOK, self._look) if self.open else None
        for link in self.open:
            link.silent += 1
            if link.silent >= SILENT:
                link.ping()


class WebSocketLink:
    """A WebSocket as the connection of a stream: the stream's `Link`, and the `Receiver` of the connection below."""

    __slots__ = (
        "_closed",
        "_held",
        "_link",
        "_paused",
        "_reader",
        "_reason",
        "_stream",
        "all",
        "peer",
        "secure",
        "silent",
    )

    def __init__(self, all: WebSockets, stream: ClientStream, peer: str, secure: bool) -> None:
        """`peer`, `secure`: as the request says, which a proxy may have passed on."""
        self.all = all
        self.peer = peer
        self.secure = secure
        self.silent = 0
        """Looks since something was sent."""
        self._stream = stream
        self._reader = FrameReader(stream.parser.limits.most)
        self._paused = False
        """The stream is not read."""
        self._held: list[tuple[int, bytes]] = []
        """Messages of the last read that came behind the one at which that began."""
        self._link: Link
        self._closed = False
        self._reason = websocket.NORMAL
        """Why it is closed."""

    # ---- the connection's side (contracts.link.Receiver)

    def connected(self, link: Link) -> None:
        self._link = link
        self.all.add(self)
        self._stream.connected(self)
        if link.peer != self.peer:  # somebody in front has taken the client's TLS, if there was any
            self._stream.channel_binding = "none"
            if not self.secure:
                self._stream.fail(StreamError("policy-violation", "TLS first"))

    def data_received(self, data: bytes) -> None:
        if self._closed:
            return
        reader, stream = self._reader, self._stream
        reader.limit = stream.parser.limits.most
        messages = reader.feed(data)
        if isinstance(stream.parser, FrameParser):
            stream.parser.unfinished = reader.pending
        self._deliver(messages)
        if stream.unfinished or reader.pending > SMALL_PART:
            stream.count_unfinished()
        if reader.extra:
            frames, reader.extra = reader.extra, 0
            stream.charge(frames * _HEADER, frames)
        if reader.fault:
            self._failed(reader.fault)

    def secured(self) -> None:
        """TLS was there before HTTP."""

    def pause_writing(self) -> None:
        self._stream.pause_writing()

    def resume_writing(self) -> None:
        self._stream.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        self._closed = True
        self.all.open.discard(self)
        self._stream.connection_lost(error)

    def _deliver(self, messages: list[tuple[int, bytes]]) -> None:
        if len(messages) > 1 and not self._paused and not self._closed and self._deliver_together(messages):
            return
        ping: bytes | None = None
        for at, (opcode, content) in enumerate(messages):
            if self._closed:
                return
            if opcode == websocket.TEXT:
                if self._paused:
                    self._held = messages[at:]
                    break
                self._stream.data_received(content)
            elif opcode == websocket.PING:
                ping = content  # of several the last one is answered (RFC 6455 section 5.5.3)
            elif opcode == websocket.CLOSE:  # without <close/>: the connection is gone, the session may be resumed
                self._pong(ping)
                self.close()
        self._pong(ping)

    def _pong(self, ping: bytes | None) -> None:
        if ping is not None and not self._closed:
            self._send(frame(websocket.PONG, ping))

    def _deliver_together(self, messages: list[tuple[int, bytes]]) -> bool:
        """What came in one read counts as one read, as over TCP, where that makes no difference but the time it takes.
        False: it does make one."""
        stream = self._stream
        parser = stream.parser
        frames = [content for opcode, content in messages if opcode == websocket.TEXT]
        if len(frames) < len(messages) or not isinstance(parser, FrameParser) or not parser.can_feed_all(frames):
            return False
        stream.items_received(parser.feed_all(frames), sum(map(len, frames)))
        return True

    def _failed(self, reason: int) -> None:
        """What comes cannot be understood. Too large: as over TCP; else the connection counts as broken, and the
        session may be resumed."""
        self._reason = reason
        if reason == websocket.TOO_BIG:
            self._stream.fail(StreamError("policy-violation", "the frame is too large"))
        self.close()

    # ---- the stream's side (contracts.link.Link)

    def write(self, data: bytes) -> None:
        self.silent = 0
        self._link.write(frame(websocket.TEXT, standing_alone(data)))

    def ping(self) -> None:
        """Send what the client's WebSocket answers by itself, for those who stand between."""
        self._send(frame(websocket.PING, b""))

    def _send(self, data: bytes) -> None:
        self.silent = 0
        self._link.write(data)

    def close(self) -> None:
        """Say why, and close (RFC 6455 section 7.1.1); the stream has said <close/> before (section 3.6)."""
        if not self._closed:
            self._closed = True
            self._reader.clear()
            self._link.write(close_frame(self._reason))
            self._link.close()

    def abort(self) -> None:
        self._link.abort()

    def hold(self) -> None:
        self._link.hold()

    def take_first(self) -> None:
        self._link.take_first()

    def read_in_bulk(self, much: bool) -> None:
        """A frame is no large file."""

    def pause_reading(self) -> None:
        self._paused = True
        self._link.pause_reading()

    def resume_reading(self) -> None:
        self._paused = False
        if self._held:
            self.all.clock.call_soon(self._go_on)
        else:
            self._link.resume_reading()

    def _go_on(self) -> None:
        if not self._paused and not self._closed:
            messages, self._held = self._held, []
            self._deliver(messages)
            if not self._paused:
                self._link.resume_reading()

    def on_drained(self, callback: Callable[[], None]) -> None:
        self._link.on_drained(callback)

    def hand_over(self, receiver: Any) -> None:
        """Raises RuntimeError: there is no third protocol."""
        raise RuntimeError("a WebSocket stays one")

    def forwarded_for(self, address: str) -> bool:
        """The HTTP server has asked that of the connection below before."""
        return self._link.forwarded_for(address)

    def start_tls(self, context: Any, domain: str = "") -> None:
        """Raises RuntimeError: it is not offered (RFC 7395 section 3.9)."""
        raise RuntimeError("TLS is below the WebSocket")

    @property
    def last_read(self) -> float:
        return self._link.last_read

    @property
    def port(self) -> int:
        return self._link.port

    @property
    def loopback(self) -> bool:
        return self._link.loopback

    @property
    def securing(self) -> bool:
        return False

    @property
    def write_buffer_size(self) -> int:
        return self._link.write_buffer_size

    # ---- TLS, where it ends here and not in front of the server

    @property
    def tls_version(self) -> str:
        return self._link.tls_version

    @property
    def cipher(self) -> str:
        return self._link.cipher

    @property
    def exports(self) -> bool:
        return self._link.exports

    @property
    def tls_exporter(self) -> bytes | None:
        return self._link.tls_exporter

    @property
    def tls_unique(self) -> bytes | None:
        return self._link.tls_unique

    @property
    def peer_certificates(self) -> tuple[bytes, ...]:
        return self._link.peer_certificates

    @property
    def tls_server_end_point(self) -> bytes | None:
        return self._link.tls_server_end_point


def websocket_stream(server: StreamServer, all: WebSockets, request: HttpRequest) -> WebSocketLink:
    """A new client's stream for a request that opens a WebSocket.

    Nobody can read along: the HTTP listener has TLS, here or in front of it, or was told that it needs none. Where TLS
    does not end here there is no channel to bind to.
    """
    stream = ClientStream(server, "none", "exporter" if request.secure else "none", FRAMES)
    return WebSocketLink(all, stream, request.peer, request.secure)


def answer_handshake(method: str, headers: Mapping[str, str]) -> dict[str, str]:
    """The header fields that accept a client's handshake (section 4.2, RFC 7395 section 3.1). `headers`: names in lower
    case. Raises HttpError."""
    upgrade, connection = headers.get("upgrade", ""), headers.get("connection", "")
    if method != "GET" or "websocket" not in _words(upgrade) or "upgrade" not in _words(connection):
        raise HttpError(426, "This is for WebSocket (RFC 7395).")
    if headers.get("sec-websocket-version", "").strip() != "13":
        raise HttpError(426, "WebSocket has version 13.", {"Sec-WebSocket-Version": "13"})
    if SUBPROTOCOL not in _words(headers.get("sec-websocket-protocol", "")):
        raise HttpError(400, "The subprotocol is xmpp.")
    key = headers.get("sec-websocket-key", "").strip()
    try:
        if len(base64.b64decode(key, validate=True)) != 16:
            raise HttpError(400, "The key of the handshake has another length.")
    except (binascii.Error, ValueError):
        raise HttpError(400, "The key of the handshake is not base64.") from None
    accept = base64.b64encode(hashlib.sha1(key.encode() + _GUID).digest()).decode()
    return {"Sec-WebSocket-Accept": accept, "Sec-WebSocket-Protocol": SUBPROTOCOL}


def _words(field: str) -> set[str]:
    return {word.strip().lower() for word in field.split(",")}
