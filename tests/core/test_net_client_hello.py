"""Whether a ClientHello is complete."""

from __future__ import annotations

import random
import ssl

import pytest

from xmppd.net.client_hello import LARGEST, RECORDS, incomplete

from .net_support import Peer, client_context


def hello() -> bytes:
    peer = Peer.__new__(Peer)
    peer.incoming, peer.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    return peer.hello(client_context(), "one.example")


def in_records(data: bytes, size: int) -> bytes:
    """The same handshake message in smaller records."""
    body = data[5:]
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(data[:3] + len(piece).to_bytes(2, "big") + piece for piece in pieces)


@pytest.mark.parametrize("records", [1, 2, 7, 50, RECORDS - 1])
def test_a_hello_is_complete_with_its_last_byte(records: int) -> None:
    """Its length is the client's affair: with post-quantum keys (OpenSSL 3.5) it has more than 1,500 bytes."""
    whole = hello()
    data = in_records(whole, -(-(len(whole) - 5) // records))
    assert not incomplete(data)
    assert not incomplete(data + b"more")
    for end in range(len(data)):
        assert incomplete(data[:end])


@pytest.mark.parametrize(
    "junk",
    [
        b"GET / HTTP/1.1",
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\x00\x05\x02\x00\x00\x01\xff",
        b"\x16\x03\x01\x00\x05\x01\xff\xff\xff\xff",
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\xff",
        b"\x15\x03\x03\x00\x02\x02\x28",
    ],
)
def test_what_is_no_hello_is_left_to_openssl(junk: bytes) -> None:
    assert not incomplete(junk)


def test_what_is_waited_for_has_a_bound() -> None:
    one = b"\x16\x03\x01\x00\x01"
    assert incomplete(one + b"\x01")
    assert not incomplete((one + b"\x01") + (one + b"\0") * RECORDS)
    assert not incomplete(b"\x16\x03\x01\x40\x00\x01" + (LARGEST + 1).to_bytes(3, "big"))


def test_no_damage_makes_the_reader_fail() -> None:
    rng = random.Random(11)
    good = hello()
    for _ in range(3000):
        data = bytearray(good)
        for _ in range(rng.randrange(1, 6)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        incomplete(data)
