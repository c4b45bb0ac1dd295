"""Streams as bytes and as frames, and stanzas of other namespaces than jabber:client (RFC 6120 section 4, RFC 7395)."""

from __future__ import annotations

from random import Random

import pytest

from xmppd.errors import StreamError
from xmppd.jid import JID
from xmppd.protocol.framing import FRAMING_NS, SERVER_STREAM, ByteStream, FrameParser, Frames, written_in
from xmppd.protocol.header import DIALBACK_NS, LANG, SERVER_NS, STREAM_NS
from xmppd.protocol.items import Item, Limits, Nonza, StreamClose, StreamOpen
from xmppd.stanza import Kind, Stanza, embedded, parse_stanza
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
        b"<body xmlns='jabber&#58;%s'>hi</body><x xmlns='urn:x'/>",
        b"<body xmlns='jabber:client'>hi</body><x xmlns='urn:x'/>",
    ],
)
def test_stanzas_of_another_namespace_come_out_as_jabber_client(namespace: str, inside: bytes) -> None:
    framing = ByteStream(namespace)
    assert f"xmlns='{namespace}'".encode() in framing.header({})
    parser = framing.parser(Limits())
    inside = inside.replace(b"jabber&#58;%s", namespace.replace(":", "&#58;").encode())
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


# ---- between servers (RFC 6120 section 4.8)

SERVERS = f"<stream:stream xmlns='{SERVER_NS}' xmlns:stream='{STREAM_NS}' xmlns:db='{DIALBACK_NS}'>".encode()
FORWARDED = (
    b"<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'><body>old</body></message></forwarded>"
)


def between_servers(data: bytes, header: bytes = SERVERS) -> Item:
    parser = SERVER_STREAM.parser(Limits())
    opening, item = parser.feed(header + data)
    assert parser.fault is None
    assert isinstance(opening, StreamOpen)
    return item


def namespaces_outside(data: bytes) -> set[str]:
    """Those of a stanza on a stream between servers, without what is embedded in elements of others."""
    found, around = set(), parse(SERVERS + data + b"</stream:stream>")
    below = [around[0]]
    for each in below:
        namespace = each.tag[1:].partition("}")[0]
        found.add(namespace)
        if namespace in ("jabber:client", SERVER_NS):
            below.extend(each)
    return found


def test_the_header_of_a_server_stream() -> None:
    """The one that opens it names no id, the other does."""
    addresses = {"from": "capulet.example", "to": "montague.example"}
    for attributes in (
        {**addresses, "version": "1.0", LANG: "en"},
        {**addresses, "id": "a'b<", "version": "1.0", LANG: "en"},
    ):
        header = SERVER_STREAM.header(attributes)
        tree = parse(header + SERVER_STREAM.closing)
        assert tree.nsmap == {None: SERVER_NS, "stream": STREAM_NS, "db": DIALBACK_NS}
        (opening,) = SERVER_STREAM.parser(Limits()).feed(header)
        assert isinstance(opening, StreamOpen)
        assert opening.attributes == attributes
        assert opening.namespace == SERVER_NS
        assert opening.declared == {STREAM_NS, DIALBACK_NS}


def test_no_attribute_hides_what_a_header_declares() -> None:
    """Otherwise an element that uses it would not stand alone."""
    header = SERVERS.replace(b" xmlns:db=", b""" a=" xmlns:x='" xmlns:db=""")
    item = between_servers(b"<message><db:x/></message>", header)
    assert isinstance(item, Stanza)
    assert item.tags == (f"{DIALBACK_NS}|x",)
    assert item.child(DIALBACK_NS, "x") is not None


SAME = [
    b"<message to='a@b'><body>hi</body><subject/></message>",
    b"<message to='a@b' xmlns='jabber:server'><body>hi</body><subject/></message>",
    b"<message to='a@b'><body xmlns='jabber:server'>hi</body><subject/></message>",
    b"<message to='a@b'><body xmlns='jabber&#x3a;server'>hi</body><subject/></message>",
    b"<s:message to='a@b' xmlns:s='jabber:server'><s:body>hi</s:body><s:subject/></s:message>",
    b"<message to='a@b' xmlns:s='jabber:server'><s:body>hi</s:body><subject/></message>",
    b"<s:message to='a@b' xmlns:s='jabber:server' xmlns='urn:y'><s:body>hi</s:body><s:subject/></s:message>",
    b"<message to='a@b'><s:body xmlns:s='jabber:server'>hi</s:body><subject/></message>",
]


@pytest.mark.parametrize("data", SAME)
def test_stanzas_of_servers_are_those_of_clients(data: bytes) -> None:
    """Inherited, declared again, by a prefix."""
    stanza = between_servers(data)
    assert isinstance(stanza, Stanza)
    assert (stanza.kind, stanza.to) == (Kind.MESSAGE, JID.parse("a@b"))
    assert stanza.tags == ("jabber:client|body", "jabber:client|subject")
    body = stanza.child("jabber:client", "body")
    assert body is not None
    assert body.text == "hi"
    assert SERVER_NS.encode() not in stanza.data
    stored = parse_stanza(stanza.data)
    assert stored.tags == stanza.tags
    assert stored.child("jabber:client", "body") is not None
    assert namespaces_outside(written_in(stanza, SERVER_NS)) == {SERVER_NS}


def test_the_error_of_a_stanza_from_a_server() -> None:
    stanza = between_servers(
        b"<iq type='error' id='1' to='a@b'><ping xmlns='urn:xmpp:ping'/><error type='cancel'>"
        b"<service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
    )
    assert isinstance(stanza, Stanza)
    assert stanza.is_error
    error = stanza.child("jabber:client", "error")
    assert error is not None
    assert error.get("type") == "cancel"
    assert error[0].tag == "{urn:ietf:params:xml:ns:xmpp-stanzas}service-unavailable"


@pytest.mark.parametrize(
    "inside",
    [
        b"<body xmlns='jabber:client'>hi</body>",
        b"<c:body xmlns:c='jabber:client'>hi</c:body>",
        b"<body xmlns='jabber&#58;client'>hi</body>",
        b"<error xmlns='jabber:client'><text/><c:text xmlns:c='jabber:client'/></error>",
    ],
)
def test_nothing_of_a_client_is_left_but_what_is_embedded(inside: bytes) -> None:
    inside = b"jabber:client &lt;" + inside + FORWARDED + b"&#38;"
    stanza = Stanza(Kind.MESSAGE, "chat", JID.parse("a@b"), JID.parse("c@d"), "1", inside)
    data = written_in(stanza, SERVER_NS)
    assert namespaces_outside(data) == {SERVER_NS, "urn:xmpp:forward:0"}
    tree = parse(SERVERS + data + b"</stream:stream>")[0]
    assert tree.text == "jabber:client <"
    assert tree[-1].tail == "&"
    assert [each.tag for each in tree[-1].iter()][1:] == ["{jabber:client}message", "{jabber:client}body"]
    assert dict(tree.attrib) == {"from": "c@d", "to": "a@b", "type": "chat", "id": "1"}


def test_a_namespace_is_found_that_is_written_with_references_only() -> None:
    stanza = Stanza(Kind.MESSAGE, inside=b"<body xmlns='jabber&#58;client'>hi</body>")
    assert namespaces_outside(written_in(stanza, SERVER_NS)) == {SERVER_NS}
    plain = Stanza(Kind.MESSAGE, inside=b"<body>&#228;</body>")
    assert written_in(plain, SERVER_NS) is plain.data, "nothing to do"


def test_what_is_forwarded_between_servers_stays_as_it_is() -> None:
    stanza = between_servers(b"<message to='a@b'><body>hi</body>" + FORWARDED + b"</message>")
    assert isinstance(stanza, Stanza)
    assert FORWARDED in stanza.data
    outside = between_servers(written_in(Stanza(Kind.MESSAGE, inside=FORWARDED), SERVER_NS))
    assert isinstance(outside, Stanza)
    assert outside.tags == ("urn:xmpp:forward:0|forwarded",)
    assert embedded(stanza.data).startswith(b"<message xmlns='jabber:client'")


@pytest.mark.parametrize(
    ("raw", "tag", "children"),
    [
        (b"<stream:features><x xmlns='urn:x'/></stream:features>", f"{STREAM_NS}|features", ["urn:x|x"]),
        (b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", "urn:ietf:params:xml:ns:xmpp-tls|starttls", []),
        (b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>=</auth>", "urn:ietf:params:xml:ns:xmpp-sasl|auth", []),
        (b"<r xmlns='urn:xmpp:sm:3'/>", "urn:xmpp:sm:3|r", []),
        (b"<db:result/>", f"{DIALBACK_NS}|result", []),
        (b"<db:verify><error/></db:verify>", f"{DIALBACK_NS}|verify", ["jabber:server|error"]),
        (b"<d:verify xmlns:d='%s'><error/></d:verify>", f"{DIALBACK_NS}|verify", ["jabber:server|error"]),
        (b"<other><x xmlns='urn:x'/></other>", "jabber:server|other", ["urn:x|x"]),
        (b"<message xmlns='jabber:client'/>", "jabber:client|message", []),
    ],
)
def test_all_else_between_servers_is_no_stanza(raw: bytes, tag: str, children: list[str]) -> None:
    item = between_servers(raw.replace(b"%s", DIALBACK_NS.encode()))
    assert isinstance(item, Nonza)
    assert item.tag == tag
    assert Nonza.of(parse(item.raw)).tag == tag, "it stands alone"
    assert list(item.tags) == children
    assert [each.tag for each in item.children()] == children
