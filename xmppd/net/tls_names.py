"""Domains as TLS and certificates name them."""

from __future__ import annotations

from ..errors import MalformedJid
from ..jid import ascii_domain
from .address import literal


def server_name(domain: str) -> bytes | None:
    """What SNI carries for a domain: its A-labels; None for an address (RFC 6066 section 3) and for what is none."""
    if not domain or literal(domain) is not None:
        return None
    try:
        name = ascii_domain(domain).encode("ascii")
    except MalformedJid:
        return None
    return name if len(name) < 256 else None
