"""The server's side of HTTP/1.1: aiohttp's parser and writer over our connections.

So HTTP has the same TLS, certificates, bounds on connections and handshakes, and the same way to close as XMPP. What
aiohttp sees of a connection is a transport (`LinkTransport`); what it makes of the bytes comes to `HttpConnection`.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final, cast

from aiohttp import web

from ..contracts.http import HttpError, HttpRequest, HttpResponse, HttpUpgrade, StreamedBody
from ..errors import StorageUnavailable
from .http_bounds import SLOWEST
from .http_message import (
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
from .http_transport import LinkTransport, requests_of

if TYPE_CHECKING:
    from ..contracts.link import Link
    from .http_bounds import Connections, Site
    from .http_transport import Requests

log = logging.getLogger("xmppd.net.http")

TAKE_TIME: Final = 30.0
"""Seconds for a client to take an eighth of what waits for it in this process, 64 KiB or more, and `SLOWEST`."""
LEFT_TIME: Final = 30.0
"""Seconds that a handler may go on when its client has left."""
USUAL: Final = frozenset((401, 404, 405, 412, 416))
"""Errors that clients meet who do nothing wrong: no line in the log."""
VERSIONS: Final = frozenset(((1, 0), (1, 1)))


class HttpConnection:
    """One connection (`link.Receiver`). It has a deadline while a header is awaited or an answer is not taken."""

    def __init__(self, server: Connections, site: Site) -> None:
        self.server = server
        self.site = site
        self.link: Link
        self.closing = False
        self._requests: Requests | None = None
        self._header = 0
        """Bytes of a header that is not complete."""
        self._body: Body | None = None
        """Of the request that is being answered."""
        self._task: asyncio.Task[Any] | None = None
        """That answers it."""
        self._untaken = False
        """The client does not take what was written, and the deadline is about that."""
        self._waits = 0
        """Bytes that waited for it when the deadline was set."""
        self._cors = False
        """Pages of other origins may read the answer."""
        self._route = ""
        self._peer = ""
        """Who asks, by the word of a proxy; "": nobody else than the link's peer."""

    # ---- the link's side

    def connected(self, link: Link) -> None:
        self.link = link
        self.server.connections.add(self)
        if not link.securing:
            self.secured()

    def secured(self) -> None:
        self._requests = requests_of(self)
        self._requests.connection_made(LinkTransport(self.link, self.server.counts))
        self.server.engine.watch(self, self.server.bounds.header_time)

    def data_received(self, data: bytes) -> None:
        requests = self._requests
        if requests is None or self.closing:
            return
        self.server.counts.received += len(data)
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
        self._waits = self.link.write_buffer_size
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
        elif self._untaken and self._taken() > max(SLOWEST * TAKE_TIME, self._waits / 8):
            self.pause_writing()
        elif self._untaken:
            log.info("%s does not take its answer", self.link.peer)
            self.link.abort()
        elif self._header:
            self._refuse(408)
        else:
            self.link.close()

    def _taken(self) -> int:
        return self._waits - self.link.write_buffer_size

    def abort(self) -> None:
        self.link.abort()

    def _refuse(self, status: int) -> None:
        """Answer what is no whole request, and close."""
        self.closing = True
        error = HttpError(status)
        text = f"{error.text}\n".encode()
        head = (
            f"HTTP/1.1 {status} {error.text}\r\nServer: {NAME}\r\nContent-Type: text/plain; charset=utf-8\r\n"
            f"Content-Length: {len(text)}\r\nAccess-Control-Allow-Origin: *\r\nConnection: close\r\n\r\n"
        )
        log.info("%s: what is no request is refused with %d", self.link.peer, status)
        self.server.counts.answered("", status, 0.0)
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
        self._cors, self._route, self._peer = True, "", ""  # a request without a route is told nothing of ours
        status = 500
        try:
            answer = await self._response(raw, body)
            if isinstance(answer, HttpUpgrade):
                if not self._peer or self.link.forwarded_for(self._peer):
                    status = 101
                    return self._switch(answer)
                answer = failed(HttpError(429)), None
            response, streamed = answer
            status = response.status
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
            if self._peer:
                server.uncount(self._peer)
            seconds = server.engine.clock.monotonic() - begun
            server.counts.answered(self._route, status, seconds)
            if self not in server.connections:
                server.engine.forget(self)
            requests.answered += 1
        peer, asked = self._peer or self.link.peer, self._named(raw)
        log.debug("%s %s: %d in %.1f ms", peer, asked, response.status, seconds * 1000)
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
            log.exception("the body of the answer to %s failed", self._named(raw))
            return False
        log.error("the body of the answer to %s has another length than was said", self._named(raw))
        return False

    def _named(self, raw: web.BaseRequest) -> str:
        """What was asked for, in the log: the route, or else how the path begins. The rest of it may be a secret, as
        the token of an invitation, also where it is written in a way that leads nowhere."""
        if self._route:
            return self._route
        first, slash, _ = raw.raw_path.partition("?")[0].lstrip("/").partition("/")
        return f"{raw.method} /{first}{'/…' if slash else ''}"

    def _switch(self, upgrade: HttpUpgrade) -> web.StreamResponse:
        """Hand the connection over to another protocol."""
        requests, link = self._requests, self.link
        if requests is None or self not in self.server.connections:
            return Switched()  # the client has left
        self.closing = True
        tail, requests._message_tail = requests._message_tail, b""  # what came behind the request
        cast(LinkTransport, requests.transport).hand_over(lambda: requests.connection_lost(None))
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
            if error.status not in USUAL:
                log.info("%s: a request is refused with %d", self._peer or self.link.peer, error.status)
            return failed(error), None
        except StorageUnavailable:
            return failed(later()), None
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            log.error("the answer to %s was broken off", self._named(raw), exc_info=error)
            return failed(HttpError(500)), None
        except Exception:
            log.exception("the answer to %s failed", self._named(raw))
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
        self._cors, self._route = match.route.cors, f"{match.route.method} {match.route.path}"
        body.most = match.route.max_body
        if body.most is not None and (raw.content_length or 0) > body.most:
            raise HttpError(413)
        if raw.body_exists and raw.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise HttpError(415, headers={"Accept-Encoding": "identity"})
        headers = {name.lower(): readable(", ".join(raw.headers.getall(name))) for name in raw.headers}
        if headers.get("expect", "100-continue").lower() != "100-continue":
            raise HttpError(417)
        peer, secure = self.site.proxies.client(self.link.peer, self.link.secure, headers)
        if peer != self.link.peer:
            self.server.count(peer)
            self._peer = peer
        in_clear = bool(self._peer) and not secure
        request = HttpRequest(raw.method, path, query, headers, body, peer, domain, secure, match.parameters, in_clear)
        response = await match.route.handler(request)
        if body.failed is not None:  # whatever the handler made of it
            raise body.failed
        return response
