"""Listeners of kind `http` in a server process: https and plain, the renewal of a certificate, and what they cost."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest

from tests.process.client import Wire
from tests.process.server import ServerProcess, configuration
from xmppd.net.tls import make_self_signed

HTTP = [
    {"kind": "http", "port": 0},
    {"kind": "http", "port": 0, "tls": "none", "paths": ["/metrics", "/healthz"]},
]
CLIENTS = [{"port": 0}, {"port": 0, "tls": "direct"}]


def port(process: ServerProcess, label: str) -> int:
    found = re.search(rf"listening on \S+ port (\d+) \({label}\)", process.log)
    assert found is not None, process.log
    return int(found[1])


@pytest.fixture
async def serving(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    limits = {"header_time": "1 second", "sign_in_time": "5 seconds", "connections_per_address": 5}
    server = ServerProcess(tmp_path, configuration(listeners=[*CLIENTS, *HTTP], limits=limits))
    try:
        yield await server.start()
    finally:
        server.kill()
    assert "Traceback" not in server.log, server.log


def trusting(process: ServerProcess) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(process.certificate))


async def test_https_and_plain(serving: ServerProcess) -> None:
    tls = aiohttp.TCPConnector(ssl=trusting(serving))
    async with aiohttp.ClientSession(connector=tls) as http:
        async with http.get(f"https://localhost:{port(serving, 'https')}/healthz") as answer:
            assert (answer.status, await answer.text(), answer.headers["Server"]) == (200, "ready\n", "xmppd")
        async with http.get(f"https://localhost:{port(serving, 'https')}/metrics") as answer:
            assert answer.status == 404, "not named in `paths`"
        async with http.get(f"http://127.0.0.1:{port(serving, 'http')}/metrics") as answer:
            assert "xmppd_store_available 1.0\n" in await answer.text()
        async with http.head(f"http://127.0.0.1:{port(serving, 'http')}/metrics") as answer:
            assert (answer.status, int(answer.headers["Content-Length"]) > 1000) == (200, True)
        async with http.post(f"http://127.0.0.1:{port(serving, 'http')}/metrics", data=b"x") as answer:
            assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")
    assert await serving.stop() == 0


async def test_no_other_protocol_within_tls(serving: ServerProcess) -> None:
    """A browser cannot be made to talk to the server of another protocol (RFC 7301, ALPACA)."""

    async def chosen(label: str, *offered: str) -> str | None:
        context = trusting(serving)
        context.set_alpn_protocols(list(offered))
        _, writer = await asyncio.open_connection(
            "127.0.0.1", port(serving, label), ssl=context, server_hostname="localhost"
        )
        try:
            found = writer.get_extra_info("ssl_object").selected_alpn_protocol()
        finally:
            writer.close()
        return str(found) if found is not None else None

    assert await chosen("https", "h2", "http/1.1") == "http/1.1"
    assert await chosen("direct", "xmpp-client") == "xmpp-client"
    for label, offered in (("https", "xmpp-client"), ("direct", "http/1.1")):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await chosen(label, offered)


async def test_a_renewed_certificate_is_the_one_of_https_too(serving: ServerProcess) -> None:
    url = f"https://localhost:{port(serving, 'https')}/healthz"
    kept = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting(serving)))
    async with kept, kept.get(url) as answer:
        assert answer.status == 200
        certificate, key = serving.folder / "other.crt", serving.folder / "other.key"
        make_self_signed(["localhost"], certificate, key)
        certificate.replace(serving.certificate)
        key.replace(serving.certificate.with_suffix(".key"))
        os.kill(serving.pid, signal.SIGHUP)
        await serving.logged("changed: the certificate of localhost")
        fresh = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting(serving)))
        async with fresh, fresh.get(url) as renewed:
            assert renewed.status == 200
        await answer.read()
        async with kept.get(url) as again:
            assert again.status == 200, "a connection keeps the certificate that it began with"


async def test_slow_and_many_connections_harm_nobody(serving: ServerProcess) -> None:
    """Slowloris: headers that never end. They are closed in time; XMPP clients do not notice."""
    await serving.account("romeo")
    slow = [await asyncio.open_connection("127.0.0.1", port(serving, "http")) for _ in range(5)]
    for _, writer in slow:
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ")
    refused, _ = await asyncio.open_connection("127.0.0.1", port(serving, "http"))
    with suppress(ConnectionError):  # closed in order or not
        assert await refused.read() == b""
    async with await Wire.login(serving.port(), "romeo") as romeo:
        assert (await romeo.iq("<ping xmlns='urn:xmpp:ping'/>", to="localhost")).get("type") == "result"
    for reader, writer in slow:
        assert (await asyncio.wait_for(reader.read(), 10)).startswith(b"HTTP/1.1 408 Request Timeout\r\n")
        writer.close()
    async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{port(serving, 'http')}/healthz") as answer:
        assert answer.status == 200


async def test_the_option_metrics_is_a_listener_for_metrics_only(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path, configuration(metrics={"port": 0}))
    await server.start()
    try:
        outcome = await server.cli("metrics")
        assert outcome.status == 0, outcome.text
        assert "xmppd_store_available 1.0\n" in outcome.out
        at = f"http://127.0.0.1:{port(server, 'http')}"
        async with aiohttp.ClientSession() as http:
            async with http.get(f"{at}/metrics") as answer:
                assert "xmppd_store_available 1.0\n" in await answer.text()
            async with http.get(f"{at}/healthz") as answer:
                assert answer.status == 404
        assert await server.stop() == 0
        gone = await server.cli("metrics")
        assert (gone.status, "no server is running here" in gone.err) == (3, True)
    finally:
        server.kill()
    assert "Traceback" not in server.log, server.log


async def test_no_port_more_than_the_configuration_names(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path)
    await server.start()
    try:
        assert len(re.findall(r"listening on ", server.log)) == len(CLIENTS), server.log
    finally:
        server.kill()
