"""What a connection that has failed leaves behind: nothing that waits for Python's collector of cycles, which comes
late in a large process; each would keep what OpenSSL has for it, or what its parser was fed."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohappyeyeballs
import pytest
from OpenSSL import SSL

from xmppd.net import dial
from xmppd.net.connection import Connection
from xmppd.protocol.items import Limits
from xmppd.protocol.parser import StreamParser

from .net_support import Recorder, client_context, event_loop_policy, serving
from .test_net_dial import pair

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


@pytest.mark.parametrize("how", ["plain", "direct", "failed", "refused"])
async def test_calls_go_with_their_connection(tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[weakref.ref[Connection]] = []

    class Noted(Connection):
        def __init__(self, *parts: Any) -> None:
            super().__init__(*parts)
            left.append(weakref.ref(self))

    monkeypatch.setattr(dial, "Connection", Noted)
    async with pair(tmp_path, "direct" if how == "direct" else "starttls") as here:
        mine, candidate = Recorder(), here.at(direct=how != "plain")
        if how == "failed":
            here.set_up = lambda me: setattr(me, "on_data", lambda me, data: me.link.write(b"no TLS here"))
        elif how == "refused":
            here.set_up = lambda me: setattr(me, "on_data", lambda me, data: me.link.close())
        try:
            await here.dialler.connect(candidate, "them.example", mine, "us.example")
        except OSError:
            assert how in ("failed", "refused")
        else:
            mine.link.close()
            await mine.seen("lost")
    del mine, here
    await asyncio.sleep(0)
    assert len(left) == 1 and left[0]() is None


@pytest.mark.parametrize("how", ["closed", "aborted at once", "given up at once", "no TLS"])
async def test_a_called_socket_is_closed_once(tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket that has its number still when the connection is gone would close it again, whoever has it by then."""
    made: list[socket.socket] = []
    real = aiohappyeyeballs.start_connection

    async def noted(*parts: Any, **options: Any) -> socket.socket:
        made.append(await real(*parts, **options))
        return made[-1]

    monkeypatch.setattr(aiohappyeyeballs, "start_connection", noted)
    async with pair(tmp_path) as here:
        mine = Recorder()
        here.set_up = lambda me: setattr(me, "on_data", lambda me, data: me.link.write(b"no TLS here"))
        direct = how == "no TLS"
        call = asyncio.create_task(here.dialler.connect(here.at(direct), "them.example", mine, "us.example"))
        if how == "aborted at once":
            mine.on_connected = lambda me: me.link.abort()
        elif how == "given up at once":
            mine.on_connected = lambda me: setattr(me, "given_up", call.cancel())
        (failed,) = await asyncio.gather(call, return_exceptions=True)
        assert isinstance(failed, BaseException) is (how in ("given up at once", "no TLS"))
        if not direct:
            mine.link.close()
            await mine.seen("lost")
    await asyncio.sleep(0)
    assert [each.fileno() for each in made] == [-1]


def test_what_was_fed_goes_with_the_stream() -> None:
    parser = StreamParser(Limits(size=1 << 20, elements=10))
    parser.feed(b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>")
    parser.feed(b"<message><x>" + b"x" * 500_000)
    parser.feed(b"<a/>" * 20)
    assert parser.fault is not None and parser.fault.__traceback__ is None
