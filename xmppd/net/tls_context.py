"""TLS settings (RFC 7590, RFC 9325) and ALPN (RFC 7301), for each role in a handshake.

    ServerContext   clients connect to it; it asks for no certificate
    PeerContext     other servers connect to it; it asks for their certificate, and takes any, or none
    ClientContext   we connect to another server; shows our certificate when asked, and takes any

Whether a server's certificate is worth something is no matter of the handshake: a stream whose certificate proves
nothing may still be encrypted, and prove itself by dialback (XEP-0178, XEP-0220). See `peer_certificate`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from OpenSSL import SSL

from .tls_errors import NoCommonProtocol

CLIENT_PROTOCOL: Final = b"xmpp-client"
SERVER_PROTOCOL: Final = b"xmpp-server"
"""XEP-0368 section 3."""
CIPHERS: Final = b"ECDHE+AESGCM:ECDHE+CHACHA20"
"""For TLS 1.2 (RFC 9325 section 4.2); those of TLS 1.3 are all fine."""
RELEASE_BUFFERS: Final = 0x10
"""SSL_MODE_RELEASE_BUFFERS: an idle connection holds no buffer for records (34 KB)."""
PARTIAL_WRITE: Final = 0x1
"""SSL_MODE_ENABLE_PARTIAL_WRITE, which pyOpenSSL sets: one call is to encrypt all it is given."""

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True, slots=True)
class Credentials:
    """A chain in PEM, our own certificate first, and its key."""

    chain: bytes
    key: PrivateKey


class ServerContext(SSL.Context):
    """`end_point`: the data of `tls-server-end-point`, worked out once. `choose`: called when a handshake begins, may
    give it another context (SNI). `credentials`: what other contexts of the same domain are made from."""

    protocol: bytes = CLIENT_PROTOCOL
    """What is chosen of an ALPN offer within STARTTLS."""
    end_point: bytes | None = None
    choose: Callable[[SSL.Connection], None] | None = None
    credentials: Credentials | None = None


class PeerContext(ServerContext):
    protocol = SERVER_PROTOCOL


class ClientContext(SSL.Context):
    """Begins handshakes."""


def _prepare(context: SSL.Context) -> None:
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_cipher_list(CIPHERS)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    # A ticket's key, never renewed, would undo forward secrecy; kept sessions cost memory.
    context.set_options(SSL.OP_NO_TICKET)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_mode(RELEASE_BUFFERS)
    context.clear_mode(PARTIAL_WRITE)


def serving() -> ServerContext:
    """Without a certificate yet."""
    context = ServerContext(SSL.TLS_SERVER_METHOD)
    _prepare_to_serve(context)
    return context


def _prepare_to_serve(context: ServerContext) -> None:
    _prepare(context)
    context.set_options(SSL.OP_CIPHER_SERVER_PREFERENCE)
    context.set_alpn_select_callback(select_protocol)
    context.set_tlsext_servername_callback(_begins)


def _begins(connection: SSL.Connection) -> None:
    context = connection.get_context()
    if isinstance(context, ServerContext) and context.choose is not None:
        context.choose(connection)


def serving_peers(credentials: Credentials) -> PeerContext:
    """Raises ValueError."""
    context = PeerContext(SSL.TLS_SERVER_METHOD)
    _prepare_to_serve(context)
    context.set_verify(SSL.VERIFY_PEER, _taken)
    _use(context, credentials)
    return context


def dialling(credentials: Credentials | None) -> ClientContext:
    """Raises ValueError."""
    context = ClientContext(SSL.TLS_CLIENT_METHOD)
    _prepare(context)
    context.set_verify(SSL.VERIFY_NONE)  # goes on whatever the certificate is
    if credentials is not None:
        _use(context, credentials)
    return context


def _use(context: SSL.Context, credentials: Credentials) -> None:
    own, *others = x509.load_pem_x509_certificates(credentials.chain)
    context.use_certificate(own)
    for each in others:
        context.add_extra_chain_cert(each)
    context.use_privatekey(credentials.key)


def _taken(connection: SSL.Connection, certificate: object, error: int, depth: int, ok: int) -> bool:
    """The verify callback (XEP-0178 section 3, step 6): without it OpenSSL ends the handshake of whoever has a
    certificate that is self-signed, or for servers only, as public authorities give out now."""
    return True


def select_protocol(connection: SSL.Connection, offered: list[bytes]) -> Any:
    """The ALPN callback of a context."""
    spoken = connection.get_app_data()
    if spoken is None:
        context = connection.get_context()
        usual = context.protocol if isinstance(context, ServerContext) else CLIENT_PROTOCOL
        return usual if usual in offered else SSL.NO_OVERLAPPING_PROTOCOLS
    if spoken in offered:
        return spoken
    raise NoCommonProtocol(f"the client speaks {b' '.join(offered)[:80]!r}")
