"""Streams as bytes and as frames, and stanzas of other namespaces than jabber:client (RFC 6120 section 4, RFC 7395)."""

from __future__ import annotations

from random import Random

import pytest

from xmppd.errors import StreamError
from xmppd.protocol.framing import FRAMING_NS, ByteStream, FrameParser, Frames
from xmppd.protocol.header import STREAM_NS
from xmppd.protocol.items import Item, Limits, Nonza, StreamClose, StreamOpen
from xmppd.stanza import Kind, Stanza
from xmppd.xml import parse

OPEN = f"<open xmlns='{FRAMING_NS}' to='localhost' version='1.0'/>".encode()
CLOSE = f"<close xmlns='{FRAMING_NS}'/>".encode()
MESSAGE = b"<message xmlns='jabber:client' to='juliet@localhost'><body>hi</body></message>"
COMPONENT = "jabber:component:accept"


def opened(parser: FrameParser) -> FrameParser:
    (item,) = parser.feed(OPEN)
    assert isinstance(item, StreamOpen)
    return parser


# ---- frames


def test_open_is_the_header() -> None:
    (item,) = FrameParser().feed(OPEN)
    assert isinstance(item, StreamOpen)
    assert item.attributes == {"to": "localhost", "version": "1.0"}
    assert item.namespace == "jabber:client"


def test_each_frame_is_one_element() -> None:
    parser = opened(FrameParser())
    for _ in range(3):
        (stanza,) = parser.feed(MESSAGE)
        assert isinstance(stanza, Stanza)
        assert (stanza.kind, stanza.tags) == (Kind.MESSAGE, ("jabber:client|body",))
        assert stanza.inside == b"<body>hi</body>"
        parser.rest()
    (nonza,) = parser.feed(b"<r xmlns='urn:xmpp:sm:3'/>")
    assert isinstance(nonza, Nonza)
    assert nonza.tag == "urn:xmpp:sm:3|r"
    (close,) = parser.feed(CLOSE)
    assert isinstance(close, StreamClose)


def test_a_stanza_with_prefixes_stands_alone() -> None:
    (stanza,) = opened(FrameParser()).feed(b"<c:message xmlns:c='jabber:client'><c:body>hi</c:body></c:message>")
    assert isinstance(stanza, Stanza)
    assert parse(b"<x xmlns='jabber:client'>%s</x>" % stanza.inside)[0].tag == "{jabber:client}body"


@pytest.mark.parametrize(
    ("frame", "condition"),
    [
        (MESSAGE + MESSAGE, "not-well-formed"),
        (MESSAGE[:-5], "not-well-formed"),
        (MESSAGE + b"<r", "not-well-formed"),
        (b"", "not-well-formed"),
        (b" ", "not-well-formed"),
        (b" " + MESSAGE, "not-well-formed"),
        (b"</stream:stream>", "not-well-formed"),
        (b"text", "not-well-formed"),
        (b"<a><b></a>", "not-well-formed"),
        (b"<!DOCTYPE a [<!ENTITY e 'e'>]><a/>", "restricted-xml"),
        (b"<!-- a --><a/>", "restricted-xml"),
        (f"<other xmlns='{FRAMING_NS}'/>".encode(), "bad-format"),
        (b"<r xmlns='urn:xmpp:sm:3'>" + b"x" * 9000 + b"</r>", "policy-violation"),
        (b"<message xmlns='jabber:client'>" + b"<a/>" * 40 + b"</message>", "policy-violation"),
    ],
)
def test_what_is_no_frame(frame: bytes, condition: str) -> None:
    """It ends the stream, and nothing is read behind it."""
    parser = opened(FrameParser(Limits(8192, 32, 8, 32, 1)))
    assert parser.feed(frame) == []
    assert parser.fault is not None
    assert parser.fault.condition == condition
    assert parser.feed(MESSAGE) == []


PIECES = [
    MESSAGE,
    b"<message xmlns='jabber:client'><body>&gt; &amp; &#228;</body></message>\n",
    b"<iq xmlns='jabber:client' type='get' id='1'/>",
    b"<iq xmlns='jabber:client' type='get' id='1'><query xmlns='x'/></iq>",
    b"<presence xmlns='jabber:client'/> ",
    b"<r xmlns='urn:xmpp:sm:3'/>",
    b"<a xmlns='urn:xmpp:sm:3' h='1'/>",
    b"<message xmlns='jabber:client'><![CDATA[<iq/>]]></message>",
    MESSAGE[:-10],
    MESSAGE[-10:],
    MESSAGE + MESSAGE,
    MESSAGE + b"<r xmlns='urn:xmpp:sm:3'",
    b"<iq xmlns='jabber:client'><a>",
    b"<iq xmlns='jabber:client'/>text",
    b"<iq xmlns='jabber:client'/></stream:stream>",
    b"<iq xmlns='jabber:client'/><",
    b"<presence xmlns='jabber:client'></iq>",
    b"<presence xmlns='jabber:client'/><!-- a -->",
    f"<r xmlns='{FRAMING_NS}'/>".encode(),
    b"<message xmlns='jabber:client'>" + b"x" * 9000 + b"</message>",
    b"<message xmlns='jabber:client'>" + b"x" * 40_000,
    b"<message xmlns='jabber:client'>" + b"<a/>" * 40 + b"</message>",
]


def written(items: list[Item]) -> list[tuple[object, ...]]:
    return [
        (item.kind, item.data, item.inside, item.tags, item.fault)
        if isinstance(item, Stanza)
        else (item.tag, item.raw)
        if isinstance(item, Nonza)
        else (type(item),)
        for item in items
    ]


@pytest.mark.parametrize("seed", range(300))
def test_several_frames_read_in_one_go_are_what_they_are_one_by_one(seed: int) -> None:
    random = Random(seed)
    frames = random.choices(PIECES[:8], k=random.randrange(1, 6))
    if seed % 3:
        frames[random.randrange(len(frames)) :] = random.choices(PIECES, k=random.randrange(1, 4))
    limits = Limits(8192, 32, 8, 32, 4)
    alone, together = opened(FrameParser(limits)), opened(FrameParser(limits))
    expected: list[Item] = []
    for frame in frames:
        expected += alone.feed(frame)
    if not together.can_feed_all(frames):
        assert MESSAGE[-10:] in frames
        return
    assert written(together.feed_all(frames)) == written(expected)
    if alone.fault is None:
        assert together.fault is None
        assert written(together.feed_all(frames)) == written(expected)
    else:
        assert together.fault is not None
        assert together.fault.condition == alone.fault.condition
        assert together.feed(MESSAGE) == []


def test_frames_that_change_the_stream_are_read_one_by_one() -> None:
    parser = FrameParser()
    assert not parser.can_feed_all([MESSAGE, MESSAGE])
    opened(parser)
    assert parser.can_feed_all([MESSAGE, MESSAGE])
    for other in (OPEN, CLOSE, b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AA==</auth>"):
        assert not parser.can_feed_all([MESSAGE, other])


@pytest.mark.parametrize(
    ("frame", "condition"),
    [
        (MESSAGE, "bad-format"),
        (b"<open to='localhost'/>", "invalid-namespace"),
        (f"<stream:stream xmlns:stream='{STREAM_NS}'>".encode(), "not-well-formed"),
    ],
)
def test_the_first_frame_is_open(frame: bytes, condition: str) -> None:
    parser = FrameParser()
    assert parser.feed(frame) == []
    assert parser.fault is not None
    assert parser.fault.condition == condition


def test_a_message_without_its_namespace_is_no_stanza() -> None:
    """RFC 7395 section 3.3.2: nothing is inherited from one frame to the next."""
    (item,) = opened(FrameParser()).feed(b"<message><body>hi</body></message>")
    assert isinstance(item, Nonza)


def test_reset_expects_open_again() -> None:
    parser = opened(FrameParser())
    parser.reset()
    assert parser.feed(MESSAGE) == []
    assert parser.fault is not None
    parser.reset()
    opened(parser)
    assert len(parser.feed(MESSAGE)) == 1


def test_what_is_written_in_frames_stands_alone() -> None:
    framing = Frames()
    header = parse(framing.header({"from": "localhost", "id": "a'b", "version": "1.0"}))
    assert header.tag == f"{{{FRAMING_NS}}}open"
    assert dict(header.attrib) == {"from": "localhost", "id": "a'b", "version": "1.0"}
    assert parse(framing.features(b"<x xmlns='urn:x'/>")).tag == f"{{{STREAM_NS}}}features"
    error = parse(framing.error(StreamError("undefined-condition", "no", ("urn:x", "why", {"h": "1"}))))
    assert error.tag == f"{{{STREAM_NS}}}error"
    assert [child.tag.rpartition("}")[2] for child in error] == ["undefined-condition", "text", "why"]
    assert error[2].get("h") == "1"
    assert parse(framing.closing).tag == f"{{{FRAMING_NS}}}close"


# ---- namespaces of stanzas


@pytest.mark.parametrize("namespace", ["jabber:server", COMPONENT])
@pytest.mark.parametrize(
    "inside",
    [
        b"<body>hi</body><x xmlns='urn:x'/>",
        b"<body xmlns='%s'>hi</body><x xmlns='urn:x'/>",
        b"<n:body xmlns:n='%s'>hi</n:body><x xmlns='urn:x'/>",
    ],
)
def test_stanzas_of_another_namespace_come_out_as_jabber_client(namespace: str, inside: bytes) -> None:
    framing = ByteStream(namespace)
    assert f"xmlns='{namespace}'".encode() in framing.header({})
    parser = framing.parser(Limits())
    inside = inside.replace(b"%s", namespace.encode())
    header = f"<stream:stream xmlns='{namespace}' xmlns:stream='{STREAM_NS}'>".encode()
    opening, stanza = parser.feed(header + b"<message to='juliet@localhost'>" + inside + b"</message>")
    assert isinstance(opening, StreamOpen)
    assert opening.namespace == namespace
    assert isinstance(stanza, Stanza)
    assert stanza.tags == ("jabber:client|body", "urn:x|x")
    around = parse(b"<message xmlns='jabber:client'>%s</message>" % stanza.inside)
    assert [each.tag for each in around.iter()] == ["{jabber:client}message", "{jabber:client}body", "{urn:x}x"]
    assert around[0].text == "hi"
    assert stanza.data.startswith(b"<message")


def test_a_client_stanza_is_none_on_a_server_stream() -> None:
    parser = ByteStream("jabber:server").parser(Limits())
    header = f"<stream:stream xmlns='jabber:server' xmlns:stream='{STREAM_NS}'>".encode()
    _, item = parser.feed(header + MESSAGE)
    assert isinstance(item, Nonza)
