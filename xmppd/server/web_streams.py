"""Where web clients connect: routes of every HTTP listener."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..contracts.http import HttpError, HttpRequest, HttpResponse, HttpRoute, HttpUpgrade
from ..streams.websocket import answer_handshake, websocket_stream
from .bosh import PATH as BOSH
from .bosh import bosh_routes
from .origins import check_origin

if TYPE_CHECKING:
    from ..config.web import WebConfig
    from .runtime import RunningServer

WEBSOCKET: Final = "/xmpp-websocket"


def offered(config: WebConfig, path: str) -> bool:
    """Whether a path is none of those that are switched off."""
    return not ((path == WEBSOCKET and not config.websocket) or (path == BOSH and not config.bosh))


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

    return [HttpRoute("GET", WEBSOCKET, websocket, owner="the server"), *bosh_routes(server)]
