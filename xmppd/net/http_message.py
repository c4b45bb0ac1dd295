"""A request of HTTP/1.1 as aiohttp has parsed it: where it goes, its body; and what is answered."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, urlsplit

from aiohttp import web

from ..contracts.http import HttpError, HttpResponse, HttpUpgrade, StreamedBody
from .http_bounds import SLOWEST
from .http_routes import CORS

if TYPE_CHECKING:
    from ..contracts.link import Link
    from .http_bounds import Connections

NAME: Final = "xmppd"
"""The Server header: without a version (RFC 9110 section 10.2.4)."""
FIELDS: Final = 100
"""Header fields of a request, and parameters of its query."""
BULK: Final = 256 << 10
"""Bytes of a body from which on it is read in bulk."""
TELL_AGAIN: Final = 30
"""Seconds after which a client may ask again when there is no room, or no store."""
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s\0-\x20\x7f\ud800-\udfff\"#/:<>?@\[\\\]^`{|}]*)(:[0-9]*)?")
"""RFC 3986 section 3.2, without user information (RFC 9110 section 4.2.4); not only ASCII."""


class Body:
    """The body of a request (`contracts.http.Body`)."""

    def __init__(self, link: Link, connections: Connections, raw: web.BaseRequest) -> None:
        self.most: int | None = 0
        self.failed: HttpError | None = None
        self._link, self._connections = link, connections
        self._raw = raw
        self._size = 0
        self._held = 0
        """Bytes that are counted as memory of the process."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self._go_on()
        loop = asyncio.get_running_loop()
        most = patience = self._connections.bounds.body_time
        while not self._raw.content.at_eof():
            piece = self._there()
            if not piece:  # only then is there anybody to be patient with
                begun = loop.time()
                piece = await self._piece(begun + patience)
                patience -= loop.time() - begun
            patience = min(most, patience + len(piece) / SLOWEST)
            self._size += len(piece)
            if self.most is not None and self._size > self.most:
                raise self._fails(HttpError(413))
            if piece:
                yield piece

    async def read(self) -> bytes:
        memory = self._connections.memory
        pieces = []
        async for piece in self:
            self._held += len(piece)
            memory.incoming += len(piece)
            if memory.incoming_full(None):
                raise self._fails(later())
            pieces.append(piece)
        return b"".join(pieces)

    def cut(self) -> None:
        """What came is no body: who reads it need not wait for more."""
        if not self._raw.content.is_eof():
            self._raw.content.set_exception(web.RequestPayloadError("not as its header said"))

    def release(self) -> None:
        """The request is over."""
        self._link.read_in_bulk(False)
        self._connections.memory.incoming -= self._held
        self._held = 0

    def _there(self) -> bytes:
        """What has come already. Raises HttpError."""
        try:
            return self._raw.content.read_nowait()
        except (web.RequestPayloadError, ConnectionError) as error:
            raise self._fails(HttpError(400)) from error

    async def _piece(self, end: float) -> bytes:
        """Raises HttpError."""
        try:
            async with asyncio.timeout_at(end):
                return await self._raw.content.readany()
        except TimeoutError:
            raise self._fails(HttpError(408)) from None
        except (web.RequestPayloadError, ConnectionError) as error:
            raise self._fails(HttpError(400)) from error

    def _fails(self, error: HttpError) -> HttpError:
        self.failed = error
        return error

    def _go_on(self) -> None:
        """RFC 9110 section 10.1.1: the client may wait with the body until it is asked for it."""
        raw = self._raw
        waits = raw.headers.get("Expect", "").lower() == "100-continue" and raw.version >= (1, 1)
        if (raw.content_length or 0) >= BULK:
            self._link.read_in_bulk(True)
        if waits and not self._size and not raw.content.at_eof():
            self._link.write(b"HTTP/1.1 100 Continue\r\n\r\n")


def target_of(raw: web.BaseRequest) -> tuple[str, str, dict[str, str]]:
    """Host (lower case, without a port), path (as it came) and query of a request. Raises HttpError."""
    named = raw.headers.getall("Host", [])
    if len(named) > 1 or (not named and raw.version >= (1, 1)):
        raise HttpError(400, "A request names one host.")  # RFC 9112 section 3.2
    host, target = named[0] if named else "", raw.raw_path
    try:
        if target.lower().startswith(("http://", "https://")):  # RFC 9112 section 3.2.2
            parts = urlsplit(target)
            host, target = parts.netloc or host, target[len(f"{parts.scheme}://{parts.netloc}") :]
            target = target if target.startswith("/") else f"/{target}"
        found = _HOST.fullmatch(host)
        if found is None or "#" in target:
            raise HttpError(400)  # RFC 9112 section 3.2
        name = found[1].strip("[]").lower()
        path, _, query = target.partition("?")
        return name, path, dict(parse_qsl(query, keep_blank_values=True, max_num_fields=FIELDS))
    except ValueError:
        raise HttpError(400) from None


def misframed(raw: web.BaseRequest) -> bool:
    """Where its body ends is not said in the one way that everybody understands (RFC 9112 section 6.1): the connection
    ends with the answer."""
    codings = raw.headers.getall("Transfer-Encoding", [])
    return bool(codings) and (raw.version < (1, 1) or [each.lower() for each in codings] != ["chunked"])


def readable(value: str) -> str:
    """A value of a header as text: bytes that are no UTF-8 are replaced."""
    return value if value.isascii() else value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def later() -> HttpError:
    return HttpError(503, headers={"Retry-After": str(TELL_AGAIN)})


def made(response: HttpResponse) -> web.StreamResponse:
    headers = {"Server": NAME, **response.headers}
    if response.content_type:
        headers["Content-Type"] = response.content_type
    body = response.body
    made: web.StreamResponse
    if isinstance(body, bytes):
        made = web.Response(status=response.status, body=body, headers=headers)
    else:
        made = web.StreamResponse(status=response.status, headers=headers)
        if body.length is not None:
            made.content_length = body.length
    if response.close:
        made.force_close()
    return made


async def send_pieces(body: StreamedBody, response: web.StreamResponse) -> bool:
    """Send a body whose header was sent. False: it was less, or more, than its length."""
    left = body.length
    pieces = body.pieces()
    try:
        async for piece in pieces:
            if left is not None:
                left -= len(piece)
                if left < 0:
                    return False
            if piece:
                await response.write(piece)
    finally:
        if isinstance(pieces, AsyncGenerator):
            await pieces.aclose()
    return not left


def switched(upgrade: HttpUpgrade) -> bytes:
    """The answer that ends HTTP on a connection (RFC 9110 section 15.2.2)."""
    headers = {"Server": NAME, "Connection": "Upgrade", "Upgrade": upgrade.protocol, **upgrade.headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 101 Switching Protocols\r\n{lines}\r\n".encode()


class Switched(web.StreamResponse):
    """Tells aiohttp that there is nothing left to answer."""

    def __init__(self) -> None:
        super().__init__(status=101)
        self.force_close()

    async def prepare(self, request: web.BaseRequest) -> None:
        """It was sent."""

    async def write_eof(self, data: bytes = b"") -> None:
        """The same."""


def failed(error: HttpError) -> web.StreamResponse:
    text = f"{error.text}\n".encode("utf-8", "replace")
    return made(HttpResponse(error.status, text, "text/plain; charset=utf-8", error.headers))


def final(error: HttpError) -> web.StreamResponse:
    response = failed(error)
    response.force_close()
    response.headers.update(CORS)  # it tells nothing of ours
    response.headers["Connection"] = "close"  # aiohttp says nothing where it could not read the version
    return response
