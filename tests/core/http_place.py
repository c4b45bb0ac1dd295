"""A real listener of HTTP with routes to try things on, and a client that says what it wants byte by byte."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from xmppd.contracts.http import HttpError, HttpRequest, HttpResponse, HttpRoute, HttpUpgrade, StreamedBody
from xmppd.contracts.link import Link
from xmppd.errors import StorageUnavailable
from xmppd.memory.budget import MemoryBudget
from xmppd.net import http_server
from xmppd.net.engine import Engine, Timing
from xmppd.net.http_routes import Match, RouteTable, match, split_path
from xmppd.net.http_server import HttpBounds, HttpServer
from xmppd.net.listen import Listener
from xmppd.net.loop import RealClock
from xmppd.net.proxies import Proxies

PIECE = 16 << 10


class Place:
    """Routes to try things on, behind a real listener."""

    def __init__(self, bounds: HttpBounds, per_address: int, proxies: Proxies) -> None:
        self.memory = MemoryBudget(1 << 20, 1 << 20)
        clock = RealClock()
        engine = Engine(clock, Timing(sweep=0.02, close=0.5))
        self.server = HttpServer(clock, self.memory, bounds)
        self.server.engine = engine
        self.listener = Listener(
            clock, tls="none", per_address=per_address, engine=engine, alpn=http_server.ALPN, proxies=proxies
        )
        self.table = RouteTable(
            [
                HttpRoute("GET", "/hello/{name}", self.hello),
                HttpRoute("POST", "/echo", self.echo, max_body=100_000),
                HttpRoute("PUT", "/count", self.count, max_body=100_000),
                HttpRoute("PUT", "/slow", self.slow, max_body=None),
                HttpRoute("POST", "/deaf", self.deaf, max_body=10),
                HttpRoute("GET", "/broken", self.broken),
                HttpRoute("GET", "/no-store", self.no_store),
                HttpRoute("GET", "/wait", self.wait),
                HttpRoute("GET", "/large", self.large),
                HttpRoute("GET", "/pieces/{size}", self.pieces, cors=True),
                HttpRoute("PUT", "/pieces/{size}", self.count, max_body=10, cors=True),
                HttpRoute("GET", "/echo-protocol", self.switch),
            ]
        )
        self.proxies = proxies
        self.seen: list[HttpRequest] = []
        self.taken = 0
        """Bytes that `slow` has of a body."""
        self.given = 0
        """Bytes of streamed bodies that were made."""
        self.echo_receiver: EchoReceiver
        self.waiting = asyncio.Event()
        self.go_on = asyncio.Event()

    def find(self, method: str, host: str, path: str) -> tuple[Match, str]:
        segments = split_path(path)
        return match(self.table.routes(segments), method, segments), host

    async def hello(self, request: HttpRequest) -> HttpResponse:
        self.seen.append(request)
        return HttpResponse(200, request.parameters["name"].encode(), "text/plain; charset=utf-8", {"X-Own": "1"})

    async def echo(self, request: HttpRequest) -> HttpResponse:
        body = await request.body.read()
        self.seen.append(request)
        return HttpResponse(201, body)

    async def count(self, request: HttpRequest) -> HttpResponse:
        size = 0
        async for piece in request.body:
            size += len(piece)
        return HttpResponse(200, str(size).encode())

    async def slow(self, request: HttpRequest) -> HttpResponse:
        """Takes a piece, of whatever body, when `go_on` is set."""
        self.taken = 0
        async for piece in request.body:
            self.taken += len(piece)
            await self.go_on.wait()
        return HttpResponse(200, str(self.taken).encode())

    async def deaf(self, request: HttpRequest) -> HttpResponse:
        """Takes no notice of what the body says."""
        with suppress(HttpError):
            await request.body.read()
        return HttpResponse(200, b"fine")

    async def broken(self, request: HttpRequest) -> HttpResponse:
        raise RuntimeError("a secret of the server")

    async def no_store(self, request: HttpRequest) -> HttpResponse:
        raise StorageUnavailable("the disk is full")

    async def wait(self, request: HttpRequest) -> HttpResponse:
        self.waiting.set()
        await self.go_on.wait()
        return HttpResponse(200, b"at last")

    async def large(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, b"x" * (8 << 20))

    async def pieces(self, request: HttpRequest) -> HttpResponse:
        """16 KiB each; what is not whole says so in its length."""
        size = int(request.parameters["size"])
        if size > 1 << 30:
            raise HttpError(404)

        async def made() -> AsyncIterator[bytes]:
            left = size
            while left > 0:
                self.given += min(left, PIECE)
                yield b"p" * min(left, PIECE)
                left -= PIECE

        async def failing() -> AsyncIterator[bytes]:
            async for piece in made():
                yield piece
            raise RuntimeError("behind the last piece")

        if "open" in request.query:  # of a length that is not known
            return HttpResponse(200, StreamedBody(None, failing if "fails" in request.query else made), "audio/ogg")
        return HttpResponse(200, StreamedBody(size + ("more" in request.query), made), "audio/ogg")

    async def switch(self, request: HttpRequest) -> HttpUpgrade:
        self.echo_receiver = EchoReceiver()
        return HttpUpgrade("echo", self.echo_receiver, {"X-Own": "1"})

    async def connect(self) -> Peer:
        return Peer(*await asyncio.open_connection("127.0.0.1", self.listener.port))

    async def ask(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        """The answer to one request, on a connection of its own."""
        peer = await self.connect()
        peer.write(request)
        answer = await peer.answer(head=request.startswith(b"HEAD"))
        peer.writer.close()
        return answer


class EchoReceiver:
    """A protocol that sends back what comes."""

    def __init__(self) -> None:
        self.link: Link
        self.lost = asyncio.Event()

    def connected(self, link: Link) -> None:
        self.link = link

    def data_received(self, data: bytes) -> None:
        self.link.write(data)

    def secured(self) -> None:
        raise AssertionError("TLS was before HTTP")

    def pause_writing(self) -> None:
        self.link.pause_reading()

    def resume_writing(self) -> None:
        self.link.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.set()


class Peer:
    """A client that says what it wants, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def write(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self, head: bool = False) -> tuple[int, dict[str, str], bytes]:
        first, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2]
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        size = 0 if head else int(headers.get("content-length", "0"))
        return int(first.split(" ")[1]), headers, await self.reader.readexactly(size)

    async def ended(self) -> bytes:
        """What comes until the end."""
        return await asyncio.wait_for(self.reader.read(), 5)


@asynccontextmanager
async def running(
    bounds: HttpBounds | None = None, per_address: int = 50, proxies: Proxies | None = None
) -> AsyncIterator[Place]:
    place = Place(bounds or HttpBounds(), per_address, proxies or Proxies())
    await place.listener.start("127.0.0.1", 0, place.server.receiver(place))
    try:
        yield place
    finally:
        place.go_on.set()
        place.listener.stop_accepting()
        await place.server.stop(1.0)
        await place.listener.close(1.0)
        assert place.memory.incoming == 0
        assert not place.server.connections


GET = b"GET %s HTTP/1.1\r\nHost: Example.org:80\r\n\r\n"


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.005)
