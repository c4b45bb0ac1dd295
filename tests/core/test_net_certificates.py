"""Certificate files, what is made of them, and the channel binding to a certificate."""

from __future__ import annotations

import hashlib
import logging
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

from xmppd.net.tls import (
    CertificateError,
    Certificates,
    fingerprint,
    make_self_signed,
    server_context,
    server_end_point,
)
from xmppd.net.tls_context import PARTIAL_WRITE, RELEASE_BUFFERS

SHA1 = b"""\
-----BEGIN CERTIFICATE-----
MIIBbDCCARKgAwIBAgIUGyPS4RTlamz5CHUiH0JDBdNyHNUwCQYHKoZIzj0EATAM
MQowCAYDVQQDDAFhMB4XDTI2MTEyMzIyMDg0OFoXDTM2MTEyMDIyMDg0OFowDDEK
MAgGA1UEAwwBYTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABGenJtiJeC0dWban
sqtOgD3nUNQZUWTVWZrTTaqVfLyplRxk2O6YHsPKC7nnHTnRxcT9mzNKCGZlAOKA
0pASkqajUzBRMB0GA1UdDgQWBBR10O+poOQ9HsgtBvm3RiF2kx+gSjAfBgNVHSME
GDAWgBR10O+poOQ9HsgtBvm3RiF2kx+gSjAPBgNVHRMBAf8EBTADAQH/MAkGByqG
SM49BAEDSQAwRgIhAMuOcOsKTNyFY/lP9e4lGbwqEXgAqVX7eD8HplzxC7QCAiEA
9CnNrfZo38e4iV8r9JIgYFThRbFDrrkKT7RHSzSBR6Y=
-----END CERTIFICATE-----
"""
"""ECDSA with SHA-1, by the openssl command: `cryptography` does not make such any more."""


def signed(
    key: Any,
    algorithm: Any,
    names: tuple[str, ...] = ("a.example",),
    days: int = 100,
    **how: Any,
) -> bytes:
    """A self-signed certificate, PEM, by that algorithm."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "cn.example")])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=200))
        .not_valid_after(now + timedelta(days=days))
    )
    if names:
        alternative = x509.SubjectAlternativeName([x509.DNSName(each) for each in names])
        builder = builder.add_extension(alternative, critical=False)
    return builder.sign(key, algorithm, **how).public_bytes(Encoding.PEM)


def private(key: Any, password: bytes | None = None) -> bytes:
    protection = BestAvailableEncryption(password) if password else NoEncryption()
    pem: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection)
    return pem


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, bytes], Path]:
    def put(name: str, data: bytes) -> Path:
        (tmp_path / name).write_bytes(data)
        (tmp_path / name).chmod(0o600)
        return tmp_path / name

    return put


# ---- RFC 5929 section 4.1


def der(pem: bytes) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pem.decode())


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [(hashes.SHA256(), "sha256"), (hashes.SHA384(), "sha384"), (hashes.SHA512(), "sha512")],
)
def test_the_end_point_is_hashed_like_the_signature(algorithm: Any, expected: str) -> None:
    pem = signed(ec.generate_private_key(ec.SECP256R1()), algorithm)
    assert server_end_point(pem) == hashlib.new(expected, der(pem)).digest()


def test_the_end_point_of_a_sha1_signature() -> None:
    assert server_end_point(SHA1) == hashlib.sha256(der(SHA1)).digest()


def test_the_end_point_of_rsa_pss() -> None:
    key = rsa.generate_private_key(65537, 2048)
    pss = padding.PSS(padding.MGF1(hashes.SHA384()), padding.PSS.DIGEST_LENGTH)
    pem = signed(key, hashes.SHA384(), rsa_padding=pss)
    assert server_end_point(pem) == hashlib.sha384(der(pem)).digest()


def test_the_end_point_is_undefined_without_a_hash() -> None:
    assert server_end_point(signed(ed25519.Ed25519PrivateKey.generate(), None)) is None


def test_the_end_point_is_the_first_certificates() -> None:
    first, second = (signed(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()) for _ in range(2))
    assert server_end_point(first + second) == hashlib.sha256(der(first)).digest()


# ---- self-signed


def test_a_self_signed_certificate(tmp_path: Path) -> None:
    crt, key = tmp_path / "new" / "folder" / "x.crt", tmp_path / "new" / "folder" / "x.key"
    make_self_signed(["Chat.Example.", "münchen.example", "192.0.2.1", "::1"], crt, key)
    assert key.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in crt.parent.iterdir()) == ["x.crt", "x.key"]
    made = x509.load_pem_x509_certificate(crt.read_bytes())
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["chat.example", "xn--mnchen-3ya.example"]
    assert [str(each) for each in names.get_values_for_type(x509.IPAddress)] == ["192.0.2.1", "::1"]
    assert made.not_valid_before_utc < datetime.now(UTC) < made.not_valid_after_utc - timedelta(days=3000)
    public = made.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey) and isinstance(public.curve, ec.SECP256R1)
    made.verify_directly_issued_by(made)


def test_only_what_signs_itself_has_a_fingerprint_to_compare(
    tmp_path: Path, write: Callable[[str, bytes], Path]
) -> None:
    make_self_signed(["a"], tmp_path / "x.crt", tmp_path / "x.key")
    pem = (tmp_path / "x.crt").read_bytes()
    assert fingerprint(tmp_path / "x.crt") == hashlib.sha256(der(pem)).digest().hex(":").upper()
    authority, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    issued = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a")]))
        .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "an authority")]))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(authority, hashes.SHA256())
    )
    assert fingerprint(write("y.crt", issued.public_bytes(Encoding.PEM))) is None


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    crt, key = tmp_path / "x.crt", tmp_path / "x.key"
    key.write_text("precious")
    with pytest.raises(CertificateError, match=r"x\.key is there already"):
        make_self_signed(["a"], crt, key)
    with pytest.raises(CertificateError, match=r"x\.crt: no such file"):
        Certificates().add("a", crt, key, self_signed=True)
    assert key.read_text() == "precious"
    assert not crt.exists()


def test_what_was_made_is_kept(tmp_path: Path) -> None:
    crt, key = tmp_path / "x.crt", tmp_path / "x.key"
    Certificates().add("a", crt, key, self_signed=True)
    before = crt.read_bytes(), key.read_bytes()
    Certificates().add("a", crt, key, self_signed=True)
    assert (crt.read_bytes(), key.read_bytes()) == before


def test_only_where_it_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match="no such file"):
        Certificates().add("a", tmp_path / "x.crt", tmp_path / "x.key")


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CertificateError, match="cannot write"):
        make_self_signed(["a"], tmp_path / "file" / "x.crt", tmp_path / "file" / "x.key")


# ---- settings and files


def test_settings(tmp_path: Path) -> None:
    make_self_signed(["a"], tmp_path / "x.crt", tmp_path / "x.key")
    context = server_context(tmp_path / "x.crt", tmp_path / "x.key")
    options = context.set_options(0)
    for option in (SSL.OP_NO_COMPRESSION, SSL.OP_NO_RENEGOTIATION, SSL.OP_NO_TICKET, SSL.OP_CIPHER_SERVER_PREFERENCE):
        assert options & option
    assert context.get_session_cache_mode() == SSL.SESS_CACHE_OFF
    mode = context.set_mode(0)
    assert mode & RELEASE_BUFFERS and not mode & PARTIAL_WRITE
    names = SSL.Connection(context).get_cipher_list()
    assert names and all(name.startswith(("TLS_", "ECDHE-")) for name in names)
    assert all("GCM" in name or "CHACHA20" in name for name in names)


@pytest.mark.parametrize("junk", [b"", b"junk", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_files_that_are_none(write: Callable[[str, bytes], Path], junk: bytes) -> None:
    with pytest.raises(CertificateError, match=r"x\.crt"):
        Certificates().add("a", write("x.crt", junk), write("x.key", junk))


def test_the_key_of_another(tmp_path: Path) -> None:
    for name in "ab":
        make_self_signed([name], tmp_path / f"{name}.crt", tmp_path / f"{name}.key")
    with pytest.raises(CertificateError, match=r"b\.key is not the key of .*a\.crt"):
        server_context(tmp_path / "a.crt", tmp_path / "b.key")
    (tmp_path / "b.key").unlink()
    with pytest.raises(CertificateError, match=r"b\.key: no such file"):
        server_context(tmp_path / "b.crt", tmp_path / "b.key")


def test_an_encrypted_key_does_not_ask_at_the_terminal(write: Callable[[str, bytes], Path]) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    crt = write("x.crt", signed(key, hashes.SHA256()))
    with pytest.raises(CertificateError, match="encrypted with a password"):
        server_context(crt, write("x.key", private(key, b"secret")))


@pytest.mark.parametrize(
    ("names", "days", "mode", "said"),
    [
        (("a.example",), 100, 0o600, None),
        (("*.example", "b.example"), 100, 0o640, None),
        (("b.example", "*.a.example"), 100, 0o600, "does not name a.example"),
        ((), 100, 0o600, "does not name a.example"),
        (("a.example",), 5, 0o600, "expires on"),
        (("a.example",), -5, 0o600, "has expired on"),
        (("a.example",), 100, 0o644, "can be read by every user"),
    ],
)
def test_what_clients_will_complain_about(
    write: Callable[[str, bytes], Path],
    caplog: pytest.LogCaptureFixture,
    names: tuple[str, ...],
    days: int,
    mode: int,
    said: str | None,
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    crt = write("x.crt", signed(key, hashes.SHA256(), names, days))
    path = write("x.key", private(key))
    path.chmod(mode)
    Certificates().add("a.example", crt, path)
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == (said is not None)
    assert said is None or said in warnings[0]


# ---- several domains


def test_a_context_by_domain(tmp_path: Path) -> None:
    certificates = Certificates()
    with pytest.raises(CertificateError):
        _ = certificates.default
    for name in ("a.example", "münchen.example"):
        certificates.add(name, tmp_path / f"{name}.crt", tmp_path / f"{name}.key", self_signed=True)
    first = certificates.default
    assert certificates.context("A.example.") is first
    assert certificates.context("münchen.example") is certificates.context("xn--mnchen-3ya.example") is not first
    assert certificates.context("unknown.example") is first
    assert certificates.expires("a.example") > datetime.now(UTC) + timedelta(days=3000)


def test_reload_is_all_or_nothing(tmp_path: Path) -> None:
    """T52."""
    certificates = Certificates()
    for name in "ab":
        certificates.add(name, tmp_path / f"{name}.crt", tmp_path / f"{name}.key", self_signed=True)
    before = [certificates.context(name) for name in "ab"]
    for end in ("crt", "key"):
        (tmp_path / f"a.{end}").unlink()
    make_self_signed(["a"], tmp_path / "a.crt", tmp_path / "a.key")
    good = (tmp_path / "b.crt").read_bytes()
    (tmp_path / "b.crt").write_bytes(b"broken")
    with pytest.raises(CertificateError, match=r"b\.crt"):
        certificates.reload()
    assert [certificates.context(name) for name in "ab"] == before
    (tmp_path / "b.crt").write_bytes(good)
    certificates.reload()
    after = [certificates.context(name) for name in "ab"]
    assert after[0].end_point == server_end_point((tmp_path / "a.crt").read_bytes()) != before[0].end_point
    assert after[1].end_point == before[1].end_point
