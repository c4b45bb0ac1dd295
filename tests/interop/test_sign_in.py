"""Signing in, by every mechanism, over both kinds of TLS.

slixmpp has no tls-server-end-point (it knows tls-unique up to TLS 1.2, and tls-exporter where Python offers it), so
for TLS 1.3 it leaves -PLUS out; -PLUS is driven by the tests' own client, which was written from the RFCs.
"""

from __future__ import annotations

import ssl

import pytest

from tests.interop.conftest import People
from tests.process.client import SignInFailed, Wire, any_certificate

BOTH = pytest.mark.parametrize("tls", ["starttls", "direct"])


@BOTH
@pytest.mark.parametrize("mechanism", [None, "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"])
async def test_slixmpp(people: People, tls: str, mechanism: str | None) -> None:
    """The certificate is verified. Left to itself it takes SCRAM-SHA-256."""
    romeo = await people.client("romeo", "orchard", mechanism)
    await romeo.sign_in(people.server.port(tls), tls)
    assert str(romeo.boundjid) == f"{people.bare('romeo')}/orchard"
    await people.server.logged(f"{people.bare('romeo')} signed in from 127.0.0.1 by {mechanism or 'SCRAM-SHA-256'}\n")


async def test_slixmpp_on_tls_1_2(people: People) -> None:
    """It tries -PLUS with tls-unique, which is refused, and then signs in without."""
    romeo = await people.client("romeo")
    romeo.ssl_context.maximum_version = ssl.TLSVersion.TLSv1_2
    await romeo.sign_in(people.server.port())
    assert romeo.boundjid.bare == people.bare("romeo")


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
