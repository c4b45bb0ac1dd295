"""T58: uploads and downloads that nobody sends by accident (XEP-0363 section 9, RFC 9112 section 11), to a process.

Each is refused with an answer that a page may read, leaves no file, and one line in the log, without control
characters and without the address, whose knowledge is the right to fetch.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from tests.process.client import Wire, any_certificate
from tests.process.http_wire import Answer, ask, exchange, parsed
from tests.process.server import ServerProcess, configuration

NS = "urn:xmpp:http:upload:0"
BODY = b"hello"
LENGTH = "Content-Length: 5"
LISTENERS = [
    {"port": 0},
    {"port": 0, "tls": "direct"},
    {"kind": "http", "port": 0, "tls": "none"},
    {"kind": "http", "port": 0},
]
LIMITS = {"header_time": "1 second", "connections_per_address": 500, "http": {"body_time": "1 second"}}
LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [A-Z]+ +[\w.]+: [^\x00-\x1f\x7f-\x9f]*")
_names = count(1)


class Place:
    """The server, and an account of which no other test knows."""

    def __init__(self, server: ServerProcess, name: str) -> None:
        self.server = server
        self.name = name
        self.port = server.port("http")
        self.seen = len(server.log)

    async def slot(self, name: str = "a.png", size: int = 5, type: str = "image/png", who: str = "") -> tuple[str, str]:
        """The targets to put and to get."""
        async with await Wire.login(self.server.port(), who or self.name) as wire:
            request = f"<request xmlns='{NS}' filename='{name}' size='{size}' content-type='{type}'/>"
            put, get = (urlsplit(str(each.get("url"))) for each in (await wire.iq(request, to="upload.localhost"))[0])
        return f"{put.path}?{put.query}", get.path

    async def stored(self, body: bytes = BODY, **options: str) -> str:
        put, get = await self.slot(size=len(body), **options)
        assert (await ask(self.port, "PUT", put, f"Content-Length: {len(body)}", body=body)).status == 201
        return get

    def files(self) -> list[Path]:
        return [each for each in (self.server.folder / "var" / "uploads").rglob("*") if each.is_file()]

    async def left_nothing(self, put: str, get: str, most: int = 1, least: int = 1) -> None:
        """Nothing can be fetched, nothing lies in a folder, and the log says little. The slot is still good."""
        assert (await ask(self.port, "GET", get)).status == 404
        token = get.split("/")[2]
        async with asyncio.timeout(10):  # who has left may still be there for a moment
            while any(token in each.name for each in self.files()):  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.02)
            self.said_little(most, least, get, put)
            while (answer := await ask(self.port, "PUT", put, LENGTH, body=BODY)).status == 409:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert answer.status == 201
        assert (await ask(self.port, "GET", get)).body == BODY

    def said_little(self, most: int, least: int, *secrets: str) -> None:
        lines = [line for line in self.server.log[self.seen :].splitlines() if " signed in " not in line]
        lines = [line for line in lines if "account " not in line]
        assert least <= len(lines) <= most, lines
        assert all(LINE.fullmatch(line) for line in lines), lines
        for secret in secrets:
            token, signature = secret.split("/")[2], secret.partition("?s=")[2]
            assert token not in "".join(lines) and (not signature or signature not in "".join(lines))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    files = {"slot": "10 seconds"}
    text = configuration(listeners=LISTENERS, limits=LIMITS, plugins={"files": files})
    server = ServerProcess(tmp_path_factory.mktemp("hostile"), text)
    server.launch()
    yield server
    assert server.end() == 0
    assert "Traceback" not in server.log, server.log


@pytest.fixture
async def place(running: ServerProcess) -> Place:
    name = f"romeo{next(_names)}"
    await running.account(name)
    return Place(running, name)


def readable(answer: Answer) -> bool:
    """A page of another origin may read it, and it runs nothing."""
    return answer.headers.get("access-control-allow-origin") == "*" and "text/html" not in answer.headers.get(
        "content-type", ""
    )


# ---- where the body ends


@pytest.mark.parametrize(
    ("lines", "body", "statuses"),
    [
        ((), b"", {411}),
        (("Transfer-Encoding: chunked",), b"5\r\nhello\r\n0\r\n\r\n", {411}),
        (("Transfer-Encoding: chunked",), b"ffffffffffffffff\r\nhello", {400, 411}),
        ((LENGTH, LENGTH), BODY, {400}),
        ((LENGTH, "Content-Length: 4"), BODY, {400}),
        (("Content-Length: 5, 5",), BODY, {400}),
        ((LENGTH, "Transfer-Encoding: chunked"), b"5\r\nhello\r\n0\r\n\r\n", {400}),
        (("Transfer-Encoding: chunked", LENGTH), b"0\r\n\r\n", {400}),
        (("Transfer-Encoding: gzip, chunked",), b"0\r\n\r\n", {400, 501}),
        (("Transfer-Encoding: chunked, identity",), b"0\r\n\r\n", {400, 501}),
        (("Transfer-Encoding: xchunked", LENGTH), BODY, {400, 501}),
        (("Transfer-Encoding : chunked", LENGTH), BODY, {400}),
        (("Transfer-Encoding:\x0bchunked", LENGTH), BODY, {400, 501}),
        ((" Transfer-Encoding: chunked", LENGTH), BODY, {400}),
        (("X: a\n Transfer-Encoding: chunked", LENGTH), BODY, {400}),
        (("Content-Length: +5",), BODY, {400}),
        (("Content-Length: 0x5",), BODY, {400}),
        (("Content-Length: -5",), BODY, {400}),
        (("Content-Length: 5_0",), BODY, {400}),
        (("Content-Length: \N{ARABIC-INDIC DIGIT FIVE}",), BODY, {400}),
        (("Content-Length:",), BODY, {400, 411}),
        (("Content-Length: 4",), b"hell", {400}),
        (("Content-Length: 6",), b"hello!", {413}),
        (("Content-Length: 0",), b"", {400}),
        ((f"Content-Length: {10**15}",), BODY, {413}),
        ((f"Content-Length: {10**30}",), BODY, {400, 413}),
        ((LENGTH, "Content-Encoding: gzip"), BODY, {415}),
        ((LENGTH, "Content-Type: text/html"), BODY, {415}),
        ((LENGTH, "Content-Type: image/png, text/html"), BODY, {415}),
        ((LENGTH, "Content-Range: bytes 0-4/5"), BODY, {400}),
        ((LENGTH, "Expect: money"), BODY, {417}),
        ((LENGTH, f"X: {'y' * 20_000}"), BODY, {431}),
    ],
)
async def test_a_body_that_is_not_the_slots(
    place: Place, lines: tuple[str, ...], body: bytes, statuses: set[int]
) -> None:
    put, get = await place.slot()
    answer = await ask(place.port, "PUT", put, *lines, body=body)
    assert answer.status in statuses, answer
    assert answer.rest == b"", "one answer, and the connection ends"
    assert readable(answer), answer
    await place.left_nothing(put, get)


async def test_what_stands_behind_a_body_is_not_of_the_file(place: Place) -> None:
    """A request in it is one of its own, and has its own answer."""
    put, get = await place.slot()
    other, secret = await place.slot()
    one = f"PUT {put} HTTP/1.1\r\nHost: localhost\r\n{LENGTH}\r\n\r\n".encode() + BODY
    two = f"PUT {other} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nConnection: close\r\n\r\nworld".encode()
    first = parsed(await exchange(place.port, one + two))
    second = parsed(first.rest)
    assert (first.status, second.status, second.rest) == (201, 201, b"")
    assert (await ask(place.port, "GET", get)).body == BODY
    assert (await ask(place.port, "GET", secret)).body == b"world"


@pytest.mark.parametrize(
    "lines",
    [
        "Content-Length: 50\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 4",
        "Content-Length: 0\r\nContent-Length: 50",
        "Content-Length: 50\r\nTransfer-Encoding: \x0bchunked",
    ],
)
async def test_no_request_is_smuggled(place: Place, lines: str) -> None:
    """Whatever a proxy in front takes for the end: what is refused is the last that is read of the connection."""
    put, get = await place.slot()
    mine, _ = await place.slot()
    hidden = f"PUT {put} HTTP/1.1\r\nHost: localhost\r\n{LENGTH}\r\n\r\nhello"
    data = f"PUT {mine} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n\r\n0\r\n\r\n{hidden}".encode()
    answer = parsed(await exchange(place.port, data))
    assert answer.status in (400, 411, 501)
    assert answer.headers["connection"] == "close"
    assert answer.rest == b""
    await place.left_nothing(put, get)


@pytest.mark.parametrize("end", ["cut", "reset"])
async def test_a_body_that_ends_too_early(place: Place, end: str) -> None:
    put, get = await place.slot()
    data = f"PUT {put} HTTP/1.1\r\nHost: localhost\r\n{LENGTH}\r\n\r\nhel".encode()
    if end == "cut":
        assert not (await exchange(place.port, data, end=True)).startswith(b"HTTP/1.1 2")
    else:
        _, writer = await asyncio.open_connection("127.0.0.1", place.port)
        writer.write(data)
        await writer.drain()
        writer.transport.abort()
    await place.left_nothing(put, get, least=0)  # who leaves was not refused


# ---- slowness


async def test_a_header_that_does_not_end(place: Place) -> None:
    put, get = await place.slot()
    answer = parsed(await exchange(place.port, f"PUT {put} HTTP/1.1\r\nHost: localhost\r\nX: ".encode()))
    assert (answer.status, answer.headers["connection"]) == (408, "close")
    await place.left_nothing(put, get)


async def test_a_body_that_stands_still(place: Place) -> None:
    put, get = await place.slot()
    data = f"PUT {put} HTTP/1.1\r\nHost: localhost\r\n{LENGTH}\r\n\r\nhel".encode()
    answer = parsed(await exchange(place.port, data))
    assert (answer.status, answer.headers["connection"], readable(answer)) == (408, "close", True)
    await place.left_nothing(put, get)


async def test_many_that_stand_still_hold_up_nobody(place: Place) -> None:
    """More than there are threads for the disk."""
    opened = []
    for _ in range(20):
        put, _ = await place.slot(size=1_000_000)
        reader, writer = await asyncio.open_connection("127.0.0.1", place.port)
        writer.write(
            f"PUT {put} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n".encode() + bytes(70_000)
        )
        opened.append((reader, writer))
    get = await place.stored()
    assert (await ask(place.port, "GET", get)).body == BODY
    for reader, writer in opened:
        assert (await asyncio.wait_for(reader.read(), 20)).startswith(b"HTTP/1.1 408 ")
        writer.close()
    assert not [each for each in place.files() if each.name.endswith(".part")]


# ---- whose slot, and when


async def test_an_address_that_was_altered(place: Place) -> None:
    put, get = await place.slot()
    path, _, query = put.partition("?")
    token, signature = path.split("/")[2], query.removeprefix("s=")
    for target, status in (
        (path, 403),
        (f"{path}?s=", 403),
        (f"{path}?s={signature[:-1]}", 403),
        (f"{path}?s={signature}A", 403),
        (f"{path}?s={signature.swapcase()}", 403),
        (f"{path}?s={signature}&s=x", 403),
        (f"{path}?S={signature}", 403),
        (f"{path}?s=%ff%00", 403),
        (f"{path}?s={'A' * 10_000}", 403),
        (f"{path}?{'&'.join(['s=x'] * 200)}", 400),
        (f"/upload/{token.swapcase()}/a.png?{query}", 404),
        (f"/upload/{token[:-1]}/a.png?{query}", 404),
        (f"/upload/{token}x/a.png?{query}", 404),
        (f"/upload/{token}/b.png?{query}", 404),
        (f"/upload/{token}/a.png/?{query}", 404),
        (f"/upload/{token}/?{query}", 404),
        (f"/upload/{token}?{query}", 404),
        (f"/upload//{token}/a.png?{query}", 404),
    ):
        answer = await ask(place.port, "PUT", target, LENGTH, body=BODY)
        assert (answer.status, readable(answer)) == (status, True), (target, answer)
    await place.left_nothing(put, get, most=100)


async def test_bytes_that_are_no_text_in_an_address(place: Place) -> None:
    put, get = await place.slot()
    for target in (
        put.encode() + b"\xff",
        put.encode().replace(b"a.png", b"\xff.png"),
        b"/upload/\xed\xa0\x80/a?s=\xff",
    ):
        for method in ("PUT", "GET"):
            answer = await ask(place.port, method, target, LENGTH, body=BODY)
            assert answer.status in (400, 403, 404), (target, answer)
    await place.left_nothing(put, get, most=100)


async def test_another_slots_signature(place: Place) -> None:
    await place.server.account(f"{place.name}x")
    put, get = await place.slot()
    other, _ = await place.slot(who=f"{place.name}x")
    answer = await ask(place.port, "PUT", f"{get}?{other.partition('?')[2]}", LENGTH, body=BODY)
    assert answer.status == 403
    await place.left_nothing(put, get, most=100)


async def test_a_slot_is_filled_once(place: Place) -> None:
    put, get = await place.slot()
    answers = await asyncio.gather(*(ask(place.port, "PUT", put, LENGTH, body=b"%05d" % at) for at in range(10)))
    assert sorted(each.status for each in answers) == [201, *[409] * 9]
    (first,) = (at for at, each in enumerate(answers) if each.status == 201)
    assert (await ask(place.port, "PUT", put, LENGTH, body=b"other")).status == 409
    assert (await ask(place.port, "GET", get)).body == b"%05d" % first
    await place.server.operation("files.delete", jid=f"{place.name}@localhost")
    assert (await ask(place.port, "PUT", put, LENGTH, body=BODY)).status == 404
    assert (await ask(place.port, "GET", get)).status == 404


async def test_a_slot_that_is_over(place: Place) -> None:
    put, get = await place.slot()
    async with asyncio.timeout(30):
        while True:  # its time: ten seconds, by the clock of another process
            answer = await ask(place.port, "PUT", put, "Content-Length: 4", body=b"hell")
            if answer.status == 404:
                break
            assert answer.status == 400
            await asyncio.sleep(0.5)
    answer = await ask(place.port, "PUT", put, LENGTH, body=BODY)
    assert (answer.status, readable(answer)) == (404, True)
    assert (await ask(place.port, "GET", get)).status == 404


async def test_what_is_not_there_says_nothing_of_what_is(place: Place) -> None:
    """A slot, a file under another name, and nothing at all."""
    _, waiting = await place.slot()
    there = await place.stored()
    targets = (waiting, f"{there}x", f"/upload/{'A' * 32}/a.png", "/upload/x/a.png", "/upload/a", "/upload")
    answers = [await ask(place.port, "GET", target) for target in targets]
    assert {(each.status, each.body) for each in answers} == {(404, b"Not Found\n")}
    assert len({frozenset(each.headers.items() - {("date", each.headers["date"])}) for each in answers}) == 1
    assert all(map(readable, answers))


# ---- ways out of the folder


@pytest.mark.parametrize(
    "path",
    [
        "/upload/../../etc/passwd",
        "/upload/%2e%2e/%2e%2e/etc/passwd",
        "/upload/..%2f..%2f..%2fetc%2fpasswd",
        "/upload/TOKEN/..%2f..%2f..%2fetc%2fpasswd",
        "/upload/TOKEN/..%5c..%5cwindows",
        "/upload/TOKEN/%5c%5chost%5cshare",
        "/upload/TOKEN/%00a.png",
        "/upload/TOKEN/a.png%00",
        "/upload/TOKEN%2fa.png",
        "/upload/TOKEN/%252e%252e%252fa.png",
        "/upload/TOKEN/%u002e%u002e/a.png",
        "/upload/TOKEN/%c0%ae%c0%ae/a.png",
        "/upload/%2f/a.png",
        "/upload/../upload/TOKEN/a.png",
        "/upload/./TOKEN/a.png",
        "//upload/TOKEN/a.png",
        "/upload/TOKEN/a.png;x=1",
        "/upload/TOKEN/" + "a" * 4096,
        "/upload/CON/CON",
        "/incoming/TOKEN.part",
    ],
)
async def test_no_way_out_of_the_folder(place: Place, path: str) -> None:
    put, get = await place.slot()
    target = path.replace("TOKEN", get.split("/")[2])
    for method in ("GET", "HEAD", "PUT"):
        answer = await ask(place.port, method, f"{target}?{put.partition('?')[2]}", LENGTH, body=BODY)
        assert answer.status in (400, 404, 413), answer
        assert b"root:" not in answer.body
        assert readable(answer)
    await place.left_nothing(put, get, most=3, least=0)


@pytest.mark.parametrize(
    "name",
    [
        "../../../etc/passwd",
        "..",
        "/",
        "C:\\a\\b.png",
        "a\u202egnp.html",
        "%2e%2e%2fa",
        "CON",
        "x" * 4096,
        "a?b#c&amp;d",
    ],
)
async def test_a_slot_for_a_name_that_means_harm(place: Place, name: str) -> None:
    """It is given, for what is left of the name: under it nothing lies on the disk."""
    put, get = await place.slot(name)
    assert (await ask(place.port, "PUT", put, LENGTH, body=BODY)).status == 201
    answer = await ask(place.port, "GET", get)
    assert answer.body == BODY
    assert re.fullmatch(
        r"inline; filename=\"[A-Za-z0-9._ -]+\"; filename\*=UTF-8''[\w.%~-]+", answer.headers["content-disposition"]
    )
    token = get.split("/")[2]
    (file,) = (each for each in place.files() if each.name == token)
    root = place.server.folder / "var" / "uploads" / "localhost" / "files"
    assert file == root / token[:2] / token[2:4] / token


# ---- methods, ranges, conditions


@pytest.mark.parametrize(
    ("method", "status"),
    [("POST", 405), ("DELETE", 405), ("PATCH", 405), ("TRACE", 405), ("PROPFIND", 405), ("OPTIONS", 204)],
)
async def test_other_methods(place: Place, method: str, status: int) -> None:
    get = await place.stored()
    answer = await ask(place.port, method, get, "X-HTTP-Method-Override: DELETE", "Origin: https://a.example")
    assert (answer.status, answer.headers["allow"], readable(answer)) == (status, "GET, HEAD, OPTIONS, PUT", True)
    assert (await ask(place.port, "GET", get)).body == BODY


TEN = b"0123456789"


@pytest.mark.parametrize(
    ("wanted", "status", "body"),
    [
        ("bytes=0-0", 206, b"0"),
        ("bytes=9-", 206, b"9"),
        ("bytes=-1", 206, b"9"),
        ("bytes=-999999999999999999", 206, TEN),
        ("bytes=0-99999999999999999", 206, TEN),
        ("bytes=10-", 416, b""),
        ("bytes=10-20", 416, b""),
        ("bytes=-0", 416, b""),
        ("bytes=0-1,3-4", 200, TEN),
        ("bytes=" + ",".join(["0-"] * 1300), 200, TEN),
        ("bytes=5-2", 200, TEN),
        ("bytes=--1", 200, TEN),
        ("bytes=1e3-", 200, TEN),
        (f"bytes={'9' * 4000}-", 200, TEN),
        ("bytes 0-1", 200, TEN),
        ("items=0-1", 200, TEN),
    ],
)
async def test_ranges(place: Place, wanted: str, status: int, body: bytes) -> None:
    get = await place.stored(TEN)
    answer = await ask(place.port, "GET", get, f"Range: {wanted}")
    assert (answer.status, readable(answer)) == (status, True)
    if status == 416:
        assert (answer.headers["content-range"], answer.body) == ("bytes */10", b"Requested Range Not Satisfiable\n")
        return
    assert answer.body == body
    if status == 206:
        start = TEN.index(body)
        assert answer.headers["content-range"] == f"bytes {start}-{start + len(body) - 1}/10"
    head = await ask(place.port, "HEAD", get, f"Range: {wanted}")
    assert (head.status, head.headers["content-length"]) == (200, "10"), "ranges are for GET (RFC 9110 section 14.2)"


async def test_conditions(place: Place) -> None:
    get = await place.stored(TEN)
    whole = await ask(place.port, "GET", get)
    tag, date, early = whole.headers["etag"], whole.headers["last-modified"], "Thu, 01 Jan 1970 00:00:00 GMT"
    for lines, status in (
        ((f"If-Range: {tag}", "Range: bytes=0-1"), 206),
        ((f"If-Range: W/{tag}", "Range: bytes=0-1"), 200),
        (('If-Range: "other"', "Range: bytes=0-1"), 200),
        ((f"If-Range: {date}", "Range: bytes=0-1"), 206),
        ((f"If-Range: {early}", "Range: bytes=0-1"), 200),
        ((f"If-Range: {tag}", "Range: bytes=10-"), 416),
        (('If-Range: "other"', "Range: bytes=10-"), 200),
        ((f"If-None-Match: {tag}", "Range: bytes=0-1"), 304),
        ((f"If-None-Match: W/{tag}",), 304),
        (("If-None-Match: *",), 304),
        (('If-None-Match: "other"', f"If-Modified-Since: {date}"), 200),
        ((f"If-Modified-Since: {date}",), 304),
        ((f"If-Modified-Since: {early}",), 200),
        (("If-Modified-Since: yesterday",), 200),
        ((f"If-Match: {tag}",), 200),
        (("If-Match: *",), 200),
        (('If-Match: "other"',), 412),
        ((f"If-Match: W/{tag}",), 412),
        ((f"If-Unmodified-Since: {early}",), 412),
        ((f"If-Unmodified-Since: {date}",), 200),
        ((f"If-Match: {tag}", f"If-Unmodified-Since: {early}"), 200),
    ):
        answer = await ask(place.port, "GET", get, *lines)
        assert (answer.status, readable(answer)) == (status, True), (lines, answer)
        if status == 304:
            assert (answer.headers["etag"], answer.body, answer.rest) == (tag, b"", b"")


@pytest.mark.parametrize(
    ("type", "shown"),
    [
        ("image/png", True),
        ("image/svg+xml", False),
        ("text/html", False),
        ("IMAGE/SVG+XML", False),
        ("image/png;text/html", True),
        ("application/xhtml+xml", False),
        ("text/javascript", False),
        ("multipart/x-mixed-replace", False),
        ("", False),
    ],
)
async def test_what_is_answered_runs_nowhere(place: Place, type: str, shown: bool) -> None:
    script = b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'><script>alert(1)</script></svg>"
    get = await place.stored(script, name="a.html", type=type)
    for method, lines in (("GET", ()), ("HEAD", ()), ("GET", ("Range: bytes=0-1",)), ("GET", ("If-None-Match: *",))):
        answer = await ask(place.port, method, get, *lines)
        told = answer.headers
        assert told["x-content-type-options"] == "nosniff"
        assert told["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'; sandbox"
        assert told["content-disposition"].startswith("inline;" if shown else "attachment;")
        if answer.status != 304:
            assert told["content-type"] == ("image/png" if shown else "application/octet-stream")


# ---- one protocol on the port of another


async def test_http_on_the_ports_of_xmpp(place: Place) -> None:
    """Nothing is reflected that a browser would take for an answer."""
    request = b"PUT /upload/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20\r\n\r\n<script>alert(1)</script>"
    for tls in (None, any_certificate()):
        found = await exchange(place.server.port("direct" if tls else "starttls"), request, tls)
        assert not found.startswith(b"HTTP/") and b"script" not in found, found


async def test_other_protocols_on_the_ports_of_http(place: Place) -> None:
    stream = b"<?xml version='1.0'?><stream:stream to='localhost' xmlns='jabber:client' version='1.0'>"
    hello = bytes.fromhex("16030100c8010000c40303") + bytes(200)
    for data in (stream, hello, b"SSH-2.0-x\r\n\r\n", b"\0" * 200, b"\r\n" * 20_000):
        found = await exchange(place.port, data)
        if found:
            assert parsed(found).status in (400, 408, 431) and b"stream" not in found
    for data in (stream, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"):
        found = await exchange(place.server.port("https"), data)
        assert not found.startswith((b"HTTP/", b"<"))
    found = await exchange(place.server.port("https"), stream, any_certificate())
    assert parsed(found).status == 400


async def test_a_name_is_quoted_once(place: Place) -> None:
    """What stands in an address is what was asked for, and nothing is decoded twice."""
    get = await place.stored(name="100%25.png")
    assert get.endswith("/" + quote("100%25.png"))
    assert (await ask(place.port, "GET", get)).body == BODY
    assert (await ask(place.port, "GET", get.replace("%2525", "%25"))).status == 404
