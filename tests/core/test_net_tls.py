"""TLS on real connections: STARTTLS, direct TLS, names and settings."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from pathlib import Path

import pytest
from cryptography import x509

from xmppd.net.tls_layer import TlsError

from .net_support import ALERT, client_context, event_loop_policy, pauses, records, serving, starttls

NO_APPLICATION_PROTOCOL = bytes([ALERT, 3, 3, 0, 2, 2, 120])


__all__ = ["event_loop_policy"]


# ---- STARTTLS


async def test_starttls(tmp_path: Path) -> None:
    async with serving(tmp_path) as here:
        here.set_up = starttls(here)
        peer, server = await here.connect()
        await peer.send(b"<starttls/>")
        assert await peer.exactly(10) == b"<proceed/>"
        await peer.start_tls()
        await server.seen("secured")
        assert server.link.secure
        assert server.link.tls_version == "TLSv1.3"
        assert server.link.cipher.startswith("TLS_")
        await peer.say(b"hello")
        await server.until(lambda: server.data == b"hello")
        server.link.write(b"and hello")
        assert await peer.hear(9) == b"and hello"
        with pytest.raises(RuntimeError):
            server.link.start_tls(here.context)


async def test_plaintext_behind_starttls_does_not_count(tmp_path: Path) -> None:
    """T08, in one segment (CVE-2011-0411)."""
    async with serving(tmp_path) as here:
        here.set_up = starttls(here)
        peer, server = await here.connect()
        await peer.send(b"<starttls/><evil/>")
        assert await peer.exactly(10) == b"<proceed/>"
        await peer.start_tls()
        await peer.say(b"good")
        await server.until(lambda: server.data != b"")
        assert server.data == b"good"


async def test_plaintext_in_a_later_segment_breaks_the_handshake(tmp_path: Path) -> None:
    """T08, split."""
    async with serving(tmp_path) as here:
        here.set_up = starttls(here)
        peer, server = await here.connect()
        await peer.send(b"<starttls/>")
        assert await peer.exactly(10) == b"<proceed/>"
        await peer.send(b"<evil/>" + peer.hello())
        assert set(records(await peer.rest())) <= {ALERT}
        peer.close()
        await server.seen("lost")
        assert server.data == b""
        assert isinstance(server.error, TlsError)


async def test_plaintext_held_back_does_not_count_either(tmp_path: Path) -> None:
    async with serving(tmp_path) as here:
        here.set_up = lambda me: setattr(me, "on_connected", pauses)
        peer, server = await here.connect()
        await peer.send(b"<evil/>")
        await asyncio.sleep(0.02)
        server.link.start_tls(here.context)
        server.link.resume_reading()
        await asyncio.sleep(0.02)  # uvloop had read it; asyncio reads it now, and it breaks the handshake
        assert server.data == b""


async def test_clear_output_leaves_before_the_handshake(tmp_path: Path) -> None:
    async with serving(tmp_path) as here:
        here.set_up = starttls(here)
        peer, server = await here.connect()
        server.link.write(b"x" * 500_000)
        await peer.send(b"<starttls/>")
        assert (await peer.exactly(500_010))[-11:] == b"x<proceed/>"
        await peer.start_tls()
        await server.seen("secured")


async def test_what_waits_for_the_handshake_never_leaves_in_clear(tmp_path: Path) -> None:
    async with serving(tmp_path) as here:
        here.set_up = starttls(here)
        peer, server = await here.connect()
        await peer.send(b"<starttls/>")
        assert await peer.exactly(10) == b"<proceed/>"
        server.link.write(b"a secret")
        server.link.write(b"x" * 200_000)
        await peer.send(b"no TLS at all, that is\n")
        assert set(records(await peer.rest())) <= {ALERT}
        peer.close()
        await server.seen("lost")


async def test_what_waits_for_the_handshake_follows_it(tmp_path: Path) -> None:
    async with serving(tmp_path, "direct") as here:
        here.set_up = lambda me: setattr(me, "on_connected", lambda me: me.link.write(b"early"))
        peer, server = await here.connect()
        drained: list[int] = []
        server.link.on_drained(lambda: drained.append(1))
        await asyncio.sleep(0.01)
        assert drained == []
        await peer.start_tls()
        assert await peer.hear(5) == b"early"
        assert drained == [1]


async def test_closing_before_the_handshake_is_done(tmp_path: Path) -> None:
    async with serving(tmp_path, "direct") as here:
        peer, server = await here.connect()
        server.link.write(b"a secret")
        server.link.close()
        assert await peer.rest() == b""
        peer.close()
        await server.seen("lost")


# ---- direct TLS, names, channel binding


async def test_direct_tls_with_alpn(tmp_path: Path) -> None:
    async with serving(tmp_path, "direct") as here:
        context = client_context()
        context.set_alpn_protocols(["xmpp-client"])
        peer, server = await here.connect()
        await peer.start_tls(context)
        await server.seen("secured")
        assert peer.tls is not None
        assert peer.tls.selected_alpn_protocol() == "xmpp-client"
        assert server.events == ["connected", "secured"]


@pytest.mark.parametrize("offer", [["http/1.1"], ["h2", "http/1.1"], ["xmpp-server"]])
async def test_another_protocol_is_refused(tmp_path: Path, offer: list[str]) -> None:
    """RFC 7301 section 3.2; T10, ALPACA."""
    async with serving(tmp_path, "direct") as here:
        context = client_context()
        context.set_alpn_protocols(offer)
        peer, server = await here.connect()
        with pytest.raises((ssl.SSLError, EOFError)):
            await peer.start_tls(context)
        assert peer.ciphertext == NO_APPLICATION_PROTOCOL
        peer.close()
        await server.seen("lost")
        assert "secured" not in server.events


async def test_a_client_hello_may_come_in_pieces(tmp_path: Path) -> None:
    for offer, good in ((["http/1.1", "xmpp-client"], True), (["http/1.1"], False)):
        async with serving(tmp_path, "direct") as here:
            context = client_context()
            context.set_alpn_protocols(offer)
            peer, server = await here.connect()
            hello = peer.hello(context)
            for at in range(0, len(hello), 7):
                await peer.send(hello[at : at + 7])
                await asyncio.sleep(0)
            if good:
                await peer.finish_handshake()
                await server.seen("secured")
            else:
                assert await peer.rest() == NO_APPLICATION_PROTOCOL


async def test_the_name_chooses_the_certificate(tmp_path: Path) -> None:
    async with serving(tmp_path, "direct") as here:
        for name, expected in (
            ("two.example", "two.example"),
            ("ONE.example", "one.example"),
            ("unknown.example", "one.example"),
            (None, "one.example"),
        ):
            peer, server = await here.connect()
            await peer.start_tls(name=name)
            await server.seen("secured")
            assert peer.tls is not None
            der = peer.tls.getpeercert(binary_form=True)
            assert der is not None
            names = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(x509.SubjectAlternativeName)
            assert names.value.get_values_for_type(x509.DNSName) == [expected]
            # RFC 5929 section 4.1, worked out by the client
            assert server.link.tls_server_end_point == hashlib.sha256(der).digest()


async def test_a_new_certificate_is_for_new_handshakes(tmp_path: Path) -> None:
    async with serving(tmp_path, "direct") as here:
        before, old = await here.connect()
        await before.start_tls()
        await old.seen("secured")
        for end in ("crt", "key"):
            (tmp_path / f"one.example.{end}").write_bytes((tmp_path / f"two.example.{end}").read_bytes())
        here.certificates.reload()
        after, new = await here.connect()
        await after.start_tls()
        await new.seen("secured")
        for peer, server in ((before, old), (after, new)):
            assert peer.tls is not None
            der = peer.tls.getpeercert(binary_form=True) or b""
            assert server.link.tls_server_end_point == hashlib.sha256(der).digest()
        assert old.link.tls_server_end_point != new.link.tls_server_end_point
        await before.say(b"still here")
        await old.until(lambda: old.data == b"still here")


async def test_a_client_that_verifies_is_content(tmp_path: Path) -> None:
    async with serving(tmp_path, "direct") as here:
        context = ssl.create_default_context(cafile=str(tmp_path / "one.example.crt"))
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        peer, server = await here.connect()
        await peer.start_tls(context, "one.example")
        await server.seen("secured")


# ---- versions and settings


async def test_tls_12_without_tickets(tmp_path: Path) -> None:
    async with serving(tmp_path, "direct") as here:
        peer, server = await here.connect()
        await peer.start_tls(client_context(maximum_version=ssl.TLSVersion.TLSv1_2))
        await server.seen("secured")
        assert server.link.tls_version == "TLSv1.2"
        assert server.link.cipher.startswith("ECDHE-")
        assert peer.tls is not None and peer.tls.session is not None
        assert not peer.tls.session.has_ticket
        assert peer.tls.compression() is None


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
async def test_old_tls_is_refused(tmp_path: Path, version: ssl.TLSVersion) -> None:
    """T10; RFC 9325 section 3.1.1."""
    async with serving(tmp_path, "direct") as here:
        context = client_context()
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = version
        peer, server = await here.connect()
        with pytest.raises((ssl.SSLError, EOFError)):
            await peer.start_tls(context)
        peer.close()
        await server.seen("lost")
        assert isinstance(server.error, TlsError)


@pytest.mark.parametrize("ciphers", ["AES256-SHA", "ECDHE-ECDSA-AES256-SHA384", "DHE-RSA-AES256-GCM-SHA384", "aNULL"])
async def test_weak_ciphers_are_refused(tmp_path: Path, ciphers: str) -> None:
    async with serving(tmp_path, "direct") as here:
        context = client_context(maximum_version=ssl.TLSVersion.TLSv1_2)
        context.set_ciphers(ciphers + ":@SECLEVEL=0")
        peer, server = await here.connect()
        with pytest.raises((ssl.SSLError, EOFError)):
            await peer.start_tls(context)
        peer.close()
        await server.seen("lost")
