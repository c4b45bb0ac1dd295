"""The server's side of HTTP/1.1: aiohttp's parser and writer over our connections.

So HTTP has the same TLS, certificates, bounds on connections and handshakes, and the same way to close as XMPP. What
aiohttp sees of a connection is a transport (`_LinkTransport`); what it makes of the bytes comes to `HttpConnection`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import parse_qsl, urlsplit

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web_protocol import RequestHandler

from ..contracts.http import HttpError, HttpRequest, HttpResponse
from ..errors import StorageUnavailable
from .http_bounds import SLOWEST

if TYPE_CHECKING:
    from ..contracts.link import Link
    from .http_bounds import Connections, HttpBounds, Site

log = logging.getLogger("xmppd.net.http")

NAME: Final = "xmppd"
"""The Server header: without a version (RFC 9110 section 10.2.4)."""
READ_SIZE: Final = 32 << 10
"""Of a request's body, twice that waits for its handler; then the connection is not read."""
FIELDS: Final = 100
"""Header fields of a request, and parameters of its query."""
TAKE_TIME: Final = 30.0
"""Seconds for a client to take what waits for it in this process, 64 KiB or more."""
TELL_AGAIN: Final = 30
"""Seconds after which a client may ask again when there is no room, or no store."""


class _LinkTransport(asyncio.Transport):
    """A connection as aiohttp wants it."""

    def __init__(self, link: Link) -> None:
        super().__init__({"peername": (link.peer, link.port)})
        self._link = link
        self._closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._link.write(bytes(data))

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self._closing = True
        self._link.close()

    def abort(self) -> None:
        self._closing = True
        self._link.abort()

    def pause_reading(self) -> None:
        self._link.pause_reading()

    def resume_reading(self) -> None:
        self._link.resume_reading()

    def get_write_buffer_size(self) -> int:
        return self._link.write_buffer_size

    def can_write_eof(self) -> bool:
        return False


class _Requests(RequestHandler):
    """aiohttp's protocol: one request after the other. What it would answer by itself is answered in our form."""

    __slots__ = ("answered", "connection")

    def __init__(
        self, manager: web.Server, connection: HttpConnection, loop: asyncio.AbstractEventLoop, bounds: HttpBounds
    ) -> None:
        super().__init__(
            manager,
            loop=loop,
            keepalive_timeout=bounds.keep_alive,
            tcp_keepalive=False,
            access_log=None,  # type: ignore[arg-type]
            max_line_size=bounds.header_size,
            max_field_size=bounds.header_size,
            max_headers=FIELDS,
            lingering_time=0.0,  # the link reads on while it closes
            read_bufsize=READ_SIZE,
            auto_decompress=False,  # 1 KiB can be made of 1 MiB
        )
        self.connection = connection
        self.answered = 0

    @property
    def in_header(self) -> bool:
        """No request is being answered or waits for that: the next bytes are of a header."""
        return self._request_count == self.answered

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What cannot be parsed."""
        if isinstance(exc, LineTooLong):
            status = 431
        self.connection.closing = True
        return _final(HttpError(status))


def _requests_of(connection: HttpConnection) -> _Requests:
    """aiohttp's side of a connection."""
    server = connection.server
    if server.manager is None:
        server.manager = web.Server(_answered)
    return _Requests(server.manager, connection, asyncio.get_running_loop(), server.bounds)


async def _answered(raw: web.BaseRequest) -> web.StreamResponse:
    return await cast(_Requests, raw.protocol).connection.answer(raw)


class HttpConnection:
    """One connection (`link.Receiver`). It has a deadline while a header is awaited or an answer is not taken."""

    def __init__(self, server: Connections, site: Site) -> None:
        self.server = server
        self.site = site
        self.link: Link
        self.closing = False
        self._requests: _Requests | None = None
        self._header = 0
        """Bytes of a header that is not complete."""
        self._body: _Body | None = None
        """Of the request that is being answered."""

    # ---- the link's side

    def connected(self, link: Link) -> None:
        self.link = link
        self.server.connections.add(self)
        if not link.securing:
            self.secured()

    def secured(self) -> None:
        self._requests = _requests_of(self)
        self._requests.connection_made(_LinkTransport(self.link))
        self.server.engine.watch(self, self.server.bounds.header_time)

    def data_received(self, data: bytes) -> None:
        requests = self._requests
        if requests is None or self.closing:
            return
        requests.data_received(data)
        if not requests.in_header:
            self._header = 0
            return
        if self._header == 0:
            self.server.engine.watch(self, self.server.bounds.header_time)
        self._header += len(data)
        if self._header > self.server.bounds.header_size:
            self._refuse(431)

    def pause_writing(self) -> None:
        self.server.engine.watch(self, TAKE_TIME)
        if self._requests is not None:
            self._requests.pause_writing()

    def resume_writing(self) -> None:
        self.server.engine.forget(self)
        if self._requests is not None:
            self._requests.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        self.closing = True
        self.server.engine.forget(self)
        self.server.connections.discard(self)
        if self._requests is not None:
            self._requests.connection_lost(error)

    # ---- the engine's side

    def turn(self) -> None:
        """Nothing waits for the end of a turn here."""

    def overdue(self) -> None:
        """A header does not come (408 where it has begun, RFC 9110 section 15.5.9), or an answer is not taken."""
        if self._body is not None:
            log.info("%s does not take its answer", self.link.peer)
            self.link.abort()
        elif self._header:
            self._refuse(408)
        else:
            self.link.close()

    def abort(self) -> None:
        self.link.abort()

    def _refuse(self, status: int) -> None:
        """Answer what is no whole request, and close."""
        self.closing = True
        error = HttpError(status)
        text = f"{error.text}\n".encode()
        head = (
            f"HTTP/1.1 {status} {error.text}\r\nServer: {NAME}\r\nContent-Type: text/plain; charset=utf-8\r\n"
            f"Content-Length: {len(text)}\r\nConnection: close\r\n\r\n"
        )
        log.debug("%s: %d", self.link.peer, status)
        self.link.write(head.encode() + text)
        self.link.close()

    def stop(self) -> None:
        """Close, behind the answer that is under way."""
        if self._body is None and (self._requests is None or self._requests.in_header):
            self.closing = True
            self.link.close()

    # ---- a request

    async def answer(self, raw: web.BaseRequest) -> web.StreamResponse:
        """Have a request answered, and the answer written."""
        server, requests = self.server, self._requests
        assert requests is not None
        server.begins()
        server.engine.forget(self)
        begun = server.engine.clock.monotonic()
        body = self._body = _Body(self, raw)
        try:
            response = await self._response(raw, body)
            if server.stopping or not raw.content.is_eof():
                response.force_close()  # what is left of the body is not read
            await response.prepare(raw)
            await response.write_eof()
        finally:
            body.release()
            self._body = None
            requests.answered += 1
        took = (server.engine.clock.monotonic() - begun) * 1000
        path = raw.raw_path.partition("?")[0]
        log.debug("%s %s %s: %d in %.1f ms", self.link.peer, raw.method, path, response.status, took)
        if not response.keep_alive:
            self.closing = True
        return response

    async def _response(self, raw: web.BaseRequest, body: _Body) -> web.Response:
        try:
            return _made(await self._asked(raw, body))
        except HttpError as error:
            return _failed(error)
        except StorageUnavailable:
            return _failed(_later())
        except ConnectionError:
            raise
        except Exception:
            log.exception("the answer to %s %s failed", raw.method, raw.raw_path.partition("?")[0])
            return _failed(HttpError(500))

    async def _asked(self, raw: web.BaseRequest, body: _Body) -> HttpResponse:
        """Raises HttpError."""
        bounds = self.server.bounds
        if sum(len(name) + len(value) + 4 for name, value in raw.raw_headers) > bounds.header_size:
            raise HttpError(431)
        host, path, query = _target(raw)
        match, domain = self.site.find(raw.method, host, path)
        body.most = match.route.max_body
        if (raw.content_length or 0) > body.most:
            raise HttpError(413)
        if raw.body_exists and raw.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise HttpError(415, headers={"Accept-Encoding": "identity"})
        headers = {name.lower(): ", ".join(raw.headers.getall(name)) for name in raw.headers}
        if headers.get("expect", "100-continue").lower() != "100-continue":
            raise HttpError(417)
        request = HttpRequest(
            raw.method, path, query, headers, body, self.link.peer, domain, self.link.secure, match.parameters
        )
        response = await match.route.handler(request)
        if body.failed is not None:  # whatever the handler made of it
            raise body.failed
        return response


class _Body:
    """The body of a request (`contracts.http.Body`)."""

    def __init__(self, connection: HttpConnection, raw: web.BaseRequest) -> None:
        self.most = 0
        self.failed: HttpError | None = None
        self._connection = connection
        self._raw = raw
        self._size = 0
        self._held = 0
        """Bytes that are counted as memory of the process."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self._go_on()
        loop = asyncio.get_running_loop()
        end = loop.time() + self._connection.server.bounds.body_time
        while not self._raw.content.at_eof():
            piece = await self._piece(end + self._size / SLOWEST)
            self._size += len(piece)
            if self._size > self.most:
                raise self._fails(HttpError(413))
            if piece:
                yield piece

    async def read(self) -> bytes:
        memory = self._connection.server.memory
        pieces = []
        async for piece in self:
            self._held += len(piece)
            memory.incoming += len(piece)
            if memory.incoming_full(None):
                raise self._fails(_later())
            pieces.append(piece)
        return b"".join(pieces)

    def release(self) -> None:
        """The request is over."""
        self._connection.server.memory.incoming -= self._held
        self._held = 0

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
        if waits and not self._size and not raw.content.at_eof():
            self._connection.link.write(b"HTTP/1.1 100 Continue\r\n\r\n")


def _target(raw: web.BaseRequest) -> tuple[str, str, dict[str, str]]:
    """Host (lower case, without a port), path (as it came) and query of a request. Raises HttpError."""
    named = raw.headers.getall("Host", [])
    if len(named) > 1 or (not named and raw.version >= (1, 1)):
        raise HttpError(400, "A request names one host.")  # RFC 9112 section 3.2
    host, target = named[0] if named else "", raw.raw_path
    try:
        if target.lower().startswith(("http://", "https://")):  # RFC 9112 section 3.2.2
            parts = urlsplit(target)
            host, target = parts.netloc or host, target[len(f"{parts.scheme}://{parts.netloc}") :] or "/"
        name = urlsplit(f"//{host}").hostname or ""
        path, _, query = target.partition("?")
        return name, path, dict(parse_qsl(query, keep_blank_values=True, max_num_fields=FIELDS))
    except ValueError:
        raise HttpError(400) from None


def _later() -> HttpError:
    return HttpError(503, headers={"Retry-After": str(TELL_AGAIN)})


def _made(response: HttpResponse) -> web.Response:
    headers = {"Server": NAME, **response.headers}
    if response.content_type:
        headers["Content-Type"] = response.content_type
    return web.Response(status=response.status, body=response.body, headers=headers)


def _failed(error: HttpError) -> web.Response:
    text = HttpResponse(error.status, f"{error.text}\n".encode(), "text/plain; charset=utf-8", error.headers)
    return _made(text)


def _final(error: HttpError) -> web.Response:
    response = _failed(error)
    response.force_close()
    response.headers["Connection"] = "close"  # aiohttp says nothing where it could not read the version
    return response
