"""XEP-0156: Discovering Alternative XMPP Connection Methods: where web clients connect, told over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from xmppd.contracts.http import HttpError
from xmppd.plugin import E, HttpRequest, HttpResponse, NoConfig, Plugin, Xep, http
from xmppd.xml import to_bytes

XRD: Final = "http://docs.oasis-open.org/ns/xri/xrd-1.0"
WEBSOCKET: Final = "urn:xmpp:alt-connections:websocket"
BOSH: Final = "urn:xmpp:alt-connections:xbosh"
PATHS: Final = ((BOSH, "/http-bind"), (WEBSOCKET, "/xmpp-websocket"))
FRESH: Final = {"Cache-Control": "max-age=3600"}


class AlternativeConnections(Plugin[NoConfig]):
    xeps = (Xep(156, "1.4.0", "addresses without TLS are named on this machine only"),)

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
        links = [{"rel": relation, "href": url} for relation, url in self._some()]
        return HttpResponse(200, json.dumps({"links": links}, indent=2).encode(), "application/json", FRESH)

    def _some(self) -> list[tuple[str, str]]:
        """Raises HttpError 404: there is nothing to tell."""
        if not (links := list(self.links())):
            raise HttpError(404)
        return links
