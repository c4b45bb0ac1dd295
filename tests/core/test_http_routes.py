"""Which route answers a request."""

from __future__ import annotations

import pytest

from xmppd.contracts.http import HttpError, HttpRequest, HttpResponse, HttpRoute, parse_path
from xmppd.net.http_routes import RouteTable, below, match, split_path


async def nobody(request: HttpRequest) -> HttpResponse:
    raise AssertionError


def route(method: str, path: str) -> HttpRoute:
    return HttpRoute(method, path, nobody, owner=f"{method} {path}")


def find(table: RouteTable, method: str, path: str) -> tuple[str, dict[str, str]]:
    segments = split_path(path)
    found, parameters = match(table.routes(segments), method, segments)
    return found.path, dict(parameters)


TABLE = RouteTable(
    route(method, path)
    for method, path in (
        ("GET", "/"),
        ("GET", "/rooms"),
        ("GET", "/rooms/{room}/icon"),
        ("PUT", "/rooms/{room}/icon"),
        ("GET", "/rooms/lobby/icon"),
        ("GET", "/rooms/lobby/{what}/small"),
        ("POST", "/rooms/{any}"),
        ("GET", "/files/{id}/{name}"),
    )
)


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/", ("/", {})),
        ("GET", "/rooms", ("/rooms", {})),
        ("HEAD", "/rooms", ("/rooms", {})),
        ("GET", "/rooms/balcony/icon", ("/rooms/{room}/icon", {"room": "balcony"})),
        ("PUT", "/rooms/balcony/icon", ("/rooms/{room}/icon", {"room": "balcony"})),
        ("GET", "/rooms/lobby/icon", ("/rooms/lobby/icon", {})),
        ("GET", "/rooms/lobby/x/small", ("/rooms/lobby/{what}/small", {"what": "x"})),
        ("POST", "/rooms/lobby", ("/rooms/{any}", {"any": "lobby"})),
        # Decoded after it is split: %2F is no separator (RFC 3986 section 2.2).
        ("GET", "/files/7/a%2Fb%20%C3%A4", ("/files/{id}/{name}", {"id": "7", "name": "a/b ä"})),
        ("GET", "/%72ooms", ("/rooms", {})),
    ],
)
def test_found(method: str, path: str, expected: tuple[str, dict[str, str]]) -> None:
    assert find(TABLE, method, path) == expected


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/room", 404, None),
        ("GET", "/rooms/", 404, None),
        ("GET", "//rooms", 404, None),
        ("GET", "/files/7/..", 404, None),
        ("GET", "/files/7/%2e%2e", 404, None),
        ("GET", "/files//name", 404, None),
        ("GET", "/files/7/name/more", 404, None),
        ("DELETE", "/rooms/balcony/icon", 405, "GET, HEAD, PUT"),
        ("HEAD", "/rooms/lobby", 405, "POST"),
        ("POST", "/rooms/lobby/icon", 405, "GET, HEAD"),
        ("get", "/rooms", 405, "GET, HEAD"),
        ("GET", "rooms", 400, None),
        ("GET", "*", 400, None),
        ("GET", "/files/7/%ff", 400, None),
        ("GET", "/files/7/%00", 400, None),
        ("GET", "/files/7/%zz", 400, None),
        ("GET", "/files/7/%4", 400, None),
    ],
)
def test_refused(method: str, path: str, status: int, allow: str | None) -> None:
    with pytest.raises(HttpError) as caught:
        find(TABLE, method, path)
    assert (caught.value.status, caught.value.headers.get("Allow")) == (status, allow)


@pytest.mark.parametrize("other", ["/rooms/{id}/icon", "/rooms/lobby/icon"])
def test_two_routes_for_the_same_requests_are_an_error(other: str) -> None:
    with pytest.raises(ValueError, match="both answer GET"):
        RouteTable([*(route("GET", each) for each in ("/rooms/{room}/icon", "/rooms/lobby/icon")), route("GET", other)])


@pytest.mark.parametrize("path", ["", "rooms", "/a b", "/{a}/{a}", "/{}", "/{a}b", "/a?b", "/a%20", "/a/../b", "/ä"])
def test_a_path_that_is_none(path: str) -> None:
    with pytest.raises(ValueError):
        parse_path(path)


def test_a_method_that_is_none() -> None:
    for method in ("HEAD", "get", "CONNECT", ""):
        with pytest.raises(ValueError, match="is none of"):
            route(method, "/")


@pytest.mark.parametrize(
    ("path", "prefixes", "expected"),
    [
        ("/metrics", ["/metrics"], True),
        ("/metrics/more", ["/metrics"], True),
        ("/metrics2", ["/metrics"], False),
        ("/", ["/metrics"], False),
        ("/anything", ["/"], True),
        ("/b/c", ["/a", "/b/"], True),
    ],
)
def test_below(path: str, prefixes: list[str], expected: bool) -> None:
    assert below(split_path(path), prefixes) is expected
