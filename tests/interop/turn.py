"""As much of STUN and TURN (RFC 8489, RFC 8656) as asks a server for an allocation."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import struct
import zlib

MAGIC = 0x2112A442
ALLOCATE, SUCCESS, REFUSED = 0x0003, 0x0103, 0x0113
USERNAME, INTEGRITY, ERROR, REALM, NONCE = 0x0006, 0x0008, 0x0009, 0x0014, 0x0015
TRANSPORT, FINGERPRINT = 0x0019, 0x8028
UDP = struct.pack("!B3x", 17)


class _Answers(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.answers: asyncio.Queue[bytes] = asyncio.Queue()

    def datagram_received(self, data: bytes, address: object) -> None:
        self.answers.put_nowait(data)


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("!HH", kind, len(value)) + value + b"\0" * (-len(value) % 4)


def _request(attributes: list[tuple[int, bytes]], key: bytes = b"") -> bytes:
    body = b"".join(_attribute(kind, value) for kind, value in attributes)
    number = os.urandom(12)

    def head(size: int) -> bytes:
        return struct.pack("!HHI", ALLOCATE, size, MAGIC) + number

    if key:
        mac = hmac.new(key, head(len(body) + 24) + body, hashlib.sha1).digest()
        body += _attribute(INTEGRITY, mac)
    crc = zlib.crc32(head(len(body) + 8) + body) ^ 0x5354554E
    body += _attribute(FINGERPRINT, struct.pack("!I", crc))
    return head(len(body)) + body


def _read(data: bytes) -> tuple[int, dict[int, bytes]]:
    kind, size = struct.unpack("!HH", data[:4])
    found, at = {}, 20
    while at < 20 + size:
        name, length = struct.unpack("!HH", data[at : at + 4])
        found[name] = data[at + 4 : at + 4 + length]
        at += 4 + length + (-length % 4)
    return kind, found


async def allocate(port: int, username: str, password: str) -> int:
    """0 for an allocation, else the error code."""
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(_Answers, remote_addr=("127.0.0.1", port))
    try:
        transport.sendto(_request([(TRANSPORT, UDP)]))
        kind, told = _read(await asyncio.wait_for(protocol.answers.get(), 5))
        assert kind == REFUSED, "it asks for credentials first"
        realm, nonce = told[REALM], told[NONCE]
        key = hashlib.md5(b":".join((username.encode(), realm, password.encode()))).digest()
        wanted = [(TRANSPORT, UDP), (USERNAME, username.encode()), (REALM, realm), (NONCE, nonce)]
        transport.sendto(_request(wanted, key))
        kind, told = _read(await asyncio.wait_for(protocol.answers.get(), 5))
        if kind == SUCCESS:
            return 0
        return told[ERROR][2] * 100 + told[ERROR][3]
    finally:
        transport.close()
