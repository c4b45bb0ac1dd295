"""An authority of our own, and certificates as they come in the wild (RFC 6120 section 13.7, XEP-0178).

ours = Authority(folder)                             # ours.file: its root, for the option `authorities`
chain, key = ours.files("us.example")                # for both roles
one = ours.certificate(dns=["them.example"], usage=["server"], days=(-20, -10))
"""

from __future__ import annotations

import datetime
import ipaddress
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SRV_NAME = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.7")
"""RFC 4985."""
XMPP_ADDR = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.5")
"""RFC 6120 section 13.7.1.4."""
USAGES = {
    "server": ExtendedKeyUsageOID.SERVER_AUTH,
    "client": ExtendedKeyUsageOID.CLIENT_AUTH,
    "mail": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "any": ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
}
_serial = itertools.count(1)


def _der(tag: int, text: str) -> bytes:
    data = text.encode()
    assert len(data) < 128
    return bytes((tag, len(data))) + data


@dataclass
class Made:
    """`chain`: its own certificate first, without the root."""

    chain: list[x509.Certificate]
    key: Any

    @property
    def ders(self) -> tuple[bytes, ...]:
        return tuple(each.public_bytes(serialization.Encoding.DER) for each in self.chain)

    def write(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Its files: the chain and the key, PEM."""
        chain, key = folder / f"{name}.crt", folder / f"{name}.key"
        chain.write_bytes(b"".join(each.public_bytes(serialization.Encoding.PEM) for each in self.chain))
        key.write_bytes(
            self.key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        key.chmod(0o600)
        return chain, key


class Authority:
    """`intermediates`: how many stand between the root and what is signed; `usage` and `constraint` (the only domain
    that it may sign for) are theirs."""

    def __init__(
        self,
        folder: Path,
        name: str = "authority",
        intermediates: int = 0,
        usage: Sequence[str] | None = None,
        constraint: str = "",
    ) -> None:
        self.folder = folder
        self.root = trustme.CA()
        self.file = folder / f"{name}.pem"
        self.root.cert_pem.write_to_path(self.file)
        self._certificate = x509.load_pem_x509_certificate(self.root.cert_pem.bytes())
        self._key: Any = serialization.load_pem_private_key(self.root.private_key_pem.bytes(), None)
        self.between: list[x509.Certificate] = []
        for _ in range(intermediates):
            self._descend(usage, constraint)

    def _descend(self, usage: Sequence[str] | None, constraint: str) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(key, (-1, 100), f"intermediate {next(_serial)}").add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        if usage is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage([USAGES[each] for each in usage]), critical=False)
        if constraint:
            allowed = [x509.DNSName(constraint)]
            builder = builder.add_extension(x509.NameConstraints(allowed, None), critical=True)
        signs = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        certificate = builder.add_extension(signs, critical=True).sign(self._key, hashes.SHA256())
        self._certificate, self._key = certificate, key
        self.between.insert(0, certificate)

    def certificate(
        self,
        dns: Sequence[str] = (),
        srv: Sequence[str] = (),
        xmpp: Sequence[str] = (),
        ip: Sequence[str] = (),
        usage: Sequence[str] | None = ("server",),
        days: tuple[float, float] = (-1, 30),
        common: str = "",
        unit: str = "",
        authority: bool = False,
        self_signed: bool = False,
        key: Any = None,
        algorithm: Any = None,
    ) -> Made:
        """`usage`: None for no extension. `days`: from and to, counted from now. `srv`: such as
        "_xmpp-server.them.example"."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(key, days, common or f"leaf {next(_serial)}", unit, self_signed)
        names: list[x509.GeneralName] = [x509.DNSName(each) for each in dns]
        names += [x509.OtherName(SRV_NAME, _der(0x16, each)) for each in srv]
        names += [x509.OtherName(XMPP_ADDR, _der(0x0C, each)) for each in xmpp]
        names += [x509.IPAddress(ipaddress.ip_address(each)) for each in ip]
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        if usage is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage([USAGES[each] for each in usage]), critical=False)
        if authority:
            builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        made = builder.sign(key if self_signed else self._key, algorithm or hashes.SHA256())
        return Made([made] if self_signed else [made, *self.between], key)

    def files(self, domain: str, **how: Any) -> tuple[Path, Path]:
        return self.certificate(dns=[domain], **how).write(self.folder, domain)

    def _builder(
        self, key: Any, days: tuple[float, float], common: str, unit: str = "", self_signed: bool = False
    ) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        parts = [x509.NameAttribute(NameOID.COMMON_NAME, common)]
        if unit:
            parts.insert(0, x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit))
        subject = x509.Name(parts)
        issuer_key = key.public_key() if self_signed else self._key.public_key()
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if self_signed else self._certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + datetime.timedelta(days=days[0]))
            .not_valid_after(now + datetime.timedelta(days=days[1]))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
        )
