"""Questions to web servers."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp

from .probe import context
from .visit import Visit

LARGEST = 1 << 18
"""Bytes of an answer that are read."""


class HttpError(Exception):
    """Its text says what did not work."""


def tls(visit: Visit) -> ssl.SSLContext:
    return context(visit.options.ca_file, trusting=visit.options.insecure)


@asynccontextmanager
async def session(visit: Visit, url: str) -> AsyncIterator[aiohttp.ClientSession]:
    """Raises HttpError for all that can go wrong on the network."""
    timeout = aiohttp.ClientTimeout(total=visit.timeout)
    try:
        async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(ssl=tls(visit))) as made:
            yield made
    except TimeoutError:
        raise HttpError(f"{url}: no answer within {visit.timeout:g} s") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise HttpError(f"{url}: {error}") from None


async def fetch(visit: Visit, url: str) -> bytes:
    """What is there. Raises HttpError."""
    async with session(visit, url) as http, http.get(url) as answer:
        if answer.status != 200:
            raise HttpError(f"{url}: status {answer.status}")
        return await answer.content.read(LARGEST)


async def post(visit: Visit, url: str, body: str) -> bytes:
    """What is answered. Raises HttpError."""
    headers = {"Content-Type": "text/xml; charset=utf-8"}
    async with session(visit, url) as http, http.post(url, data=body.encode(), headers=headers) as answer:
        if answer.status != 200:
            raise HttpError(f"{url}: status {answer.status}")
        return await answer.content.read(LARGEST)


async def preflight(visit: Visit, url: str, origin: str) -> Mapping[str, str]:
    """The headers, in lower case, that a browser gets before it uploads. Raises HttpError."""
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": "PUT",
        "Access-Control-Request-Headers": "content-type",
    }
    async with session(visit, url) as http, http.options(url, headers=asked) as answer:
        return {name.lower(): value for name, value in answer.headers.items()}


async def websocket(visit: Visit, url: str, hello: str) -> str:
    """The first frame after ours, over a connection with the subprotocol `xmpp`. Raises HttpError."""
    async with session(visit, url) as http, http.ws_connect(url, protocols=("xmpp",), max_msg_size=LARGEST) as socket:
        if socket.protocol != "xmpp":
            raise HttpError(f"{url}: not the subprotocol xmpp")
        await socket.send_str(hello)
        frame = await socket.receive(visit.timeout)
        if frame.type is not aiohttp.WSMsgType.TEXT:
            raise HttpError(f"{url}: no answer to <open/>")
        return str(frame.data)
