"""aiohttp's side of an HTTP connection: what it sees of the link, and its protocol, which parses requests and writes
answers."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, Protocol, cast

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web_protocol import RequestHandler

from ..contracts.http import HttpError
from .http_message import FIELDS, final

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..contracts.link import Link
    from ..observe.metrics import HttpCounts
    from .http_bounds import Connections, HttpBounds

log = logging.getLogger("xmppd.net.http")

READ_SIZE: Final = 32 << 10
"""Of a request's body, twice that waits for its handler; then the connection is not read."""


class Answering(Protocol):
    """The connection whose requests are parsed. `closing`: no further one is."""

    server: Connections
    link: Link
    closing: bool

    async def answer(self, raw: web.BaseRequest) -> web.StreamResponse:
        """Have a request answered, and the answer written."""
        ...


class LinkTransport(asyncio.Transport):
    """A connection as aiohttp wants it."""

    def __init__(self, link: Link, counts: HttpCounts) -> None:
        super().__init__({"peername": (link.peer, link.port)})
        self._link: Link = link
        self._counts = counts
        self._closing = False
        self._handed_over: Callable[[], None] | None = None

    def hand_over(self, done: Callable[[], None]) -> None:
        """The connection is HTTP's no more: what aiohttp still does with it has no effect. `done`: called when aiohttp
        has ended."""
        self._handed_over = done

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._counts.sent += len(data)
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


class Requests(RequestHandler):
    """aiohttp's protocol: one request after the other. What it would answer by itself is answered in our form."""

    __slots__ = ("answered", "connection")

    def __init__(
        self, manager: web.Server, connection: Answering, loop: asyncio.AbstractEventLoop, bounds: HttpBounds
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
        elif not isinstance(exc, ConnectionError):  # it has left
            log.info("%s: what is no request is refused with %d", self.connection.link.peer, status)
        self.connection.closing = True
        return final(HttpError(status))


def requests_of(connection: Answering) -> Requests:
    """aiohttp's side of a connection."""
    server = connection.server
    if server.manager is None:
        server.manager = web.Server(_answered)
    return Requests(server.manager, connection, asyncio.get_running_loop(), server.bounds)


async def _answered(raw: web.BaseRequest) -> web.StreamResponse:
    return await cast(Requests, raw.protocol).connection.answer(raw)
