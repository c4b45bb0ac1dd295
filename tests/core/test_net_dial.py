"""Connections to other servers, over real sockets: both ends are ours, or the other one is OpenSSL's own."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.harness.authority import Authority
from tests.harness.dns import DnsServer
from xmppd.net.address import ForbiddenAddress
from xmppd.net.dial import Dialler, entries
from xmppd.net.dns import Candidate, NoSuchDomain, Resolver
from xmppd.net.engine import Engine, Timing
from xmppd.net.listen import Listener, TlsMode
from xmppd.net.loop import RealClock, open_file_limit
from xmppd.net.tls import CertificateError, Certificates
from xmppd.net.tls_context import SERVER_PROTOCOL
from xmppd.net.tls_errors import TlsError

from .net_support import Recorder, event_loop_policy

__all__ = ["event_loop_policy"]

HERE = [ipaddress.ip_network("127.0.0.0/8")]


@dataclass
class Pair:
    """Two servers: us.example calls, them.example and other.example are called."""

    dialler: Dialler
    listener: Listener
    ours: Certificates
    theirs: Certificates
    called: list[Recorder]
    authority: Authority
    set_up: Callable[[Recorder], None]
    changed: asyncio.Event

    def at(self, direct: bool = False, address: str = "127.0.0.1", host: str = "xmpp.them.example") -> Candidate:
        return Candidate(host, self.listener.port, direct, (address,))

    async def call(self, direct: bool = False, domain: str = "them.example") -> tuple[Recorder, Recorder]:
        """Our receiver, and theirs."""
        before, mine = len(self.called), Recorder()
        await self.dialler.connect(self.at(direct), domain, mine, "us.example")
        return mine, await self.accepted(before)

    async def accepted(self, number: int = 0) -> Recorder:
        async with asyncio.timeout(5):
            while len(self.called) <= number:
                self.changed.clear()
                await self.changed.wait()
        return self.called[number]


@asynccontextmanager
async def pair(folder: Path, tls: TlsMode = "starttls", timing: Timing | None = None) -> AsyncIterator[Pair]:
    clock, authority = RealClock(), Authority(folder)
    ours, theirs = Certificates(), Certificates()
    ours.add("us.example", *authority.files("us.example"))
    for domain in ("them.example", "other.example"):
        theirs.add(domain, *authority.files(domain))
    engine = Engine(clock, timing)
    listener = Listener(clock, theirs, tls, engine=engine, alpn=SERVER_PROTOCOL, peers=True)
    dialler = Dialler(clock, Resolver(clock, ["127.0.0.1:1"]), ours, HERE, 5, engine=engine)
    made = Pair(dialler, listener, ours, theirs, [], authority, lambda recorder: None, asyncio.Event())

    def receiver() -> Recorder:
        made.called.append(Recorder())
        made.set_up(made.called[-1])
        made.changed.set()
        return made.called[-1]

    await listener.start("127.0.0.1", 0, receiver)
    yield made
    await dialler.close(within=1)
    await listener.close(within=1)
    assert not engine.open and not engine._deadlines and not dialler.connections


def starttls(here: Pair) -> Callable[[Recorder], None]:
    def take(me: Recorder, data: bytes) -> None:
        if data == b"<starttls/>":
            me.link.write(b"<proceed/>")
            me.link.start_tls(here.theirs.peer_context())

    return lambda me: setattr(me, "on_data", take)


async def secure(here: Pair, mine: Recorder, theirs: Recorder, domain: str = "them.example") -> None:
    def take(me: Recorder, data: bytes) -> None:
        if data == b"<proceed/>":
            me.link.start_tls(here.ours.client_context("us.example"), domain)

    mine.on_data = take
    mine.link.write(b"<starttls/>")
    await mine.seen("secured")
    await theirs.seen("secured")


def shown(folder: Path, domain: str) -> bytes:
    return ssl.PEM_cert_to_DER_cert((folder / f"{domain}.crt").read_text())


async def test_plain(tmp_path: Path) -> None:
    async with pair(tmp_path) as here:
        mine, theirs = await here.call()
        assert not mine.link.secure and mine.link.peer == "127.0.0.1" and mine.link.port == here.listener.port
        assert mine.link.peer_certificates == ()
        mine.link.write(b"hello")
        await theirs.seen("data")
        theirs.link.write(b"hello to you")
        await mine.seen("data")
        assert (mine.data, theirs.data) == (b"hello to you", b"hello")
        mine.link.close()
        await mine.seen("lost")
        await theirs.seen("lost")
        assert mine.error is None and theirs.error is None


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("domain", ["them.example", "other.example", "nobody.example"])
async def test_both_ends_show_their_certificate(
    tmp_path: Path, direct: bool, version: ssl.TLSVersion, domain: str
) -> None:
    async with pair(tmp_path, "direct" if direct else "starttls") as here:
        if version == ssl.TLSVersion.TLSv1_2:
            here.ours.client_context("us.example").set_max_proto_version(ssl.TLSVersion.TLSv1_2)
        here.set_up = starttls(here)
        mine, theirs = await here.call(direct, domain)
        if direct:
            assert mine.events == ["connected"] and mine.link.secure
            await theirs.seen("secured")
        else:
            await secure(here, mine, theirs, domain)
        assert theirs.link.peer_certificates == (shown(tmp_path, "us.example"),)
        chosen = "them.example" if domain == "nobody.example" else domain
        assert mine.link.peer_certificates == (shown(tmp_path, chosen),)
        assert mine.link.tls_version == theirs.link.tls_version == version.name.replace("v1_", "v1.")
        assert mine.link.tls_exporter == theirs.link.tls_exporter and mine.link.tls_exporter
        assert mine.link.tls_unique == theirs.link.tls_unique
        for one, other in ((mine, theirs), (theirs, mine)):
            one.on_data = other.on_data = lambda me, data: None
            other.pieces.clear()
            one.link.write(b"x" * 200_000)
            await other.until(lambda other=other: len(other.data) == 200_000)  # type: ignore[misc]
        theirs.link.close()
        await mine.seen("lost")
        assert mine.error is None


async def test_plaintext_behind_proceed_breaks_the_handshake(tmp_path: Path) -> None:
    async with pair(tmp_path) as here:
        mine, theirs = await here.call()
        context = here.ours.client_context("us.example")
        mine.on_data = lambda me, data: me.link.start_tls(context, "them.example") if not me.link.securing else None
        theirs.link.write(b"<proceed/><stream:features>")  # the rest of this read is the protocol's to drop
        await mine.seen("data")
        theirs.link.write(b"<stream:features/>")
        await mine.seen("lost")
        assert isinstance(mine.error, OSError) and mine.data == b"<proceed/><stream:features>"
        assert "secured" not in mine.events


async def test_direct_tls_to_a_port_without_it(tmp_path: Path) -> None:
    async with pair(tmp_path) as here:
        mine = Recorder()
        here.set_up = lambda me: setattr(me, "on_data", lambda me, data: me.link.write(b"<?xml version='1.0'?>"))
        with pytest.raises(OSError, match=r"wrong version|record"):
            await here.dialler.connect(here.at(direct=True), "them.example", mine, "us.example")
        assert mine.events == []
        mine, _ = await here.call()  # the same receiver could have been used for the next candidate
        assert mine.events == ["connected"]


async def test_a_server_that_closes_in_the_handshake(tmp_path: Path) -> None:
    async with pair(tmp_path) as here:
        here.set_up = lambda me: setattr(me, "on_data", lambda me, data: me.link.close())
        with pytest.raises(ConnectionResetError):
            await here.dialler.connect(here.at(direct=True), "them.example", Recorder(), "us.example")


@pytest.mark.parametrize("direct", [False, True])
async def test_nobody_answers(tmp_path: Path, direct: bool) -> None:
    async with pair(tmp_path) as here:
        port = here.listener.port
        here.listener.stop_accepting()
        mine = Recorder()
        with pytest.raises(ConnectionRefusedError):
            await here.dialler.connect(Candidate("x", port, direct, ("127.0.0.1",)), "them.example", mine, "us.example")
        assert mine.events == []


async def test_a_handshake_without_end(tmp_path: Path) -> None:
    async with pair(tmp_path) as here:
        here.dialler.timeout = 0.2
        mine = Recorder()
        with pytest.raises(TimeoutError, match="does not answer"):
            await here.dialler.connect(here.at(direct=True), "them.example", mine, "us.example")
        assert mine.events == []
        await (await here.accepted()).seen("lost")


async def test_who_calls_gives_up(tmp_path: Path) -> None:
    async with pair(tmp_path) as here:
        call = asyncio.create_task(here.dialler.connect(here.at(direct=True), "them.example", Recorder(), "us.example"))
        await here.accepted()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await here.called[0].seen("lost")


async def test_who_calls_gives_up_while_the_transport_is_made(tmp_path: Path) -> None:
    async with pair(tmp_path) as here:
        mine = Recorder()
        call = asyncio.create_task(here.dialler.connect(here.at(), "them.example", mine, "us.example"))
        mine.on_connected = lambda me: setattr(mine, "cancelled", call.cancel())
        with pytest.raises(asyncio.CancelledError):
            await call
        await mine.seen("lost")


async def test_another_address_when_the_first_refuses(tmp_path: Path) -> None:
    async with pair(tmp_path) as here:
        candidate = Candidate("x.example", here.listener.port, False, ("127.0.0.2", "127.0.0.1"))
        link = await here.dialler.connect(candidate, "them.example", Recorder(), "us.example")
        assert link.peer == "127.0.0.1"


async def test_addresses_of_our_own_network(tmp_path: Path) -> None:
    async with pair(tmp_path) as here:
        here.dialler.allowed = ()
        with pytest.raises(ForbiddenAddress, match=r"127\.0\.0\.1 is not a public address"):
            await here.dialler.connect(here.at(), "them.example", Recorder(), "us.example")
        assert not here.called


@pytest.mark.parametrize("address", ["169.254.169.254", "10.0.0.1", "::1", "::ffff:127.0.0.1", "fd00::1"])
async def test_other_addresses_that_are_not_public(tmp_path: Path, address: str) -> None:
    async with pair(tmp_path) as here:
        here.dialler.allowed = ()
        candidate = Candidate("x.example", 5269, False, (address,))
        with pytest.raises(ForbiddenAddress):
            await here.dialler.connect(candidate, "x.example", Recorder(), "us.example")


async def test_hosts_are_looked_up(tmp_path: Path) -> None:
    async with pair(tmp_path) as here, DnsServer({"a.example": ["A 127.0.0.1"]}) as names:
        here.dialler._resolver = Resolver(RealClock(), [names.address])
        candidate = Candidate("a.example", here.listener.port)
        assert (await here.dialler.connect(candidate, "them.example", Recorder(), "us.example")).peer == "127.0.0.1"
        with pytest.raises(NoSuchDomain):
            await here.dialler.connect(Candidate("b.example", 1), "them.example", Recorder(), "us.example")


# ---- OpenSSL's defaults on the other side


def plain_server(folder: Path, domain: str, version: ssl.TLSVersion, authority: Authority | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = version
    context.load_cert_chain(folder / f"{domain}.crt", folder / f"{domain}.key")
    context.set_alpn_protocols(["xmpp-server"])
    if authority is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(authority.file)
    return context


VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])


@VERSIONS
@pytest.mark.parametrize("asks", [False, True])
async def test_calls_another_implementation(tmp_path: Path, version: ssl.TLSVersion, asks: bool) -> None:
    async with pair(tmp_path) as here:
        made = here.authority.certificate(dns=["us.example"], usage=["server", "client"])
        made.write(tmp_path, "us.example")
        here.ours.reload()
        seen: list[Any] = []
        context = plain_server(tmp_path, "them.example", version, here.authority if asks else None)
        context.sni_callback = lambda tls, name, context: seen.append(name)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            tls = writer.get_extra_info("ssl_object")
            seen.extend((tls.selected_alpn_protocol(), tls.getpeercert(True)))
            writer.write(await reader.readexactly(5))
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        mine = Recorder()
        candidate = Candidate("host.example", port, True, ("127.0.0.1",))
        link = await here.dialler.connect(candidate, "them.example", mine, "us.example")
        link.write(b"hello")
        await mine.seen("lost")
        server.close()
        assert mine.data == b"hello"
        assert seen == ["them.example", "xmpp-server", shown(tmp_path, "us.example") if asks else None]


@VERSIONS
@pytest.mark.parametrize("kind", ["none", "server", "client", "both", "expired", "self-signed", "mail"])
async def test_is_called_with_any_certificate(tmp_path: Path, version: ssl.TLSVersion, kind: str) -> None:
    async with pair(tmp_path, "direct") as here:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = context.maximum_version = version
        context.load_verify_locations(here.authority.file)
        context.set_alpn_protocols(["xmpp-server"])
        ways: dict[str, dict[str, Any]] = {
            "server": {},
            "client": {"usage": ["client"]},
            "both": {"usage": ["server", "client"]},
            "mail": {"usage": ["mail"]},
            "expired": {"days": (-20, -10)},
            "self-signed": {"self_signed": True},
        }
        expected: tuple[bytes, ...] = ()
        if kind != "none":
            made = here.authority.certificate(dns=["us.example"], **ways[kind])
            context.load_cert_chain(*made.write(tmp_path, "caller"))
            expected = made.ders
        _, writer = await asyncio.open_connection(
            "127.0.0.1", here.listener.port, ssl=context, server_hostname="other.example"
        )
        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "xmpp-server"
        writer.write(b"hello")
        await here.called[0].seen("data")
        assert here.called[0].data == b"hello"
        assert here.called[0].link.peer_certificates[:1] == expected  # OpenSSL adds the root, which it knows here
        writer.close()
        await here.called[0].seen("lost")


async def test_a_server_that_does_not_take_our_certificate(tmp_path: Path) -> None:
    """With TLS 1.3 it says so when our side of the handshake is over."""
    async with pair(tmp_path) as here:
        context = plain_server(tmp_path, "them.example", ssl.TLSVersion.TLSv1_3, Authority(tmp_path, "other"))
        server = socket.create_server(("127.0.0.1", 0))

        def serve() -> None:  # blocking: asyncio closes without the alert
            taken, _ = server.accept()
            with taken, pytest.raises(ssl.SSLError):
                context.wrap_socket(taken, server_side=True)

        serving = asyncio.create_task(asyncio.to_thread(serve))
        candidate = Candidate("host.example", server.getsockname()[1], True, ("127.0.0.1",))
        mine = Recorder()
        await here.dialler.connect(candidate, "them.example", mine, "us.example")
        await mine.seen("lost")
        await serving
        server.close()
        assert isinstance(mine.error, TlsError) and "unknown ca" in str(mine.error)


# ---- which certificate


async def test_clients_are_asked_for_none(tmp_path: Path) -> None:
    async with pair(tmp_path, "direct") as here:
        here.listener._peers, here.listener.alpn = False, b"xmpp-client"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(here.authority.file)
        context.load_cert_chain(*here.authority.files("caller"))
        _, writer = await asyncio.open_connection(
            "127.0.0.1", here.listener.port, ssl=context, server_hostname="them.example"
        )
        writer.write(b"hello")
        await (await here.accepted()).seen("data")
        assert here.called[0].link.peer_certificates == ()
        writer.close()
        await here.called[0].seen("lost")


async def test_files_that_are_read_again(tmp_path: Path) -> None:
    async with pair(tmp_path, "direct") as here:
        first = await here.call(direct=True)
        before = shown(tmp_path, "us.example"), shown(tmp_path, "them.example")
        for domain in ("us.example", "them.example"):
            here.authority.files(domain)
        unchanged = await here.call(direct=True)  # files alone change nothing
        here.ours.reload()
        other = Certificates()
        for domain in ("them.example", "other.example"):
            other.add(domain, tmp_path / f"{domain}.crt", tmp_path / f"{domain}.key")
        assert here.theirs.adopt(other) == ["them.example"]
        third = await here.call(direct=True)
        after = shown(tmp_path, "us.example"), shown(tmp_path, "them.example")
        for (mine, theirs), (ours, of_them) in ((first, before), (unchanged, before), (third, after)):
            await theirs.seen("secured")
            assert (theirs.link.peer_certificates[0], mine.link.peer_certificates[0]) == (ours, of_them)


def test_a_domain_without_a_certificate_shows_the_first(tmp_path: Path) -> None:
    authority, certificates = Authority(tmp_path), Certificates()
    with pytest.raises(CertificateError):
        certificates.client_context("a.example")
    for domain in ("a.example", "b.example", "bücher.example"):
        certificates.add(domain, *authority.files(domain.replace("ü", "u")))
    assert certificates.client_context("c.example") is certificates.client_context("nobody.example")
    assert certificates.client_context("b.example") is not certificates.client_context("a.example")
    assert certificates.client_context("BÜCHER.example") is certificates.client_context("xn--bcher-kva.example")
    assert certificates.peer_context("b.example") is certificates.peer_context("B.example")
    assert certificates.peer_context() is certificates.peer_context("nobody.example")
    assert certificates.peer_context("b.example").end_point == certificates.context("b.example").end_point


async def test_long_chains_are_cut(tmp_path: Path) -> None:
    async with pair(tmp_path, "direct") as here:
        deep = Authority(tmp_path, "deep", intermediates=14)
        deep.files("us.example")
        here.ours.reload()
        mine, theirs = await here.call(direct=True)
        await theirs.seen("secured")
        assert len(theirs.link.peer_certificates) == 10
        here.authority.certificate(dns=[f"{'x' * 60}{at}.example" for at in range(600)]).write(tmp_path, "us.example")
        here.ours.reload()
        mine, theirs = await here.call(direct=True)
        await theirs.seen("secured")
        assert theirs.link.peer_certificates == () and mine.link.peer_certificates


# ---- addresses and limits


def test_both_families_in_turn() -> None:
    addresses = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1", "2001:db8::2", "192.0.2.4", "192.0.2.5"]
    tried = [entry[4][0] for entry in entries(addresses, 5269)]
    assert tried == ["2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2", "192.0.2.3", "192.0.2.4"]
    assert [entry[0] for entry in entries(["192.0.2.1", "::1"], 1)] == [socket.AF_INET6, socket.AF_INET]


async def test_only_the_addresses_that_are_allowed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with pair(tmp_path) as here:
        candidate = Candidate("x.example", here.listener.port, False, ("10.0.0.1", "127.0.0.1", "fe80::1"))
        link = await here.dialler.connect(candidate, "them.example", Recorder(), "us.example")
        assert link.peer == "127.0.0.1"
        assert "x.example: 10.0.0.1, fe80::1 is not public" in caplog.text


async def test_open_files_have_a_limit(tmp_path: Path) -> None:
    async with pair(tmp_path) as here:
        here.dialler._engine.open += open_file_limit()
        with pytest.raises(OSError, match="limit of open files"):
            await here.dialler.connect(here.at(), "them.example", Recorder(), "us.example")
        here.dialler._engine.open -= open_file_limit()
        assert not here.called
        await here.call()


async def test_calls_wait_for_their_turn(tmp_path: Path) -> None:
    async with pair(tmp_path) as here:
        here.dialler.timeout, here.dialler._free = 0.3, asyncio.Semaphore(1)
        slow = asyncio.create_task(here.dialler.connect(here.at(direct=True), "them.example", Recorder(), "us.example"))
        await here.accepted()
        here.dialler.timeout = 5
        link = await here.dialler.connect(here.at(), "them.example", Recorder(), "us.example")
        assert link.peer and slow.done() and isinstance(slow.exception(), TimeoutError)


async def test_too_many_handshakes_end_the_oldest(tmp_path: Path) -> None:
    async with pair(tmp_path, timing=Timing(handshakes=2)) as here:
        calls = [
            asyncio.create_task(here.dialler.connect(here.at(True), "them.example", Recorder(), "us.example"))
            for _ in range(3)
        ]
        await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        assert [each.done() for each in calls].count(True) == 1
        for each in calls:
            each.cancel()
        failed = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(each) for each in failed].count(TimeoutError) == 1


async def test_the_end_closes_all(tmp_path: Path) -> None:
    async with pair(tmp_path) as here:
        both = [await here.call() for _ in range(3)]
        await here.dialler.close(within=1)
        for mine, theirs in both:
            assert mine.events[-1] == "lost" and mine.error is None
            await theirs.seen("lost")


async def test_a_receiver_that_fails_is_told_and_the_connection_ends(tmp_path: Path) -> None:
    async with pair(tmp_path) as here:
        mine = Recorder()
        mine.on_connected = lambda me: me.link.nothing  # type: ignore[attr-defined]
        await here.dialler.connect(here.at(), "them.example", mine, "us.example")
        await mine.seen("lost")
        assert isinstance(mine.error, AttributeError)
