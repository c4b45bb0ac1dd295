"""Clients over WebSocket (RFC 7395) on a server process; T59: pages of other origins, frames that nobody may send."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from websockets.frames import Frame, Opcode

from tests.process.client import Wire, body
from tests.process.server import ServerProcess, configuration
from tests.process.socket_wire import FRAMING, Refused, SocketWire

LISTENERS = [{"port": 0}, {"kind": "http", "port": 0, "tls": "none"}, {"kind": "http", "port": 0}]
CARBONS = "<enable xmlns='urn:xmpp:carbons:2'/>"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    process = ServerProcess(tmp_path, configuration(listeners=LISTENERS, web={"origins": ["https://chat.example.org"]}))
    await process.start()
    for user in ("romeo", "juliet"):
        await process.account(user)
    yield process
    process.kill()
    assert "Traceback" not in process.log, process.log


def port(server: ServerProcess, label: str = "http") -> int:
    found = re.search(rf"listening on \S+ port (\d+) \({label}\)", server.log)
    assert found is not None, server.log
    return int(found[1])


async def test_a_chat_between_the_transports(server: ServerProcess) -> None:
    romeo = await SocketWire.login(port(server), "romeo", resource="web")
    juliet = await Wire.login(server.port(), "juliet", resource="phone")
    for client in (romeo, juliet):
        client.send("<presence/>")
        await client.find("presence")
    romeo.send("<message to='juliet@localhost' type='chat' id='1'><body>over the wall</body></message>")
    message = await juliet.find("message")
    assert (message.get("from"), body(message)) == ("romeo@localhost/web", "over the wall")
    juliet.send("<message to='romeo@localhost' type='chat' id='2'><body>\N{WHITE HEART SUIT} &lt;3</body></message>")
    assert body(await romeo.find("message")) == "\N{WHITE HEART SUIT} <3"
    assert isinstance(romeo, SocketWire)
    stanzas = [text for text in romeo.frames if text.startswith(("<message", "<presence", "<iq"))]
    assert stanzas and all(" xmlns='jabber:client'" in text.partition(">")[0] for text in stanzas)
    large = "x" * 70_000
    romeo.send(f"<message to='juliet@localhost' type='chat' id='3'><body>{large}</body></message>")
    assert body(await juliet.find("message")) == large
    juliet.send(f"<message to='romeo@localhost' type='chat' id='4'><body>{large}</body></message>")
    assert body(await romeo.find("message")) == large
    romeo.send("<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>")
    await romeo.find(f"{FRAMING}close")
    while not romeo.closed:
        await romeo._read()
    assert romeo.closed == 1000


async def test_a_session_goes_from_one_transport_to_the_other(server: ServerProcess) -> None:
    juliet = await Wire.login(server.port(), "juliet", resource="phone")
    juliet.send("<presence/>")
    wire: Wire = await SocketWire.login(port(server), "romeo", resource="web")
    await wire.iq(CARBONS, "set")
    previous = str((await wire.enable()).get("id"))
    wire.send("<presence/>")
    await wire.find("presence")
    h = 1
    for turn, (transport, address) in enumerate(
        [(Wire, server.port()), (SocketWire, port(server, "https")), (SocketWire, port(server)), (Wire, server.port())]
    ):
        if turn % 2:
            wire.cut()
        elif isinstance(wire, SocketWire):
            wire.close_socket()
        else:
            wire.cut()
        juliet.send(f"<message to='romeo@localhost/web' type='chat' id='t{turn}'><body>turn {turn}</body></message>")
        await juliet.iq("<ping xmlns='urn:xmpp:ping'/>")
        options = {"tls": "https"} if address == port(server, "https") else {}
        wire = await transport.connect(address, **options)  # type: ignore[attr-defined]
        await wire.sign_in("romeo")
        resumed = await wire.resume(previous, h)
        assert resumed.tag.endswith("}resumed"), resumed.attrib
        assert body(await wire.find("message")) == f"turn {turn}"
        h += 1
    second = await Wire.login(server.port(), "romeo", resource="tablet")
    second.send("<presence/>")
    await second.find("presence")
    second.send("<message to='juliet@localhost' type='chat' id='c'><body>copied</body></message>")
    carbon = await wire.find("message")  # still on, however often it went from one to the other
    assert carbon.find("{urn:xmpp:carbons:2}sent") is not None


async def test_what_is_acknowledged_is_there_after_a_kill(server: ServerProcess) -> None:
    romeo = await SocketWire.login(port(server), "romeo")
    await romeo.enable()
    romeo.send("<message to='juliet@localhost' type='chat' id='1'><body>kept</body></message>")
    await romeo.acknowledged(1)
    server.kill()
    await server.start()
    juliet = await SocketWire.login(port(server), "juliet")
    juliet.send("<presence/>")
    assert body(await juliet.find("message")) == "kept"


async def test_a_stop_ends_the_stream_and_then_the_socket(server: ServerProcess) -> None:
    romeo = await SocketWire.login(port(server, "https"), "romeo", tls="https")
    assert isinstance(romeo, SocketWire)
    ended = asyncio.create_task(asyncio.to_thread(server.end))
    assert await romeo.stream_error() == "system-shutdown"
    await romeo.find(f"{FRAMING}close")
    while not romeo.closed:
        await romeo._read()
    romeo.cut()
    assert await ended == 0


async def test_who_may_connect(server: ServerProcess) -> None:
    http = port(server)
    for origin in ("", f"http://localhost:{http}", "https://localhost", "https://chat.example.org"):
        (await SocketWire.dial(http, origin=origin)).cut()
    for origin in ("https://evil.example", "null", "https://chat.example.org.evil.example", "http://[", "file://"):
        with pytest.raises(Refused, match="403"):
            await SocketWire.dial(http, origin=origin)
    with pytest.raises(Refused, match="400"):
        await SocketWire.dial(http, subprotocols=("mqtt",))
    with pytest.raises(Refused, match="400"):
        await SocketWire.dial(http, subprotocols=())


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ([Frame(Opcode.BINARY, b"<r/>")], 1003),
        ([Frame(Opcode.CONT, b"a")], 1002),
        ([Frame(Opcode.TEXT, b"a", fin=False), Frame(Opcode.TEXT, b"b")], 1002),
        ([Frame(Opcode.TEXT, b"<a" + b"a" * 5000, fin=False), Frame(Opcode.CONT, b"b" * 5000)], 1009),
        ([Frame(Opcode.TEXT, b"<a" + b"a" * 10_000)], 1009),
        ([Frame(Opcode.CLOSE, b"\x03\xe8"), Frame(Opcode.TEXT, b"a")], 1000),
        ([Frame(Opcode.CLOSE, b"\x00")], 1002),
    ],
)
async def test_frames_that_are_not_understood(server: ServerProcess, frames: list[Frame], reason: int) -> None:
    wire = await SocketWire.dial(port(server))
    for frame in frames:
        wire.send_frame(frame)
    while not wire.closed:
        assert not wire._reader.at_eof()
        await asyncio.wait_for(wire._read(), 5)
    assert wire.closed == reason
    wire.cut()


async def test_a_message_in_fragments_with_a_ping_between_them(server: ServerProcess) -> None:
    wire = await SocketWire.login(port(server), "romeo")
    assert isinstance(wire, SocketWire)
    text = b"<iq xmlns='jabber:client' type='get' id='f1'><ping xmlns='urn:xmpp:ping'/></iq>"
    wire.send_frame(Frame(Opcode.TEXT, text[:10], fin=False))
    wire.send_frame(Frame(Opcode.PING, b"between"))
    wire.send_frame(Frame(Opcode.CONT, b"", fin=False))
    wire.send_frame(Frame(Opcode.CONT, text[10:]))
    assert (await wire.find("iq", id="f1")).get("type") == "result"


async def test_frames_that_come_in_one_read(server: ServerProcess) -> None:
    """In their order, also where something else comes between them, up to the one that is none."""
    juliet = await Wire.login(server.port(), "juliet")
    juliet.send("<presence/>")
    await juliet.find("presence")
    wire = await SocketWire.login(port(server), "romeo")
    assert isinstance(wire, SocketWire)

    def frame(text: str) -> bytes:
        message = f"<message xmlns='jabber:client' to='juliet@localhost' type='chat' id='{text}'><body>{text}</body>"
        return Frame(Opcode.TEXT, f"{message}</message>".encode()).serialize(mask=True)

    def nobodys(text: str) -> bytes:
        return Frame(Opcode.TEXT, text.encode()).serialize(mask=True)

    ping = nobodys("<iq xmlns='jabber:client' type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>")
    texts = [f"m{number}" for number in range(40)]
    wire._writer.write(b"".join(map(frame, texts[:20])) + ping + b"".join(map(frame, texts[20:])))
    assert [body(await juliet.find("message")) for _ in texts] == texts
    assert (await wire.find("iq", id="p")).get("type") == "result"
    pings = Frame(Opcode.PING, b"between").serialize(mask=True)
    wire._writer.write(frame("last") + frame("but") + pings + frame("one") + nobodys("<message") + frame("never"))
    assert [body(await juliet.find("message")) for _ in range(3)] == ["last", "but", "one"]
    assert await wire.stream_error() == "not-well-formed"
    wire.cut()
    again = await SocketWire.login(port(server), "romeo")
    assert isinstance(again, SocketWire)
    again._writer.write(frame("end"))
    assert body(await juliet.find("message")) == "end"
