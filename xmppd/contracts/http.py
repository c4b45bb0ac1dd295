"""HTTP requests that plugins answer (`@http` in `xmppd.plugin`), and their answers.

The server takes connections, TLS and the limits; a route is a method, a path and a handler.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final, Protocol

from .link import Receiver

METHODS: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""HEAD is answered by the route for GET, without the body."""
_PARAMETER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_LITERAL: Final = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@-]*")


_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\ud7ff\ue000-\U0010ffff]*")
FRAMING: Final = frozenset(("connection", "content-length", "keep-alive", "trailer", "transfer-encoding", "upgrade"))
"""Header fields that say where an answer ends and what becomes of the connection: those are the server's."""


_STATUSES: Final = frozenset(HTTPStatus)


def check_answer(status: int, headers: Mapping[str, str]) -> None:
    """Raises ValueError for a status or headers that cannot be sent: a line break in them would begin another header,
    or another answer."""
    if not (isinstance(status, int) and 200 <= status <= 599):
        raise ValueError(f"{status!r} is no status from 200 to 599")
    for name, value in headers.items():
        if not (isinstance(name, str) and _TOKEN.fullmatch(name)):
            raise ValueError(f"{name!r} is no name of a header")
        if name.lower() in FRAMING:
            raise ValueError(f"the header {name} is the server's")
        if not (isinstance(value, str) and _VALUE.fullmatch(value)):
            raise ValueError(f"the header {name} has a value that cannot be sent: {value!r}")


class HttpError(Exception):
    """An answer that is an error: `raise HttpError(404)`. `text` is for people; nothing of the server's inside.

    Raises ValueError for what cannot be sent, as `HttpResponse` does.
    """

    def __init__(self, status: int, text: str = "", headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, text)
        check_answer(status, headers or {})
        self.status = status
        self.text = text or (HTTPStatus(status).phrase if status in _STATUSES else f"Error {status}")
        self.headers = dict(headers or {})


class Body(Protocol):
    """The body of a request. It comes while it is read, and is bounded by `max_body` of the route.

    Reading raises HttpError: 413 beyond the bound, 408 when it comes too slowly, 400 when the client has ended it
    before its end, 503 while the server has too much in memory.
    """

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The pieces as they come; for what is large."""
        ...

    async def read(self) -> bytes:
        """All of it, in memory."""
        ...


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """What a client asks.

    `host`: the domain (of this server) that answers. `query`: decoded; of a repeated name, the last. `headers`: names
    in lower case; a repeated one is joined by commas (RFC 9110 section 5.3). `parameters`: what stands for the names of
    the path of the route. `peer`: IP address of who asks; behind a trusted proxy, what the proxy says. `secure`: it
    came over TLS, here or to such a proxy. `in_clear`: it came to the proxy without, over a network where others may
    read along: no place for a password.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Body
    peer: str
    host: str
    secure: bool
    parameters: Mapping[str, str] = field(default_factory=dict)
    in_clear: bool = False


@dataclass(frozen=True, slots=True)
class StreamedBody:
    """The body of an answer, made while it is sent: the next piece is asked for when the client has taken most of
    those before. `length`: bytes in all; None: that is not known yet (the answer is chunked). `pieces`: called if a
    body is sent (for HEAD it is not); where it gives less than `length`, or raises, the connection is broken off, so
    that nobody takes the rest for the whole."""

    length: int | None
    pieces: Callable[[], AsyncIterator[bytes]]


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """An answer. The server adds Content-Length, Date and Server. Raises ValueError for a status, or headers, that
    cannot be sent."""

    status: int = 200
    body: bytes | StreamedBody = b""
    content_type: str = ""
    """With its parameters: `text/plain; charset=utf-8`."""
    headers: Mapping[str, str] = field(default_factory=dict)
    close: bool = False
    """The connection ends behind it. Otherwise the client may ask for more, as is usual."""

    def __post_init__(self) -> None:
        check_answer(self.status, {"Content-Type": self.content_type, **self.headers})
        if not isinstance(self.body, bytes | StreamedBody):
            raise ValueError(f"the body of an answer is bytes, not {type(self.body).__name__}")


def page_headers(style: str) -> Mapping[str, str]:
    """The headers of a page that is one person's: nothing but its own style sheet and its own forms works there, and
    nobody keeps, frames or finds it. `style`: the contents of its <style/>."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return {
        "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{digest}'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "X-Robots-Tag": "noindex, nofollow",
    }


@dataclass(frozen=True, slots=True)
class HttpUpgrade:
    """The connection goes on in another protocol (RFC 9110 section 7.8): the answer is 101, and what comes behind it is
    for `receiver`, which gets the link by `connected`. Raises ValueError for headers that cannot be sent."""

    protocol: str
    receiver: Receiver
    headers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_answer(200, self.headers)


HttpHandler = Callable[[HttpRequest], Awaitable[HttpResponse | HttpUpgrade]]


@dataclass(frozen=True, slots=True)
class HttpRoute:
    """A handler for a method and a path such as `/rooms/{room}/icon`; `{room}` stands for one segment, not empty.

    `max_body`: bytes that the body of a request may have; None: the handler sees to it. `public`: served wherever its
    host is served; otherwise only by a listener that names the path in `paths`. `cors`: pages of other origins may ask
    and read every answer, errors too; OPTIONS is answered. `owner`: who declared it, for messages. Raises ValueError.
    """

    method: str
    path: str
    handler: HttpHandler
    max_body: int | None = 0
    public: bool = True
    cors: bool = False
    owner: str = ""
    segments: tuple[str | None, ...] = field(init=False, compare=False)
    """Of the path; None stands for a parameter."""
    names: tuple[str, ...] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        segments, names = parse_path(self.path)
        if self.method not in METHODS:
            raise ValueError(f"{self.method!r} is none of {', '.join(sorted(METHODS))}")
        object.__setattr__(self, "segments", segments)
        object.__setattr__(self, "names", names)


def parse_path(path: str) -> tuple[tuple[str | None, ...], tuple[str, ...]]:
    """The segments of a route's path (None for a parameter) and the names of its parameters. Raises ValueError."""
    if not path.startswith("/"):
        raise ValueError(f"a path starts with '/', not as {path!r} does")
    segments: list[str | None] = []
    names: list[str] = []
    for segment in path[1:].split("/"):
        found = _PARAMETER.fullmatch(segment)
        if found is not None:
            if found[1] in names:
                raise ValueError(f"{path!r} has two parameters {found[1]!r}")
            names.append(found[1])
            segments.append(None)
        elif _LITERAL.fullmatch(segment) and segment not in (".", ".."):
            segments.append(segment)
        else:
            raise ValueError(f"{segment!r} in {path!r} is neither plain text nor a parameter such as '{{name}}'")
    return tuple(segments), tuple(names)
