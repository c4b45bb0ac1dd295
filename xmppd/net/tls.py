"""Certificates of domains, and the channel binding to a certificate (RFC 5929)."""

from __future__ import annotations

import ipaddress
import logging
import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, TypeVar

import idna
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import SSL

from .tls_context import (
    ClientContext,
    Credentials,
    PeerContext,
    PrivateKey,
    ServerContext,
    dialling,
    serving,
    serving_peers,
)
from .tls_errors import CertificateError

__all__ = ["CertificateError", "Certificates", "fingerprint", "make_self_signed", "server_context", "server_end_point"]

log = logging.getLogger("xmppd.tls")
T = TypeVar("T")

SELF_SIGNED_FOR: Final = timedelta(days=3650)
"""People trust a self-signed certificate by hand, once per device."""
WARN_BEFORE: Final = 14 * 86_400.0
"""Seconds."""


def server_context(certificate: Path, key: Path) -> ServerContext:
    """TLS 1.2 and 1.3 with forward secrecy, for a PEM chain (own certificate first) and its PEM key.

    No resumption, no renegotiation, no compression. Raises CertificateError.
    """
    context = serving()
    try:
        pem, secret_pem = _read(certificate, "certificate"), _read(key, "key")
        context.end_point = _understood(certificate, "certificate", server_end_point, pem)
        secret = _understood(key, "key", _private_key, secret_pem)
        context.use_certificate_chain_file(str(certificate))
        context.use_privatekey(secret)
        context.check_privatekey()
    except SSL.Error as error:
        why = _reason(error)
        what = "is not the key of" if "mismatch" in why else "cannot be used with"
        raise CertificateError(f"{key} {what} {certificate} ({why})") from error
    except (OSError, ValueError) as error:
        raise CertificateError(f"{certificate}, {key}: {error}") from error
    context.credentials = Credentials(pem, secret)
    return context


def _read(file: Path, option: str) -> bytes:
    """A file in PEM. Raises CertificateError. One that is no plain file (a pipe) could be waited for without end."""
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            raise CertificateError(f"{file} is not a file", option)
        return file.read_bytes()
    except FileNotFoundError as error:
        raise CertificateError(f"{file}: no such file", option) from error
    except OSError as error:
        raise CertificateError(f"{file} cannot be read by this user: {error.strerror or error}", option) from error


def _understood(file: Path, option: str, understand: Callable[[bytes], T], pem: bytes) -> T:
    """Raises CertificateError, in our own words where the library speaks to programmers."""
    try:
        return understand(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        wanted = b"CERTIFICATE-----" if option == "certificate" else b"PRIVATE KEY-----"
        why = str(error) if wanted in pem else f"there is no {option} in PEM in it (-----BEGIN …)"
        raise CertificateError(f"{file}: {why}", option) from error


def _reason(error: SSL.Error) -> str:
    found = error.args[0] if error.args and isinstance(error.args[0], list) else []
    return ", ".join(str(each[-1]) for each in found if each[-1]) or "OpenSSL does not say why"


def _private_key(pem: bytes) -> PrivateKey:
    """Raises ValueError."""
    try:
        key = serialization.load_pem_private_key(pem, None)
    except TypeError:
        raise ValueError("the key is encrypted with a password; a server needs one without") from None
    except UnsupportedAlgorithm as error:
        raise ValueError(str(error)) from None
    if not isinstance(key, PrivateKey):
        raise ValueError("a key for RSA, ECDSA or Ed25519 is needed")
    return key


def server_end_point(pem: bytes) -> bytes | None:
    """The hash of the (first) certificate that RFC 5929 section 4.1 asks for: that of its signature, but SHA-256
    for MD5 and SHA-1. None where it is undefined (Ed25519: no hash). Raises ValueError when there is no certificate."""
    certificate = x509.load_pem_x509_certificate(pem)
    try:
        algorithm = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return None
    if algorithm is None:
        return None
    if isinstance(algorithm, hashes.MD5 | hashes.SHA1):
        algorithm = hashes.SHA256()
    return certificate.fingerprint(algorithm)


@dataclass(frozen=True, slots=True)
class _Files:
    domain: str
    certificate: Path
    key: Path
    warning: float


class Certificates:
    """The certificate of each domain. The name that a client asks for (SNI) chooses it, otherwise the first one."""

    def __init__(self) -> None:
        self._files: dict[str, _Files] = {}
        self._contexts: dict[str, ServerContext] = {}
        self._peers: dict[str, tuple[ServerContext, PeerContext]] = {}
        """Made when first asked for, from the context that is beside it."""
        self._clients: dict[str, tuple[ServerContext, ClientContext]] = {}

    def add(
        self, domain: str, certificate: Path, key: Path, self_signed: bool = False, warning: float = WARN_BEFORE
    ) -> None:
        """Load the certificate of a domain; with `self_signed`, make it first if neither file is there. `warning`:
        seconds before its end from which on the log warns.

        Raises CertificateError.
        """
        if self_signed and not certificate.exists() and not key.exists():
            make_self_signed([domain], certificate, key)
            log.info("made a self-signed certificate for %s: %s", domain, certificate)
        files = _Files(domain, certificate, key, warning)
        context = self._load(files)
        self._files[_name(domain)] = files
        self._contexts[_name(domain)] = context

    def reload(self) -> None:
        """Read all files again. New handshakes see it, connections keep what they have. When one of them cannot be
        used nothing changes. Raises CertificateError."""
        self._contexts = {name: self._load(files) for name, files in self._files.items()}

    def adopt(self, other: Certificates) -> list[str]:
        """Use what `other` has loaded, for its domains: new handshakes see it, connections keep what they have.

        The names of those whose certificate is another one now.
        """
        changed = []
        for name, context in other._contexts.items():
            before = self._contexts.get(name)
            if before is None or before.end_point is None or before.end_point != context.end_point:
                changed.append(name)
            context.choose = self._choose
        self._files = {**self._files, **other._files}
        self._contexts = {**self._contexts, **other._contexts}
        return changed

    def context(self, domain: str) -> ServerContext:
        """A domain without a certificate of its own gets the default. Raises CertificateError when there is none."""
        return self._contexts.get(_name(domain)) or self.default

    def peer_context(self, domain: str = "") -> PeerContext:
        """Of the same certificate, for connections of other servers: it asks for theirs, and takes any or none. With
        direct TLS, or before the domain is known, without `domain`: SNI chooses. Raises CertificateError."""
        name, source = self._source(domain)
        made = self._peers.get(name)
        if made is None or made[0] is not source:
            made = self._peers[name] = source, _make(serving_peers, source)
            made[1].choose = self._choose_peer
            made[1].end_point = source.end_point
        return made[1]

    def client_context(self, domain: str) -> ClientContext:
        """For connections that we open in the name of a domain: its certificate is shown to a server that asks, and
        that server's is not checked (see `peer_certificate`). Raises CertificateError."""
        name, source = self._source(domain)
        made = self._clients.get(name)
        if made is None or made[0] is not source:
            made = self._clients[name] = source, _make(dialling, source)
        return made[1]

    def covers(self, domain: str) -> bool:
        """Whether a domain has a certificate, its own or that of another domain which names it, too."""
        return bool(self._chosen(_name(domain)))

    def _source(self, domain: str) -> tuple[str, ServerContext]:
        name = self._chosen(_name(domain)) if domain else ""
        return (name, self._contexts[name]) if name else ("", self.default)

    def _chosen(self, name: str) -> str:
        """Whose certificate serves a domain; "" for none."""
        if name in self._contexts:
            return name
        for other, context in self._contexts.items():
            own = x509.load_pem_x509_certificate(context.credentials.chain) if context.credentials is not None else None
            if own is not None and _covers(own, name):
                return other
        return ""

    @property
    def default(self) -> ServerContext:
        """The first domain's. Raises CertificateError when there is none."""
        for context in self._contexts.values():
            return context
        raise CertificateError("there is no certificate")

    def expires(self, domain: str) -> datetime:
        """When the certificate file ends to be valid, UTC. Raises KeyError, OSError, ValueError."""
        return x509.load_pem_x509_certificate(self._files[_name(domain)].certificate.read_bytes()).not_valid_after_utc

    def _load(self, files: _Files) -> ServerContext:
        context = server_context(files.certificate, files.key)
        context.choose = self._choose
        _look_at(files)
        return context

    def _choose(self, connection: SSL.Connection) -> None:
        """Called during the handshake (RFC 6066 section 3). An unknown name gets the certificate we began with, and
        the client decides: to refuse would tell strangers which domains are here."""
        context = self._contexts.get(_asked(connection))
        if context is not None and context is not connection.get_context():
            connection.set_context(context)

    def _choose_peer(self, connection: SSL.Connection) -> None:
        name = _asked(connection)
        try:
            if not name or not self._chosen(name):
                return
            context = self.peer_context(name)
        except CertificateError as error:  # OpenSSL, which has called, could only write it to the standard error
            log.error("%s", error)
            return
        if context is not connection.get_context():
            connection.set_context(context)


def _asked(connection: SSL.Connection) -> str:
    """The name in SNI."""
    return (connection.get_servername() or b"").decode("ascii", "replace").lower().rstrip(".")


C = TypeVar("C", PeerContext, ClientContext)


def _make(make: Callable[[Credentials], C], source: ServerContext) -> C:
    assert source.credentials is not None
    try:
        return make(source.credentials)
    except (ValueError, SSL.Error) as error:
        raise CertificateError(f"a certificate cannot be used with other servers: {error}") from error


def _look_at(files: _Files) -> None:
    """Say what clients will complain about."""
    certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    left = certificate.not_valid_after_utc - datetime.now(UTC)
    if left < timedelta(seconds=files.warning):
        when = "has expired on" if left < timedelta(0) else "expires on"
        log.warning("%s %s %s", files.certificate, when, certificate.not_valid_after_utc.date())
    if not _covers(certificate, _name(files.domain)):
        log.warning("%s does not name %s: clients will refuse it", files.certificate, files.domain)
    if files.key.stat().st_mode & 0o004:
        log.warning("%s can be read by every user of this machine", files.key)


def _covers(certificate: x509.Certificate, name: str) -> bool:
    """The names clients look at (RFC 9525 section 6.3): no common name, a wildcard for the first label only."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return False
    addresses = [str(each) for each in names.get_values_for_type(x509.IPAddress)]
    domains = [each.lower() for each in names.get_values_for_type(x509.DNSName)]
    return name in addresses or name in domains or "*." + name.partition(".")[2] in domains


def _name(domain: str) -> str:
    """The form of a domain in certificates and SNI: lower case A-labels."""
    plain = domain.strip("[]").rstrip(".").lower()
    if plain.isascii():
        return plain
    try:
        return idna.encode(plain, uts46=True).decode()
    except idna.IDNAError as error:
        raise CertificateError(f"{domain}: {error}") from error


def make_self_signed(domains: Sequence[str], certificate: Path, key: Path) -> None:
    """Make an EC key (P-256, PEM, mode 0600) and a certificate (PEM) that names the domains, and only signs itself.

    Raises CertificateError: the files cannot be written, or one is there already.
    """
    names = [_name(domain) for domain in domains]
    if "localhost" in names:
        names += ["127.0.0.1", "::1"]
    secret = ec.generate_private_key(ec.SECP256R1())
    made = _certificate(names, secret)
    encoding, none = serialization.Encoding.PEM, serialization.NoEncryption()
    private = secret.private_bytes(encoding, serialization.PrivateFormat.PKCS8, none)
    try:
        _write_new(key, private, 0o600)
        _write_new(certificate, made.public_bytes(encoding), 0o644)
    except OSError as error:
        raise CertificateError(f"cannot write a self-signed certificate: {error}") from error


def _certificate(names: Sequence[str], secret: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    public = secret.public_key()
    now = datetime.now(UTC)
    identifier = x509.SubjectKeyIdentifier.from_public_key(public)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))  # a device's clock may be behind
        .not_valid_after(now + SELF_SIGNED_FOR)
        .add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
    )
    return builder.sign(secret, hashes.SHA256())


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def fingerprint(certificate: Path) -> str | None:
    """By which people can tell a certificate that signs itself: SHA-256, as clients show it. None for one that
    somebody else has signed. Raises OSError, ValueError."""
    first = x509.load_pem_x509_certificate(certificate.read_bytes())
    if first.issuer != first.subject:
        return None
    return first.fingerprint(hashes.SHA256()).hex(":").upper()


def _write_new(path: Path, data: bytes, mode: int) -> None:
    """All of the file or nothing, never over another one, at no time readable by more than `mode` says."""
    if path.exists():
        raise FileExistsError(f"{path} is there already")
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
