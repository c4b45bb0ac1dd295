"""The protocols that a TLS ClientHello offers (RFC 7301, RFC 8446 section 4.1.2).

The `ssl` module answers an ALPN offer without a match by going on without ALPN; a server of one protocol must refuse it
instead (RFC 7301 section 3.2), or a browser can be made to talk to it (the ALPACA attack). So the offer is read before
OpenSSL sees it. This is no validation: what does not look like a ClientHello is left to OpenSSL to refuse.
"""

from __future__ import annotations

from typing import Final

HANDSHAKE: Final = 22
CLIENT_HELLO: Final = 1
ALPN: Final = 16
RECORD: Final = 5
LARGEST: Final = 32 << 10
"""A larger ClientHello is left to OpenSSL (whose bound is 131 KB)."""


class Incomplete(Exception):
    """More bytes are needed to tell."""


def offered_protocols(data: bytes | bytearray) -> list[bytes] | None:
    """The ALPN names that the first bytes of a connection offer; None when there is no such offer.

    Raises Incomplete.
    """
    hello = _hello(data)
    return None if hello is None else _alpn(hello)


def _hello(data: bytes | bytearray) -> bytearray | None:
    """The body of the ClientHello, put together from its records."""
    message = bytearray()
    at = 0
    while at < LARGEST:
        if data[at : at + 1] not in (b"", b"\x16"):
            return None
        if len(data) < at + RECORD:
            raise Incomplete
        size = int.from_bytes(data[at + 3 : at + RECORD], "big")
        if not size:
            return None
        message += data[at + RECORD : at + RECORD + size]
        at += RECORD + size
        if message and message[0] != CLIENT_HELLO:
            return None
        end = 4 + int.from_bytes(message[1:4], "big")
        if end > LARGEST:
            return None
        if 4 <= end <= len(message):
            return message[4:end]
    return None


def _alpn(hello: bytearray) -> list[bytes] | None:
    at = 2 + 32  # version, random
    for width in (1, 2, 1):  # session id, cipher suites, compression methods
        at += width + int.from_bytes(hello[at : at + width], "big")
    at += 2  # length of all extensions
    while at + 4 <= len(hello):
        kind = int.from_bytes(hello[at : at + 2], "big")
        size = int.from_bytes(hello[at + 2 : at + 4], "big")
        at += 4
        if kind == ALPN:
            return _names(hello[at + 2 : at + size])
        at += size
    return None


def _names(body: bytearray) -> list[bytes]:
    names = []
    at = 0
    while at < len(body):
        end = at + 1 + body[at]
        names.append(bytes(body[at + 1 : end]))
        at = end
    return names
