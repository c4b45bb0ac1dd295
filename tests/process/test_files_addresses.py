"""The addresses of slots on a server with the listeners of config/xmppd.yaml (XEP-0363 section 3): what the Smack suite
of server tests looks at, and who gets which."""

from __future__ import annotations

import re
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import aiohttp
import pytest

from tests.process.client import Wire
from tests.process.server import ServerProcess, configuration
from tests.process.socket_wire import SocketWire

NS = "urn:xmpp:http:upload:0"
LISTENERS = [
    {"port": 0},
    {"port": 0, "tls": "direct"},
    {"kind": "http", "port": 0, "tls": "none"},
    {"kind": "http", "port": 0},
]
URI = re.compile(
    r"https?://[A-Za-z0-9.-]+(:\d+)?(/([A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-F]{2})*)+(\?[A-Za-z0-9._~=-]*)?"
)
"""RFC 3986, as narrow as ours are."""


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    process = ServerProcess(tmp_path, configuration(listeners=LISTENERS, plugins={"files": {"per_day": "100 bytes"}}))
    await process.start()
    await process.account("romeo")
    yield process
    process.kill()
    assert "Traceback" not in process.log, process.log


async def slot(wire: Wire, name: str = "très cool.txt", size: int = 5) -> tuple[str, str]:
    answer = await wire.iq(f"<request xmlns='{NS}' filename='{name}' size='{size}'/>", to="upload.localhost")
    put, get = answer[0]
    assert (put.tag, get.tag) == (f"{{{NS}}}put", f"{{{NS}}}get")
    assert not len(put), "no headers: the address is signed"
    return str(put.get("url")), str(get.get("url"))


async def stored(put: str, get: str, certificate: Path) -> bool:
    trusting = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=str(certificate)))
    async with aiohttp.ClientSession(connector=trusting) as http:
        async with http.put(put, data=b"hello") as answer:
            assert answer.status == 201
        async with http.get(get) as answer:
            return await answer.read() == b"hello"


@pytest.mark.parametrize("tls", ["starttls", "direct"])
async def test_a_client_with_tls_gets_https(server: ServerProcess, tls: str) -> None:
    async with await Wire.login(server.port(tls), "romeo", tls=tls) as romeo:
        put, get = await slot(romeo)
    for address in (put, get):
        assert URI.fullmatch(address), address
        assert address.startswith(f"https://localhost:{server.port('https')}/upload/")
        assert unquote(urlsplit(address).path).endswith("/très cool.txt")
    assert await stored(put, get, server.certificate)


async def test_a_page_gets_what_it_came_by(server: ServerProcess) -> None:
    """On this machine a page may have no TLS: the browser lets it reach nothing whose certificate nobody has signed."""
    for scheme in ("http", "https"):
        async with await SocketWire.login(server.port(scheme), "romeo", tls=scheme) as romeo:
            put, get = await slot(romeo)
        assert put.startswith(f"{scheme}://localhost:{server.port(scheme)}/upload/") and URI.fullmatch(put)
        assert await stored(put, get, server.certificate)


async def test_a_file_is_fetched_by_either(server: ServerProcess) -> None:
    async with await Wire.login(server.port(), "romeo") as romeo:
        put, get = await slot(romeo)
    assert await stored(put, get, server.certificate)
    plain = get.replace(f"https://localhost:{server.port('https')}", f"http://localhost:{server.port('http')}")
    async with aiohttp.ClientSession() as http, http.get(plain) as answer:
        assert await answer.read() == b"hello"


async def test_when_to_try_again(server: ServerProcess) -> None:
    """Section 5: in UTC, as of XEP-0082."""
    async with await Wire.login(server.port(), "romeo") as romeo:
        await slot(romeo, size=100)
        answer = await romeo.iq(f"<request xmlns='{NS}' filename='a' size='1'/>", to="upload.localhost")
    (retry,) = answer.iter(f"{{{NS}}}retry")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", str(retry.get("stamp")))
