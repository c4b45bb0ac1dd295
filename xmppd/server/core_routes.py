"""What administrators and their monitoring read over HTTP: /metrics and /healthz."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..contracts.http import HttpRequest, HttpResponse, HttpRoute
from ..net.http_routes import RouteTable
from .exposition import CONTENT_TYPE, Exposition
from .web_streams import web_routes

if TYPE_CHECKING:
    from .runtime import RunningServer


def core_routes(server: RunningServer, numbers: Exposition) -> RouteTable:
    """The routes that every HTTP listener has, whatever the host."""

    async def metrics(request: HttpRequest) -> HttpResponse:
        """The numbers of the server, for those whom the administrator lets in (`paths` of the listener)."""
        return HttpResponse(200, numbers.text(), CONTENT_TYPE)

    async def health(request: HttpRequest) -> HttpResponse:
        """Whether clients can sign in and be served now: for what balances load or restarts the process."""
        if server.ready and not server.stopping and server.storage.available:
            return HttpResponse(200, b"ready\n", "text/plain; charset=utf-8")
        return HttpResponse(503, b"not ready\n", "text/plain; charset=utf-8")

    return RouteTable(
        (
            HttpRoute("GET", "/metrics", metrics, public=False, owner="the server"),
            HttpRoute("GET", "/healthz", health, owner="the server"),
            *web_routes(server),
        )
    )
