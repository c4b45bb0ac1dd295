"""What a connection that has failed leaves behind: nothing that waits for Python's collector of cycles, which comes
late in a large process; each would keep what OpenSSL has for it, or what its parser was fed."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from OpenSSL import SSL

from xmppd.protocol.items import Limits
from xmppd.protocol.parser import StreamParser

from .net_support import client_context, event_loop_policy, serving

__all__ = ["event_loop_policy"]


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("how", ["alert", "no TLS", "protocol", "a record", "after the handshake"])
async def test_tls_that_fails_goes_at_once(tmp_path: Path, how: str) -> None:
    """pyOpenSSL finds a connection by its address as long as it is there."""
    before = len(SSL.Connection._reverse_mapping)
    async with serving(tmp_path, "direct") as here:
        context = client_context()
        if how == "protocol":
            context.set_alpn_protocols(["h2"])
        peer, server = await here.connect()
        first = {"alert": b"\x15\x03\x01\x00\x02\x02\x28", "no TLS": b"GET / HTTP/1.1\r\n\r\n"}
        await peer.send(first.get(how, peer.hello(context)))
        if how == "after the handshake":
            await peer.finish_handshake()
            await server.seen("secured")
        if how in ("a record", "after the handshake"):
            await peer.send(b"\x17\x03\x03\x00\x20" + os.urandom(32))
        await peer.rest()
        peer.close()
        await server.seen("lost")
        assert isinstance(server.error, OSError)
        assert server.error.__traceback__ is None and server.error.__context__ is None
    assert len(SSL.Connection._reverse_mapping) == before


def test_what_was_fed_goes_with_the_stream() -> None:
    parser = StreamParser(Limits(size=1 << 20, elements=10))
    parser.feed(b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>")
    parser.feed(b"<message><x>" + b"x" * 500_000)
    parser.feed(b"<a/>" * 20)
    assert parser.fault is not None and parser.fault.__traceback__ is None
