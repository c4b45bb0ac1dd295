"""Where web clients connect: routes of every HTTP listener."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from ..contracts.http import HttpError, HttpRequest, HttpResponse, HttpRoute, HttpUpgrade
from ..streams.websocket import answer_handshake, websocket_stream

if TYPE_CHECKING:
    from .runtime import RunningServer

WEBSOCKET: Final = "/xmpp-websocket"


def web_routes(server: RunningServer) -> list[HttpRoute]:
    """The routes of web clients."""

    async def websocket(request: HttpRequest) -> HttpResponse | HttpUpgrade:
        """RFC 7395 section 3.1."""
        if not server.config.web.websocket:
            raise HttpError(404)
        if server.stopping:
            raise HttpError(503, headers={"Retry-After": "5"})
        headers = answer_handshake(request.method, request.headers)
        check_origin(request, server.config.web.origins, server.hosts)
        return HttpUpgrade("websocket", websocket_stream(server, server.web_sockets, request), headers)

    return [HttpRoute("GET", WEBSOCKET, websocket, owner="the server")]


def check_origin(request: HttpRequest, allowed: Collection[str], domains: Collection[str]) -> None:
    """Raises HttpError for a web page of another site (RFC 6455 section 10.2). What is no browser names no origin."""
    origin = request.headers.get("origin", "").lower()
    if not origin or origin in allowed or "*" in allowed:
        return
    try:
        parts = urlsplit(origin)
    except ValueError:
        raise HttpError(403, "That is no origin.") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise HttpError(403, "Pages of that origin may not connect.")
    if parts.netloc != request.headers.get("host", "").lower() and parts.hostname not in domains:
        raise HttpError(403, "Pages of that origin may not connect.")
