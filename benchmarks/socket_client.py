"""The client that costs little over WebSocket (RFC 7395): each element in a frame of its own, masked as browsers do.

What the server sends is not masked, so the markers of `client.py` are found in the bytes as they come.
"""

from __future__ import annotations

import re
import ssl
from secrets import token_bytes
from typing import Final, Self

from .client import DOMAIN, Client

FRAMING_NS: Final = "urn:ietf:params:xml:ns:xmpp-framing"
LONGEST: Final = 65_535
"""Bytes of a frame that this client can send."""
_STANZA = re.compile(rb"<(?:message|presence|iq)(?=[ />])")


class SocketClient(Client):
    """One WebSocket."""

    opening = f"<open xmlns='{FRAMING_NS}' to='{DOMAIN}' version='1.0'/>".encode()
    closing = f"<close xmlns='{FRAMING_NS}'/>".encode()

    def __init__(self) -> None:
        super().__init__()
        self._mask = token_bytes(4)
        """One for the whole connection: for the server it costs what another one for each frame costs."""
        self._masks = int.from_bytes(self._mask * (LONGEST // 4 + 1), "little")

    @classmethod
    async def connect(cls, port: int, tls: ssl.SSLContext | None = None) -> Self:
        """With the handshake of RFC 6455 section 4 done. Raises LoadError, OSError."""
        client = await super().connect(port, tls)
        client.write_raw(
            f"GET /xmpp-websocket HTTP/1.1\r\nHost: {DOMAIN}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Protocol: xmpp\r\n\r\n".encode()
        )
        await client.expect(b"HTTP/1.1 101")
        await client.expect(b"\r\n\r\n")
        return client

    def write_all(self, elements: list[bytes]) -> None:
        self.write_raw(b"".join(map(self._frame, elements)))

    def _frame(self, element: bytes) -> bytes:
        """Section 5.2; a stanza gets its namespace (RFC 7395 section 3.3.3)."""
        name = _STANZA.match(element)
        if name is not None:
            element = b"%b xmlns='jabber:client'%b" % (name[0], element[name.end() :])
        length = len(element)
        masks = self._masks & ((1 << 8 * length) - 1)
        masked = (int.from_bytes(element, "little") ^ masks).to_bytes(length, "little")
        header = bytes((0x81, 0x80 | length)) if length < 126 else b"\x81\xfe" + length.to_bytes(2)
        return header + self._mask + masked
