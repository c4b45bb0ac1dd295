"""The pump of streams with other negotiations than the client's: another namespace (XEP-0114 in small), and frames."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness import Element, FakeLink, Harness, xml
from xmppd.errors import StorageUnavailable, StreamError
from xmppd.protocol.framing import FRAMING_NS, ByteStream, Frames, Framing
from xmppd.protocol.header import STREAM_NS
from xmppd.protocol.items import Limits, Nonza
from xmppd.stanza import Stanza
from xmppd.streams.base import INBOX, XmlStream
from xmppd.streams.client import ClientStream
from xmppd.xml import parse, to_bytes

if TYPE_CHECKING:
    from xmppd.background import Background

NS = "jabber:component:accept"
HEADER = f"<stream:stream xmlns='{NS}' xmlns:stream='{STREAM_NS}' to='echo.localhost'>"
CLOSING = "</stream:stream>"
SECRET = "sesame"


class Component(XmlStream):
    """STRANGER: <handshake/> only; then stanzas. None is answered: they are noted, and waited for if asked to."""

    version = ""

    def __init__(self, server: Any, framing: Framing, peer: Peer) -> None:
        super().__init__(server, framing, Limits(8192, 32, 8, 32, 1))
        self.host = server.default_host
        self.peer_log = peer
        self.to = ""
        self.id = ""
        self.accepted = False
        self.before: asyncio.Future[None] | None = None

    @property
    def domain(self) -> str:
        return self.to

    @property
    def background(self) -> Background:
        background: Background = self.host.background
        return background

    def make_id(self) -> str:
        self.id = super().make_id()
        return self.id

    def header_received(self, attributes: Mapping[str, str]) -> None:
        self.to = attributes.get("to", "")
        if self.to != "echo.localhost":
            raise StreamError("host-unknown")

    def features(self) -> bytes:
        return b""

    def element_received(self, nonza: Nonza) -> bool:
        if nonza.tag != f"{NS}|handshake" or self.accepted:
            raise StreamError("unsupported-stanza-type")
        if nonza.text != hashlib.sha1((self.id + SECRET).encode()).hexdigest():
            raise StreamError("not-authorized")
        self.accepted = True
        self.write(b"<handshake/>")
        return True

    def stanza_received(self, stanza: Stanza) -> None:
        if not self.accepted:
            raise StreamError("not-authorized")
        self.peer_log.noted.append(stanza.id)
        if self.before is not None:
            self.wait(self.before)

    def ended(self, error: StreamError | None) -> None:
        self.peer_log.ended.append(error.condition if error else "")

    def lost(self) -> None:
        self.peer_log.times_lost += 1


class Featured(Component):
    """The same with XMPP 1.0."""

    version = "1.0"

    def features(self) -> bytes:
        return b"<x xmlns='urn:x'/>"


class Peer:
    """The other end: what it gets, what became of its stanzas."""

    def __init__(self, harness: Harness, made: Any, framing: Framing) -> None:
        self.harness = harness
        self.link = FakeLink(self, secure=False)  # type: ignore[arg-type]
        self.noted: list[str] = []
        self.ended: list[str] = []
        self.times_lost = 0
        self.got: list[bytes] = []
        self.stream = made(harness.server, framing, self)
        self.stream.connected(self.link)

    def feed(self, data: bytes) -> None:
        self.got.append(data)

    def push(self) -> None:
        """It is read again."""

    def lost(self) -> None:
        self.stream.connection_lost(None)

    def send(self, text: str) -> None:
        self.stream.data_received(text.encode())

    @property
    def text(self) -> str:
        return b"".join(self.got).decode()


def component(harness: Harness, made: Any = Component) -> Peer:
    return Peer(harness, made, ByteStream(NS))


def accepted(harness: Harness) -> Peer:
    peer = component(harness)
    peer.send(HEADER)
    peer.send(f"<handshake>{hashlib.sha1((peer.stream.id + SECRET).encode()).hexdigest()}</handshake>")
    assert peer.text.endswith("<handshake/>")
    return peer


def message(id: object, more: str = "") -> str:
    return f"<message id='{id}' from='a@echo.localhost' to='juliet@localhost'>{more}</message>"


# ---- another namespace


async def test_the_header_is_of_that_namespace(server: Harness) -> None:
    peer = component(server)
    peer.send(HEADER)
    header = parse(peer.got[0] + CLOSING.encode())
    assert header.nsmap == {None: NS, "stream": STREAM_NS}
    assert header.get("from") == "echo.localhost"
    assert header.get("id") == peer.stream.id
    assert header.get("version") is None
    assert len(peer.got) == 1, "no features"


async def test_with_versions_there_are_features(server: Harness) -> None:
    peer = component(server, Featured)
    peer.send(HEADER.replace("to=", "version='1.0' to="))
    assert "version='1.0'" in peer.text
    assert peer.got[1] == b"<stream:features><x xmlns='urn:x'/></stream:features>"
    old = component(server, Featured)
    old.send(HEADER)
    assert old.ended == ["unsupported-version"]


@pytest.mark.parametrize(
    ("sent", "condition"),
    [
        (HEADER.replace(NS, "jabber:client"), "invalid-namespace"),
        (HEADER.replace("echo.", "other."), "host-unknown"),
        (HEADER + "<handshake>wrong</handshake>", "not-authorized"),
        (HEADER + message(1), "not-authorized"),
        (HEADER + "<message xmlns='jabber:client'/>", "unsupported-stanza-type"),
        (HEADER + "<a><b></a>", "not-well-formed"),
        (HEADER + "<handshake>" + "x" * 9000, "policy-violation"),
        ("<html>", "bad-format"),
    ],
)
async def test_what_is_refused(server: Harness, sent: str, condition: str) -> None:
    """One header, one error, the closing tag; nothing is read behind it."""
    peer = component(server)
    peer.send(sent)
    peer.send(message(2))
    document = parse(peer.text.replace("<?xml version='1.0'?>", "").encode())
    assert [child.tag for child in document] == [f"{{{STREAM_NS}}}error"]
    assert document[0][0].tag.endswith(f"}}{condition}")
    assert (peer.ended, peer.noted) == ([condition], [])
    await server.quiet()
    assert peer.times_lost == 1


async def test_a_goodbye_is_answered(server: Harness) -> None:
    peer = accepted(server)
    peer.send(message(1) + CLOSING + message(2))
    assert peer.text.endswith(CLOSING)
    assert (peer.noted, peer.ended) == (["1"], [""])


async def test_a_restart_expects_a_header(server: Harness) -> None:
    peer = accepted(server)
    first = peer.stream.id
    peer.stream.restart()
    peer.send(HEADER + message(1))
    assert peer.stream.id != first
    assert peer.noted == ["1"]


# ---- one thing after the other


async def test_what_follows_waits_in_order_and_is_bounded(server: Harness) -> None:
    peer = accepted(server)
    peer.stream.before = before = asyncio.get_running_loop().create_future()
    for number in range(INBOX + 2):
        peer.send(message(number))
    assert peer.noted == ["0"]
    assert peer.link.paused, "the inbox is full"
    assert peer.stream.inbox_size > 0
    assert server.server.memory.incoming == peer.stream.inbox_size
    peer.stream.before = None
    before.set_result(None)
    await server.quiet()
    assert peer.noted == [str(number) for number in range(INBOX + 2)]
    assert not peer.link.paused
    assert peer.stream.inbox_size == 0
    assert server.server.memory.incoming == 0


@pytest.mark.server(more="limits: {incoming_size: 64 KiB}")
async def test_bytes_that_wait_are_bounded(server: Harness) -> None:
    peer = accepted(server)
    peer.stream.before = before = asyncio.get_running_loop().create_future()
    for number in range(12):
        peer.send(message(number, "x" * 7000))
    assert peer.link.paused
    peer.stream.before = None
    before.set_result(None)
    await server.quiet()
    assert not peer.link.paused


@pytest.mark.parametrize(
    ("error", "condition"),
    [
        (StreamError("policy-violation"), "policy-violation"),
        (StorageUnavailable("away"), "resource-constraint"),
        (ValueError("ours"), "internal-server-error"),
    ],
)
async def test_what_fails_while_it_waits_ends_the_stream(server: Harness, error: Exception, condition: str) -> None:
    peer = accepted(server)
    peer.stream.before = before = asyncio.get_running_loop().create_future()
    peer.send(message(0) + message(1))
    before.set_exception(error)
    await server.quiet()
    assert (peer.noted, peer.ended) == (["0"], [condition])


async def test_a_fault_behind_what_waits_comes_in_its_turn(server: Harness) -> None:
    peer = accepted(server)
    peer.stream.before = before = asyncio.get_running_loop().create_future()
    peer.send(message(0) + message(1) + "<a></b>")
    assert not peer.ended
    peer.stream.before = None
    before.set_result(None)
    await server.quiet()
    assert (peer.noted, peer.ended) == (["0", "1"], ["not-well-formed"])


async def test_a_peer_that_does_not_read_is_not_read(server: Harness) -> None:
    peer = accepted(server)
    peer.stream.pause_writing()
    assert peer.link.paused
    peer.stream.resume_writing()
    assert not peer.link.paused


@pytest.mark.server(more="limits: {per_connection: {stanzas: 1, stanzas_burst: 5}}")
async def test_who_sends_too_much_waits(server: Harness) -> None:
    peer = accepted(server)
    for number in range(20):
        peer.link.last_read = server.clock.monotonic()
        peer.send(message(number))
        if peer.link.paused:
            break
    assert peer.link.paused
    await server.advance(60)
    assert not peer.link.paused


# ---- frames


OPEN = f"<open xmlns='{FRAMING_NS}' to='localhost' version='1.0'/>"
SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
BIND = "urn:ietf:params:xml:ns:xmpp-bind"


class Browser(Peer):
    """A client whose stream comes in frames (RFC 7395)."""

    def __init__(self, harness: Harness) -> None:
        super().__init__(harness, lambda server, framing, peer: ClientStream(server, "none", framing=framing), Frames())

    async def frames(self) -> list[Element]:
        await self.harness.quiet()
        got, self.got = self.got, []
        return [parse(each) for each in got]


async def test_a_client_negotiates_and_sends_in_frames(server: Harness) -> None:
    juliet = await server.login("juliet", presence=True)
    await server.register("romeo")
    browser = Browser(server)
    browser.send(OPEN)
    header, features = await browser.frames()
    assert header.tag == f"{{{FRAMING_NS}}}open"
    assert header.get("from") == "localhost"
    assert features.tag == f"{{{STREAM_NS}}}features"
    initial = base64.b64encode(b"\0romeo\0pencil").decode()
    browser.send(f"<auth xmlns='{SASL}' mechanism='PLAIN'>{initial}</auth>")
    assert [each.tag for each in await browser.frames()] == [f"{{{SASL}}}success"]
    browser.send(OPEN)
    _, features = await browser.frames()
    assert features.find(f"{{{BIND}}}bind") is not None
    browser.send(f"<iq xmlns='jabber:client' type='set' id='b'><bind xmlns='{BIND}'/></iq>")
    assert (await browser.frames())[0].get("type") == "result"
    text = "<message xmlns='jabber:client' to='juliet@localhost' type='chat' id='m'><body>hi</body></message>"
    browser.send(text)
    assert (await juliet.receive()).findtext("{jabber:client}body") == "hi"
    browser.send(f"<close xmlns='{FRAMING_NS}'/>")
    assert to_bytes((await browser.frames())[-1]).startswith(b"<close")
    assert browser.stream.closed


@pytest.mark.parametrize(
    ("frames", "condition"),
    [
        (["<message xmlns='jabber:client'/>"], "bad-format"),
        ([OPEN, OPEN], "bad-format"),
        ([OPEN, "<message xmlns='jabber:client'/>"], "not-authorized"),
        ([OPEN + OPEN], "not-well-formed"),
        ([OPEN.replace("localhost", "elsewhere")], "host-unknown"),
    ],
)
async def test_what_frames_may_not_hold(server: Harness, frames: list[str], condition: str) -> None:
    """The error and <close/> come in frames of their own, behind an <open/>."""
    browser = Browser(server)
    for frame in frames:
        browser.send(frame)
    got = await browser.frames()
    assert got[0].tag == f"{{{FRAMING_NS}}}open"
    error, close = got[-2:]
    assert (error.tag, close.tag) == (f"{{{STREAM_NS}}}error", f"{{{FRAMING_NS}}}close")
    assert error[0].tag.endswith(f"}}{condition}"), xml(error)
