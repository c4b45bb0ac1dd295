"""Both ends of a real connection: a `Receiver` that keeps what it is told, and a client with its TLS in its hand."""

from __future__ import annotations

import asyncio
import ssl
from asyncio import AbstractEventLoopPolicy, DefaultEventLoopPolicy
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop

from xmppd.contracts.link import Link
from xmppd.net.connection import Connection
from xmppd.net.engine import Engine, Timing
from xmppd.net.listen import Listener, TlsMode
from xmppd.net.loop import RealClock
from xmppd.net.tls import Certificates
from xmppd.net.tls_context import ServerContext

PATIENCE = 10.0
"""A test that waits longer has failed."""


@pytest.fixture(params=[uvloop.EventLoopPolicy, DefaultEventLoopPolicy], ids=["uvloop", "asyncio"])
def event_loop_policy(request: pytest.FixtureRequest) -> AbstractEventLoopPolicy:
    """Import it into a module of tests (`__all__`): each runs on both loops."""
    policy: AbstractEventLoopPolicy = request.param()
    return policy


class Recorder:
    """`on_data` decides what to do with data; without it, it is only kept."""

    def __init__(self) -> None:
        self.link: Link
        self.events: list[str] = []
        self.pieces: list[bytes] = []
        self.error: Exception | None = None
        self.on_connected: Callable[[Recorder], None] = lambda me: None
        self.on_data: Callable[[Recorder, bytes], None] = lambda me, data: None
        self.on_secured: Callable[[Recorder], None] = lambda me: None
        self.on_resume: Callable[[Recorder], None] = lambda me: None
        self._changed = asyncio.Event()

    @property
    def data(self) -> bytes:
        return b"".join(self.pieces)

    @property
    def connection(self) -> Connection:
        assert isinstance(self.link, Connection)
        return self.link

    def _note(self, event: str) -> None:
        self.events.append(event)
        self._changed.set()

    def connected(self, link: Link) -> None:
        self.link = link
        self._note("connected")
        self.on_connected(self)

    def data_received(self, data: bytes) -> None:
        self.pieces.append(data)
        self._note("data")
        self.on_data(self, data)

    def secured(self) -> None:
        self._note("secured")
        self.on_secured(self)

    def pause_writing(self) -> None:
        self._note("pause")

    def resume_writing(self) -> None:
        self._note("resume")
        self.on_resume(self)

    def connection_lost(self, error: Exception | None) -> None:
        self.error = error
        self._note("lost")

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait until `true`, looked at after each event."""
        async with asyncio.timeout(PATIENCE):
            while not true():
                self._changed.clear()
                await self._changed.wait()

    async def seen(self, event: str) -> None:
        await self.until(lambda: event in self.events)


def echo(recorder: Recorder) -> None:
    recorder.on_data = lambda me, data: me.link.write(data)


class Serving:
    """A listener and its receivers, in order of connection."""

    def __init__(self, listener: Listener, certificates: Certificates) -> None:
        self.listener = listener
        self.certificates = certificates
        self.receivers: list[Recorder] = []
        self.peers: list[Peer] = []
        """Kept here: one that nobody holds closes itself."""
        self.set_up: Callable[[Recorder], None] = lambda recorder: None
        self._accepted = asyncio.Event()

    def make(self) -> Recorder:
        recorder = Recorder()
        self.set_up(recorder)
        self.receivers.append(recorder)
        self._accepted.set()
        return recorder

    async def peer(self) -> Peer:
        """A client that the server may refuse."""
        self.peers.append(await Peer.connect(self.listener.port))
        return self.peers[-1]

    @property
    def context(self) -> ServerContext:
        return self.certificates.default

    async def connect(self) -> tuple[Peer, Recorder]:
        """A client, and the server's side of the same connection."""
        before = len(self.receivers)
        self._accepted.clear()
        peer = await self.peer()
        async with asyncio.timeout(PATIENCE):
            await self._accepted.wait()
        await self.receivers[before].seen("connected")
        return peer, self.receivers[before]

    async def connect_tls(self, context: ssl.SSLContext | None = None) -> tuple[Peer, Recorder]:
        """Over STARTTLS without the XML: the server begins TLS when the client says so."""
        peer, server = await self.connect()
        server.on_data = lambda me, data: me.link.start_tls(self.context) if data == b"starttls" else None
        await peer.send(b"starttls")
        await server.seen("data")
        server.on_data = lambda me, data: None
        server.pieces.clear()
        await peer.start_tls(context)
        await server.seen("secured")
        return peer, server


@asynccontextmanager
async def serving(
    folder: Path, tls: TlsMode = "starttls", per_address: int = 1000, timing: Timing | None = None
) -> AsyncIterator[Serving]:
    clock = RealClock()
    certificates = Certificates()
    for domain in ("one.example", "two.example"):
        certificates.add(domain, folder / f"{domain}.crt", folder / f"{domain}.key", self_signed=True)
    listener = Listener(clock, certificates, tls, per_address, engine=Engine(clock, timing))
    here = Serving(listener, certificates)
    await listener.start("127.0.0.1", 0, here.make)
    yield here
    for peer in here.peers:
        peer.close()
    await listener.close(within=1)
    assert not listener.connections
    assert not listener._engine._deadlines


def starttls(here: Serving) -> Any:
    """The server's side of STARTTLS, as a protocol does it: answer, switch, drop the rest of this read."""

    def take(me: Recorder, data: bytes) -> None:
        if data.startswith(b"<starttls/>") and not me.link.secure:
            me.link.write(b"<proceed/>")
            me.link.start_tls(here.context)
            me.pieces.clear()

    return lambda me: setattr(me, "on_data", take)


def pauses(me: Recorder) -> None:
    me.link.pause_reading()


def client_context(**options: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    for name, value in options.items():
        setattr(context, name, value)
    return context


class Peer:
    """The client. TLS over memory, so that a test can send half a record, or plaintext in the wrong place."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls: ssl.SSLObject | None = None
        self.ciphertext = b""
        """All that came since TLS began."""

    @classmethod
    async def connect(cls, port: int) -> Peer:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def send(self, data: bytes) -> None:
        """As it is, without TLS."""
        self.writer.write(data)
        await self.writer.drain()

    async def receive(self, size: int = 1 << 16) -> bytes:
        """What the next segment brings; empty at the end. Raises ConnectionError when the connection is reset."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.read(size)

    async def rest(self) -> bytes:
        async with asyncio.timeout(PATIENCE):
            return await self.reader.read()

    async def exactly(self, size: int) -> bytes:
        async with asyncio.timeout(PATIENCE):
            return await self.reader.readexactly(size)

    async def rest_or_reset(self, size: int) -> bytes:
        """So many bytes, or what there was before the end, whatever its kind."""
        try:
            return await self.exactly(size)
        except asyncio.IncompleteReadError as error:
            return error.partial
        except ConnectionError:
            return b""

    # ---- TLS

    def hello(self, context: ssl.SSLContext | None = None, name: str | None = None) -> bytes:
        """Begin; returns the ClientHello."""
        self.tls = (context or client_context()).wrap_bio(self.incoming, self.outgoing, server_hostname=name)
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            return self.outgoing.read()
        raise AssertionError("no handshake ends before it begins")

    async def start_tls(self, context: ssl.SSLContext | None = None, name: str | None = None) -> None:
        """Raises ssl.SSLError, or EOFError when the server hangs up."""
        await self.send(self.hello(context, name))
        await self.finish_handshake()

    async def finish_handshake(self, behind: bytes = b"") -> None:
        """`behind` is sent encrypted in the same segment as the end of the handshake."""
        assert self.tls is not None
        while True:
            await self._more()
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                await self.send(self.outgoing.read())
                continue
            break
        if behind:
            self.tls.write(behind)
        await self.send(self.outgoing.read())

    async def _more(self) -> None:
        data = await self.receive()
        if not data:
            raise EOFError
        self.ciphertext += data
        self.incoming.write(data)

    def sealed(self, data: bytes) -> bytes:
        """Encrypted, not sent."""
        assert self.tls is not None
        done = 0
        while done < len(data):
            done += self.tls.write(data[done : done + 16384])
        return self.outgoing.read()

    async def say(self, data: bytes) -> None:
        await self.send(self.sealed(data))

    async def hear(self, size: int) -> bytes:
        """So many decrypted bytes, or all there are when the server says close_notify. Raises EOFError without it."""
        assert self.tls is not None
        heard = b""
        while len(heard) < size:
            try:
                piece = self.tls.read(1 << 16)
            except ssl.SSLWantReadError:
                await self._more()
                continue
            except ssl.SSLZeroReturnError:
                break
            if not piece:
                break
            heard += piece
        return heard

    def close(self) -> None:
        self.writer.close()


ALERT, DATA = 21, 23


def records(ciphertext: bytes) -> list[int]:
    """The types of the TLS records in it (RFC 8446 section 5.1): with TLS 1.3 all that is encrypted is DATA."""
    types, at = [], 0
    while at < len(ciphertext):
        types.append(ciphertext[at])
        at += 5 + int.from_bytes(ciphertext[at + 3 : at + 5], "big")
    return types
