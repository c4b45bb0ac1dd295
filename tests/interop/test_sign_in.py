"""Signing in, by every mechanism, over both kinds of TLS.

slixmpp knows tls-unique up to TLS 1.2, and tls-exporter where Python offers it, so for TLS 1.3 it leaves -PLUS out;
there -PLUS is driven by the tests' own clients, which were written from the RFCs: one on `ssl` with
tls-server-end-point, one on pyOpenSSL with tls-exporter.
"""

from __future__ import annotations

import asyncio
import ssl

import pytest
from OpenSSL import SSL

from tests.interop.conftest import People
from tests.interop.exporter_client import ExporterClient
from tests.process.client import SignInFailed, Wire, any_certificate

BOTH = pytest.mark.parametrize("tls", ["starttls", "direct"])


@BOTH
@pytest.mark.parametrize("mechanism", [None, "SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"])
async def test_slixmpp(people: People, tls: str, mechanism: str | None) -> None:
    """The certificate is verified. Left to itself it takes SCRAM-SHA-512."""
    romeo = await people.client("romeo", "orchard", mechanism)
    await romeo.sign_in(people.server.port(tls), tls)
    assert str(romeo.boundjid) == f"{people.bare('romeo')}/orchard"
    await people.server.logged(f"{people.bare('romeo')} signed in from 127.0.0.1 by {mechanism or 'SCRAM-SHA-512'}\n")


@pytest.mark.parametrize("mechanism", [None, "SCRAM-SHA-1-PLUS"])
async def test_slixmpp_on_tls_1_2(people: People, mechanism: str | None) -> None:
    """Left to itself it takes -PLUS, with tls-unique."""
    romeo = await people.client("romeo", "orchard", mechanism)
    romeo.ssl_context.maximum_version = ssl.TLSVersion.TLSv1_2
    await romeo.sign_in(people.server.port())
    await people.server.logged(
        f"{people.bare('romeo')} signed in from 127.0.0.1 by {mechanism or 'SCRAM-SHA-512-PLUS'}\n"
    )


async def test_slixmpp_with_a_wrong_password(people: People) -> None:
    romeo = await people.client("romeo")
    romeo.password = "wrong"
    failed = romeo.wait_until("failed_all_auth", 10)
    romeo.enable_direct_tls = False
    romeo.connect("127.0.0.1", people.server.port())
    await failed
    assert not romeo.authenticated


@BOTH
@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS"])
async def test_channel_binding(people: People, tls: str, mechanism: str) -> None:
    await people.register("romeo")
    async with await Wire.connect(people.server.port(tls), tls) as wire:
        assert mechanism in wire.mechanisms
        await wire.sign_in(people.user("romeo"), mechanism=mechanism)
        await wire.bind("orchard")
        assert wire.jid == f"{people.bare('romeo')}/orchard"


async def test_channel_binding_on_tls_1_2(people: People) -> None:
    await people.register("romeo")
    context = any_certificate()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with await Wire.connect(people.server.port(), context=context) as wire:
        await wire.sign_in(people.user("romeo"), mechanism="SCRAM-SHA-256-PLUS")


async def test_who_stands_between_is_found_out(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that sees another certificate than the server's binds to another channel."""
    await people.register("romeo")
    async with await Wire.connect(people.server.port()) as wire:
        monkeypatch.setattr(wire, "end_point", lambda: b"another certificate's hash......")
        with pytest.raises(SignInFailed, match="not-authorized"):
            await wire.sign_in(people.user("romeo"), mechanism="SCRAM-SHA-256-PLUS")


@BOTH
@pytest.mark.parametrize("version", [SSL.TLS1_3_VERSION, SSL.TLS1_2_VERSION], ids=["1.3", "1.2"])
@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS"])
async def test_exporter(people: People, tls: str, version: int, mechanism: str) -> None:
    """RFC 9266: both ends derive the same from the handshake."""
    await people.register("romeo")
    client = ExporterClient(people.server.port(tls), version)
    await asyncio.to_thread(client.connect, tls, people.bare("romeo").partition("@")[2])
    try:
        assert mechanism.encode() in client.features and b"type='tls-exporter'" in client.features
        answer = await asyncio.to_thread(client.scram, people.user("romeo"), mechanism)
        assert answer.startswith(b"<success ")
    finally:
        client.close()


async def test_the_exporter_of_another_connection(people: People) -> None:
    """What somebody between who ends TLS and begins it again would send."""
    await people.register("romeo")
    port = people.server.port("direct")
    client, other = ExporterClient(port, SSL.TLS1_3_VERSION), ExporterClient(port, SSL.TLS1_3_VERSION)
    for each in (client, other):
        await asyncio.to_thread(each.connect, "direct", people.bare("romeo").partition("@")[2])
    try:
        answer = await asyncio.to_thread(client.scram, people.user("romeo"), "SCRAM-SHA-256-PLUS", other.exported())
        assert b"<not-authorized/>" in answer
    finally:
        client.close()
        other.close()


async def test_a_downgrade_is_found_out(people: People) -> None:
    """RFC 5802 section 6: somebody has taken -PLUS out of the list."""
    await people.register("romeo")
    client = ExporterClient(people.server.port("direct"), SSL.TLS1_3_VERSION)
    await asyncio.to_thread(client.connect, "direct", people.bare("romeo").partition("@")[2])
    try:
        assert b"<not-authorized/>" in await asyncio.to_thread(
            client.first, people.user("romeo"), "SCRAM-SHA-256", b"y,,"
        )
    finally:
        client.close()
