"""IP addresses of peers, as text."""

from __future__ import annotations

import ipaddress
from typing import Final

MAPPED: Final = "::ffff:"


def plain(address: str) -> str:
    """An IPv4 address within IPv6 (RFC 4291 section 2.5.5.2) in its own form, anything else as it is."""
    return address[len(MAPPED) :] if address.startswith(MAPPED) and "." in address else address


def is_loopback(address: str) -> bool:
    """Raises ValueError for what is no address."""
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def network(address: str) -> str:
    """What counts as one place: an IPv4 address; an IPv6 /64, since whoever has one address there has all of them.

    Raises ValueError for what is no address.
    """
    if ":" not in address:
        return address
    number = int(ipaddress.IPv6Address(address.partition("%")[0]))
    return str(ipaddress.IPv6Network((number >> 64 << 64, 64)))
