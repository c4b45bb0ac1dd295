"""TCP and TLS links over real loopback sockets, on both event loops."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.harness import FakeClock
from xmppd.net.link import Link
from xmppd.net.listen import Listener
from xmppd.net.loop import RealClock
from xmppd.net.tls import CertificateError, Certificates, self_signed, server_context


@pytest.fixture(params=["asyncio", "uvloop"])
def event_loop_policy(request: pytest.FixtureRequest) -> asyncio.AbstractEventLoopPolicy:
    return uvloop.EventLoopPolicy() if request.param == "uvloop" else asyncio.DefaultEventLoopPolicy()


class Echo:
    """Answers each read with itself; `<tls/>` asks for TLS."""

    def __init__(self) -> None:
        self.link: Link
        self.received: list[bytes] = []
        self.events: list[str] = []
        self.lost: list[Exception | None] = []
        self.context: ssl.SSLContext | None = None

    def connected(self, link: Link) -> None:
        self.link = link

    def data_received(self, data: bytes) -> None:
        if data.startswith(b"<tls/>") and not self.link.secure:
            self.link.write(b"<proceed/>")
            assert self.context is not None
            self.link.start_tls(self.context)
            return
        if data == b"crash":
            raise RuntimeError("a bug")
        self.received.append(data)
        self.link.write(data)

    def secured(self) -> None:
        self.events.append("secured")

    def pause_writing(self) -> None:
        self.events.append("pause")

    def resume_writing(self) -> None:
        self.events.append("resume")

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.append(error)


class Place:
    """A listener with its receivers."""

    def __init__(self, certificates: Certificates, clock: FakeClock | RealClock) -> None:
        self.certificates = certificates
        self.clock = clock
        self.echoes: list[Echo] = []
        self.listeners: list[Listener] = []

    async def listen(self, tls: str = "none", per_address: int = 100) -> Listener:
        listener = Listener(self.clock, self.certificates, tls, per_address)
        self.listeners.append(listener)
        await listener.start("127.0.0.1", 0, self._make)
        return listener

    def _make(self) -> Echo:
        echo = Echo()
        echo.context = self.certificates.default
        self.echoes.append(echo)
        return echo


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    folder = tmp_path_factory.mktemp("certs")
    made = Certificates()
    made.add("localhost", folder / "a.crt", folder / "a.key", self_signed=True)
    made.add("other.localhost", folder / "b.crt", folder / "b.key", self_signed=True)
    return made


@pytest.fixture
async def place(certificates: Certificates) -> AsyncIterator[Place]:
    place = Place(certificates, RealClock())
    yield place
    for listener in place.listeners:
        await listener.close()


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def soon(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not done():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_plain_echo_and_close(place: Place) -> None:
    listener = await place.listen()
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    writer.write(b"hello")
    assert await reader.readexactly(5) == b"hello"
    link = place.echoes[0].link
    assert (link.peer, link.loopback, link.secure) == ("127.0.0.1", True, False)
    link.write(b"last words")
    link.close()
    assert await reader.read() == b"last words"
    writer.close()
    await soon(lambda: place.echoes[0].lost == [None])
    assert not listener.connections


async def test_peer_goes(place: Place) -> None:
    listener = await place.listen()
    _, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    await soon(lambda: bool(place.echoes))
    writer.close()
    await soon(lambda: len(place.echoes[0].lost) == 1)


async def test_writes_of_one_turn_leave_in_one_piece(place: Place) -> None:
    listener = await place.listen()
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    await soon(lambda: bool(place.echoes))
    connection = next(iter(listener.connections))
    pieces: list[bytes] = []

    class Spy:
        def __init__(self, transport: asyncio.Transport) -> None:
            self.transport = transport

        def __getattr__(self, name: str) -> object:
            return getattr(self.transport, name)

        def write(self, data: bytes) -> None:
            pieces.append(data)
            self.transport.write(data)

    connection._transport = Spy(connection._transport)  # type: ignore[assignment, arg-type]
    for number in range(10):
        connection.write(b"%d" % number)
    assert await reader.readexactly(10) == b"0123456789"
    assert pieces == [b"0123456789"]
    writer.close()


async def start_tls(listener: Listener, first: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    writer.write(first)
    assert await reader.readexactly(10) == b"<proceed/>"
    await asyncio.wait_for(writer.start_tls(trusting(), server_hostname="localhost"), 5)
    return reader, writer


async def test_starttls_drops_what_was_sent_in_the_clear(place: Place) -> None:
    """T08: bytes behind the request, in the same segment, are never seen."""
    listener = await place.listen("starttls")
    reader, writer = await start_tls(listener, b"<tls/><evil/>")
    writer.write(b"good")
    assert await reader.readexactly(4) == b"good"
    echo = place.echoes[0]
    assert echo.received == [b"good"]
    assert echo.events == ["secured"]
    assert echo.link.secure
    assert echo.link.tls_version in ("TLSv1.2", "TLSv1.3")
    writer.close()


async def test_plaintext_after_starttls_breaks_the_handshake(place: Place) -> None:
    """T08, split: what comes in a later segment is no TLS."""
    listener = await place.listen("starttls")
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    writer.write(b"<tls/>")
    assert await reader.readexactly(10) == b"<proceed/>"
    writer.write(b"<evil xmlns='urn:evil'/>")
    await reader.read()
    await soon(lambda: len(place.echoes[0].lost) == 1)
    assert place.echoes[0].received == []
    writer.close()


async def test_direct_tls_and_channel_binding(place: Place) -> None:
    """XEP-0368; RFC 5929 section 4.1: both ends see the same certificate."""
    listener = await place.listen("direct")
    for name in ("localhost", "other.localhost"):
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port, ssl=trusting(), server_hostname=name)
        writer.write(b"x" * 200_000)
        assert await reader.readexactly(200_000) == b"x" * 200_000
        der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        certificate = x509.load_der_x509_certificate(der)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert name in names.get_values_for_type(x509.DNSName), "SNI chooses the certificate"
        assert place.echoes[-1].link.tls_server_end_point == hashlib.sha256(der).digest()
        writer.close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_old_tls_is_refused(place: Place, version: ssl.TLSVersion) -> None:
    """T10."""
    listener = await place.listen("direct")
    context = trusting()
    context.minimum_version = context.maximum_version = version
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection("127.0.0.1", listener.port, ssl=context, server_hostname="localhost")
    await soon(lambda: len(place.echoes[0].lost) == 1)


async def test_junk_instead_of_a_handshake(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    listener = await place.listen("direct")
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    await reader.read()
    await soon(lambda: len(place.echoes[0].lost) == 1)
    assert "Traceback" not in caplog.text
    writer.close()


@pytest.mark.parametrize("tls", ["none", "direct"])
async def test_nothing_is_delivered_while_reading_is_paused(place: Place, tls: str) -> None:
    """Backpressure holds decrypted data, too."""
    listener = await place.listen(tls)
    context = trusting() if tls == "direct" else None
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", listener.port, ssl=context, server_hostname="localhost" if context else None
    )
    writer.write(b"first")
    assert await reader.readexactly(5) == b"first"
    echo = place.echoes[0]
    echo.link.pause_reading()
    for _ in range(20):
        writer.write(os.urandom(16_000))
    await asyncio.sleep(0.1)
    assert echo.received == [b"first"]
    echo.link.resume_reading()
    assert len(await reader.readexactly(320_000)) == 320_000
    writer.close()


async def test_a_slow_reader_pauses_writing(place: Place) -> None:
    listener = await place.listen()
    client = socket.create_connection(("127.0.0.1", listener.port))
    client.setblocking(False)
    await soon(lambda: bool(place.echoes))
    echo = place.echoes[0]
    drained: list[int] = []
    for _ in range(100):
        echo.link.write(b"x" * 100_000)
    echo.link.on_drained(lambda: drained.append(1))
    await soon(lambda: "pause" in echo.events)
    assert not drained
    assert echo.link.write_buffer_size > 0
    loop = asyncio.get_running_loop()
    left = 10_000_000
    while left:
        left -= len(await loop.sock_recv(client, 1 << 20))
    await soon(lambda: "resume" in echo.events)
    await soon(lambda: bool(drained))
    client.close()


async def test_drained(place: Place) -> None:
    listener = await place.listen()
    _, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    await soon(lambda: bool(place.echoes))
    drained: list[int] = []
    place.echoes[0].link.write(b"x")
    place.echoes[0].link.on_drained(lambda: drained.append(1))
    assert not drained
    await soon(lambda: drained == [1])
    writer.close()


async def test_a_crash_ends_its_connection_only(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    listener = await place.listen()
    one = await asyncio.open_connection("127.0.0.1", listener.port)
    two = await asyncio.open_connection("127.0.0.1", listener.port)
    one[1].write(b"crash")
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await one[0].readexactly(1)
    await soon(lambda: any(echo.lost for echo in place.echoes))
    two[1].write(b"fine")
    assert await two[0].readexactly(4) == b"fine"
    for _, writer in (one, two):
        writer.close()


async def test_connections_per_address(place: Place) -> None:
    """T42: refused at accept."""
    listener = await place.listen(per_address=2)
    good = [await asyncio.open_connection("127.0.0.1", listener.port) for _ in range(2)]
    await soon(lambda: len(listener.connections) == 2)
    reader, refused = await asyncio.open_connection("127.0.0.1", listener.port)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)
    good[0][1].close()
    await soon(lambda: len(listener.connections) == 1)
    reader, again = await asyncio.open_connection("127.0.0.1", listener.port)
    again.write(b"hi")
    assert await reader.readexactly(2) == b"hi"
    for writer in (good[1][1], refused, again):
        writer.close()


async def test_a_handshake_has_ten_seconds(certificates: Certificates) -> None:
    """T05: by the sweep, without a timer per connection."""
    clock = FakeClock()
    place = Place(certificates, clock)
    listener = await place.listen("direct")
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    await soon(lambda: bool(place.echoes))
    end = clock.monotonic() + 12
    while (callback := clock.due(end)) is not None:
        callback()
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)
    await soon(lambda: len(place.echoes[0].lost) == 1)
    writer.close()
    await listener.close()


# ---- certificates


def test_self_signed_key_is_private(tmp_path: Path) -> None:
    chain, key = tmp_path / "certs" / "x.crt", tmp_path / "certs" / "x.key"
    self_signed("localhost", chain, key)
    assert key.stat().st_mode & 0o777 == 0o600
    context = server_context(chain, key)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    certificate = x509.load_pem_x509_certificate(chain.read_bytes())
    assert certificate.public_bytes(Encoding.DER)


@pytest.mark.parametrize("content", [b"", b"junk", None])
def test_bad_certificates_are_named(tmp_path: Path, content: bytes | None) -> None:
    chain, key = tmp_path / "x.crt", tmp_path / "x.key"
    if content is not None:
        chain.write_bytes(content)
        key.write_bytes(content)
    with pytest.raises(CertificateError, match=r"x\.crt"):
        Certificates().add("localhost", chain, key)


def test_key_of_another_certificate(tmp_path: Path) -> None:
    self_signed("a", tmp_path / "a.crt", tmp_path / "a.key")
    self_signed("b", tmp_path / "b.crt", tmp_path / "b.key")
    with pytest.raises(CertificateError, match=r"a\.crt"):
        server_context(tmp_path / "a.crt", tmp_path / "b.key")


def test_reload_keeps_what_works(tmp_path: Path) -> None:
    certificates = Certificates()
    certificates.add("a", tmp_path / "a.crt", tmp_path / "a.key", self_signed=True)
    before = certificates.context("a")
    (tmp_path / "a.crt").write_bytes(b"broken")
    with pytest.raises(CertificateError):
        certificates.reload()
    assert certificates.context("a") is before
