"""T60: proxies in front of an HTTP listener: whose word counts, and who is counted."""

from __future__ import annotations

import asyncio
import logging

import pytest

from tests.core.http_place import GET, running, until
from xmppd.contracts.http import HttpError
from xmppd.net.http_server import HttpBounds
from xmppd.net.proxies import MOST, Proxies, forwarded

PROXIES = ("10.0.0.0/8", "192.0.2.1", "2001:db8::/64")


@pytest.mark.parametrize(
    ("named", "client"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("203.0.113.9, 198.51.100.7", "198.51.100.7"),  # the first is invented
        ("198.51.100.7, 192.0.2.1", "198.51.100.7"),  # by way of a second proxy
        ("198.51.100.7, 192.0.2.1, 10.1.1.1", "198.51.100.7"),
        ("10.9.9.9, 10.1.1.1", "10.9.9.9"),  # nobody but proxies
        ("198.51.100.7:4711", "198.51.100.7"),
        ("[2001:db8:1::7]:4711", "2001:db8:1::7"),
        ("2001:DB8:1::7", "2001:db8:1::7"),
        ("::ffff:198.51.100.7", "198.51.100.7"),
        ("", "192.0.2.1"),
        ("unknown", "192.0.2.1"),
        ("198.51.100.7, unknown", "192.0.2.1"),
        ("198.51.100.7, <script>", "192.0.2.1"),
        ("198.51.100.7, 10.0.0.1, 999.1.1.1, 10.1.1.1", "10.1.1.1"),
        ("fe80::1%eth0", "192.0.2.1"),
    ],
)
def test_who_asks(named: str, client: str) -> None:
    assert Proxies(PROXIES).client("192.0.2.1", False, {"x-forwarded-for": named})[0] == client
    assert Proxies(PROXIES).client("192.0.2.2", False, {"x-forwarded-for": named})[0] == "192.0.2.2"
    assert Proxies().client("192.0.2.1", False, {"x-forwarded-for": named})[0] == "192.0.2.1"


def test_what_it_came_over() -> None:
    def secure(proxies: Proxies, peer: str = "192.0.2.1", over_tls: bool = False, **headers: str) -> bool:
        return proxies.client(peer, over_tls, {name.replace("_", "-"): value for name, value in headers.items()})[1]

    plain, in_front = Proxies(PROXIES), Proxies(PROXIES, tls_in_front=True)
    assert not secure(plain) and secure(in_front) and secure(plain, over_tls=True)
    for proxies in (plain, in_front):
        assert secure(proxies, x_forwarded_proto="https")
        assert not secure(proxies, x_forwarded_proto="http", over_tls=True)
        assert not secure(proxies, x_forwarded_proto="https, http")
        assert not secure(proxies, x_forwarded_proto="nonsense")
    assert not secure(plain, "198.51.100.7", x_forwarded_proto="https")
    with pytest.raises(HttpError, match="403"):
        secure(in_front, "198.51.100.7", x_forwarded_proto="https")
    assert not secure(plain, forwarded="proto=https")
    assert secure(Proxies(PROXIES, "forwarded"), forwarded="for=198.51.100.7;proto=HTTPS")
    assert not secure(Proxies(PROXIES, "forwarded"), x_forwarded_proto="https")


@pytest.mark.parametrize(
    ("value", "hops"),
    [
        ("for=192.0.2.60;proto=http;by=203.0.113.43", [("192.0.2.60", "http")]),
        ('For="[2001:db8:cafe::17]:4711"', [("[2001:db8:cafe::17]:4711", "")]),
        ("for=192.0.2.43, for=198.51.100.17;proto=https", [("192.0.2.43", ""), ("198.51.100.17", "https")]),
        ('for="a, for=1.1.1.1", for=unknown', [("a, for=1.1.1.1", ""), ("unknown", "")]),
        ('for="_a\\"b"', [('_a"b', "")]),
        ('for="1.1.1.1', []),
        ("for=1.1.1.1;for=2.2.2.2", []),
        ("nonsense", []),
        ("for=1.1.1.1;", []),
        ("", []),
        ("for=1.1.1.1," * 1000 + "for=2.2.2.2", [("1.1.1.1", "")] * (MOST - 1) + [("2.2.2.2", "")]),
    ],
)
def test_the_header_of_rfc_7239(value: str, hops: list[tuple[str, str]]) -> None:
    assert forwarded(value) == hops


def test_it_decides_where_it_is_the_one_that_counts() -> None:
    headers = {"forwarded": "for=198.51.100.7", "x-forwarded-for": "203.0.113.9"}
    assert Proxies(PROXIES).client("192.0.2.1", False, headers)[0] == "203.0.113.9"
    assert Proxies(PROXIES, "forwarded").client("192.0.2.1", False, headers)[0] == "198.51.100.7"


async def test_a_header_of_somebody_else_counts_nothing() -> None:
    forged = b"GET /hello/x HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 198.51.100.7\r\nX-Forwarded-Proto: https\r\n\r\n"
    for proxies, seen in ((Proxies(["192.0.2.1"]), ("127.0.0.1", False)), (LOCAL, ("198.51.100.7", True))):
        async with running(proxies=proxies) as place:
            assert (await place.ask(forged))[0] == 200
            (request,) = place.seen
            assert (request.peer, request.secure) == seen


LOCAL = Proxies(["127.0.0.0/8"])
WAIT = b"GET /wait HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: %s\r\n\r\n"


async def test_the_clients_of_a_proxy_are_counted_and_it_is_not() -> None:
    async with running(HttpBounds(per_address=2), per_address=2, proxies=LOCAL) as place:
        waiting = [await place.connect() for _ in range(6)]
        for number, peer in enumerate(waiting):
            peer.write(WAIT % b"198.51.100.%d" % (number // 2))
        await until(lambda: len(place.server._tasks) == 6)
        status, headers, _ = await place.ask(WAIT % b"198.51.100.0")
        assert (status, headers["retry-after"]) == (429, "5")
        assert (await place.ask(GET % b"/hello/x"))[0] == 200, "the proxy itself"
        place.go_on.set()
        for peer in waiting:
            assert (await peer.answer())[0] == 200
        assert (await place.ask(WAIT % b"198.51.100.0"))[0] == 200
        assert not place.server._under_way


async def test_a_connection_in_another_protocol_is_one_of_the_clients() -> None:
    switch = (
        b"GET /echo-protocol HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n"
        b"X-Forwarded-For: 198.51.100.7\r\n\r\n"
    )
    async with running(per_address=1, proxies=LOCAL) as place:
        peer = await place.connect()
        peer.write(switch)
        assert (await peer.answer())[0] == 101
        first = place.echo_receiver
        assert first.link.peer == "198.51.100.7"
        assert (await place.ask(switch))[0] == 429
        peer.writer.close()
        await asyncio.wait_for(first.lost.wait(), 5)
        await until(lambda: not place.listener._from and not place.listener._forwarded)
        again = await place.connect()
        again.write(switch)
        assert (await again.answer())[0] == 101
        again.writer.close()


async def test_what_is_no_request_is_said_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "xmppd.net.http")
    async with running() as place:
        for sent in (b"<?xml version='1.0'?><stream:stream to='a'>\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\r\n\r\n"):
            caplog.clear()
            assert (await place.ask(sent))[0] == 400
            assert [each.getMessage() for each in caplog.records] == [
                "127.0.0.1: what is no request is refused with 400"
            ]
