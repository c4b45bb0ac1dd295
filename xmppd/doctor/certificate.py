"""What a certificate says, and whether clients should believe it (RFC 6120 section 13.7, RFC 7590, RFC 6125)."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.x509.oid import ObjectIdentifier

from ..jid import ascii_domain
from .model import Verdict, failed, judged, passed

SRV_NAME: Final = ObjectIdentifier("1.3.6.1.5.5.7.8.7")
XMPP_ADDRESS: Final = ObjectIdentifier("1.3.6.1.5.5.7.8.5")
SOON: Final = timedelta(days=14)
"""Authorities renew before this; later, the renewal does not work."""


@dataclass(frozen=True)
class Certificate:
    """`names`: DNS names (perhaps with a wildcard), SRV names (`_xmpp-client.example.org`), addresses."""

    names: tuple[str, ...]
    begins: datetime
    ends: datetime
    issuer: str
    own_issuer: bool


def read(der: bytes) -> Certificate:
    """Raises ValueError."""
    found = x509.load_der_x509_certificate(der)
    return Certificate(
        tuple(_names(found)),
        found.not_valid_before_utc,
        found.not_valid_after_utc,
        found.issuer.rfc4514_string(),
        found.issuer == found.subject,
    )


def _names(certificate: x509.Certificate) -> list[str]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    found: list[str] = []
    for name in extension:
        if isinstance(name, x509.DNSName):
            found.append(name.value)
        elif isinstance(name, x509.IPAddress):
            found.append(str(name.value))
        elif isinstance(name, x509.OtherName) and name.type_id in (SRV_NAME, XMPP_ADDRESS) and len(name.value) > 2:
            found.append(name.value[2:].decode("utf-8", "replace"))  # behind its tag and its length (below 128)
    return found


def covers(name: str, domain: str) -> bool:
    """RFC 6125 section 6.4: a wildcard is a whole label, the first one."""
    name, domain = name.lower().rstrip("."), domain.lower().rstrip(".")
    for service in ("_xmpp-client.", "_xmpps-client.", "_xmpp-server."):
        name = name.removeprefix(service)
    if name.startswith("*."):
        return "." in domain and domain.partition(".")[2] == name[2:]
    try:
        return ipaddress.ip_address(name) == ipaddress.ip_address(domain.strip("[]"))
    except ValueError:
        return name == domain


def judge_chain(problem: str | None, certificate: Certificate) -> Verdict:
    """`problem`: what the verification said, apart from names."""
    if problem is None:
        return passed(f"issued by {certificate.issuer}")
    if certificate.own_issuer:
        return failed("self-signed", "Get a certificate from an authority (Let's Encrypt does it for nothing).")
    if "unable to get local issuer" in problem:
        return failed(problem, "Let the server send the whole chain: its own certificate, then the intermediate ones.")
    return failed(problem)


def judge_names(certificate: Certificate, domain: str) -> Verdict:
    names, wanted = ", ".join(certificate.names) or "no name at all", ascii_domain(domain)
    fits = any(covers(name, wanted) for name in certificate.names)
    return judged(fits, f"names {names}", f"names {names}, not {domain}")


def judge_expiry(certificate: Certificate, now: datetime) -> Verdict:
    """Fails early enough for something to be done."""
    if now < certificate.begins:
        return failed(f"valid only from {certificate.begins:%Y-%m-%d %H:%M} UTC", "Set the clock of the server.")
    left = certificate.ends - now
    if left < timedelta(0):
        return failed(f"expired {certificate.ends:%Y-%m-%d}")
    days = f"ends {certificate.ends:%Y-%m-%d}, in {left.days} days"
    return judged(left >= SOON, days, days)
