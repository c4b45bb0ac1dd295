"""Certificates and TLS settings (RFC 7590, RFC 9325)."""

from __future__ import annotations

import hashlib
import ipaddress
import os
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from weakref import WeakKeyDictionary

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_end_points: WeakKeyDictionary[ssl.SSLContext, bytes] = WeakKeyDictionary()
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:!aNULL:!MD5:!DSS"


class CertificateError(Exception):
    """A certificate that cannot be used; the text says which and why."""


def server_end_point(certificate: x509.Certificate) -> bytes:
    """RFC 5929 section 4.1: the certificate's hash, by its signature's algorithm (SHA-256 for MD5 and SHA-1)."""
    algorithm = certificate.signature_hash_algorithm
    name = algorithm.name if algorithm is not None else "sha256"
    if name in ("md5", "sha1"):
        name = "sha256"
    return hashlib.new(name, certificate.public_bytes(serialization.Encoding.DER)).digest()


def end_point_of(context: ssl.SSLContext) -> bytes | None:
    """The channel binding data of a context made by `server_context`."""
    return _end_points.get(context)


def server_context(chain: Path, key: Path) -> ssl.SSLContext:
    """TLS 1.2 and later, no tickets (they cost memory per connection). Raises CertificateError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_NO_TICKET
    context.num_tickets = 0
    context.set_ciphers(CIPHERS)
    context.set_alpn_protocols(["xmpp-client"])
    try:
        context.load_cert_chain(chain, key)
        certificate = x509.load_pem_x509_certificate(chain.read_bytes())
    except FileNotFoundError:
        missing = chain if not chain.exists() else key
        raise CertificateError(f"there is no certificate file {missing}") from None
    except (OSError, ValueError) as error:
        raise CertificateError(f"certificate {chain} with key {key} cannot be used: {error}") from None
    _end_points[context] = server_end_point(certificate)
    return context


def self_signed(domain: str, chain: Path, key: Path) -> None:
    """Make a key (P-256, readable by the owner only) and a certificate for `domain`, valid for ten years."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, domain[:64])])
    now = datetime.now(UTC)
    names: list[x509.GeneralName] = [x509.DNSName(domain), x509.DNSName(f"*.{domain}")]
    if domain == "localhost":
        names.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=3650))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )
    for path in (chain, key):
        path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(key, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        pem = serialization.PrivateFormat.PKCS8
        file.write(private.private_bytes(serialization.Encoding.PEM, pem, serialization.NoEncryption()))
    chain.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


class Certificates:
    """The TLS contexts of the domains, chosen by SNI where TLS begins before the stream names its domain."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[Path, Path]] = {}
        self._contexts: dict[str, ssl.SSLContext] = {}

    def add(self, domain: str, chain: Path, key: Path, self_signed: bool = False) -> None:
        """Raises CertificateError."""
        if self_signed and not chain.exists() and not key.exists():
            try:
                make_self_signed(domain, chain, key)
            except OSError as error:
                raise CertificateError(f"cannot write {chain}: {error}") from None
        self._files[domain] = (chain, key)
        self._use(domain, server_context(chain, key))

    def _use(self, domain: str, context: ssl.SSLContext) -> None:
        context.sni_callback = self._named
        self._contexts[domain] = context

    def _named(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        chosen = self._contexts.get((name or "").lower().rstrip("."))
        if chosen is not None:
            connection.context = chosen

    def reload(self) -> None:
        """Read all files again; nothing changes if one cannot be used. Raises CertificateError."""
        fresh = {domain: server_context(*files) for domain, files in self._files.items()}
        for domain, context in fresh.items():
            self._use(domain, context)

    @property
    def default(self) -> ssl.SSLContext:
        """Before a name is known."""
        return next(iter(self._contexts.values()))

    def context(self, domain: str) -> ssl.SSLContext:
        return self._contexts.get(domain) or self.default


make_self_signed = self_signed
