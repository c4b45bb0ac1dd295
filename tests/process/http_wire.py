"""HTTP byte by byte, for what no library would send."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from typing import Final

WITHIN: Final = 20.0


@dataclass(frozen=True)
class Answer:
    """`headers`: names in lower case. `rest`: what came behind the answer."""

    status: int
    headers: dict[str, str]
    body: bytes
    rest: bytes = b""


async def exchange(port: int, data: bytes, tls: ssl.SSLContext | None = None, end: bool = False) -> bytes:
    """All that is answered until the server closes. `end`: nothing more comes from here, and it is said."""
    options = {"ssl": tls, "server_hostname": "localhost"} if tls is not None else {}
    reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port, **options), WITHIN)  # type: ignore[arg-type]
    try:
        writer.write(data)
        if end:
            writer.write_eof()
        return await asyncio.wait_for(reader.read(), WITHIN)
    except ConnectionError:
        return b""
    finally:
        writer.transport.abort()


def parsed(data: bytes, head: bool = False) -> Answer:
    """The first answer. Raises ValueError: it is none."""
    top, found, rest = data.partition(b"\r\n\r\n")
    first, *lines = top.decode("latin-1").split("\r\n")
    if not found or not first.startswith(("HTTP/1.1 ", "HTTP/1.0 ")):
        raise ValueError(f"no answer: {data[:200]!r}")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    size = 0 if head else int(headers.get("content-length", "0"))
    return Answer(int(first.split(" ")[1]), headers, rest[:size], rest[size:])


async def ask(port: int, method: str, target: str | bytes, *lines: str, body: bytes = b"") -> Answer:
    """One request, on a connection of its own, which ends with the answer."""
    raw = target if isinstance(target, bytes) else target.encode()
    head = b"".join(f"{line}\r\n".encode() for line in ("Host: localhost", "Connection: close", *lines))
    data = b"%b %b HTTP/1.1\r\n%b\r\n%b" % (method.encode(), raw, head, body)
    return parsed(await exchange(port, data), method == "HEAD")
