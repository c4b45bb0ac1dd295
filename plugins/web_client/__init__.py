"""A web client at `/`: Converse.js, as `make web` has put it beside the server (docs/howto/web-client.md)."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Final

from xmppd.contracts.files import FILES
from xmppd.contracts.http import HttpError, StreamedBody
from xmppd.contracts.registration import REGISTRATION
from xmppd.contracts.web_client import PAGE_SCRIPTS, WEB_CLIENT, PageScript
from xmppd.plugin import HttpRequest, HttpResponse, Plugin, http

from . import page
from .files import WebFiles, find_files, pieces, takes_gzip
from .options import Config

__all__ = ["Config", "WebClient"]

_HOST: Final = re.compile(r"[A-Za-z0-9.-]+(:[0-9]+)?|\[[0-9A-Fa-f:.]+\](:[0-9]+)?")
_BELOW: Final = f"{page.FILES}/{{version}}"


class WebClient(Plugin[Config]):
    """Nothing is served but what was in the folder at the start, by the names that were found there."""

    standard = False
    provides = (WEB_CLIENT,)

    def setup(self) -> None:
        self.web = WebFiles()

    async def start(self) -> None:
        folder = Path(self.config.folder) if self.config.folder else Path(sys.prefix) / "share" / "xmppd" / "web"
        self.web = await self.in_thread(find_files, folder)

    @property
    def version(self) -> str:
        """Of the files; "" where they are not there."""
        return self.web.version if "converse.min.js" in self.web.files else ""

    @property
    def address(self) -> str:
        return self.host.server.url(self.host.domain, "/") if self.version else ""

    @http("GET", "/")
    async def index(self, request: HttpRequest) -> HttpResponse:
        body = page.page(self.config.title, self.version, self._scripts()).encode()
        return HttpResponse(200, body, "text/html; charset=utf-8", page.headers(self._here(request)))

    @http("GET", page.SETTINGS)
    async def settings(self, request: HttpRequest) -> HttpResponse:
        body = page.settings(self._here(request), self.config.title, self.version).encode()
        headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
        return HttpResponse(200, body, "text/javascript; charset=utf-8", headers)

    @http("GET", page.STYLE)
    async def style(self, request: HttpRequest) -> HttpResponse:
        return _text(page.STYLE_TEXT, "text/css; charset=utf-8")

    @http("GET", page.ICON)
    async def icon(self, request: HttpRequest) -> HttpResponse:
        return _text(page.ICON_TEXT, "image/svg+xml")

    def _here(self, request: HttpRequest) -> page.Here:
        files, registration = self.host.find(FILES), self.host.find(REGISTRATION)
        return page.Here(
            self.host.domain,
            self._named(request),
            request.secure,
            files.bases if files is not None else (),
            self.config.media_from,
            self._rooms(),
            registration is not None and registration.for_everybody,
            registration is not None and registration.waits,
            self._scripts(),
        )

    def _scripts(self) -> list[PageScript]:
        return list(self.host.gather(PAGE_SCRIPTS, self.host.jid))

    def _named(self, request: HttpRequest) -> str:
        """Host and port as the browser names them: other characters would be more than a name in what is written."""
        host = request.headers.get("host", "")
        return host if _HOST.fullmatch(host) else self.host.domain

    def _rooms(self) -> str:
        """The domain of rooms on this server, "" for none."""
        hosts = [host.domain for host in self.host.router.routes.hosts() if host.type == "rooms"]
        return next((each for each in hosts if each.endswith(f".{self.host.domain}")), hosts[0] if hosts else "")

    @http("GET", f"{_BELOW}/{{a}}")
    @http("GET", f"{_BELOW}/{{a}}/{{b}}")
    @http("GET", f"{_BELOW}/{{a}}/{{b}}/{{c}}")
    @http("GET", f"{_BELOW}/{{a}}/{{b}}/{{c}}/{{d}}")
    async def file(self, request: HttpRequest) -> HttpResponse:
        """A file below its version, which never changes. A page that was loaded before the files were replaced gets
        those of now. Raises HttpError."""
        version, *names = request.parameters.values()
        found = self.web.files.get("/".join(names))
        if found is None:
            raise HttpError(404)
        lasting = version == self.web.version
        headers = {
            "Cache-Control": "public, max-age=31536000, immutable" if lasting else "no-cache",
            "Vary": "Accept-Encoding",
            "X-Content-Type-Options": "nosniff",
        }
        if found.compressed is not None and takes_gzip(request.headers.get("accept-encoding", "")):
            found = found.compressed
            headers["Content-Encoding"] = "gzip"
        headers["ETag"] = found.etag
        if found.etag in request.headers.get("if-none-match", ""):
            return HttpResponse(304, headers=headers)
        return HttpResponse(200, StreamedBody(found.size, lambda: pieces(found, self.in_thread)), found.type, headers)


def _text(text: str, type: str) -> HttpResponse:
    headers = {"Cache-Control": "max-age=86400", "X-Content-Type-Options": "nosniff"}
    return HttpResponse(200, text.encode(), type, headers)
