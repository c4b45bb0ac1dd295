"""Requests to addresses that people name: the address that is connected to decides, however it was named."""

from __future__ import annotations

import ipaddress
import logging
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from xmppd.config import ConfigError, parse_config
from xmppd.net.address import literal, reachable
from xmppd.net.http_client import Poster

INSIDE = [
    "127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.0.1",
    "169.254.169.254", "100.64.0.1", "100.100.100.200", "192.0.0.192", "192.0.2.1", "192.88.99.1", "198.18.0.1",
    "203.0.113.9", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "168.63.129.16",
    "::", "::1", "::127.0.0.1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1",
    "::ffff:127.0.0.1", "::ffff:10.1.2.3", "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1", "64:ff9b::10.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::7f00:1",
    "2002:7f00:1::", "2002:a00:1::1", "2002:808:808::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:2::1", "2001:10::1", "2001:db8::1", "3fff::1",
    "2606:4700::5efe:7f00:1", "2606:4700::200:5efe:a00:1", "100::1", "5f00::1", "4000::1",
]  # fmt: skip
OUTSIDE = ["93.184.215.14", "8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00:1450:4001::1",
           "::ffff:8.8.8.8", "64:ff9b::808:808"]  # fmt: skip


@pytest.mark.parametrize("address", INSIDE)
def test_inside(address: str) -> None:
    assert not reachable(address)


@pytest.mark.parametrize("address", OUTSIDE)
def test_outside(address: str) -> None:
    assert reachable(address)


def test_networks_that_are_allowed() -> None:
    networks = [ipaddress.ip_network("10.1.0.0/16"), ipaddress.ip_network("fd00:1::/64")]
    for address in ("10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3", "fd00:1::7", "8.8.8.8"):
        assert reachable(address, networks)
    for address in ("10.2.0.1", "127.0.0.1", "::ffff:10.2.0.1", "fd00:2::1", "::1"):
        assert not reachable(address, networks)


LOOPS = [
    "127.0.0.1", "①②⑦.0.0.1", "127。0。0。1", "１２７.０.０.１", "１２７．０．０．１", "127｡0｡0｡1",
    "127.1", "2130706433",
    "0x7f000001", "0x7f.1", "0177.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "127.0.0.1.",
]  # fmt: skip
"""Ways to write this machine without a name."""


@pytest.mark.parametrize("host", [*LOOPS, "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[fe80::1%25lo]"])
def test_an_address_without_a_name_is_seen_at_once(host: str) -> None:
    assert not Poster().may_reach(host)


@pytest.mark.parametrize(
    "host", ["push.example", "dead.beef.example", "fcm.googleapis.com", "8.8.8.8", "[2606:4700::1]"]
)
def test_names_are_looked_at_when_they_are_resolved(host: str) -> None:
    assert Poster().may_reach(host)


def test_what_is_no_literal() -> None:
    for host in ("cafe", "x.0", "127.0.0.1.example", "a.b", "1.2.3.4.5", "", "256.1.1.1"):
        assert literal(host) is None


# ---- with sockets


@dataclass
class Inside:
    """A web server of our own network."""

    port: int = 0
    requests: list[str] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        self.requests.append(request.path)
        if request.path == "/away":
            return web.Response(status=302, headers={"Location": f"http://127.0.0.1:{self.port}/inner"})
        return web.Response(status=201)


@pytest.fixture
async def inside() -> AsyncIterator[Inside]:
    made = Inside()
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", made.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.port = runner.addresses[0][1]
    yield made
    await runner.cleanup()


@pytest.fixture
async def poster() -> AsyncIterator[Poster]:
    made = Poster(timeout=5)
    yield made
    await made.close()


@pytest.mark.parametrize(
    "host", [*LOOPS, "localhost", "LOCALHOST.", "ｌｏｃａｌｈｏｓｔ", "[64:ff9b::7f00:1]", "[2002:7f00:1::]"]
)
async def test_nothing_reaches_us(inside: Inside, poster: Poster, host: str) -> None:
    assert await poster.post(f"http://{host}:{inside.port}/x", b"body", {}) == 0
    assert inside.requests == []


@pytest.mark.parametrize("answer", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "10.0.0.1", "0.0.0.0"])
async def test_a_name_that_leads_inside(
    inside: Inside, poster: Poster, answer: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever the resolver says: it is asked once, and its answer is what is looked at."""
    caplog.set_level(logging.INFO, "xmppd.net")
    session = poster._session(False)
    assert isinstance(session.connector, aiohttp.TCPConnector)
    session.connector._resolver = Resolver(answer)
    assert await poster.post(f"http://push.example:{inside.port}/x", b"", {}) == 0
    assert inside.requests == []
    assert "not a public address" in caplog.text


class Resolver(aiohttp.abc.AbstractResolver):
    """The name server of somebody who means no good."""

    def __init__(self, answer: str) -> None:
        self.answer = answer

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[Any]:
        kind = socket.AF_INET6 if ":" in self.answer else socket.AF_INET
        return [{"hostname": host, "host": self.answer, "port": port, "family": kind, "proto": 0, "flags": 0}]

    async def close(self) -> None: ...


async def test_a_network_that_is_allowed(inside: Inside, poster: Poster) -> None:
    poster.allowed = (ipaddress.ip_network("127.0.0.0/8"),)
    assert poster.may_reach("127.0.0.1")
    assert await poster.post(f"http://127.0.0.1:{inside.port}/x", b"", {}) == 201
    assert await poster.post(f"http://localhost:{inside.port}/y", b"", {}) == 201
    assert inside.requests == ["/x", "/y"]


async def test_private_is_anywhere(inside: Inside, poster: Poster) -> None:
    assert await poster.post(f"http://127.0.0.1:{inside.port}/x", b"", {}, private=True) == 201
    assert await poster.post(f"http://127.0.0.1:{inside.port}/x", b"", {}) == 0  # nor by the connection that is open


async def test_no_redirect_is_followed(inside: Inside, poster: Poster) -> None:
    poster.allowed = (ipaddress.ip_network("127.0.0.0/8"),)
    assert await poster.post(f"http://127.0.0.1:{inside.port}/away", b"", {}) == 302
    assert inside.requests == ["/away"]


@pytest.mark.parametrize(
    "url", ["http://", "https://[::1", "http://a b/", "ftp://x.example/", "http://x:99999/", "//x"]
)
async def test_what_is_no_url(poster: Poster, url: str) -> None:
    assert await poster.post(url, b"", {}) == 0


async def test_an_address_may_be_a_secret(poster: Poster, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert await poster.post(f"http://me:s3cret@127.0.0.1:{port}/s3cret?s3cret", b"", {}, private=True) == 0
    assert f"no answer from 127.0.0.1:{port}" in caplog.text
    assert "s3cret" not in caplog.text


# ---- the option

LEAST = "hosts: {localhost: {}}\nlisteners: [{address: 127.0.0.1}]\noutgoing: "


def test_the_option() -> None:
    config = parse_config(LEAST + "{networks: ['10.1.0.0/16', 'fd00::/8'], timeout: 5 seconds}")
    assert [str(each) for each in config.outgoing.allowed] == ["10.1.0.0/16", "fd00::/8"]
    with pytest.raises(ConfigError, match="expected a network"):
        parse_config(LEAST + "{networks: ['10.1.0.1/16']}")
