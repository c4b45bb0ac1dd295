"""XEP-0065: the proxy, over real sockets; and its handshake, byte by byte."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import suppress
from typing import Any

import pytest

from plugins.proxy65.socks import Handshake, SocksError, success
from tests.harness import Client, Harness, condition
from tests.harness.peer import Peer as Stranger

NS = "http://jabber.org/protocol/bytestreams"
PROXY = "proxy.localhost"
SID = "vxf9n471bn46"
NAME = "a" * 40


def proxy(**options: Any) -> pytest.MarkDecorator:
    hosts = {PROXY: {"type": "proxy", "plugins": {"proxy65": {"port": 0, **options}}}}
    return pytest.mark.server(hosts=hosts)


class Peer:
    """A client's connection to the proxy."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def connect(cls, port: int, name: str) -> Peer:
        self = cls()
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 16)
        self.writer.write(b"\x05\x01\x00")
        assert await self.read(2) == b"\x05\x00"
        self.writer.write(b"\x05\x01\x00\x03" + bytes((len(name),)) + name.encode() + b"\0\0")
        return self

    async def read(self, count: int) -> bytes:
        return await asyncio.wait_for(self.reader.readexactly(count), 10)

    async def accepted(self, name: str) -> None:
        assert await self.read(len(success(name))) == success(name)

    async def ended(self) -> bytes:
        """All that comes until the end."""
        try:
            return await asyncio.wait_for(self.reader.read(), 10)
        except ConnectionError:
            return b""
        finally:
            self.writer.close()


async def streamhost(client: Client) -> tuple[str, int]:
    (found,) = (await client.iq(f"<query xmlns='{NS}'/>", to=PROXY))[0]
    assert found.get("jid") == PROXY
    return str(found.get("host")), int(str(found.get("port")))


def name_of(requester: Client, target: Client, sid: str = SID) -> str:
    return hashlib.sha1(f"{sid}{requester.jid}{target.jid}".encode()).hexdigest()


def activation(target: Client, sid: str = SID) -> str:
    return f"<query xmlns='{NS}' sid='{sid}'><activate>{target.jid}</activate></query>"


async def stream(romeo: Client, juliet: Client, sid: str = SID) -> tuple[Peer, Peer]:
    """An active one, from romeo to juliet."""
    _, port = await streamhost(romeo)
    name = name_of(romeo, juliet, sid)
    theirs, mine = await Peer.connect(port, name), await Peer.connect(port, name)
    await theirs.accepted(name)
    await mine.accepted(name)
    answer = await romeo.iq(activation(juliet, sid), "set", to=PROXY)
    assert answer.get("type") == "result", condition(answer)
    return mine, theirs


@proxy(host="files.example.org", announced_port=443)
async def test_it_is_found(server: Harness) -> None:
    romeo = await server.login("romeo")
    items = await romeo.iq("<query xmlns='http://jabber.org/protocol/disco#items'/>", to="localhost")
    assert PROXY in [item.get("jid") for item in items[0]]
    info = await romeo.iq("<query xmlns='http://jabber.org/protocol/disco#info'/>", to=PROXY)
    assert [(each.get("category"), each.get("type")) for each in info[0].findall("{*}identity")] == [
        ("proxy", "bytestreams")
    ]
    assert NS in [each.get("var") for each in info[0].findall("{*}feature")]
    assert await streamhost(romeo) == ("files.example.org", 443)


@proxy()
async def test_bytes_pass_both_ways(server: Harness) -> None:
    romeo, juliet = await server.login("romeo"), await server.login("juliet")
    mine, theirs = await stream(romeo, juliet)
    data = bytes(range(256)) * 20_000
    mine.writer.write(data)
    theirs.writer.write(b"thank you")
    assert await theirs.read(len(data)) == data
    assert await mine.read(9) == b"thank you"
    mine.writer.write(b"the end")
    mine.writer.close()
    assert await theirs.ended() == b"the end", "what was sent before the end arrives"


@proxy()
async def test_nothing_passes_before_it_is_activated(server: Harness) -> None:
    romeo, juliet, mallory = [await server.login(name) for name in ("romeo", "juliet", "mallory")]
    _, port = await streamhost(romeo)
    name = name_of(romeo, juliet)
    theirs = await Peer.connect(port, name)
    await theirs.accepted(name)
    assert condition(await romeo.iq(activation(juliet), "set", to=PROXY)) == "item-not-found"
    mine = await Peer.connect(port, name)
    await mine.accepted(name)
    mine.writer.write(b"early")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(theirs.reader.read(1), 0.2)
    assert condition(await mallory.iq(activation(juliet), "set", to=PROXY)) == "item-not-found"
    third = await Peer.connect(port, name)
    assert (await third.ended())[:2] == b"\x05\x02"
    assert (await romeo.iq(activation(juliet), "set", to=PROXY)).get("type") == "result"
    assert await theirs.read(5) == b"early"


@proxy(streams=1)
async def test_bounds_and_what_is_no_request(server: Harness) -> None:
    romeo, juliet = await server.login("romeo"), await server.login("juliet")
    mine, theirs = await stream(romeo, juliet)
    assert condition(await romeo.iq(activation(juliet, "other"), "set", to=PROXY)) == "resource-constraint"
    mine.writer.close()
    theirs.writer.close()
    relay = server.server.hosts[PROXY].plugins["proxy65"].relay  # type: ignore[attr-defined]
    for _ in range(1000):
        if not relay.streams_of("romeo@localhost"):
            break
        await asyncio.sleep(0.005)
    assert condition(await romeo.iq(activation(juliet, "other"), "set", to=PROXY)) == "item-not-found"
    for wrong, expected in (
        (f"<query xmlns='{NS}'><activate>{juliet.jid}</activate></query>", "bad-request"),
        (f"<query xmlns='{NS}' sid='x'/>", "bad-request"),
        (f"<query xmlns='{NS}' sid='x'><activate>@</activate></query>", "jid-malformed"),
    ):
        assert condition(await romeo.iq(wrong, "set", to=PROXY)) == expected


@proxy(waiting=5, silence=60)
async def test_who_waits_too_long_is_cut_off(server: Harness) -> None:
    romeo, juliet = await server.login("romeo"), await server.login("juliet")
    mine, theirs = await stream(romeo, juliet)
    _, port = await streamhost(romeo)
    waiting = await Peer.connect(port, NAME)
    await waiting.accepted(NAME)
    silent_reader, silent_writer = await asyncio.open_connection("127.0.0.1", port)
    await asyncio.sleep(0.05)
    await server.advance(20)
    assert await waiting.ended() == b""
    assert await silent_reader.read() == b""
    silent_writer.close()
    mine.writer.write(b"still here")
    assert await theirs.read(10) == b"still here"
    await server.advance(80)
    assert await theirs.ended() == await mine.ended() == b""


@proxy()
async def test_a_slow_reader_slows_the_sender(server: Harness) -> None:
    """No more than the kernel's and the connection's buffers wait."""
    romeo, juliet = await server.login("romeo"), await server.login("juliet")
    mine, theirs = await stream(romeo, juliet)
    chunk, sent = b"x" * 65536, 0
    with suppress(TimeoutError):
        while sent < 200 << 20:
            mine.writer.write(chunk)
            sent += len(chunk)
            await asyncio.wait_for(mine.writer.drain(), 0.5)
    assert sent < 64 << 20
    received = 0
    while received < sent:
        received += len(await asyncio.wait_for(theirs.reader.read(1 << 20), 10))
    assert received == sent


@proxy(rate="64 KiB")
async def test_the_rate(server: Harness) -> None:
    romeo, juliet = await server.login("romeo"), await server.login("juliet")
    mine, theirs = await stream(romeo, juliet)
    mine.writer.write(b"x" * 400_000)
    received = 0
    for _ in range(20):
        with suppress(TimeoutError):
            received += len(await asyncio.wait_for(theirs.reader.read(1 << 20), 0.05))
    assert received < 300_000, "the clock stands still"
    for _ in range(10):
        await server.advance(1)
        await asyncio.sleep(0.05)
    while received < 400_000:
        received += len(await asyncio.wait_for(theirs.reader.read(1 << 20), 10))


@proxy()
async def test_only_our_own_people(server: Harness) -> None:
    peer = Stranger(server, "elsewhere.example")
    peer.send(f"<iq from='eve@elsewhere.example/x' to='{PROXY}' type='get' id='1'><query xmlns='{NS}'/></iq>")
    await server.quiet()
    assert [stanza.type for stanza in peer.got] == ["error"] and b"<forbidden " in peer.got[0].data


# ---- the handshake


def test_byte_by_byte() -> None:
    handshake, answers = Handshake(), b""
    for byte in b"\x05\x02\x00\x02\x05\x01\x00\x03\x28" + NAME.upper().encode() + b"\0\0":
        answers += handshake.feed(bytes((byte,)))
    assert answers == b"\x05\x00"
    assert (handshake.name, handshake.rest) == (NAME, b"")


def test_all_at_once() -> None:
    handshake = Handshake()
    assert handshake.feed(b"\x05\x01\x00\x05\x01\x00\x03\x28" + NAME.encode() + b"\0\0early") == b"\x05\x00"
    assert (handshake.name, handshake.rest) == (NAME, b"early")


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (b"GET / HTTP/1.1\r\n", b""),
        (b"\x04\x01", b""),
        (b"\x05\x01\x02", b"\x05\xff"),
        (b"\x05\x01\x00\x05\x02\x00\x03\x28", b"\x05\x07"),
        (b"\x05\x01\x00\x05\x01\x00\x01\x7f\x00", b"\x05\x08"),
        (b"\x05\x01\x00\x04\x01\x00\x03\x28", b""),
        (b"\x05\x01\x00\x05\x01\x00\x03\x02..\0\0", b"\x05\x02"),
        (b"\x05\x01\x00\x05\x01\x00\x03\x00\0\0", b"\x05\x02"),
    ],
)
def test_what_is_no_handshake(data: bytes, answer: bytes) -> None:
    with pytest.raises(SocksError) as error:
        Handshake().feed(data)
    assert error.value.answer[:2] == answer
