"""XEP-0156: Discovering Alternative XMPP Connection Methods: where web clients connect, told over HTTP; and
XEP-0487, if the administrator says at which IP addresses."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

from xmppd.config import Duration, option
from xmppd.contracts.http import HttpError
from xmppd.plugin import E, HttpRequest, HttpResponse, Plugin, Xep, http
from xmppd.xml import to_bytes

XRD: Final = "http://docs.oasis-open.org/ns/xri/xrd-1.0"
WEBSOCKET: Final = "urn:xmpp:alt-connections:websocket"
BOSH: Final = "urn:xmpp:alt-connections:xbosh"
PATHS: Final = ((BOSH, "/http-bind"), (WEBSOCKET, "/xmpp-websocket"))
FRESH: Final = {"Cache-Control": "max-age=3600"}


TLS: Final = "urn:xmpp:alt-connections:tls"


@dataclass(frozen=True)
class Config:
    ips: tuple[str, ...] = option(
        (),
        "The IP addresses where clients of the Internet reach this host. With one, host-meta.json tells all that"
        " XEP-0487 wants, and clients that know it ask no DNS for SRV records.",
    )
    tls_port: int = option(0, "The port there with TLS from the first byte; 0: none is told.", low=0, high=65_535)
    ttl: Duration = option(
        Duration("1 hour"), "For how long clients may hold to that (XEP-0487).", low=60, high=604_800
    )

    def check(self) -> Iterable[tuple[str, str]]:
        for each in self.ips:
            try:
                ip_address(each)
            except ValueError:
                yield "ips", f"{each!r} is no IP address"


class AlternativeConnections(Plugin[Config]):
    xeps = (
        Xep(156, "1.4.0", "addresses without TLS are named on this machine only"),
        Xep(487, "0.1.0", "of clients, with the option `ips`; no pinned keys, no ECH"),
    )

    def links(self) -> Iterator[tuple[str, str]]:
        """Relation and address: one of each kind, since clients take one and have no second try. Only what has TLS,
        but on this machine (section 3.2)."""
        for relation, path in PATHS:
            url = self.host.server.url(self.host.domain, path)
            parts = urlsplit(url)
            name = parts.hostname or ""
            if parts.scheme != "https" and not (name == "127.0.0.1" or f".{name}".endswith(".localhost")):
                continue
            yield relation, f"ws{url.removeprefix('http')}" if relation == WEBSOCKET else url

    @http("GET", "/.well-known/host-meta", cors=True)
    async def xml(self, request: HttpRequest) -> HttpResponse:
        """RFC 6415 section 3."""
        links = [E("Link", XRD, {"rel": relation, "href": url}) for relation, url in self._some()]
        page = b"<?xml version='1.0' encoding='utf-8'?>\n" + to_bytes(E("XRD", XRD, {}, *links))
        return HttpResponse(200, page, "application/xrd+xml; charset=utf-8", FRESH)

    @http("GET", "/.well-known/host-meta.json", cors=True)
    async def json(self, request: HttpRequest) -> HttpResponse:
        """RFC 6415 appendix A."""
        found: dict[str, Any] = {"links": [{"rel": relation, "href": url} for relation, url in self._some()]}
        if self.config.ips:
            found = self._host_meta_2(found["links"])
        return HttpResponse(200, json.dumps(found, indent=2).encode(), "application/json", FRESH)

    def _host_meta_2(self, links: list[dict[str, Any]]) -> dict[str, Any]:
        """The same by XEP-0487: secure ones only, Direct TLS first."""
        ips = list(self.config.ips)
        shown = [
            {**link, "ips": ips, "priority": 20, "weight": 50, "sni": urlsplit(link["href"]).hostname}
            for link in links
            if urlsplit(link["href"]).scheme in ("https", "wss")
        ]
        if self.config.tls_port:
            tls = {"rel": TLS, "port": self.config.tls_port, "ips": ips, "priority": 10, "weight": 50}
            shown.insert(0, {**tls, "sni": self.host.domain})
        return {"xmpp": {"ttl": int(self.config.ttl)}, "links": shown}

    def _some(self) -> list[tuple[str, str]]:
        """Raises HttpError 404: there is nothing to tell."""
        if not (links := list(self.links())):
            raise HttpError(404)
        return links
