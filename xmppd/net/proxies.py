"""Whose word counts about where an HTTP request came from: sans-I/O."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from typing import Final, Literal

from ..contracts.http import HttpError
from .address import Network

ProxyHeader = Literal["x-forwarded-for", "forwarded"]
MOST: Final = 64
"""Entries of such a header that are looked at, from the end: each proxy on the way adds one."""
_PAIR: Final = re.compile(r'\s*([A-Za-z]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s",;=]*))\s*(;|,|$)')
"""RFC 7239 section 4."""
_PORT: Final = re.compile(r"\[([^\]]+)\](?::[0-9]+)?|([0-9.]+):[0-9]+")


class Proxies:
    """The proxies in front of a listener. What is said by anybody else, in whatever header, counts nothing."""

    def __init__(
        self, trusted: Iterable[str] = (), header: ProxyHeader = "x-forwarded-for", tls_in_front: bool = False
    ) -> None:
        """`trusted`: addresses and networks. `tls_in_front`: what they pass on came over TLS, unless they say
        otherwise. Raises ValueError for what is no network."""
        self._trusted: tuple[Network, ...] = tuple(ipaddress.ip_network(each) for each in trusted)
        self._header = header
        self._tls_in_front = tls_in_front

    def trusts(self, peer: str) -> bool:
        """Whether an address is that of a proxy."""
        if not self._trusted:
            return False
        address = ipaddress.ip_address(peer.partition("%")[0])
        return any(address in network for network in self._trusted)

    def client(self, peer: str, secure: bool, headers: Mapping[str, str]) -> tuple[str, bool]:
        """The address of who asks, and whether the request came over TLS; `headers`: names in lower case.

        That is the last address in the header that is none of the proxies': what stands before it may be invented.
        Raises HttpError 403: it came past the proxy that has TLS, and anybody may read along.
        """
        if not self.trusts(peer):
            if self._tls_in_front:
                raise HttpError(403, "This is for the proxy in front.")
            return peer, secure
        if self._header == "forwarded":
            hops = forwarded(headers.get("forwarded", ""))
        else:
            hops = [(each, "") for each in headers.get("x-forwarded-for", "").split(",")[-MOST:]]
        last = peer
        for named, _ in reversed(hops):
            address = _address(named)
            if address is None:
                break
            last = address
            if not self.trusts(last):
                break
        if self._header == "forwarded":
            said = [proto for _, proto in hops if proto]
        else:
            said = [each.strip().lower() for each in headers.get("x-forwarded-proto", "").split(",") if each.strip()]
        return last, all(each in ("https", "wss") for each in said) if said else secure or self._tls_in_front


def forwarded(value: str) -> list[tuple[str, str]]:
    """`for` and `proto` (lower case) of each entry of a Forwarded header (RFC 7239); empty where one is malformed."""
    found: list[tuple[str, str]] = []
    pairs: dict[str, str] = {}
    at = 0
    while at < len(value):
        pair = _PAIR.match(value, at)
        if pair is None:
            return []
        name, quoted, token, end = pair.groups()
        if name.lower() in pairs:
            return []
        pairs[name.lower()] = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else token
        at = pair.end()
        if end != ";":
            found.append((pairs.get("for", ""), pairs.get("proto", "").lower()))
            pairs = {}
    return found[-MOST:] if not pairs else []


def _address(named: str) -> str | None:
    """An address with or without a port; None for any other name (RFC 7239 section 6)."""
    named = named.strip()
    found = _PORT.fullmatch(named)
    try:
        address = ipaddress.ip_address(found[1] or found[2] if found else named)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        return None if address.scope_id else str(address.ipv4_mapped or address)
    return str(address)
