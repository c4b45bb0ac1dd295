"""Authorities that we trust, and whether a chain of certificates leads to one (RFC 5280 section 6).

OpenSSL checks the chain: signatures, validity, who may sign what (basic constraints, name constraints), critical
extensions. Here is added what it leaves out when it is not told a purpose: purposes, and algorithms that are too weak.
Revocation is not looked at. A check takes a quarter of a millisecond for a chain with one intermediate.
"""

from __future__ import annotations

import hashlib
import logging
import os
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import crypto

from ..cache import Cache
from .certificate_names import NO_NAMES, Names, names_of, printable
from .tls_errors import CertificateError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..clock import Clock

log = logging.getLogger("xmppd.tls")

BUNDLES: Final = ("/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/certs/ca-certificates.crt")
"""Where systems have theirs, for a Python that was built on another one."""
PURPOSES: Final = frozenset((ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH))
"""Either will do in both directions: public authorities give out certificates for servers only (since 2026)."""
RSA_BITS: Final = 2048
EC_BITS: Final = 224
CACHED: Final = 1024
CACHED_SIZE: Final = 1 << 20
"""Bytes."""
KEPT: Final = 3600.0
"""Seconds for which what was found out about a chain counts."""
SELF_SIGNED, SELF_SIGNED_ROOT = 18, 19
NO_ISSUER, NO_FIRST_ISSUER = 20, 21
NOT_YET, EXPIRED = 9, 10
"""X509_V_ERR_… of OpenSSL."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A chain. `reason`: why it does not lead to an authority, "" if it does; then the others are there. `since` and
    `until`: when all of it is valid, seconds since 1970 UTC."""

    reason: str
    names: Names = NO_NAMES
    since: float = 0.0
    until: float = 0.0


class Trust:
    """The authorities of the system, or of a file."""

    def __init__(self, clock: Clock, authorities: Path | None = None) -> None:
        """`authorities`: PEM, in place of those of the system: roots, or single certificates that are to be trusted.

        Raises CertificateError.
        """
        self._clock = clock
        self._store = _of_file(authorities) if authorities is not None else None
        """Those of the system are read when they are first needed: a megabyte."""
        self._checked: Cache[bytes, tuple[Checked, float]] = Cache(CACHED, CACHED_SIZE)

    def check(self, chain: Sequence[bytes]) -> Checked:
        """A chain in DER, as the peer has sent it."""
        key, now, wall = _fingerprint(chain), self._clock.monotonic(), self._clock.now()
        kept = self._checked.get(key)
        if kept is not None and kept[1] > now and (kept[0].reason or kept[0].since <= wall <= kept[0].until):
            return kept[0]
        checked = self._check(chain, wall)
        self._checked.put(key, (checked, now + KEPT))
        return checked

    def _check(self, chain: Sequence[bytes], wall: float) -> Checked:
        if self._store is None:
            self._store = _of_system()
        try:
            own, *others = (crypto.load_certificate(crypto.FILETYPE_ASN1, each) for each in chain)
            found = crypto.X509StoreContext(self._store, own, others).get_verified_chain()
            certificates = [each.to_cryptography() for each in found]
            # OpenSSL has looked at the clock of the system: the time of a store of pyOpenSSL can be set once only.
            reason = _untimely(certificates, wall) or _unfit(certificates)
            names = names_of(certificates[0])
            if any(map(_constrains, certificates[1:])):
                # OpenSSL holds dNSNames and addresses against the constraints, but not the other kinds of names.
                names = Names(names.domains, frozenset())
        except crypto.X509StoreContextError as error:
            return Checked(_why(error))
        except (crypto.Error, ValueError, UnsupportedAlgorithm) as error:
            return Checked(f"cannot be read: {printable(str(error))}")
        if reason:
            return Checked(reason)
        since = max(each.not_valid_before_utc.timestamp() for each in certificates)
        until = min(each.not_valid_after_utc.timestamp() for each in certificates)
        return Checked("", names, since, until)


def _fingerprint(chain: Sequence[bytes]) -> bytes:
    return hashlib.sha256(b"".join(hashlib.sha256(each).digest() for each in chain)).digest()


def _of_file(file: Path) -> crypto.X509Store:
    store = crypto.X509Store()
    try:
        store.load_locations(str(file))
    except crypto.Error as error:
        why = "no such file" if not file.exists() else "there is no certificate in PEM in it, or it cannot be read"
        raise CertificateError(f"{file}: {why}", "authorities") from error
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    return store


def _of_system() -> crypto.X509Store:
    store, paths = crypto.X509Store(), ssl.get_default_verify_paths()
    file = paths.cafile or next((each for each in BUNDLES if os.path.exists(each)), None)
    try:
        if file is not None or paths.capath is not None:
            store.load_locations(file, paths.capath)
            return store
        why = "there are none"
    except crypto.Error:
        why = f"{file} cannot be read"
    log.warning("authorities of the system: %s: no certificate of another server can be verified", why)
    return store


def _untimely(chain: Sequence[x509.Certificate], wall: float) -> str:
    now = datetime.fromtimestamp(wall, UTC)
    for depth, certificate in enumerate(chain):
        if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
            return _when(certificate, depth, now > certificate.not_valid_after_utc)
    return ""


def _when(certificate: x509.Certificate, depth: int, expired: bool) -> str:
    if expired:
        return f"{_whose(certificate, depth)}expired on {certificate.not_valid_after_utc.date()}"
    return f"{_whose(certificate, depth)}not valid before {certificate.not_valid_before_utc.date()}"


def _whose(certificate: x509.Certificate, depth: int) -> str:
    return "" if depth == 0 else f"its authority {_called(certificate.subject)}: "


def _unfit(chain: Sequence[x509.Certificate]) -> str:
    """Why a chain whose signatures are right is of no use; "" if it is. The last one is trusted as it is."""
    purposes = PURPOSES
    for certificate in chain[:-1] or chain:
        try:
            allowed = set(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
        except x509.ExtensionNotFound:
            continue
        if ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE not in allowed:
            purposes = purposes & allowed
    if not purposes:
        return "is neither for servers nor for clients of TLS"
    for certificate in chain[:-1]:
        if isinstance(certificate.signature_hash_algorithm, hashes.MD5 | hashes.SHA1):
            return f"is signed with {certificate.signature_hash_algorithm.name.upper()}"
        if not _strong(certificate):
            return "has a key that is too short, or of an unknown kind"
    return ""


def _constrains(certificate: x509.Certificate) -> bool:
    """Its owner may sign for some domains only (RFC 5280 section 4.2.1.10)."""
    try:
        certificate.extensions.get_extension_for_class(x509.NameConstraints)
    except x509.ExtensionNotFound:
        return False
    return True


def _strong(certificate: x509.Certificate) -> bool:
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        return key.key_size >= RSA_BITS
    if isinstance(key, ec.EllipticCurvePublicKey):
        return key.key_size >= EC_BITS
    return isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey)


def _why(error: crypto.X509StoreContextError) -> str:
    """In words that say what to do."""
    code, depth, words = error.errors
    about = error.certificate.to_cryptography()
    if code == SELF_SIGNED:
        return "self-signed"
    if code == SELF_SIGNED_ROOT:
        return f"signed by an authority that is not trusted: {_called(about.subject)}"
    if code in (NO_ISSUER, NO_FIRST_ISSUER):
        return f"signed by an authority that is not trusted, or its chain is not complete: {_called(about.issuer)}"
    if code in (EXPIRED, NOT_YET):
        return _when(about, depth, code == EXPIRED)
    return f"{_whose(about, depth)}{words}"


def _called(name: x509.Name) -> str:
    for kind in (NameOID.COMMON_NAME, NameOID.ORGANIZATIONAL_UNIT_NAME, NameOID.ORGANIZATION_NAME):
        for found in name.get_attributes_for_oid(kind):
            return printable(str(found.value))
    return "without a name"
