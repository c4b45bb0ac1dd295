"""The HTTP server: requests over real sockets, and what a client may not do."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.core.http_place import GET, running, until
from xmppd.contracts.http import HttpError, HttpRequest, HttpResponse, HttpRoute
from xmppd.net import http_connection
from xmppd.net.http_server import HttpBounds


async def test_a_request_and_its_answer() -> None:
    async with running() as place:
        request = b"GET /hello/Rom%C3%A9o?a=1&b=&a=2 HTTP/1.1\r\nHost: Example.ORG:5281\r\nX-A: 1\r\nx-a: 2\r\n\r\n"
        status, headers, body = await place.ask(request)
        assert (status, body) == (200, "Roméo".encode())
        assert headers["content-type"] == "text/plain; charset=utf-8"
        assert (headers["x-own"], headers["server"]) == ("1", "xmppd")
        (seen,) = place.seen
        assert (seen.method, seen.path, seen.host, seen.peer) == (
            "GET",
            "/hello/Rom%C3%A9o",
            "example.org",
            "127.0.0.1",
        )
        assert (seen.query, seen.headers["x-a"], seen.secure) == ({"a": "2", "b": ""}, "1, 2", False)


async def test_a_target_with_its_host() -> None:
    """RFC 9112 section 3.2.2: what stands in the first line counts."""
    async with running() as place:
        assert (await place.ask(b"GET http://One.org:80/hello/a HTTP/1.1\r\nHost: two.org\r\n\r\n"))[2] == b"a"
        assert (await place.ask(b"GET /hello/b HTTP/1.0\r\n\r\n"))[2] == b"b"
        assert [seen.host for seen in place.seen] == ["one.org", ""]


async def test_head_is_get_without_the_body() -> None:
    async with running() as place:
        status, headers, body = await place.ask(b"HEAD /hello/romeo HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (status, headers["content-length"], body) == (200, "5", b"")


async def test_requests_one_behind_the_other_on_one_connection() -> None:
    async with running() as place:
        peer = await place.connect()
        peer.write((GET % b"/hello/a") + (GET % b"/hello/b"))
        assert [(await peer.answer())[2], (await peer.answer())[2]] == [b"a", b"b"]
        peer.write(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n1234" + (GET % b"/hello/c"))
        assert [(await peer.answer())[2], (await peer.answer())[2]] == [b"1234", b"c"]


@pytest.mark.parametrize(
    ("request_", "status", "more"),
    [
        (GET % b"/nothing", 404, {}),
        (b"DELETE /hello/x HTTP/1.1\r\nHost: a\r\n\r\n", 405, {"allow": "GET, HEAD"}),
        (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 400, {}),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 400, {}),
        (b"GET /hello/x HTTP/1.1\r\n\r\n", 400, {}),
        (b"GET /hello/x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, {}),
        (b"nonsense\r\n\r\n", 400, {"connection": "close"}),
        (b"GET /hello/x HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 20_000 + b"\r\n\r\n", 431, {"connection": "close"}),
        (b"GET /hello/" + b"y" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 431, {"connection": "close"}),
        (b"GET /hello/x HTTP/1.1\r\nHost: a\r\n" + b"X: " + b"y" * 4000 + b"\r\n" * 1, 431, {"connection": "close"}),
        (b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100001\r\n\r\n", 413, {"connection": "close"}),
        (b"GET /hello/x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\ny", 413, {}),
        (b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400, {"connection": "close"}),
        (b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400, {"connection": "close"}),
        (b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nxx", 415, {}),
        (b"POST /echo HTTP/1.1\r\nHost: a\r\nExpect: money\r\nContent-Length: 2\r\n\r\nxx", 417, {}),
        (
            b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            501,
            {"connection": "close"},
        ),
        (b"POST /echo HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, {}),
        (b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n1", 400, {}),
        (
            b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
            {},
        ),
        (b"GET /hello/x HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", 400, {}),
        (b"GET /hello/x HTTP/1.1\nHost: a\n\n", 400, {}),
        (b"GET /hello/x\r\n\r\n", 505, {"connection": "close"}),
        (b"GET /hello/x HTTP/2.0\r\nHost: a\r\n\r\n", 505, {"connection": "close"}),
        (b"GET /hello/x HTTP/1.1\r\nHost: me@a\r\n\r\n", 400, {}),
        (b"GET /hello/x HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, {}),
        (b"GET /hello/x HTTP/1.1\r\nHost: a:b\r\n\r\n", 400, {}),
        (b"GET /hello/x HTTP/1.1\r\nHost: a, b\r\n\r\n", 400, {}),
        (b"GET /hello/x HTTP/1.1\r\nHost: a\xff\r\n\r\n", 400, {}),
        (b"GET http://me@a/hello/x HTTP/1.1\r\nHost: a\r\n\r\n", 400, {}),
        (b"GET http://a?/hello/x HTTP/1.1\r\nHost: a\r\n\r\n", 404, {}),
        (GET % b"/hello/x#y", 400, {}),
        (GET % b"/broken", 500, {}),
        (GET % b"/no-store", 503, {"retry-after": "30"}),
    ],
)
async def test_refused(request_: bytes, status: int, more: dict[str, str]) -> None:
    if request_.endswith(b"y\r\n"):  # a header that never ends, in small lines
        lines = b"".join(b"X%d: %s\r\n" % (at, b"y" * 1000) for at in range(30))
        request_ = b"GET /hello/x HTTP/1.1\r\nHost: a\r\n" + lines
    async with running() as place:
        found, headers, body = await place.ask(request_)
        assert found == status
        assert {name: headers.get(name) for name in more} == more
        assert headers["server"] == "xmppd"
        assert b"secret" not in body
        assert b"Traceback" not in body
        assert b"disk" not in body
        assert (await place.ask(GET % b"/hello/x"))[0] == 200


@pytest.mark.parametrize("value", [b"[::1]:80", b"a:", "bücher.example".encode(), b""])
async def test_names_of_hosts(value: bytes) -> None:
    async with running() as place:
        assert (await place.ask(b"GET /hello/x HTTP/1.1\r\nHost: %s\r\n\r\n" % value))[0] == 200


@pytest.mark.parametrize(
    "answer",
    [
        lambda: HttpResponse(101),
        lambda: HttpResponse(999),
        lambda: HttpResponse(200, b"abc", headers={"Content-Length": "1"}),
        lambda: HttpResponse(200, b"abc", headers={"transfer-encoding": "chunked"}),
        lambda: HttpResponse(200, b"abc", headers={"Connection": "keep-alive"}),
        lambda: HttpResponse(200, headers={"X": "a\r\nSet-Cookie: b"}),
        lambda: HttpResponse(200, headers={"X": "a\0"}),
        lambda: HttpResponse(200, headers={"X": "\udcff"}),
        lambda: HttpResponse(200, headers={"X\r\nY": "a"}),
        lambda: HttpResponse(200, headers={"X": 1}),  # type: ignore[dict-item]
        lambda: HttpResponse(200, b"", "text/plain\r\nX: y"),
        lambda: HttpResponse(200, "abc"),  # type: ignore[arg-type]
        lambda: HttpError(200, headers={"X": "a\nb"}),
        lambda: HttpError(777),
    ],
)
async def test_what_a_handler_may_not_answer(
    answer: Callable[[], HttpResponse | HttpError], caplog: pytest.LogCaptureFixture
) -> None:
    """Its author is told where the answer is made; the client gets no second header or answer."""
    with pytest.raises(ValueError):
        answer()

    async def handler(request: HttpRequest) -> HttpResponse:
        found = answer()
        raise found if isinstance(found, HttpError) else AssertionError

    async with running() as place:
        place.table.add(HttpRoute("GET", "/wrong", handler))
        peer = await place.connect()
        peer.write(GET % b"/wrong" + GET % b"/hello/x")
        assert (await peer.answer())[0] == 500
        assert (await peer.answer())[2] == b"x"
    assert "the answer to GET /wrong failed" in caplog.text


@pytest.mark.parametrize("error", [asyncio.CancelledError(), ConnectionResetError("of a backend"), TimeoutError()])
async def test_a_handler_that_fails_is_answered_for(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    async def handler(request: HttpRequest) -> HttpResponse:
        raise error

    async with running() as place:
        place.table.add(HttpRoute("GET", "/wrong", handler))
        peer = await place.connect()
        peer.write(GET % b"/wrong" + GET % b"/hello/x")
        assert (await peer.answer())[0] == 500
        assert (await peer.answer())[2] == b"x"
    assert "the answer to GET /wrong" in caplog.text


async def test_an_error_repeats_bytes_that_are_no_text() -> None:
    async def handler(request: HttpRequest) -> HttpResponse:
        raise HttpError(400, f"what is {request.headers['x']}, \udcff?")

    async with running() as place:
        place.table.add(HttpRoute("GET", "/wrong", handler))
        found = await place.ask(b"GET /wrong HTTP/1.1\r\nHost: a\r\nX: \xff\r\n\r\n")
        assert (found[0], found[2]) == (400, "what is \ufffd, ??\n".encode())


async def test_a_crash_is_logged_and_not_told(caplog: pytest.LogCaptureFixture) -> None:
    async with running() as place:
        assert (await place.ask(GET % b"/broken"))[2] == b"Internal Server Error\n"
    assert "the answer to GET /broken failed" in caplog.text
    assert "a secret of the server" in caplog.text


async def test_a_secret_in_a_path_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(request: HttpRequest) -> HttpResponse:
        raise RuntimeError

    caplog.set_level(logging.DEBUG)
    async with running() as place:
        place.table.add(HttpRoute("GET", "/wrong/{token}", handler))
        assert (await place.ask(GET % b"/hello/s3cret"))[0] == 200
        assert (await place.ask(GET % b"/wrong/s3cret"))[0] == 500
        for elsewhere in (b"/hello/s3cret/", b"//hello/s3cret", b"/hallo/s3cret"):
            assert (await place.ask(GET % elsewhere))[0] == 404
    assert "GET /hello/{name}: 200" in caplog.text
    assert "the answer to GET /wrong/{token} failed" in caplog.text
    assert "GET /hallo/…: 404" in caplog.text
    assert "s3cret" not in caplog.text


async def test_no_path_with_its_query_is_logged_at_debug(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "xmppd.net.http")
    async with running() as place:
        await place.ask(GET % b"/nothing?token=1")
    assert "127.0.0.1 GET /nothing: 404 in" in caplog.text
    assert "token" not in caplog.text


async def chunked(size: int) -> bytes:
    return b"%x\r\n%s\r\n" % (size, b"x" * size)


async def test_a_body_in_chunks_is_bounded() -> None:
    head = b"%s HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with running() as place:
        piece = await chunked(10_000)
        assert (await place.ask(head % b"PUT /count" + piece * 10 + b"0\r\n\r\n"))[::2] == (200, b"100000")
        for path in (b"PUT /count", b"POST /echo"):
            status, headers, _ = await place.ask(head % path + piece * 11)
            assert (status, headers["connection"]) == (413, "close")
        assert (await place.ask(head % b"POST /deaf" + piece))[0] == 413, "whatever the handler makes of it"


async def test_a_client_that_waits_to_be_asked_for_the_body() -> None:
    async with running() as place:
        peer = await place.connect()
        peer.write(b"POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        assert await peer.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        peer.write(b"abc")
        assert (await peer.answer())[::2] == (201, b"abc")
        # Refused before a byte of the body is sent.
        peer.write(b"POST /nothing HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        status, headers, _ = await peer.answer()
        assert (status, headers["connection"]) == (404, "close")


async def test_bodies_are_counted_as_memory_of_the_process() -> None:
    async with running() as place:
        place.memory.configure(200_000, 200_000)  # a quarter may come in
        peer = await place.connect()
        peer.write(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n" + b"x" * 60_000)
        status, headers, _ = await peer.answer()
        assert (status, headers["retry-after"]) == (503, "30")
        assert place.memory.incoming == 0
        assert (await place.ask(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nxx"))[0] == 201


async def test_a_header_that_comes_too_slowly() -> None:
    async with running(HttpBounds(header_time=0.2)) as place:
        silent, slow = await place.connect(), await place.connect()
        slow.write(b"GET /hello/x HTTP/1.1\r\nHo")
        assert await silent.ended() == b""
        assert (await slow.answer())[0] == 408
        assert await slow.ended() == b""
        # Also the second one of a connection.
        again = await place.connect()
        again.write(GET % b"/hello/x")
        assert (await again.answer())[0] == 200
        again.write(b"GET /hel")
        assert (await again.answer())[0] == 408


async def test_a_header_in_drops_has_one_time_for_all() -> None:
    async with running(HttpBounds(header_time=0.3)) as place:
        peer = await place.connect()
        dropping = True

        async def drop() -> None:
            while dropping:
                peer.write(b"a")
                await asyncio.sleep(0.02)

        peer.write(b"GET /hello/x HTTP/1.1\r\nX: ")
        task = asyncio.create_task(drop())
        assert (await asyncio.wait_for(peer.answer(), 5))[0] == 408
        dropping = False
        await task


async def test_a_body_that_comes_too_slowly() -> None:
    async with running(HttpBounds(body_time=0.2)) as place:
        peer = await place.connect()
        peer.write(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n123")
        status, headers, _ = await peer.answer()
        assert (status, headers["connection"]) == (408, "close")


async def test_a_connection_without_requests_is_closed() -> None:
    async with running(HttpBounds(keep_alive=0.2)) as place:
        peer = await place.connect()
        peer.write(GET % b"/hello/x")
        assert (await peer.answer())[0] == 200
        assert await peer.ended() == b""


async def test_a_client_that_does_not_take_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_connection, "TAKE_TIME", 0.2)
    async with running() as place:
        _, writer = await asyncio.open_connection("127.0.0.1", place.listener.port, limit=1000)
        writer.write(GET % b"/large")
        await until(lambda: bool(place.server.connections))
        await until(lambda: not place.server.connections)
        writer.close()


async def test_a_client_that_asks_on_and_does_not_take_its_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next request does not take back the deadline for what is written already."""
    monkeypatch.setattr(http_connection, "TAKE_TIME", 0.5)
    async with running() as place:
        _, writer = await asyncio.open_connection("127.0.0.1", place.listener.port, limit=1000)
        while not place.server.connections or not any(each._untaken for each in place.server.connections):
            writer.write((GET % b"/hello/x") * 1000)
            await asyncio.sleep(0)
        await until(lambda: not place.server.connections)
        writer.close()


async def test_who_has_left_is_answered_for_a_while_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_connection, "LEFT_TIME", 0.1)
    async with running() as place:
        peer = await place.connect()
        peer.write(GET % b"/wait")
        await place.waiting.wait()
        peer.writer.close()
        await until(lambda: not place.server.connections)
        await until(lambda: not place.server._tasks)


async def test_a_body_that_turns_out_to_be_none() -> None:
    """Whoever reads it is told at once."""
    async with running(HttpBounds(body_time=60)) as place:
        peer = await place.connect()
        peer.write(b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await until(lambda: place.memory.incoming == 3)
        peer.write(b"x\r\n")
        status, headers, _ = await asyncio.wait_for(peer.answer(), 5)
        assert (status, headers["connection"]) == (400, "close")


async def test_connections_of_one_address_are_bounded() -> None:
    async with running(per_address=2) as place:
        peers = [await place.connect() for _ in range(2)]
        for peer in peers:
            peer.write(GET % b"/hello/x")
            assert (await peer.answer())[0] == 200
        refused = await place.connect()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            refused.write(GET % b"/hello/x")
            await refused.answer()


async def test_a_stop_waits_for_the_answer_under_way() -> None:
    async with running() as place:
        idle, busy = await place.connect(), await place.connect()
        busy.write(GET % b"/wait")
        await place.waiting.wait()
        stop = asyncio.create_task(place.server.stop(5.0))
        assert await idle.ended() == b""
        place.go_on.set()
        status, headers, body = await busy.answer()
        assert (status, headers["connection"], body) == (200, "close", b"at last")
        await stop


async def test_a_stop_ends_what_never_ends() -> None:
    async with running() as place:
        busy = await place.connect()
        busy.write(GET % b"/wait")
        await place.waiting.wait()
        await place.server.stop(0.1)
        assert await busy.ended() == b""


async def test_a_client_that_leaves_in_the_middle_of_a_body(caplog: pytest.LogCaptureFixture) -> None:
    async with running() as place:
        peer = await place.connect()
        peer.write(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n123")
        await until(lambda: place.memory.incoming == 3)
        peer.writer.close()
        await until(lambda: not place.server.connections)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_aiohttp_is_loaded_by_who_listens_for_http() -> None:
    """8 MiB, which a server without such a listener does not pay."""
    told = subprocess.run(
        [sys.executable, "-c", "import sys, xmppd.cli.run; print('aiohttp' in sys.modules)"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert told == "False\n"


async def test_a_body_is_made_while_it_is_sent() -> None:
    async with running() as it:
        status, headers, body = await it.ask(b"GET /pieces/100000 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (status, headers["content-length"], body) == (200, "100000", b"p" * 100_000)
        it.given = 0
        status, headers, body = await it.ask(b"HEAD /pieces/100000 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (status, headers["content-length"], body, it.given) == (200, "100000", b"", 0)


async def test_who_does_not_read_has_little_made_for_him() -> None:
    async with running() as it:
        peer = await it.connect()
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        peer.write(b"GET /pieces/1000000000 HTTP/1.1\r\nHost: a\r\n\r\n")
        before = -1
        while it.given != before:  # the buffers of the kernel are full when it stands still
            before = it.given
            await asyncio.sleep(0.1)
        assert 0 < it.given < 32 << 20
        peer.writer.transport.abort()


async def test_a_body_that_is_not_whole_ends_in_a_broken_connection(caplog: pytest.LogCaptureFixture) -> None:
    async with running() as it:
        peer = await it.connect()
        peer.write(b"GET /pieces/100?more=1 HTTP/1.1\r\nHost: a\r\n\r\n")
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await peer.answer()
        assert "another length than was said" in caplog.text


async def test_a_body_of_a_length_that_is_not_known() -> None:
    """It is chunked, or ends with the connection; what is not whole has no last chunk."""
    async with running() as it:
        peer = await it.connect()
        peer.write(b"GET /pieces/100?open=1 HTTP/1.1\r\nHost: a\r\n\r\n")
        head = await peer.reader.readuntil(b"\r\n\r\n")
        assert b"transfer-encoding: chunked" in head.lower() and b"\r\ncontent-length" not in head.lower()
        assert await peer.reader.readuntil(b"0\r\n\r\n") == b"64\r\n" + b"p" * 100 + b"\r\n0\r\n\r\n"
        peer.write(b"GET /pieces/100?open=1&fails=1 HTTP/1.1\r\nHost: a\r\n\r\n")
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await peer.reader.readuntil(b"\r\n0\r\n\r\n")
        peer = await it.connect()
        peer.write(b"GET /pieces/100?open=1 HTTP/1.0\r\nHost: a\r\n\r\n")
        assert (await peer.reader.read(-1)).endswith(b"\r\n\r\n" + b"p" * 100)


async def test_pages_of_other_origins_read_every_answer_of_a_route_that_lets_them() -> None:
    async with running() as it:
        for request, wanted in (
            (b"GET /pieces/1 HTTP/1.1\r\nHost: a\r\n\r\n", 200),
            (b"GET /pieces/9999999999 HTTP/1.1\r\nHost: a\r\n\r\n", 404),
            (b"PUT /pieces/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n", 413),
            (b"DELETE /pieces/1 HTTP/1.1\r\nHost: a\r\n\r\n", 405),
            (b"OPTIONS /pieces/1 HTTP/1.1\r\nHost: a\r\n\r\n", 204),
        ):
            status, headers, _ = await it.ask(request)
            assert (status, headers["access-control-allow-origin"]) == (wanted, "*"), request
        assert headers["access-control-allow-methods"] == "GET, HEAD, OPTIONS, PUT"
        assert "content-type" in headers["access-control-allow-headers"].lower()
        status, headers, _ = await it.ask(b"GET /hello/x HTTP/1.1\r\nHost: a\r\n\r\n")
        assert status == 200 and "access-control-allow-origin" not in headers
        assert (await it.ask(b"OPTIONS /hello/x HTTP/1.1\r\nHost: a\r\n\r\n"))[0] == 405


async def test_a_connection_goes_on_in_another_protocol() -> None:
    async with running() as it:
        peer = await it.connect()
        peer.write(b"GET /echo-protocol HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfirst")
        status, headers, _ = await peer.answer()
        assert (status, headers["upgrade"], headers["connection"], headers["x-own"]) == (101, "echo", "Upgrade", "1")
        assert await peer.reader.readexactly(5) == b"first"
        peer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert await peer.reader.readexactly(18) == b"GET / HTTP/1.1\r\n\r\n"
        assert not it.server.connections
        assert it.server.manager.connections == []
        peer.writer.close()
        await asyncio.wait_for(it.echo_receiver.lost.wait(), 5)
