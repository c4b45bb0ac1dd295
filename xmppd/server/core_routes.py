"""What administrators and their monitoring read over HTTP: /metrics and /healthz."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from ..contracts.http import HttpRequest, HttpResponse, HttpRoute
from ..net.http_routes import RouteTable
from .exposition import CONTENT_TYPE, Exposition
from .web_streams import web_routes

if TYPE_CHECKING:
    from .runtime import RunningServer


LOOK: Final = 10.0
"""Seconds between two looks at certificates, which are files."""


def not_ready(server: RunningServer) -> Iterator[str]:
    """Why clients cannot be served."""
    if not server.ready or server.stopping:
        yield "the server is starting or stopping"
    if not server.storage.available:
        yield "the store does not take writes"
    for host in server.hosts.values():
        if not host.started:
            yield f"{host.domain}: a plugin waits for the store"


def without_certificate(server: RunningServer, now: datetime) -> Iterator[str]:
    """Domains whose certificate, if they have one of their own, is not valid."""
    if server.certificates is None:
        return
    for domain in server.hosts:
        try:
            if server.certificates.expires(domain) <= now:
                yield f"{domain}: the certificate has expired"
        except KeyError:
            continue  # it has that of another domain
        except (OSError, ValueError):
            yield f"{domain}: the certificate cannot be read"


def core_routes(server: RunningServer, numbers: Exposition) -> RouteTable:
    """The routes that every HTTP listener has, whatever the host."""

    certificates: list[str] = []
    looked: float | None = None

    async def metrics(request: HttpRequest) -> HttpResponse:
        """The numbers of the server, for those whom the administrator lets in (`paths` of the listener)."""
        return HttpResponse(200, numbers.text(), CONTENT_TYPE)

    async def health(request: HttpRequest) -> HttpResponse:
        """Whether clients can sign in and be served now: for what balances load or restarts the process."""
        if server.ready and not server.stopping and server.storage.available:
            return HttpResponse(200, b"ready\n", "text/plain; charset=utf-8")
        return HttpResponse(503, b"not ready\n", "text/plain; charset=utf-8")

    async def readiness(request: HttpRequest) -> HttpResponse:
        """The same and, for those who look after the server, that each domain has a certificate that is valid. Why not
        stands in the answer; it names domains that everybody may know."""
        nonlocal certificates, looked
        if looked is None or server.clock.monotonic() - looked >= LOOK:
            looked = server.clock.monotonic()
            certificates = list(without_certificate(server, datetime.now(UTC)))
        wrong = [*not_ready(server), *certificates]
        text = "".join(f"{each}\n" for each in wrong) or "ready\n"
        return HttpResponse(503 if wrong else 200, text.encode(), "text/plain; charset=utf-8")

    return RouteTable(
        (
            HttpRoute("GET", "/metrics", metrics, public=False, owner="the server"),
            HttpRoute("GET", "/healthz", health, owner="the server"),
            HttpRoute("GET", "/readyz", readiness, owner="the server"),
            *web_routes(server),
        )
    )
