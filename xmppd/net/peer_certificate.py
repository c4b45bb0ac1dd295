"""Whether the certificate that a server has shown proves that it serves a domain (RFC 6120 section 13.7, XEP-0178).

    trust = Trust(clock)                                     # one for all streams
    found = verify(link.peer_certificates, "them.example", trust)
    if isinstance(found, Verified): ...                      # offer EXTERNAL, or go on without dialback
    else: log.info("…: %s", found.reason)                    # "self-signed", "names a.example, not them.example"

The same for both directions. The handshake has proved that the peer has the key of the first certificate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .certificate_names import printable
from .trust import Trust

__all__ = ["Trust", "Unverified", "Verified", "verify"]


@dataclass(frozen=True, slots=True)
class Verified:
    """`until`: when the first certificate of the chain ends to be valid, seconds since 1970 UTC."""

    until: float


@dataclass(frozen=True, slots=True)
class Unverified:
    """`reason`: goes on after "the certificate of them.example: ", for the log."""

    reason: str


def verify(chain: Sequence[bytes], domain: str, trust: Trust) -> Verified | Unverified:
    """`chain`: DER, as sent (`Link.peer_certificates`)."""
    if not chain:
        return Unverified("none was shown")
    checked = trust.check(chain)
    if checked.reason:
        return Unverified(checked.reason)
    if not checked.names.cover(domain):
        return Unverified(f"names {checked.names}, not {printable(domain)}")
    return Verified(checked.until)
