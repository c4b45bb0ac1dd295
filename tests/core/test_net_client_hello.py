"""The reader of ClientHellos."""

from __future__ import annotations

import random
import ssl

import pytest

from xmppd.net.client_hello import Incomplete, offered_protocols

from .net_support import Peer, client_context


def hello(offer: list[str] | None) -> bytes:
    context = client_context()
    if offer:
        context.set_alpn_protocols(offer)
    peer = Peer.__new__(Peer)
    peer.incoming, peer.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    return peer.hello(context, "one.example")


def in_records(data: bytes, size: int) -> bytes:
    """The same handshake message in smaller records."""
    body = data[5:]
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(data[:3] + len(piece).to_bytes(2, "big") + piece for piece in pieces)


def test_offers_are_read() -> None:
    assert offered_protocols(hello(["xmpp-client"])) == [b"xmpp-client"]
    assert offered_protocols(hello(["h2", "http/1.1"])) == [b"h2", b"http/1.1"]
    assert offered_protocols(hello(None)) is None
    for size in (1, 10, 300):
        assert offered_protocols(in_records(hello(["h2"]), size)) == [b"h2"]


def test_an_unfinished_hello_says_so() -> None:
    for data in (hello(["h2"]), in_records(hello(["h2"]), 40)):
        for end in range(len(data)):
            with pytest.raises(Incomplete):
                offered_protocols(data[:end])


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
    assert offered_protocols(junk) is None


def test_no_damage_makes_the_reader_fail() -> None:
    rng = random.Random(11)
    good = hello(["xmpp-client", "h2"])
    for _ in range(3000):
        data = bytearray(good)
        for _ in range(rng.randrange(1, 6)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            offered_protocols(data)
        except Incomplete:
            continue
