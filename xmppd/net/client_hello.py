"""Whether a TLS ClientHello is there as a whole (RFC 8446 sections 4.1.2 and 5.1).

OpenSSL takes 60 KB for a connection with the first byte it sees. So it sees none before the ClientHello is complete:
who sends half of one and stays costs what was sent. This is no validation: what does not look like a ClientHello is
left to OpenSSL to refuse.
"""

from __future__ import annotations

from typing import Final

HANDSHAKE: Final = b"\x16"
CLIENT_HELLO: Final = 1
RECORD: Final = 5
RECORDS: Final = 64
"""No sane ClientHello is made of more pieces, and they are counted again with each byte that comes."""
LARGEST: Final = 32 << 10
"""A larger ClientHello is left to OpenSSL (whose bound is 131 KB)."""


def incomplete(data: bytes | bytearray) -> bool:
    """More bytes are needed before OpenSSL could answer the first bytes of a connection."""
    if data[:1] == HANDSHAKE and data[RECORD : RECORD + 1] == b"\1":  # nearly always all of it in one record
        size = int.from_bytes(data[3:RECORD], "big")
        if len(data) >= RECORD + size >= RECORD + 4 + int.from_bytes(data[RECORD + 1 : RECORD + 4], "big"):
            return False
    at = have = 0
    end = 4
    start = b""
    for _ in range(RECORDS):
        if data[at : at + 1] not in (b"", HANDSHAKE):
            return False
        if len(data) < at + RECORD:
            return True
        size = int.from_bytes(data[at + 3 : at + RECORD], "big")
        if not size:
            return False
        at += RECORD
        have += min(size, len(data) - at)
        if len(start) < 4:  # the header of the message may be split over records, too
            start += bytes(data[at : at + min(size, 4 - len(start))])
            if start and start[0] != CLIENT_HELLO:
                return False
            if len(start) == 4:
                end = 4 + int.from_bytes(start[1:], "big")
        at += size
        if end > LARGEST or (len(start) == 4 and have >= end):
            return False
    return False
