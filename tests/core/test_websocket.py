"""WebSocket frames (RFC 6455 section 5), beside those of a library, and what the stream's connection makes of them."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Mapping
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from tests.harness import FakeClock
from xmppd.contracts.http import HttpError, HttpRequest
from xmppd.errors import StreamError
from xmppd.protocol.framing import standing_alone
from xmppd.protocol.websocket import CLOSE, PING, PONG, TEXT, FrameReader, close_frame, frame
from xmppd.server.web_streams import check_origin
from xmppd.streams.websocket import LOOK, SILENT, WebSocketLink, WebSockets, answer_handshake


def masked(opcode: Opcode, content: bytes, fin: bool = True) -> bytes:
    return Frame(opcode, content, fin=fin).serialize(mask=True)


messages = st.lists(
    st.one_of(
        st.tuples(st.just("text"), st.integers(0, 70_000), st.lists(st.integers(0, 300), max_size=4)),
        st.tuples(st.just("ping"), st.integers(0, 125), st.just([])),
    ),
    max_size=6,
)


@given(messages, st.lists(st.integers(1, 40_000), min_size=1, max_size=8))
def test_what_a_library_sends_is_read_in_whatever_pieces_it_comes(
    wanted: list[tuple[str, int, list[int]]], pieces: list[int]
) -> None:
    wire, expected = b"", []
    for kind, size, parts in wanted:
        content = (b"\xc3\xa9<x/>" * (size // 6 + 1))[:size]
        if kind == "ping":
            wire += masked(Opcode.PING, content)
            expected.append((PING, content))
            continue
        rest = content
        for at, part in enumerate(parts):
            wire += masked(Opcode.CONT if at else Opcode.TEXT, rest[:part], fin=False)
            wire += masked(Opcode.PONG, b"p")
            expected.append((PONG, b"p"))
            rest = rest[part:]
        wire += masked(Opcode.CONT if parts else Opcode.TEXT, rest)
        expected.append((TEXT, content))
    reader, found, at = FrameReader(1 << 20), [], 0
    while at < len(wire):
        for piece in pieces:
            found += reader.feed(wire[at : at + piece])
            at += piece
    assert (reader.fault, found, reader.pending) == (0, expected, 0)


@given(st.binary(max_size=200), st.integers(1, 50))
def test_whatever_comes_is_a_fault_or_waits(data: bytes, size: int) -> None:
    """And the pieces make no difference."""
    whole, parts = FrameReader(100), FrameReader(100)
    found = whole.feed(data)
    again = [each for at in range(0, len(data), size) for each in parts.feed(data[at : at + size])]
    assert (found, whole.fault) == (again, parts.fault)
    assert whole.pending <= 100 + 14 + len(data)


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"\x81\x05hello", 1002),  # not masked
        (b"\xc1\x80mask", 1002),  # a reserved bit
        (b"\x83\x80mask", 1002),  # no such opcode
        (b"\x8b\x80mask", 1002),
        (b"\x09\x80mask", 1002),  # a ping in fragments
        (b"\x89\xfe\x00\x7emask", 1002),  # a ping of 126 bytes
        (b"\x80\x80mask", 1002),  # continues nothing
        (b"\x81\xfe\x00\x05maskhello", 1002),  # a length in more bytes than it needs
        (b"\x81\xff\x00\x00\x00\x00\x00\x00\xff\xffmask", 1002),
        (b"\x82\x80mask", 1003),
        (b"\x81\xfe\x04\x00mask", 1009),  # before its content comes
        (b"\x81\xff\xff\xff\xff\xff\xff\xff\xff\xffmask", 1009),
        (b"\x88\x81mask\x00", 1002),
        (b"\x88\x82\0\0\0\0\x03\xed", 1002),  # 1005 is no reason
        (b"\x88\x83\0\0\0\0\x03\xe8\xff", 1002),
    ],
)
def test_what_ends_a_websocket(data: bytes, fault: int) -> None:
    reader = FrameReader(1000)
    assert reader.feed(data) == []
    assert reader.fault == fault
    assert reader.feed(masked(Opcode.TEXT, b"more")) == []


def test_fragments_are_bounded_before_they_are_put_together() -> None:
    reader = FrameReader(1000)
    reader.feed(masked(Opcode.TEXT, b"a" * 600, fin=False))
    header = masked(Opcode.CONT, b"a" * 600, fin=False)[:8]
    assert reader.feed(header) == []
    assert (reader.fault, reader.pending) == (1009, 600)


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_frames_of_every_length(size: int) -> None:
    assert frame(TEXT, b"x" * size) == Frame(Opcode.TEXT, b"x" * size).serialize(mask=False)


@pytest.mark.parametrize(
    ("element", "alone"),
    [
        (b"<message to='a'><body/></message>", b"<message xmlns='jabber:client' to='a'><body/></message>"),
        (b"<presence/>", b"<presence xmlns='jabber:client'/>"),
        (b"<iq>", b"<iq xmlns='jabber:client'>"),
        (b"<iqs xmlns='a'/>", None),
        (b"<presences xmlns='a'/>", None),
        (b"<r xmlns='urn:xmpp:sm:3'/>", None),
        (b"<proceed xmlns='b'/>", None),
        (b"<mechanisms xmlns='b'/>", None),
        (b"", None),
    ],
)
def test_stanzas_stand_alone(element: bytes, alone: bytes | None) -> None:
    assert standing_alone(element) == (alone or element)


def handshake(**changes: str) -> dict[str, str]:
    headers = {
        "upgrade": "websocket",
        "connection": "keep-alive, Upgrade",
        "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
        "sec-websocket-protocol": "soap, xmpp",
    }
    return headers | {name.replace("_", "-"): value for name, value in changes.items()}


def test_the_handshake_of_the_rfc() -> None:
    answer = answer_handshake("GET", handshake())
    assert answer == {"Sec-WebSocket-Accept": "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "Sec-WebSocket-Protocol": "xmpp"}
    key = base64.b64encode(bytes(16)).decode()
    wanted = base64.b64encode(hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()).decode()
    assert answer_handshake("GET", handshake(sec_websocket_key=key))["Sec-WebSocket-Accept"] == wanted


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"upgrade": "h2c"}, 426),
        ({"connection": "close"}, 426),
        ({"sec_websocket_version": "8"}, 426),
        ({"sec_websocket_protocol": "xmpp2"}, 400),
        ({"sec_websocket_key": ""}, 400),
        ({"sec_websocket_key": "c2hvcnQ="}, 400),
        ({"sec_websocket_key": "\N{SNOWMAN}"}, 400),
    ],
)
def test_handshakes_that_fail(changes: Mapping[str, str], status: int) -> None:
    with pytest.raises(HttpError) as error:
        answer_handshake("GET", handshake(**changes))
    assert error.value.status == status


def test_pages_of_the_domains_that_are_served_may_connect() -> None:
    def ask(origin: str, host: str = "xmpp.example.org:5281", allowed: tuple[str, ...] = ()) -> None:
        headers = {"host": host, "origin": origin}
        body = cast(Any, None)
        check_origin(HttpRequest("GET", "/", {}, headers, body, "127.0.0.1", "", True), allowed, ["example.org"])

    ask("https://xmpp.example.org:5281")
    ask("https://example.org")
    ask("https://EXAMPLE.org:8443")
    ask("https://other.example", allowed=("*",))
    ask("https://other.example", allowed=("https://other.example",))
    for origin in ("https://other.example", "https://xmpp.example.org", "null", "https://example.org.other.example"):
        with pytest.raises(HttpError):
            ask(origin)


class Below:
    """The connection below a WebSocket."""

    peer = "127.0.0.1"

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.read = True
        self.closed = False

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def hold(self) -> None:
        """Nothing is put off here."""

    def take_first(self) -> None:
        """There are no others."""

    def read_in_bulk(self, much: bool) -> None:
        """No matter here."""

    def pause_reading(self) -> None:
        self.read = False

    def resume_reading(self) -> None:
        self.read = True

    def close(self) -> None:
        self.closed = True


class Stream:
    """The stream above it: pauses at what says so."""

    def __init__(self) -> None:
        self.parser = cast(Any, type("Parser", (), {"limits": type("Limits", (), {"most": 1000})}))
        self.link: WebSocketLink
        self.got: list[bytes] = []
        self.channel_binding = "exporter"
        self.ended = ""
        self.charged = 0
        self.unfinished = False

    def connected(self, link: WebSocketLink) -> None:
        self.link = link

    def data_received(self, data: bytes) -> None:
        self.got.append(data)
        if data == b"pause":
            self.link.pause_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self.got.append(b"lost")

    def fail(self, error: StreamError) -> None:
        self.ended = error.condition

    def charge(self, size: int, stanzas: int) -> None:
        self.charged += stanzas


async def advance(clock: FakeClock, seconds: float = 0.0) -> None:
    """Timers fire, and what is called soon is called."""
    until = clock.time + seconds
    while (callback := clock.due(until)) is not None:
        callback()
    await asyncio.sleep(0)


def web_socket(peer: str = "127.0.0.1", secure: bool = True) -> tuple[FakeClock, WebSocketLink, Stream, Below]:
    clock, stream, below = FakeClock(), Stream(), Below()
    link = WebSocketLink(WebSockets(clock), cast(Any, stream), peer, secure)
    link.connected(cast(Any, below))
    return clock, link, stream, below


async def test_nothing_is_handed_to_a_stream_that_is_not_read() -> None:
    clock, link, stream, below = web_socket()
    link.data_received(b"".join(masked(Opcode.TEXT, each) for each in (b"one", b"pause", b"two", b"pause", b"three")))
    assert (stream.got, below.read) == ([b"one", b"pause"], False)
    link.resume_reading()
    assert (stream.got, below.read) == ([b"one", b"pause"], False)  # in a later turn
    await advance(clock)
    assert (stream.got[2:], below.read) == ([b"two", b"pause"], False)
    link.resume_reading()
    link.pause_reading()
    await advance(clock)
    assert stream.got[4:] == []
    link.resume_reading()
    await advance(clock)
    assert (stream.got[4:], below.read) == ([b"three"], True)


async def test_a_silent_websocket_is_pinged_before_a_proxy_cuts_it() -> None:
    clock, link, _, below = web_socket()
    for _ in range(3):
        below.written.clear()
        for _ in range(4):
            await advance(clock, LOOK)
            if below.written:
                break
        assert below.written == [frame(PING, b"")]
        assert (SILENT + 1) * LOOK < 50
    link.write(b"<r xmlns='urn:xmpp:sm:3'/>")
    below.written.clear()
    await advance(clock, LOOK * (SILENT - 1))
    assert below.written == []
    link.connection_lost(None)
    await advance(clock, LOOK * 10)
    assert below.written == [] and not link.all.open


def test_pings_are_answered_and_a_close_is_returned() -> None:
    _, link, stream, below = web_socket()
    link.data_received(masked(Opcode.PING, b"?") + masked(Opcode.CLOSE, b"\x03\xe8") + masked(Opcode.TEXT, b"late"))
    assert below.written == [frame(PONG, b"?"), close_frame(1000)]
    assert below.closed and stream.got == []
    assert frame(CLOSE, b"\x03\xe8") == close_frame(1000)


def test_a_flood_of_frames_that_are_no_messages_counts_as_if_they_were() -> None:
    """And of many pings in one read the last one is answered (RFC 6455 section 5.5.3)."""
    _, link, stream, below = web_socket()
    link.data_received(b"".join(masked(Opcode.PING, b"%d" % number) for number in range(100)))
    assert (below.written, stream.charged) == ([frame(PONG, b"99")], 100)
    link.data_received(masked(Opcode.TEXT, b"<", fin=False) + masked(Opcode.CONT, b"", fin=False) * 50)
    assert stream.charged == 151
    stream.parser.limits.most = 10_000
    link.data_received(masked(Opcode.CONT, b"a" * 2000, fin=False) + masked(Opcode.CONT, b"b" * 2000))
    assert stream.charged == 151
    assert stream.got == [b"<" + b"a" * 2000 + b"b" * 2000]


def test_behind_a_proxy_there_is_no_channel_to_bind_to_and_nothing_without_tls() -> None:
    for peer, secure, binding, ended in (
        ("127.0.0.1", True, "exporter", ""),
        ("127.0.0.1", False, "exporter", ""),  # a listener that needs no TLS
        ("192.0.2.7", True, "none", ""),
        ("192.0.2.7", False, "none", "policy-violation"),
    ):
        _, _, stream, _ = web_socket(peer, secure)
        assert (stream.channel_binding, stream.ended) == (binding, ended)
