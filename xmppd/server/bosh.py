"""The route of BOSH (XEP-0124 section 4): HTTP requests to requests of a session, and their answers."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import TYPE_CHECKING, Final

from ..contracts.http import HttpError, HttpRequest, HttpResponse, HttpRoute
from ..protocol.bosh import MOST_START, BoshError, Start, read_body, read_start
from ..protocol.bosh_terms import refuse
from ..streams.bosh import BoshSession, BoshSessions
from .origins import check_origin

if TYPE_CHECKING:
    from types import TracebackType

    from ..memory.budget import Pool
    from .runtime import RunningServer

log = logging.getLogger("xmppd.server.bosh")

PATH: Final = "/http-bind"
CONTENT_TYPE: Final = "text/xml; charset=utf-8"
_TYPE: Final = re.compile(
    r"[A-Za-z0-9.+-]{1,40}/[A-Za-z0-9.+-]{1,60}(; ?charset=[A-Za-z0-9_-]{1,20})?", re.ASCII
).fullmatch
INERT: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "X-Content-Type-Options": "nosniff",
}
"""An answer holds what strangers have written, as XML, or as the type that the client has asked for: a browser that is
made to show one must not run it as a page of ours."""
ANY_BODY: Final = 1 << 30
"""The bound of a body is that of its session, which is known when it has begun."""
AGAIN: Final = "5"
"""Seconds until a client may try again when there is no memory."""


class _Arriving:
    """What has come of the body of a request (`memory.budget.Sender`)."""

    def __init__(self, server: RunningServer) -> None:
        self.data = bytearray()
        self._scope = asyncio.timeout(None)
        self._memory = server.memory
        self._pool: Pool | None = None
        self._broken = False

    async def __aenter__(self) -> None:
        await self._scope.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Raises TimeoutError: it was broken off."""
        self.done()
        await self._scope.__aexit__(kind, error, trace)

    def count(self) -> None:
        if not self._broken:
            self._memory.parts.count(self, self._pool, len(self.data))

    def of(self, session: BoshSession) -> None:
        """It is for this session."""
        if self._pool is None and session.signed_in:
            self.done()
            self._pool = session.stream.pool

    def done(self) -> None:
        """It counts no more."""
        self._memory.parts.count(self, None, 0)

    def break_off(self) -> None:
        self._broken = True
        self._scope.reschedule(asyncio.get_running_loop().time())


class _Waiting:
    """An HTTP request that waits for its answer (`bosh_requests.Carrier`)."""

    def __init__(self) -> None:
        self.answered: asyncio.Future[tuple[bytes, int]] = asyncio.get_running_loop().create_future()

    def answer(self, body: bytes, status: int = 200) -> None:
        if not self.answered.done():
            self.answered.set_result((body, status))


def bosh_routes(server: RunningServer) -> tuple[HttpRoute, ...]:
    """The routes of all listeners."""
    bosh = Bosh(server)
    return (
        HttpRoute("POST", PATH, bosh.post, max_body=ANY_BODY, cors=True, owner="the server"),
        HttpRoute("GET", PATH, bosh.get, cors=True, owner="the server"),
    )


class Bosh:
    def __init__(self, server: RunningServer) -> None:
        self.server = server
        self.sessions = BoshSessions(server, lambda: server.config.limits.connections_per_address)

    def _check(self, request: HttpRequest) -> None:
        """Raises HttpError."""
        web = self.server.config.web
        if not web.bosh:
            raise HttpError(404)
        check_origin(request, web.origins, self.server.hosts)

    async def get(self, request: HttpRequest) -> HttpResponse:
        """For a person who looks whether it is there."""
        self._check(request)
        return HttpResponse(200, b"XMPP clients sign in here over BOSH (XEP-0206).\n", "text/plain; charset=utf-8")

    async def post(self, request: HttpRequest) -> HttpResponse:
        """One request of a client."""
        self._check(request)
        waiting = _Waiting()
        session = await self._receive(request, waiting)
        try:
            body, status = await waiting.answered
        except asyncio.CancelledError:
            if session is not None:
                session.lost(waiting)
            raise
        if status != 200:
            raise HttpError(status, headers=INERT)
        return HttpResponse(200, body, _content_type(session), INERT)

    async def _receive(self, request: HttpRequest, waiting: _Waiting) -> BoshSession | None:
        """Read a request and give it to its session. Raises HttpError."""
        session: BoshSession | None = None
        arriving = _Arriving(self.server)
        data = arriving.data
        start: Start | None = None
        try:
            async with arriving:
                async for piece in request.body:
                    data += piece
                    if start is None:
                        start = read_start(bytes(data[:MOST_START]))
                        session = self._session(start, request) if start is not None else None
                        if session is not None:
                            arriving.of(session)
                    arriving.count()
                    if len(data) > self._most(session):
                        raise BoshError("policy-violation", "too large")
                    if self.server.memory.incoming_full(session.stream.pool if session is not None else None):
                        raise HttpError(503, headers={"Retry-After": AGAIN})
            body = read_body(bytes(data), start)
            if session is None and request.in_clear:
                raise BoshError("policy-violation", "TLS first")
            if session is None:
                session = self.sessions.create(body, waiting, request.peer, request.secure, request.host)
            else:
                session.receive(body, waiting)
        except BoshError as error:
            if session is not None:
                session.fail(error, waiting)
            legacy = start is not None and not {"sid", "ver"} & set(start.attributes)
            refuse(waiting, error, legacy)
        except TimeoutError:  # that of `break_off`
            log.info("%s: a large request does not come to its end", request.peer)
            raise HttpError(503, headers={"Retry-After": AGAIN}) from None
        return session

    def _session(self, start: Start, request: HttpRequest) -> BoshSession | None:
        """That of the request, None for a new one. Raises BoshError, HttpError."""
        if "sid" not in start.attributes:
            return None
        session = self.sessions.find(start.attributes["sid"])
        if session is None:
            raise BoshError("item-not-found", "no such session")
        if session.secure and not request.secure:
            raise HttpError(403)  # XEP-0124 section 19.1: the session goes on
        return session

    def _most(self, session: BoshSession | None) -> int:
        """Bytes that a request may have."""
        limits = self.server.limits
        signed_in = session is not None and session.signed_in
        return MOST_START + int((limits.after_sign_in if signed_in else limits.before_sign_in).most)


def _content_type(session: BoshSession | None) -> str:
    """As the client wants it (XEP-0124 section 7.1)."""
    wanted = session.content if session is not None else ""
    return wanted if _TYPE(wanted) else CONTENT_TYPE
