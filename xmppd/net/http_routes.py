"""Which route answers an HTTP request: sans-I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from ..contracts.http import HttpError, HttpRequest, HttpResponse, HttpRoute

CORS: Final[Mapping[str, str]] = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "Accept-Ranges, Content-Length, Content-Range, ETag, Retry-After",
}
"""Header fields of each answer that pages of other origins may read (Fetch, CORS)."""
_BROKEN: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")


class Match(NamedTuple):
    """A route, and what stands for its parameters."""

    route: HttpRoute
    parameters: Mapping[str, str]


@dataclass(slots=True)
class _Node:
    """What may follow a beginning of a path."""

    literal: dict[str, _Node] = field(default_factory=dict)
    parameter: _Node | None = None
    routes: dict[str, HttpRoute] = field(default_factory=dict)
    """By method; of the path that ends here."""


class RouteTable:
    """Routes by path and method. A literal segment goes before a parameter."""

    def __init__(self, routes: Iterable[HttpRoute] = ()) -> None:
        self._root = _Node()
        self.all: list[HttpRoute] = []
        for route in routes:
            self.add(route)

    def add(self, route: HttpRoute) -> None:
        """Raises ValueError: there is a route for that method and path already, whatever its parameters' names."""
        self.check(route)
        node = self._root
        for segment in route.segments:
            if segment is not None:
                node = node.literal.setdefault(segment, _Node())
                continue
            if node.parameter is None:
                node.parameter = _Node()
            node = node.parameter
        node.routes[route.method] = route
        self.all.append(route)

    def check(self, route: HttpRoute) -> None:
        """Raises ValueError: another route answers the same requests."""
        node: _Node | None = self._root
        for segment in route.segments:
            if node is None:
                return
            node = node.literal.get(segment) if segment is not None else node.parameter
        if node is not None and (other := node.routes.get(route.method)) is not None:
            raise ValueError(f"{route.owner} and {other.owner} both answer {route.method} {route.path}")

    def routes(self, segments: tuple[str, ...]) -> Mapping[str, HttpRoute]:
        """The routes of a path by method; empty: there is no such path."""
        node = _find(self._root, segments, 0)
        return node.routes if node is not None else {}


def match(routes: Mapping[str, HttpRoute], method: str, segments: tuple[str, ...]) -> Match:
    """The route of a path for a method; HEAD is answered as GET is (RFC 9110 section 9.3.2). Raises HttpError: 404,
    405 with Allow (RFC 9110 section 15.5.6)."""
    if not routes:
        raise HttpError(404)
    route = routes.get("GET" if method == "HEAD" else method)
    if route is None:
        cors = any(route.cors for route in routes.values())
        allowed = ", ".join(sorted({*routes, *(["HEAD"] if "GET" in routes else []), *(["OPTIONS"] if cors else [])}))
        if method == "OPTIONS" and cors:
            return Match(_preflight(next(iter(routes.values())), allowed), {})
        raise HttpError(405, headers={"Allow": allowed, **(CORS if cors else {})})
    values = [value for value, literal in zip(segments, route.segments, strict=True) if literal is None]
    return Match(route, dict(zip(route.names, values, strict=True)))


def _preflight(route: HttpRoute, allowed: str) -> HttpRoute:
    """Answers a browser that asks whether its page may send a request (CORS)."""

    async def answer(request: HttpRequest) -> HttpResponse:
        headers = {
            "Allow": allowed,
            "Access-Control-Allow-Methods": allowed,
            "Access-Control-Allow-Headers": "Authorization, Content-Type, If-Match, If-None-Match, If-Range, Range",
            "Access-Control-Max-Age": "7200",
        }
        return HttpResponse(204, headers=headers)

    return HttpRoute("OPTIONS", route.path, answer, cors=True, owner=route.owner)


def _find(node: _Node, segments: tuple[str, ...], at: int) -> _Node | None:
    if at == len(segments):
        return node if node.routes else None
    following = node.literal.get(segments[at])
    if following is not None and (found := _find(following, segments, at + 1)) is not None:
        return found
    if node.parameter is None or segments[at] in ("", ".", ".."):
        return None
    return _find(node.parameter, segments, at + 1)


def split_path(path: str) -> tuple[str, ...]:
    """The segments of a request's path, decoded after they are split: `%2F` separates nothing. Raises HttpError."""
    if not path.startswith("/"):
        raise HttpError(400, "The path of the request does not begin with '/'.")
    if _BROKEN.search(path):
        raise HttpError(400, "The path of the request has a '%' that encodes nothing.")
    try:
        segments = tuple(unquote_to_bytes(segment).decode() for segment in path[1:].split("/"))
    except UnicodeDecodeError:
        raise HttpError(400, "The path of the request is not UTF-8.") from None
    if any("\0" in segment for segment in segments):
        raise HttpError(400, "The path of the request has a null character.")
    return segments


def below(segments: tuple[str, ...], prefixes: Iterable[str]) -> bool:
    """Whether a path is one of those, or below one of them."""
    for prefix in prefixes:
        beginning = tuple(prefix.strip("/").split("/")) if prefix.strip("/") else ()
        if segments[: len(beginning)] == beginning:
            return True
    return False
