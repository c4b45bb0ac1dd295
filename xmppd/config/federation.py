"""The options under `federation:`: how this server talks to others. It does where a listener is of kind `server`."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from ..errors import MalformedJid
from ..jid import prepare_domain
from .components import domain_name
from .limits import ShapingLimits
from .option import option
from .problem import Where
from .units import Duration, Size

DNS_PORT: Final = 53
_WITH_PORT: Final = re.compile(r"\[(?P<v6>[^\]]+)\](?::(?P<port6>[0-9]+))?|(?P<v4>[^:]+):(?P<port4>[0-9]+)")


@dataclass(frozen=True)
class RemoteDomainConfig:
    """What holds for one other domain; null: as for all."""

    tls: bool | None = option(None, "Whether streams must be encrypted.")
    dialback: bool | None = option(None, "Whether it may prove itself by dialback.")
    bidi: bool | None = option(None, "Whether one stream may serve both directions.")


@dataclass(frozen=True)
class FederationConfig:
    """Streams between this server and others (RFC 6120). They are there when a listener is of kind `server`."""

    allow: tuple[str, ...] = option(
        (), "Domains to talk to, such as `example.org`, or `*.example.org` for those below it. None: all."
    )
    block: tuple[str, ...] = option((), "Domains not to talk to, written in the same way; it goes before `allow`.")
    tls: bool = option(True, "Whether streams must be encrypted.")
    dialback: bool = option(
        True,
        "A domain whose certificate proves nothing may prove itself by dialback (XEP-0220): this server asks, by DNS, "
        "whether the key is its own. `false`: certificates only.",
    )
    bidi: bool = option(
        True,
        "One stream may serve both directions (XEP-0288), where the other server offers or wants it, and the stream is "
        "encrypted. It saves a connection, and reaches servers that can call but not be called.",
    )
    domains: dict[str, RemoteDomainConfig] = option(
        default_factory=dict, doc="What holds for single domains.", key=domain_name
    )
    authorities: Path | None = option(
        None, "PEM file of the certificate authorities to trust, in place of those of the system."
    )
    nameservers: tuple[str, ...] = option(
        (), "Name servers to ask, such as `192.0.2.53` or `127.0.0.1:5353`. None: those of the system."
    )
    private_addresses: tuple[str, ...] = option(
        (),
        "Networks, such as `10.0.0.0/8`, in which other servers may be although they are not public. Without them no "
        "DNS record makes this server connect to itself or to its neighbours.",
    )
    wait: Duration = option(
        Duration("1 hour"),
        "A message waits so long for a server that cannot be reached, through restarts of this one; then its "
        "sender gets an error. An hour outlasts an update and a reboot, and is short enough that "
        "nobody takes for sent what was not.",
        low=0,
        high=30 * 86_400,
    )
    connect_time: Duration = option(
        Duration("20 seconds"), "For each address of a server: the connection, TLS, and signing in.", low=1, high=600
    )
    idle_time: Duration = option(
        Duration("10 minutes"), "A stream that carries nothing for so long is closed.", low=10, high=86_400
    )
    queue: Size = option(
        Size("4 MiB"), "Bytes that may wait for one other domain; then senders get errors.", low=1 << 16, high=1 << 30
    )
    queues: Size = option(Size("64 MiB"), "Bytes that may wait for all of them.", low=1 << 16, high=1 << 34)
    rate: ShapingLimits = option(
        ShapingLimits(Size("2 MiB"), Size("8 MiB"), 1000, 5000),
        "How much one stream of another server may send; beyond that it is read more slowly.",
    )

    def check(self) -> Iterable[tuple[Where, str]]:
        for name in ("allow", "block"):
            for at, each in enumerate(getattr(self, name)):
                if problem := _pattern_problem(each, name):
                    yield (name, at), problem
        if not any(_pattern_problem(each, "allow") for each in (*self.allow, *self.block)):
            for at, each in enumerate(self.allow):
                if _is_within(each, self.block):
                    yield ("allow", at), f"{each!r} is blocked: `block` goes before `allow`"
        for at, each in enumerate(self.nameservers):
            try:
                nameserver_address(each)
            except ValueError:
                yield ("nameservers", at), f"expected an address such as '192.0.2.53' or '127.0.0.1:5353', got {each!r}"
        for at, each in enumerate(self.private_addresses):
            try:
                ipaddress.ip_network(each)
            except ValueError:
                yield ("private_addresses", at), f"expected a network such as '10.0.0.0/8', got {each!r}"

    def reaches(self, domain: str) -> bool:
        """Whether `allow` and `block` let this server talk to a domain (in its one form)."""
        if _lists(self.block, domain):
            return False
        return not self.allow or _lists(self.allow, domain)

    def needs_tls(self, domain: str) -> bool:
        own = self.domains.get(domain)
        return self.tls if own is None or own.tls is None else own.tls

    def takes_dialback(self, domain: str) -> bool:
        own = self.domains.get(domain)
        return self.dialback if own is None or own.dialback is None else own.dialback

    def goes_both_ways(self, domain: str) -> bool:
        own = self.domains.get(domain)
        return self.bidi if own is None or own.bidi is None else own.bidi


def nameserver_address(text: str) -> tuple[str, int]:
    """Address and port of "address", "address:port" or "[IPv6 address]:port". Raises ValueError."""
    found = _WITH_PORT.fullmatch(text)
    address, port = text, DNS_PORT
    if found is not None:
        address = found["v6"] or found["v4"]
        port = int(found["port6"] or found["port4"] or DNS_PORT)
    ipaddress.ip_address(address.partition("%")[0])
    if not 0 < port < 65_536:
        raise ValueError(f"{text!r}: there is no port {port}")
    return address, port


def _pattern_problem(pattern: str, option: str) -> str:
    """Why a pattern matches no domain, "" if it can."""
    if pattern in ("*", "*."):
        if option == "allow":
            return "all are allowed where `allow` is left out"
        return "to talk to nobody, leave out the listener of kind 'server'"
    try:
        prepare_domain(pattern.removeprefix("*."))
    except MalformedJid:
        return f"expected a domain such as 'example.org' or '*.example.org', got {pattern!r}"
    return ""


@lru_cache(16)
def _prepared(patterns: tuple[str, ...]) -> tuple[frozenset[str], tuple[str, ...]]:
    """Names, and ends of names: asked for with each stanza, so a long list must not be read anew."""
    names = frozenset(prepare_domain(each) for each in patterns if not each.startswith("*."))
    return names, tuple(f".{prepare_domain(each[2:])}" for each in patterns if each.startswith("*."))


def _lists(patterns: tuple[str, ...], domain: str) -> bool:
    if not patterns:
        return False
    names, ends = _prepared(patterns)
    return domain in names or domain.endswith(ends)


def _is_within(pattern: str, others: tuple[str, ...]) -> bool:
    """Whether others match all that a pattern matches."""
    name = prepare_domain(pattern.removeprefix("*."))
    if not pattern.startswith("*."):
        return _lists(others, name)
    wide = [prepare_domain(each[2:]) for each in others if each.startswith("*.")]
    return any(name == each or name.endswith(f".{each}") for each in wide)
