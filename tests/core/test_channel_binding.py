"""Channel bindings: the same bytes at both ends, and what is announced of them (RFC 9266, RFC 5929, XEP-0440)."""

from __future__ import annotations

import base64
import ssl
from contextlib import suppress
from pathlib import Path

import pytest
from OpenSSL import SSL

from tests.harness import Client, Element, Harness

from .net_support import Peer, Recorder, client_context, serving

NO_EXTENDED_MASTER_SECRET = 0x1
"""SSL_OP_NO_EXTENDED_MASTER_SECRET."""
CB = "{urn:xmpp:sasl-cb:0}"
SASL = "{urn:ietf:params:xml:ns:xmpp-sasl}"


# ---- the bytes


async def handshake(peer: Peer, highest: int, options: int = 0) -> SSL.Connection:
    """Another TLS client than `ssl`: one with an exporter."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_max_proto_version(highest)
    context.set_options(options)
    tls = SSL.Connection(context)
    tls.set_connect_state()
    while True:
        try:
            tls.do_handshake()
        except SSL.WantReadError:
            await peer.send(tls.bio_read(1 << 16))
            tls.bio_write(await peer.receive())
        else:
            break
    with suppress(SSL.WantReadError):  # with TLS 1.2 the server speaks last
        await peer.send(tls.bio_read(1 << 16))
    return tls


def exported(tls: SSL.Connection) -> bytes:
    """RFC 9266 section 2, from the client's side: the context is a zero-length string."""
    return tls.export_keying_material(b"EXPORTER-Channel-Binding", 32, b"")


async def test_tls_1_3_has_an_exporter_and_no_unique(tmp_path: Path) -> None:
    async with serving(tmp_path, "direct") as here:
        seen = set()
        for _ in range(2):
            peer, server = await here.connect()
            assert (server.link.tls_exporter, server.link.tls_unique) == (None, None)
            assert server.link.securing
            tls = await handshake(peer, SSL.TLS1_3_VERSION)
            await server.seen("secured")
            assert not server.link.securing
            assert server.link.tls_exporter == exported(tls)
            assert server.link.tls_unique is None
            seen.add(exported(tls))
        assert len(seen) == 2


async def test_tls_1_2_has_both(tmp_path: Path) -> None:
    async with serving(tmp_path, "direct") as here:
        peer, server = await here.connect()
        tls = await handshake(peer, SSL.TLS1_2_VERSION)
        await server.seen("secured")
        assert server.link.tls_exporter == exported(tls)
        assert server.link.tls_exporter != tls.export_keying_material(b"EXPORTER-Channel-Binding", 32, None)
        assert server.link.tls_unique == tls.get_finished()


async def test_tls_unique_is_what_the_ssl_module_takes_for_it(tmp_path: Path) -> None:
    async with serving(tmp_path, "direct") as here:
        peer, server = await here.connect()
        await peer.start_tls(client_context(maximum_version=ssl.TLSVersion.TLSv1_2))
        await server.seen("secured")
        assert peer.tls is not None
        assert server.link.tls_unique == peer.tls.get_channel_binding("tls-unique") is not None


async def test_tls_1_2_without_extended_master_secret_has_neither(tmp_path: Path) -> None:
    async with serving(tmp_path, "direct") as here:
        peer, server = await here.connect()
        await handshake(peer, SSL.TLS1_2_VERSION, NO_EXTENDED_MASTER_SECRET)
        await server.seen("secured")
        assert (server.link.tls_exporter, server.link.tls_unique) == (None, None)
        assert server.link.tls_server_end_point is not None


async def test_none_without_tls_or_behind_the_end(tmp_path: Path) -> None:
    def bindings(server: Recorder) -> set[bytes | None]:
        return {server.link.tls_exporter, server.link.tls_unique, server.link.tls_server_end_point}

    async with serving(tmp_path) as here:
        _, server = await here.connect()
        assert bindings(server) == {None}
        peer, server = await here.connect_tls()
        assert server.link.tls_exporter is not None
        peer.close()
        await server.seen("lost")
        assert bindings(server) == {None}


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_no_session_is_resumed(tmp_path: Path, version: ssl.TLSVersion) -> None:
    """Else the first Finished message of the latest handshake were the server's."""
    async with serving(tmp_path, "direct") as here:
        context = client_context(maximum_version=version)
        session = None
        for _ in range(2):
            peer, server = await here.connect()
            peer.hello(context)
            assert peer.tls is not None
            if session is not None:
                peer.incoming, peer.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
                peer.tls = context.wrap_bio(peer.incoming, peer.outgoing, session=session)
                with pytest.raises(ssl.SSLWantReadError):
                    peer.tls.do_handshake()
                await peer.send(peer.outgoing.read())
            else:
                await peer.start_tls(context)
            if session is not None:
                await peer.finish_handshake()
            await server.seen("secured")
            server.link.write(b"x")
            assert await peer.hear(1) == b"x"
            assert not peer.tls.session_reused
            session = peer.tls.session


# ---- what is announced


async def connect(server: Harness, mode: str, bindings: dict[str, bytes]) -> tuple[Client, Element]:
    """A client on a link with these bindings, and the features that it is told."""
    client = server.connect("starttls")
    client.stream.channel_binding = mode
    client.link.secure = client.secured = True
    for name, data in bindings.items():
        setattr(client.link, name, data)
    client.stream.secured()
    client.open()
    return client, await client.receive()


PLUS = ["SCRAM-SHA-512-PLUS", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS"]


@pytest.mark.parametrize(
    ("mode", "bindings", "types"),
    [
        ("exporter", {"tls_exporter": b"e", "tls_server_end_point": b"s"}, ["tls-exporter", "tls-server-end-point"]),
        (
            "exporter",
            {"tls_exporter": b"e", "tls_unique": b"u", "tls_server_end_point": b"s"},
            ["tls-exporter", "tls-unique", "tls-server-end-point"],
        ),
        ("exporter", {"tls_exporter": b"e"}, ["tls-exporter"]),
        ("exporter", {"tls_server_end_point": b"s"}, []),
        ("any", {"tls_server_end_point": b"s"}, ["tls-server-end-point"]),
        ("any", {}, []),
        ("none", {"tls_exporter": b"e", "tls_server_end_point": b"s"}, []),
    ],
)
async def test_what_is_announced(server: Harness, mode: str, bindings: dict[str, bytes], types: list[str]) -> None:
    _, features = await connect(server, mode, bindings)
    assert [each.get("type") for each in features.iter(f"{CB}channel-binding")] == types
    plus = [each.text for each in features.iter(f"{SASL}mechanism") if str(each.text).endswith("-PLUS")]
    assert plus == (PLUS if types else [])


@pytest.mark.parametrize(
    ("bindings", "flag", "mechanism", "refused"),
    [
        ({"tls_exporter": b"e"}, "y", "SCRAM-SHA-256", True),  # a downgrade: it was offered
        ({"tls_exporter": b"e"}, "n", "SCRAM-SHA-256", False),
        ({"tls_server_end_point": b"s"}, "y", "SCRAM-SHA-256", False),  # it was not
        ({"tls_server_end_point": b"s"}, "p=tls-server-end-point", "SCRAM-SHA-256-PLUS", True),
        ({"tls_exporter": b"e"}, "p=tls-exporter", "SCRAM-SHA-256-PLUS", False),
        ({"tls_exporter": b"e"}, "p=tls-unique", "SCRAM-SHA-256-PLUS", True),
    ],
)
async def test_what_may_be_used(
    server: Harness, bindings: dict[str, bytes], flag: str, mechanism: str, refused: bool
) -> None:
    """RFC 5802 section 6."""
    await server.register("romeo")
    client, _ = await connect(server, "exporter", bindings)
    first = base64.b64encode(f"{flag},,n=romeo,r=fyko".encode()).decode()
    client.send(f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='{mechanism}'>{first}</auth>")
    answer = await client.receive()
    assert answer.tag == SASL + ("failure" if refused else "challenge")
