"""HTTP requests to a server without sockets."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from xmppd.config import HttpListenerConfig
from xmppd.server.http_site import HttpSite

if TYPE_CHECKING:
    from xmppd.contracts.link import Link

    from . import Harness


@dataclass(frozen=True)
class HttpAnswer:
    """`headers`: names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class HttpLink:
    """What the server has instead of a connection, as far as HTTP needs it."""

    peer = "127.0.0.1"
    port = 0
    securing = False
    secure = False
    write_buffer_size = 0

    def __init__(self) -> None:
        self.written = bytearray()
        self.closed = False
        self.first = False
        """What the client sends is taken ahead of strangers'."""

    def write(self, data: bytes) -> None:
        self.written += data

    def hold(self) -> None:
        """Nothing is put off here."""

    def take_first(self) -> None:
        self.first = True

    def read_in_bulk(self, much: bool) -> None:
        """No matter here."""

    def pause_reading(self) -> None:
        """All has come already."""

    resume_reading = pause_reading

    def close(self) -> None:
        self.closed = True

    abort = close


async def ask(
    harness: Harness, method: str, target: str, body: bytes, headers: dict[str, str], options: dict[str, Any]
) -> HttpAnswer:
    """One request to a listener of kind `http` with these options."""
    server = harness.server
    site = HttpSite(server, HttpListenerConfig(tls="none", **options))
    connection, link = server.http.receiver(site)(), HttpLink()
    connection.connected(cast("Link", link))
    named = {"Host": "localhost", "Connection": "close", "Content-Length": str(len(body)), **headers}
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in named.items())]
    connection.data_received("".join(f"{line}\r\n" for line in [*lines, ""]).encode() + body)
    for _ in range(1000):  # the tasks of requests are not those that the harness sees working
        if await harness.until(lambda: link.closed):
            break
        await asyncio.sleep(0.002)
    assert link.closed, "the request has no answer"
    connection.connection_lost(None)
    return read_answer(bytes(link.written))


def read_answer(data: bytes) -> HttpAnswer:
    head, _, content = data.partition(b"\r\n\r\n")
    first, *rest = head.decode().split("\r\n")
    found = {name.lower(): value for name, _, value in (line.partition(": ") for line in rest)}
    return HttpAnswer(int(first.split(" ")[1]), found, content)
