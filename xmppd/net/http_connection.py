"""The server's side of HTTP/1.1: aiohttp's parser and writer over our connections.

So HTTP has the same TLS, certificates, bounds on connections and handshakes, and the same way to close as XMPP. What
aiohttp sees of a connection is a transport (`_LinkTransport`); what it makes of the bytes comes to `HttpConnection`.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final, cast

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web_protocol import RequestHandler

from ..contracts.http import HttpError, HttpRequest, HttpResponse, HttpUpgrade, StreamedBody
from ..errors import StorageUnavailable
from .http_message import (
    FIELDS,
    NAME,
    Body,
    Switched,
    failed,
    final,
    later,
    made,
    misframed,
    readable,
    send_pieces,
    switched,
    target_of,
)
from .http_routes import CORS

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..contracts.link import Link
    from .http_bounds import Connections, HttpBounds, Site

log = logging.getLogger("xmppd.net.http")

READ_SIZE: Final = 32 << 10
"""Of a request's body, twice that waits for its handler; then the connection is not read."""
TAKE_TIME: Final = 30.0
"""Seconds for a client to take what waits for it in this process, 64 KiB or more."""
LEFT_TIME: Final = 30.0
"""Seconds that a handler may go on when its client has left."""
VERSIONS: Final = frozenset(((1, 0), (1, 1)))


class _LinkTransport(asyncio.Transport):
    """A connection as aiohttp wants it."""

    def __init__(self, link: Link) -> None:
        super().__init__({"peername": (link.peer, link.port)})
        self._link: Link = link
        self._closing = False
        self._handed_over: Callable[[], None] | None = None

    def hand_over(self, done: Callable[[], None]) -> None:
        """The connection is HTTP's no more: what aiohttp still does with it has no effect. `done`: called when aiohttp
        has ended."""
        self._handed_over = done

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._link.write(bytes(data))

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self._closing = True
        if self._handed_over is None:
            self._link.close()
        else:
            asyncio.get_running_loop().call_soon(self._handed_over)

    def abort(self) -> None:
        self._closing = True
        if self._handed_over is None:
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

    @property
    def waiting(self) -> bool:
        """Behind the request that is being answered there is another, or what cannot be parsed."""
        return self._request_count > self.answered + 1

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
        if status >= 500 and not isinstance(exc, ConnectionError):
            log.error("an answer to %s failed", self.connection.link.peer, exc_info=exc)
        self.connection.closing = True
        return final(HttpError(status))


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
        self._body: Body | None = None
        """Of the request that is being answered."""
        self._task: asyncio.Task[Any] | None = None
        """That answers it."""
        self._untaken = False
        """The client does not take what was written, and the deadline is about that."""
        self._cors = False
        """Pages of other origins may read the answer."""

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
            if self._body is not None and requests.waiting:
                self._body.cut()
            return
        if self._header == 0 and not self._untaken:
            self.server.engine.watch(self, self.server.bounds.header_time)
        self._header += len(data)
        if self._header > self.server.bounds.header_size:
            self._refuse(431)

    def pause_writing(self) -> None:
        self._untaken = True
        self.server.engine.watch(self, TAKE_TIME)
        if self._requests is not None:
            self._requests.pause_writing()

    def resume_writing(self) -> None:
        self._untaken = False
        if self._header:
            self.server.engine.watch(self, self.server.bounds.header_time)
        else:
            self.server.engine.forget(self)
        if self._requests is not None:
            self._requests.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        self.closing = True
        self.server.engine.forget(self)
        self.server.connections.discard(self)
        if self._task is not None:
            self.server.engine.watch(self, LEFT_TIME)
        if self._requests is not None:
            self._requests.connection_lost(error)

    # ---- the engine's side

    def turn(self) -> None:
        """Nothing waits for the end of a turn here."""

    def overdue(self) -> None:
        """A header does not come (408 where it has begun, RFC 9110 section 15.5.9), an answer is not taken, or nobody
        is there to take it."""
        if self not in self.server.connections:
            if self._task is not None:
                log.info("%s has left: its request is broken off", self.link.peer)
                self._task.cancel()
        elif self._untaken:
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
        if raw.version not in VERSIONS:
            self._refuse(505)  # behind it nothing is written
            return final(HttpError(505))
        self._task = server.begins()
        if not self._untaken:
            server.engine.forget(self)
        begun = server.engine.clock.monotonic()
        body = self._body = Body(self.link, self.server, raw)
        self._cors = False
        try:
            answer = await self._response(raw, body)
            if isinstance(answer, HttpUpgrade):
                return self._switch(answer)
            response, streamed = answer
            if self._cors:
                response.headers.update({name: value for name, value in CORS.items() if name not in response.headers})
            if server.stopping or not raw.content.is_eof() or misframed(raw):
                response.force_close()  # what is left of the body is not read
            await response.prepare(raw)
            if streamed is not None and raw.method != "HEAD" and not await self._sent(streamed, response, raw):
                self.closing = True
                self.link.abort()
                return response
            await response.write_eof()
        finally:
            body.release()
            self._body = self._task = None
            if self not in server.connections:
                server.engine.forget(self)
            requests.answered += 1
        took = (server.engine.clock.monotonic() - begun) * 1000
        path = raw.raw_path.partition("?")[0]
        log.debug("%s %s %s: %d in %.1f ms", self.link.peer, raw.method, path, response.status, took)
        if not response.keep_alive:
            self.closing = True
        return response

    async def _sent(self, body: StreamedBody, response: web.StreamResponse, raw: web.BaseRequest) -> bool:
        """Send a body in pieces. False: it is not whole, so the connection has to break."""
        try:
            if await send_pieces(body, response):
                return True
        except ConnectionError:
            return False  # the client has left
        except Exception:
            log.exception("the body of the answer to %s %s failed", raw.method, raw.raw_path.partition("?")[0])
            return False
        log.error("the body of the answer to %s has another length than was said", raw.raw_path.partition("?")[0])
        return False

    def _switch(self, upgrade: HttpUpgrade) -> web.StreamResponse:
        """Hand the connection over to another protocol."""
        requests, link = self._requests, self.link
        if requests is None or self not in self.server.connections:
            return Switched()  # the client has left
        self.closing = True
        tail, requests._message_tail = requests._message_tail, b""  # what came behind the request
        cast(_LinkTransport, requests.transport).hand_over(lambda: requests.connection_lost(None))
        self.server.connections.discard(self)
        self._requests = None
        link.write(switched(upgrade))
        link.hand_over(upgrade.receiver)
        if tail:
            upgrade.receiver.data_received(tail)
        link.resume_reading()
        return Switched()

    async def _response(
        self, raw: web.BaseRequest, body: Body
    ) -> HttpUpgrade | tuple[web.StreamResponse, StreamedBody | None]:
        try:
            answer = await self._asked(raw, body)
            if isinstance(answer, HttpUpgrade):
                return answer
            return made(answer), answer.body if isinstance(answer.body, StreamedBody) else None
        except HttpError as error:
            return failed(error), None
        except StorageUnavailable:
            return failed(later()), None
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            log.error("the answer to %s %s was broken off", raw.method, raw.raw_path.partition("?")[0], exc_info=error)
            return failed(HttpError(500)), None
        except Exception:
            log.exception("the answer to %s %s failed", raw.method, raw.raw_path.partition("?")[0])
            return failed(HttpError(500)), None

    async def _asked(self, raw: web.BaseRequest, body: Body) -> HttpResponse | HttpUpgrade:
        """Raises HttpError."""
        bounds = self.server.bounds
        if sum(len(name) + len(value) + 4 for name, value in raw.raw_headers) > bounds.header_size:
            raise HttpError(431)
        if misframed(raw):
            raise HttpError(400 if raw.version < (1, 1) else 501)
        host, path, query = target_of(raw)
        match, domain = self.site.find(raw.method, host, path)
        self._cors = match.route.cors
        body.most = match.route.max_body
        if (raw.content_length or 0) > body.most:
            raise HttpError(413)
        if raw.body_exists and raw.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise HttpError(415, headers={"Accept-Encoding": "identity"})
        headers = {name.lower(): readable(", ".join(raw.headers.getall(name))) for name in raw.headers}
        if headers.get("expect", "100-continue").lower() != "100-continue":
            raise HttpError(417)
        request = HttpRequest(
            raw.method, path, query, headers, body, self.link.peer, domain, self.link.secure, match.parameters
        )
        response = await match.route.handler(request)
        if body.failed is not None:  # whatever the handler made of it
            raise body.failed
        return response
