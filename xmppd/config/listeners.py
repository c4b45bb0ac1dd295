"""What the server listens on: options by kind of listener."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

from .option import Kinds, option
from .problem import Where

_URL = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]*[A-Za-z0-9_~-])?")
"""Without a slash at the end."""


@dataclass(frozen=True)
class ListenerConfig:
    """One address that the server listens on. What is served there is its `kind`, which has options of its own."""

    kinds: ClassVar[Kinds] = Kinds("kind", "client")

    kind: str = option("client", "What is served here.")
    address: str = option(
        "127.0.0.1", "IP address; `0.0.0.0` is every IPv4 address of the machine, `::` every IPv6 one."
    )
    port: int = option(0, "TCP port; 0 takes any free one.", low=0, high=65_535)

    @property
    def is_loopback(self) -> bool:
        return self.address == "localhost" or ipaddress.ip_address(self.address).is_loopback

    @property
    def direct_tls(self) -> bool:
        """TLS from the first byte."""
        return False

    @property
    def label(self) -> str:
        """What is served here, for a person, in few words."""
        return self.kind

    def check(self) -> Iterable[tuple[Where, str]]:
        try:
            self.is_loopback  # noqa: B018
        except ValueError:
            yield "address", f"expected an IP address such as '127.0.0.1' or '::', got {self.address!r}"

    def overlaps(self, other: ListenerConfig) -> bool:
        """Both cannot be bound at once."""
        if self.port != other.port or self.port == 0:
            return False
        one, two = (ipaddress.ip_address(each.address.replace("localhost", "127.0.0.1")) for each in (self, other))
        return one == two or (one.version == two.version and (one.is_unspecified or two.is_unspecified))


@ListenerConfig.kinds.add("client")
@dataclass(frozen=True)
class ClientListenerConfig(ListenerConfig):
    """XMPP clients sign in here (RFC 6120 over TCP)."""

    port: int = option(5222, "TCP port; 0 takes any free one.", low=0, high=65_535)
    tls: Literal["starttls", "direct", "none"] = option(
        "starttls",
        "`starttls`: encryption is negotiated and required; `direct`: TLS from the first byte (XEP-0368, "
        "usually port 5223); `none`: no encryption, on a loopback address only.",
    )
    channel_binding: Literal["exporter", "any", "none"] = option(
        "exporter",
        "Where SCRAM is offered with channel binding (`-PLUS`): `exporter`: on connections that have `tls-exporter` "
        "(TLS 1.3, and 1.2 with extended master secret), since many clients know no other type and are locked out by a "
        "`-PLUS` without it; `any`: wherever there is any type; `none`: nowhere, as for a proxy in front that ends TLS "
        "and begins it again.",
    )

    @property
    def direct_tls(self) -> bool:
        return self.tls == "direct"

    @property
    def label(self) -> str:
        return self.tls

    def check(self) -> Iterable[tuple[Where, str]]:
        wrong = list(super().check())
        yield from wrong
        if not wrong and self.tls == "none" and not self.is_loopback:
            yield "tls", f"'none' is for loopback addresses such as 127.0.0.1 only, not for {self.address}"


@ListenerConfig.kinds.add("http")
@dataclass(frozen=True)
class HttpListenerConfig(ListenerConfig):
    """HTTP/1.1: what plugins offer there, `/healthz`, and, where it is named, `/metrics`."""

    kind: str = option("http", "What is served here.")
    port: int = option(5281, "TCP port; 0 takes any free one.", low=0, high=65_535)
    tls: Literal["direct", "proxy", "none"] = option(
        "direct",
        "`direct`: https, with the certificate of the domain that is asked for; `proxy`: TLS ends in a proxy in front "
        "(`trusted_proxies`), what comes from it counts as encrypted unless it says otherwise, and nobody else is "
        "served; `none`: no encryption, on a loopback address only.",
    )
    trusted_proxies: tuple[str, ...] = option(
        (),
        "Addresses and networks, such as `127.0.0.1` or `10.0.0.0/8`, of the proxies in front: what they say of a "
        "client's address and encryption counts, and their connections are not bounded by "
        "`limits.connections_per_address`; that bounds the clients they name.",
    )
    proxy_header: Literal["x-forwarded-for", "forwarded"] = option(
        "x-forwarded-for",
        "How they say it: `X-Forwarded-For` and `X-Forwarded-Proto`, or `Forwarded` (RFC 7239). The other is ignored, "
        "since a proxy passes on what it does not know.",
    )
    plain_anywhere: bool = option(
        False,
        "`tls: none` on other addresses, too: for a network that nobody else can listen to, as between containers.",
    )
    hosts: tuple[str, ...] = option(
        (),
        "Domains whose plugins answer here, chosen by the name in the request; another name is answered as the first "
        "of them. None: all.",
    )
    public_url: str = option(
        "",
        "Address under which people reach this listener when that is another one than its own, as behind a proxy: "
        "`https://chat.example.org`; `{host}` stands for the domain. Links to uploads, invitations and "
        "web clients begin so.",
    )
    paths: tuple[str, ...] = option(
        (),
        "Paths that are served here, each with all below it. None, or `/`: all that are for everybody; `/metrics` is "
        "served only where it is named.",
    )

    @property
    def direct_tls(self) -> bool:
        return self.tls == "direct"

    @property
    def label(self) -> str:
        return {"direct": "https", "proxy": "http behind a proxy", "none": "http"}[self.tls]

    def base(self, domain: str, port: int) -> str:
        """The address under which people reach it for a domain; `port`: the real one."""
        if self.public_url:
            return self.public_url.replace("{host}", domain)
        if self.tls == "proxy":
            return f"https://{domain}"
        scheme, usual = ("https", 443) if self.direct_tls else ("http", 80)
        return f"{scheme}://{domain}" + (f":{port}" if port != usual else "")

    def check(self) -> Iterable[tuple[Where, str]]:
        wrong = list(super().check())
        yield from wrong
        if not wrong and self.tls == "none" and not (self.is_loopback or self.plain_anywhere):
            yield (
                "tls",
                f"'none' is for loopback addresses such as 127.0.0.1, not for {self.address} (or say "
                "`plain_anywhere: true`)",
            )
        for at, each in enumerate(self.trusted_proxies):
            try:
                ipaddress.ip_network(each)
            except ValueError:
                yield ("trusted_proxies", at), f"expected an address or a network such as '10.0.0.0/8', got {each!r}"
        if self.tls == "proxy" and not self.trusted_proxies:
            yield "trusted_proxies", "with `tls: proxy`, the addresses of the proxies are needed"
        if self.public_url and _URL.fullmatch(self.public_url.replace("{host}", "example.org")) is None:
            yield "public_url", f"expected an address such as 'https://{{host}}', got {self.public_url!r}"
        for at, path in enumerate(self.paths):
            if not path.startswith("/"):
                yield ("paths", at), f"expected a path such as '/metrics', got {path!r}"


@ListenerConfig.kinds.add("component")
@dataclass(frozen=True)
class ComponentListenerConfig(ListenerConfig):
    """Components connect here (XEP-0114): those under `components`. The protocol has no encryption."""

    kind: str = option("component", "What is served here.")
    port: int = option(5347, "TCP port; 0 takes any free one.", low=0, high=65_535)
    plain_anywhere: bool = option(
        False,
        "Listen on other addresses than loopback, too: for a network that nobody else can listen to, as between "
        "containers.",
    )

    def check(self) -> Iterable[tuple[Where, str]]:
        wrong = list(super().check())
        yield from wrong
        if not wrong and not (self.is_loopback or self.plain_anywhere):
            yield (
                "address",
                f"components are not encrypted: a loopback address such as 127.0.0.1, not {self.address} (or say "
                "`plain_anywhere: true`)",
            )


@ListenerConfig.kinds.add("server")
@dataclass(frozen=True)
class ServerListenerConfig(ListenerConfig):
    """Other servers connect here (RFC 6120). With such a listener this server talks to others; how, is said under
    `federation`."""

    kind: str = option("server", "What is served here.")
    port: int = option(5269, "TCP port; 0 takes any free one.", low=0, high=65_535)
    tls: Literal["starttls", "direct"] = option(
        "starttls",
        "`starttls`: encryption is negotiated; `direct`: TLS from the first byte (XEP-0368, usually port 5270).",
    )

    @property
    def direct_tls(self) -> bool:
        return self.tls == "direct"

    @property
    def label(self) -> str:
        return f"servers, {self.tls}"
