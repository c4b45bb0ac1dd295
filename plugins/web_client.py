"""A web client at `/`: Converse.js, as `make web` has put it beside the server (docs/howto/web-client.md)."""

from __future__ import annotations

import hashlib
import json
import mimetypes
import os
import re
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Final

from xmppd.config import option
from xmppd.contracts.http import HttpError, StreamedBody
from xmppd.plugin import HttpRequest, HttpResponse, Plugin, http

PIECE: Final = 256 << 10
FILES: Final = "/web"
"""Where the files of the client are."""
_HOST: Final = re.compile(r"[A-Za-z0-9.-]+(:[0-9]+)?|\[[0-9A-Fa-f:.]+\](:[0-9]+)?")
PAGE: Final = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="stylesheet" href="/web/converse.min.css">
</head>
<body class="converse-fullscreen">
<noscript>This page is a chat program and needs JavaScript.</noscript>
<div id="conversejs-bg"></div>
<script type="module" src="/web/converse.min.js"></script>
<link rel="icon" href="data:,">
<script type="module" src="/web-client.js"></script>
</body>
</html>
"""
NOT_BUILT: Final = """<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<h1>{title}</h1>
<p>This is a chat server. Its web client is not there yet: <code>make web</code> brings it (that needs npm).
Any other XMPP client works without it.</p>
</html>
"""


@dataclass(frozen=True)
class Config:
    folder: str = option("", "Folder with the files of Converse.js; empty: where `make web` puts them.")
    title: str = option("Chat", "Title of the page.")


@dataclass(frozen=True, slots=True)
class WebFile:
    """One file of the client. `etag`: of its size and the time of its last change."""

    path: Path
    size: int
    type: str
    etag: str


class WebClient(Plugin[Config]):
    """Nothing is served but what was in the folder at the start, by the names that were found there."""

    standard = False

    def setup(self) -> None:
        self.files: dict[str, WebFile] = {}

    async def start(self) -> None:
        folder = Path(self.config.folder) if self.config.folder else Path(sys.prefix) / "share" / "xmppd" / "web"
        self.files = await self.in_thread(_found, folder)

    @http("GET", "/")
    async def page(self, request: HttpRequest) -> HttpResponse:
        text = PAGE if "converse.min.js" in self.files else NOT_BUILT
        body = text.format(title=escape(self.config.title)).encode()
        headers = {**_headers(self._named(request)), "Cache-Control": "no-cache"}
        return HttpResponse(200, body, "text/html; charset=utf-8", headers)

    @http("GET", "/web-client.js")
    async def settings(self, request: HttpRequest) -> HttpResponse:
        """How the client is to connect: to where the page came from."""
        domain = self.host.domain
        web = "https" if request.secure else "http"
        here = f"{web}://{self._named(request)}"
        options = {
            "view_mode": "fullscreen",
            "authentication": "login",
            "default_domain": domain,
            "locked_domain": domain,
            "discover_connection_methods": False,
            "websocket_url": f"{here.replace('http', 'ws', 1)}/xmpp-websocket",
            "bosh_service_url": f"{here}/http-bind",
            "assets_path": f"{FILES}/",
            "sounds_path": f"{FILES}/sounds/",
            "auto_reconnect": True,
            "show_client_info": False,
            "allow_registration": False,
            "message_archiving": "always",
            "muc_domain": self._rooms(),
            "play_sounds": False,
        }
        body = f"converse.initialize({json.dumps(options, indent=1)});\n".encode()
        headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
        return HttpResponse(200, body, "text/javascript; charset=utf-8", headers)

    def _named(self, request: HttpRequest) -> str:
        """Host and port as the browser names them: other characters would be more than a name in what is written."""
        host = request.headers.get("host", "")
        return host if _HOST.fullmatch(host) else self.host.domain

    def _rooms(self) -> str:
        """The domain of rooms on this server, "" for none."""
        hosts = [host.domain for host in self.host.router.routes.hosts() if host.type == "rooms"]
        return next((each for each in hosts if each.endswith(f".{self.host.domain}")), hosts[0] if hosts else "")

    @http("GET", f"{FILES}/{{a}}")
    async def file(self, request: HttpRequest) -> HttpResponse:
        return self._file(request, "a")

    @http("GET", f"{FILES}/{{a}}/{{b}}")
    async def file_below(self, request: HttpRequest) -> HttpResponse:
        return self._file(request, "a", "b")

    @http("GET", f"{FILES}/{{a}}/{{b}}/{{c}}")
    async def file_far_below(self, request: HttpRequest) -> HttpResponse:
        return self._file(request, "a", "b", "c")

    @http("GET", f"{FILES}/{{a}}/{{b}}/{{c}}/{{d}}")
    async def file_deep(self, request: HttpRequest) -> HttpResponse:
        return self._file(request, "a", "b", "c", "d")

    def _file(self, request: HttpRequest, *names: str) -> HttpResponse:
        """Raises HttpError."""
        found = self.files.get("/".join(request.parameters[name] for name in names))
        if found is None:
            raise HttpError(404)
        headers = {"ETag": found.etag, "Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
        if found.etag in request.headers.get("if-none-match", ""):
            return HttpResponse(304, headers=headers)
        return HttpResponse(200, StreamedBody(found.size, lambda: self._pieces(found)), found.type, headers)

    async def _pieces(self, file: WebFile) -> AsyncIterator[bytes]:
        for start in range(0, file.size, PIECE):
            yield await self.in_thread(_read, file.path, start)


def _headers(host: str) -> dict[str, str]:
    """What the page may load: its own files, pictures from everywhere, connections to here and to where files are."""
    policy = (
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        f"font-src 'self' data:; img-src * data: blob:; media-src * data: blob:; "
        f"connect-src 'self' ws://{host} wss://{host} https: data: blob:; "
        "worker-src 'self' blob:; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )
    return {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }


def _found(folder: Path) -> dict[str, WebFile]:
    """The files of a folder by their names below it."""
    found = {}
    for path in folder.rglob("*") if folder.is_dir() else ():
        if path.is_file() and path.suffix != ".map":
            status = path.stat()
            mark = hashlib.sha256(f"{status.st_size} {status.st_mtime_ns} {path}".encode()).hexdigest()[:20]
            type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
            if path.suffix in (".js", ".mjs"):
                type = "text/javascript; charset=utf-8"
            found[path.relative_to(folder).as_posix()] = WebFile(path, status.st_size, type, f'"{mark}"')
    return found


def _read(path: Path, start: int) -> bytes:
    number = os.open(path, os.O_RDONLY)
    try:
        return os.pread(number, PIECE, start)
    finally:
        os.close(number)
