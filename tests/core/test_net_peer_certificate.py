"""What a certificate proves (RFC 6120 section 13.7, XEP-0178, RFC 9525): a matrix of certificates as they come
(T27: its alternative names count, and nothing else)."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from OpenSSL import crypto

from tests.harness.authority import Authority, Made
from tests.harness.clock import FakeClock
from xmppd.net import trust as trust_module
from xmppd.net.peer_certificate import Trust, Unverified, Verified, verify
from xmppd.net.tls import CertificateError

DOMAIN = "them.example"
DAY = 86_400.0


class Place:
    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder)
        self.clock = FakeClock(datetime.now(UTC).timestamp())
        self.trust = Trust(self.clock, self.authority.file)

    def found(self, made: Made | tuple[bytes, ...], domain: str = DOMAIN) -> str:
        """The reason; "" where it is verified."""
        ders = made.ders if isinstance(made, Made) else made
        found = verify(ders, domain, self.trust)
        return found.reason if isinstance(found, Unverified) else ""


@pytest.fixture
def here(tmp_path: Path) -> Place:
    return Place(tmp_path)


# ---- names

GOOD: dict[str, dict[str, Any]] = {
    "dns": {"dns": [DOMAIN]},
    "dns-of-several": {"dns": ["a.example", DOMAIN, "b.example"]},
    "dns-upper": {"dns": ["THEM.example"]},
    "wildcard": {"dns": ["*.example"]},
    "srv": {"srv": ["_xmpp-server." + DOMAIN]},
    "srv-upper": {"srv": ["_XMPP-Server.Them.Example"]},
    "xmpp": {"xmpp": [DOMAIN]},
    "xmpp-upper": {"xmpp": ["Them.Example"]},
    "other-cn": {"dns": [DOMAIN], "common": "somebody.example"},
    "srv-beside-dns": {"srv": ["_xmpp-server." + DOMAIN], "dns": ["host.example"]},
}
BAD: dict[str, dict[str, Any]] = {
    "cn-only": {"common": DOMAIN},
    "cn-beside-dns": {"common": DOMAIN, "dns": ["a.example"]},
    "ou": {"unit": f"CN={DOMAIN},", "dns": ["a.example"]},
    "cn-with-comma": {"common": f"a.example,CN={DOMAIN}", "dns": ["a.example"]},
    "other": {"dns": ["them.example.org"]},
    "parent": {"dns": ["example"]},
    "child": {"dns": ["a.them.example"]},
    "wildcard-below": {"dns": ["*.them.example"]},
    "wildcard-part": {"dns": ["th*.example"]},
    "wildcard-part-behind": {"dns": ["*m.example"]},
    "wildcard-alone": {"dns": ["*"]},
    "wildcard-twice": {"dns": ["*.*"]},
    "wildcard-inside": {"dns": ["them.*"]},
    "wildcard-srv": {"srv": ["_xmpp-server.*.example"]},
    "wildcard-xmpp": {"xmpp": ["*.example"]},
    "client-service": {"srv": ["_xmpp-client." + DOMAIN]},
    "other-service": {"srv": ["_imap." + DOMAIN]},
    "no-service": {"srv": [DOMAIN]},
    "account": {"xmpp": ["them@them.example"]},
    "resource": {"xmpp": ["them.example/x"]},
    "nul": {"dns": ["them.example\0.evil.example"]},
    "nul-xmpp": {"xmpp": ["them.example\0"]},
    "nothing": {},
}


@pytest.mark.parametrize("name", GOOD)
def test_names(here: Place, name: str) -> None:
    assert here.found(here.authority.certificate(**GOOD[name])) == ""


@pytest.mark.parametrize("name", BAD)
def test_names_of_others(here: Place, name: str) -> None:
    assert "not them.example" in here.found(here.authority.certificate(**BAD[name]))


@pytest.mark.parametrize(
    "domain,names,good",
    [
        ("a.b.example", {"dns": ["*.example"]}, False),
        ("a.b.example", {"dns": ["*.b.example"]}, True),
        ("b.example", {"dns": ["*.b.example"]}, False),
        ("example", {"dns": ["*"]}, False),
        ("bücher.example", {"dns": ["xn--bcher-kva.example"]}, True),
        ("BÜCHER.example", {"srv": ["_xmpp-server.xn--bcher-kva.example"]}, True),
        ("xn--bcher-kva.example", {"xmpp": ["bücher.example"]}, True),
        ("bücher.example", {"xmpp": ["xn--bcher-kva.example"]}, True),
        ("bücher.example", {"dns": ["*.example"]}, True),
        ("bücher.example", {"dns": ["bucher.example"]}, False),
        ("192.0.2.1", {"ip": ["192.0.2.1"]}, True),
        ("[2001:db8::1]", {"ip": ["2001:db8::1"]}, True),
        ("192.0.2.1", {"dns": ["192.0.2.1"]}, False),
        ("192.0.2.1", {"dns": ["*.0.2.1"]}, False),
        ("192.0.2.1", {"ip": ["192.0.2.2"]}, False),
        ("", {"dns": ["a.example"]}, False),
        ("a b", {"dns": ["*.example"]}, False),
    ],
)
def test_domains(here: Place, domain: str, names: dict[str, Any], good: bool) -> None:
    assert (here.found(here.authority.certificate(**names), domain) == "") is good


def test_two_accounts_prove_neither(here: Place) -> None:
    made = here.authority.certificate(xmpp=["a.example", "b.example"])
    assert [here.found(made, domain) for domain in ("a.example", "b.example")] == ["", ""]
    assert here.found(made, "c.example") == "names a.example, b.example, not c.example"


@pytest.mark.parametrize("value", [b"\x05\0", b"\x0c\0", b"\x16\x0cthem.example", b"\x0c\x02\xff\xff", b"\x30\0"])
def test_names_that_are_no_strings(here: Place, value: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.harness.authority._der", lambda tag, text: value)
    assert here.found(here.authority.certificate(xmpp=[DOMAIN])) == "names no domain, not them.example"


def test_names_that_cannot_be_read(here: Place) -> None:
    made = here.authority.certificate(dns=["x"])
    broken = x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, b"\x30\x03\x82\x01")
    builder = here.authority._builder(made.key, (-1, 1), "broken").add_extension(broken, critical=False)
    signed = builder.sign(here.authority._key, hashes.SHA256())
    assert here.found(Made([signed], made.key))


def test_a_long_list_of_names(here: Place) -> None:
    made = here.authority.certificate(dns=[f"host{at}.example" for at in range(100)])
    names = ", ".join(f"host{at}.example" for at in (0, 1, 10, 11, 12))
    assert here.found(made) == f"names {names} and 95 more, not them.example"


# ---- purposes


@pytest.mark.parametrize(
    "usage,good",
    [
        (["server"], True),
        (["client"], True),
        (["server", "client"], True),
        (["server", "mail"], True),
        (["any"], True),
        (None, True),
        (["mail"], False),
    ],
)
def test_purposes(here: Place, usage: list[str] | None, good: bool) -> None:
    found = here.found(here.authority.certificate(dns=[DOMAIN], usage=usage))
    assert found == ("" if good else "is neither for servers nor for clients of TLS")


@pytest.mark.parametrize("between,own,good", [
    (["server"], ["server", "client"], True), (["client"], ["server"], False), (["mail"], None, False),
    (["any"], ["server"], True), (None, ["server"], True),
])  # fmt: skip
def test_purposes_of_authorities(tmp_path: Path, between: list[str] | None, own: list[str] | None, good: bool) -> None:
    here = Place(tmp_path)
    here.authority = Authority(tmp_path, "chain", intermediates=1, usage=between)
    here.trust = Trust(here.clock, here.authority.file)
    assert (here.found(here.authority.certificate(dns=[DOMAIN], usage=own)) == "") is good


# ---- chains


def test_time(here: Place) -> None:
    made = here.authority.certificate(dns=[DOMAIN], days=(-1, 30))
    found = verify(made.ders, DOMAIN, here.trust)
    assert isinstance(found, Verified) and abs(found.until - here.clock.wall - 30 * DAY) < 60
    here.clock.step(31 * DAY)  # what was found out before does not count beyond that
    ended = datetime.fromtimestamp(found.until, UTC).date()
    assert here.found(made) == f"expired on {ended}"


def test_expired(here: Place) -> None:
    made = here.authority.certificate(dns=[DOMAIN], days=(-20, -10))
    ended = (datetime.now(UTC) - timedelta(days=10)).date()
    assert here.found(made) == f"expired on {ended}"


def test_not_yet_valid(here: Place) -> None:
    made = here.authority.certificate(dns=[DOMAIN], days=(10, 20))
    begins = (datetime.now(UTC) + timedelta(days=10)).date()
    assert here.found(made) == f"not valid before {begins}"


def test_self_signed(here: Place) -> None:
    assert here.found(here.authority.certificate(dns=[DOMAIN], self_signed=True)) == "self-signed"


def test_of_another_authority(here: Place, tmp_path: Path) -> None:
    other = Authority(tmp_path, "other")
    made = other.certificate(dns=[DOMAIN])
    assert "signed by an authority that is not trusted, or its chain is not complete" in here.found(made)
    root = ssl.PEM_cert_to_DER_cert(other.root.cert_pem.bytes().decode())
    assert "signed by an authority that is not trusted: " in here.found((*made.ders, root))


def test_none(here: Place) -> None:
    assert here.found(()) == "none was shown"


def test_intermediates(tmp_path: Path) -> None:
    here = Place(tmp_path)
    here.authority = Authority(tmp_path, "chain", intermediates=3)
    here.trust = Trust(here.clock, here.authority.file)
    made = here.authority.certificate(dns=[DOMAIN])
    own, *others = made.ders
    assert here.found(made) == ""
    assert here.found((own, *reversed(others))) == ""
    assert "its chain is not complete" in here.found((own, others[0]))
    assert "its chain is not complete" in here.found((own,))


def test_an_expired_authority(tmp_path: Path) -> None:
    here = Place(tmp_path)
    here.authority = Authority(tmp_path, "chain", intermediates=1)
    here.trust = Trust(here.clock, here.authority.file)
    made = here.authority.certificate(dns=[DOMAIN], days=(-1, 1000))
    here.clock.step(200 * DAY)
    assert here.found(made).startswith("its authority intermediate ")


def test_who_is_no_authority_signs_nothing(here: Place) -> None:
    honest = here.authority.certificate(dns=["evil.example"])
    here.authority._certificate, here.authority._key = honest.chain[0], honest.key
    here.authority.between = honest.chain
    assert "its authority leaf" in here.found(here.authority.certificate(dns=[DOMAIN]))


@pytest.mark.parametrize("names,good", [
    ({"dns": [DOMAIN]}, True), ({"dns": ["evil.example"]}, False), ({"srv": ["_xmpp-server.evil.example"]}, False),
    ({"xmpp": ["evil.example"]}, False), ({"dns": [DOMAIN], "srv": ["_xmpp-server.evil.example"]}, False),
])  # fmt: skip
def test_authorities_of_one_domain(tmp_path: Path, names: dict[str, Any], good: bool) -> None:
    here = Place(tmp_path)
    here.authority = Authority(tmp_path, "chain", intermediates=1, constraint=DOMAIN)
    here.trust = Trust(here.clock, here.authority.file)
    domain = DOMAIN if good else "evil.example"
    assert (here.found(here.authority.certificate(**names), domain) == "") is good


def test_keys(here: Place) -> None:
    for key, good in (
        (rsa.generate_private_key(65537, 2048), True),
        (ec.generate_private_key(ec.SECP384R1()), True),
        (ed25519.Ed25519PrivateKey.generate(), True),
        (rsa.generate_private_key(65537, 1024), False),
        (ec.generate_private_key(ec.SECP192R1()), False),
    ):
        found = here.found(here.authority.certificate(dns=[DOMAIN], key=key))
        assert found == ("" if good else "has a key that is too short, or of an unknown kind")


def test_a_changed_certificate(here: Place) -> None:
    made = here.authority.certificate(dns=["them.exampla"])
    forged = made.ders[0].replace(b"them.exampla", b"them.example")
    assert forged != made.ders[0] and "signature" in here.found((forged,))


@pytest.mark.parametrize("der", [b"", b"x", b"\x30\x82\xff\xff", b"\x30\x00"])
def test_what_is_no_certificate(here: Place, der: bytes) -> None:
    assert "cannot be read" in here.found((der,))


# ---- authorities


def test_a_certificate_that_is_trusted_itself(here: Place, tmp_path: Path) -> None:
    made = here.authority.certificate(dns=[DOMAIN], self_signed=True)
    file, _ = made.write(tmp_path, "pinned")
    assert here.found(made) == "self-signed"
    here.trust = Trust(here.clock, file)
    assert here.found(made) == ""
    assert here.found(made, "a.example") == "names them.example, not a.example"
    issued = here.authority.certificate(dns=[DOMAIN])
    here.trust = Trust(here.clock, issued.write(tmp_path, "issued")[0])
    assert here.found(issued) == ""


@pytest.mark.parametrize("content", [None, "", "x", "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"])
def test_a_file_without_authorities(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "authorities.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(CertificateError, match=r"authorities\.pem"):
        Trust(FakeClock(), file)


def test_authorities_of_the_system(here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    made = here.authority.certificate(dns=[DOMAIN])
    here.trust = Trust(here.clock)
    assert "not trusted" in here.found(made)
    monkeypatch.setenv("SSL_CERT_FILE", str(here.authority.file))
    here.trust = Trust(here.clock)
    assert here.found(made) == ""


def test_a_system_without_authorities(
    here: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setattr(trust_module, "BUNDLES", ())
    here.trust = Trust(here.clock)
    assert "not trusted" in here.found(here.authority.certificate(dns=[DOMAIN]))
    assert "no certificate of another server can be verified" in caplog.text


# ---- what is kept


def test_a_chain_is_checked_once(here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    checks: list[object] = []
    real = crypto.X509StoreContext

    def counted(*parts: Any) -> crypto.X509StoreContext:
        checks.append(parts)
        return real(*parts)

    monkeypatch.setattr(crypto, "X509StoreContext", counted)
    made, other = here.authority.certificate(dns=[DOMAIN]), here.authority.certificate(dns=[DOMAIN], self_signed=True)
    for _ in range(3):
        assert here.found(made) == "" and here.found(other) == "self-signed"
        assert here.found(made, "a.example")
    assert len(checks) == 2
    here.clock.time += 3601
    assert here.found(made) == "" and len(checks) == 3
    here.trust._checked.size = 3000
    for at in range(20):
        here.found(here.authority.certificate(dns=[f"{at}.example"]))
        assert here.trust._checked.used <= 3000
