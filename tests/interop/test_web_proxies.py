"""nginx, HAProxy and Caddy in front of the HTTP listener, as docs/howto/web.md configures them."""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.process.server import ServerProcess, configuration

PAGE = (Path(__file__).parents[2] / "docs" / "howto" / "web.md").read_text("utf-8")
LISTENERS = [
    {"port": 0},
    {"kind": "http", "port": 0, "tls": "proxy", "trusted_proxies": ["127.0.0.1"], "public_url": "https://chat.example"},
]
OPEN = "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='localhost' version='1.0'/>"


def block(beginning: str) -> str:
    """What the page tells people to paste, from that line on."""
    blocks = re.findall(r"^```\w*\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    return str(next(each for each in blocks if beginning in each))


def nginx(folder: Path, port: int, behind: int) -> list[str]:
    server = block("location / {").replace("127.0.0.1:5280", f"127.0.0.1:{behind}")
    temporary = "".join(
        f"{name}_temp_path {folder}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"pid {folder}/nginx.pid;\ndaemon off;\nmaster_process off;\nerror_log {folder}/error.log;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{temporary}{block('map $http_upgrade')}\n"
        f"server {{ listen 127.0.0.1:{port};\n{server} }}\n}}\n"
    )
    return ["nginx", "-c", f"{folder}/nginx.conf", "-e", f"{folder}/error.log"]


def haproxy(folder: Path, port: int, behind: int) -> list[str]:
    text = block("frontend web").replace("127.0.0.1:5280", f"127.0.0.1:{behind}")
    text = re.sub(r"bind :443 .*", f"bind 127.0.0.1:{port}", text)
    (folder / "haproxy.cfg").write_text(text)
    return ["haproxy", "-db", "-f", f"{folder}/haproxy.cfg"]


def caddy(folder: Path, port: int, behind: int) -> list[str]:
    site = block("flush_interval").replace("127.0.0.1:5280", f"127.0.0.1:{behind}")
    site = site.replace("chat.example.org {", f"http://127.0.0.1:{port} {{")
    (folder / "Caddyfile").write_text(f"{{\nadmin off\nauto_https off\nstorage file_system {folder}\n}}\n{site}")
    return ["caddy", "run", "--adapter", "caddyfile", "--config", f"{folder}/Caddyfile"]


@pytest.fixture(params=[nginx, haproxy, caddy])
async def in_front(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[str, ServerProcess]]:
    """The address of a proxy, and the server behind it."""
    if shutil.which(request.param.__name__) is None:
        pytest.skip(f"{request.param.__name__} IS NOT INSTALLED: docs/howto/web.md is not tested with it")
    server = ServerProcess(tmp_path, configuration(listeners=LISTENERS, log={"level": "debug"}))
    await server.start()
    behind = re.search(r"port (\d+) \(http behind a proxy\)", server.log)
    assert behind is not None
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    proxy = await asyncio.create_subprocess_exec(*request.param(tmp_path, port, int(behind[1])))
    try:
        async with asyncio.timeout(10):
            while True:
                try:
                    (await asyncio.open_connection("127.0.0.1", port))[1].close()
                    break
                except OSError:
                    await asyncio.sleep(0.02)
        yield f"http://127.0.0.1:{port}", server
    finally:
        proxy.terminate()
        await proxy.wait()
        server.kill()


async def test_what_passes_through_a_proxy(in_front: tuple[str, ServerProcess]) -> None:
    url, server = in_front
    client = aiohttp.TCPConnector(local_addr=("127.0.0.2", 0))
    async with aiohttp.ClientSession(connector=client) as http:
        async with http.get(f"{url}/.well-known/host-meta", headers={"X-Forwarded-For": "198.51.100.7"}) as answer:
            assert answer.status == 200
            assert "wss://chat.example/xmpp-websocket" in await answer.text()
        async with http.ws_connect(f"{url}/xmpp-websocket", protocols=("xmpp",)) as socket_:
            assert socket_.protocol == "xmpp"
            await socket_.send_str(OPEN)
            assert "<open " in await socket_.receive_str(timeout=5)
    assert "127.0.0.2 GET /.well-known/host-meta: 200" in server.log, "and not the address that the client invented"
