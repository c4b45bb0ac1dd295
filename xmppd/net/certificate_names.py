"""Domains that a certificate names for XMPP (RFC 6120 section 13.7.1, RFC 9525): never those of its subject."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from cryptography import x509

from ..errors import MalformedJid
from ..jid import ascii_domain
from .address import literal

SRV_NAME: Final = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.7")
"""RFC 4985 section 2, an IA5String."""
XMPP_ADDR: Final = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.5")
"""RFC 6120 section 13.7.1.4, a UTF8String."""
SERVICE: Final = "_xmpp-server."
IA5_STRING, UTF8_STRING = 0x16, 0x0C
SHOWN: Final = 5
"""Names in a text for the log."""


@dataclass(frozen=True, slots=True)
class Names:
    """`domains`: in A-labels, of dNSName (which may begin with "*."), addresses of iPAddress. `services`: those of an
    SRVName or an XmppAddr, exact ones only."""

    domains: frozenset[str]
    services: frozenset[str]

    def cover(self, domain: str) -> bool:
        address = literal(domain)
        if address is not None:
            return address in self.domains
        try:
            name = ascii_domain(domain)
        except MalformedJid:
            return False
        if name in self.domains or name in self.services:
            return True
        first, dot, rest = name.partition(".")
        return bool(first and dot and rest) and f"*.{rest}" in self.domains  # RFC 9525 section 6.3

    def __str__(self) -> str:
        """For the log: "a.example, b.example and 3 more"."""
        every = sorted(self.domains | self.services)
        more = f" and {len(every) - SHOWN} more" if len(every) > SHOWN else ""
        return ", ".join(printable(each) for each in every[:SHOWN]) + more if every else "no domain"


NO_NAMES: Final = Names(frozenset(), frozenset())


def names_of(certificate: x509.Certificate) -> Names:
    """Raises ValueError for a certificate whose extensions cannot be read."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return NO_NAMES
    addresses = {str(each) for each in found.get_values_for_type(x509.IPAddress)}
    domains = {each.lower() for each in found.get_values_for_type(x509.DNSName)}
    # A dNSName that is an address names none (RFC 9525 section 6.5); "*" counts as the whole first label only.
    plain = {each for each in domains if literal(each) is None and "*" not in each.removeprefix("*.")}
    return Names(frozenset(plain | addresses), frozenset(_services(found.get_values_for_type(x509.OtherName))))


def _services(others: Iterable[x509.OtherName]) -> Iterable[str]:
    for other in others:
        if other.type_id == SRV_NAME:
            text = (_text(other.value, IA5_STRING) or "").lower()
            if text.startswith(SERVICE) and text.isascii() and "*" not in text:
                yield text.removeprefix(SERVICE)
        elif other.type_id == XMPP_ADDR:
            try:
                yield ascii_domain(_text(other.value, UTF8_STRING) or "")
            except MalformedJid:  # such as an account, which is no server
                continue


def _text(der: bytes, tag: int) -> str | None:
    """A string of that ASN.1 type, all of `der`."""
    if len(der) < 2 or der[0] != tag:
        return None
    size, at = der[1], 2
    if size & 0x80:
        count = size & 0x7F
        size, at = int.from_bytes(der[2 : 2 + count], "big"), 2 + count
        if not 1 <= count <= 2:
            return None
    if len(der) != at + size:
        return None
    try:
        return der[at:].decode("ascii" if tag == IA5_STRING else "utf-8")
    except UnicodeDecodeError:
        return None


def printable(text: str) -> str:
    """Of a stranger's, for one line of a log."""
    return "".join(each if each.isprintable() else "?" for each in text[:100])
