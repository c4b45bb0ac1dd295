"""IP addresses: of peers as text, and which of them the world can reach."""

from __future__ import annotations

import ipaddress
import re
import socket
import unicodedata
from collections.abc import Iterable
from typing import Final

MAPPED: Final = "::ffff:"

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Written out, as the `ipaddress` modules of several Python versions answer differently.
_SPECIAL: Final = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
            "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24",
            "203.0.113.0/24", "224.0.0.0/3",
            "168.63.129.16/32",  # the inside of a large cloud, at a public address
        ),
    )
)  # fmt: skip
"""RFC 6890 and the registry after it: what is not for everybody."""
_UNICAST: Final = ipaddress.IPv6Network("2000::/3")
"""All of IPv6 that is given out (RFC 4291 section 2.4); in it, these are special: protocols and Teredo, documentation,
6to4."""
_SPECIAL_6: Final = tuple(map(ipaddress.IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")))
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
"""RFC 6052 section 2.1."""
_ISATAP: Final = (0x00005EFE, 0x02005EFE)
"""RFC 5214 section 6.1: bits 64 to 95."""


class ForbiddenAddress(OSError):
    """A name that somebody has given us stands for an address that only this machine or its network can reach."""


def is_public(address: Address) -> bool:
    """Whether anybody can reach it: False for our own machine and network, in every form that leads there."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in each for each in _SPECIAL)
    inner = embedded(address)
    if inner is not None and not is_public(inner):
        return False
    if address.ipv4_mapped is not None or address in _NAT64:
        return True
    return address in _UNICAST and not any(address in each for each in _SPECIAL_6)


def embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that the system, or a translator on the way, takes out of it."""
    number = int(address)
    if address.ipv4_mapped is not None or address in _NAT64 or number >> 32 & 0xFFFFFFFF in _ISATAP:
        return ipaddress.IPv4Address(number & 0xFFFFFFFF)
    return address.sixtofour


def reachable(address: str, allowed: Iterable[Network] = ()) -> bool:
    """Whether we may connect to an address that somebody else has named: it is public, or of an allowed network.

    An IPv4 network allows the forms of its addresses in IPv6, too. Raises ValueError for what is no address.
    """
    wanted = ipaddress.ip_address(address.partition("%")[0])
    inner = embedded(wanted) if isinstance(wanted, ipaddress.IPv6Address) else None
    if any(each in network for network in allowed for each in (wanted, inner) if each is not None):
        return True
    return is_public(wanted)


def literal(host: str) -> str | None:
    """The address that the host of a URL stands for without being looked up, None for a name.

    So do several digits and full stops of Unicode (UTS 46), and the old ways to write IPv4 (`127.1`, `0x7f000001`).
    """
    plain = unicodedata.normalize("NFKC", host.strip("[]")).replace("\u3002", ".").rstrip(".")
    try:
        return str(ipaddress.ip_address(plain.partition("%")[0]))
    except ValueError:
        pass
    if not re.fullmatch(r"[0-9a-fA-FxX.]+", plain):
        return None
    try:
        return socket.inet_ntoa(socket.inet_aton(plain))
    except OSError:
        return None


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
