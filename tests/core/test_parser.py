"""Bytes to stanzas (RFC 6120 sections 4 and 11)."""

from __future__ import annotations

import random
from pyexpat import ErrorString, ExpatError, ParserCreate, errors
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from xmppd.protocol import tokens
from xmppd.protocol.items import BEFORE_SIGN_IN, Limits, Nonza, StreamClose, StreamOpen
from xmppd.protocol.parser import StreamParser
from xmppd.stanza import Kind, Stanza
from xmppd.xml import escape, parse_inside, quoted

HEADER = (
    b"<?xml version='1.0'?><stream:stream xmlns='jabber:client' "
    b"xmlns:stream='http://etherx.jabber.org/streams' to='localhost' version='1.0'>"
)


def opened(limits: Limits | None = None, header: bytes = HEADER) -> StreamParser:
    parser = StreamParser(limits or Limits())
    assert isinstance(parser.feed(header)[0], StreamOpen)
    return parser


def fault(data: bytes, limits: Limits | None = None) -> str:
    parser = opened(limits)
    parser.feed(data)
    return parser.fault.condition if parser.fault else ""


# ---- what comes out is what went in

names = st.sampled_from(["a", "b", "body", "x-y", "_z"])
spaces = st.sampled_from(["", "urn:a", "urn:b&amp;c", "jabber:client", "http://x.test/#y"])
texts = st.text(
    st.characters(exclude_categories=("Cs",), exclude_characters="".join(map(chr, [*range(9), 11, 12, *range(14, 32)])))
    | st.sampled_from(list("<>&'\"]] \n\t/")),
    max_size=12,
).map(lambda text: text.replace("\ufffe", "").replace("\uffff", ""))


@st.composite
def trees(draw: Any, depth: int = 3) -> str:
    name = draw(names)
    prefix = draw(st.sampled_from(["", "", "p:"]))
    space = draw(spaces)
    attributes = "".join(
        f" {key}={quote}{(quoted(value) if quote == chr(39) else escape(value))}{quote}"
        for key, value, quote in draw(
            st.lists(st.tuples(names, texts, st.sampled_from("'\"")), max_size=2, unique_by=lambda each: each[0])
        )
    )
    declared = f" xmlns:p='{space or 'urn:p'}'" if prefix else (f" xmlns='{space}'" if space else "")
    if depth and draw(st.booleans()):
        inside = "".join(draw(st.lists(trees(depth=depth - 1) | texts.map(escape), max_size=3)))
    else:
        inside = draw(st.sampled_from(["", "text", "<![CDATA[ <not a='tag> ]]>"]))
    tag = prefix + name
    if not inside and draw(st.booleans()):
        return f"<{tag}{declared}{attributes}/>"
    return f"<{tag}{declared}{attributes}>{inside}</{tag}>"


@st.composite
def stanzas(draw: Any) -> str:
    kind = draw(st.sampled_from(["message", "presence", "iq"]))
    prefix = draw(st.sampled_from(["", "", "", "c:"]))
    attributes = "".join(f" {key}='{quoted(draw(texts))}'" for key in draw(st.sets(st.sampled_from(["id", "type"]))))
    declared = " xmlns:c='jabber:client'" if prefix else draw(st.sampled_from(["", "", " xmlns='jabber:client'"]))
    inside = "".join(draw(st.lists(trees(), max_size=3)))
    return f"<{prefix}{kind}{declared}{attributes}>{inside}</{prefix}{kind}>"


def canonical(element: Any) -> Any:
    """Names, attributes and text: what any parser must agree on."""
    return (
        element.tag,
        sorted((str(key), str(value)) for key, value in element.attrib.items()),
        element.text or "",
        [(canonical(child), child.tail or "") for child in element],
    )


@given(st.lists(stanzas(), min_size=1, max_size=4), st.data())
@settings(max_examples=300, deadline=None)
def test_slices_are_what_lxml_reads_on_any_chunking(found: list[str], data: Any) -> None:
    """T19: the tree of what is passed on is the tree that came, whatever the segments on the wire."""
    document = "".join(found).encode()
    parser = opened()
    out: list[Any] = []
    at = 0
    while at < len(document):
        size = data.draw(st.integers(1, 60))
        out += parser.feed(document[at : at + size])
        at += size
        if data.draw(st.booleans()):
            parser.rest()
    assert parser.fault is None
    reference = etree.fromstring(HEADER.split(b"?>")[1] + document + b"</stream:stream>")
    assert len(out) == len(reference)
    for item, wanted in zip(out, reference, strict=True):
        assert isinstance(item, Stanza)
        assert [canonical(child) for child in parse_inside(item.inside)] == [canonical(child) for child in wanted]
        tags = [f"{etree.QName(child).namespace or ''}|{etree.QName(child).localname}" for child in wanted]
        assert [tag if "|" in tag else f"|{tag}" for tag in item.tags] == tags
        assert item.id == wanted.get("id", "")


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_junk_is_a_fault_never_a_crash(junk: bytes) -> None:
    parser = opened()
    parser.feed(junk)
    parser.feed(junk)


def test_many_stanzas_in_one_read_and_one_in_many_reads() -> None:
    parser = opened()
    one = b"<message to='a@b'><body>hi</body></message>"
    assert len(parser.feed(one * 50 + one[:10])) == 50
    assert [stanza.inside for stanza in parser.feed(one[10:])] == [b"<body>hi</body>"]  # type: ignore[union-attr]


def test_closing_tag() -> None:
    items = opened().feed(b"<presence/></stream:stream>")
    assert isinstance(items[0], Stanza)
    assert items[0].kind is Kind.PRESENCE
    assert isinstance(items[1], StreamClose)


def test_nonza_stands_alone() -> None:
    auth = opened().feed(b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AA==</auth>")[0]
    assert isinstance(auth, Nonza)
    assert (auth.ns, auth.name, auth.text) == ("urn:ietf:params:xml:ns:xmpp-sasl", "auth", "AA==")


def test_prefixes_of_the_header_are_written_out() -> None:
    header = HEADER.replace(b" to=", b" xmlns:q='urn:q' to=")
    message = opened(header=header).feed(b"<message><q:x q:y='1'/></message>")[0]
    assert isinstance(message, Stanza)
    tree = parse_inside(message.inside)
    assert tree[0].tag == "{urn:q}x"
    assert tree[0].attrib == {"{urn:q}y": "1"}


def test_whitespace_keeps_alive_without_a_parser() -> None:
    parser = opened()
    parser.rest()
    assert parser.feed(b" \n") == []
    assert parser._parser is None
    assert len(parser.feed(b"<iq/>")) == 1


# ---- what is refused


@pytest.mark.parametrize(
    "data",
    [
        b"<!-- a -->",
        b"<!-- never ends",
        b"<?target data?>",
        b"<?target",
        b"<!DOCTYPE x [<!ENTITY a 'b'>]>",
        b"<!ENTITY a 'b'>",
        b"<message><!-- a --></message>",
        b"<message><?pi?></message>",
        b"<message><body>&undefined;</body></message>",
    ],
)
@pytest.mark.parametrize("drip", [False, True])
def test_restricted_xml(data: bytes, drip: bool) -> None:
    """T01, T02: RFC 6120 section 11.1, split at every byte."""
    parser = opened()
    for piece in [data[i : i + 1] for i in range(len(data))] if drip else [data]:
        parser.feed(piece)
    assert parser.fault is not None
    assert parser.fault.condition == "restricted-xml"


def test_doctype_before_the_header() -> None:
    parser = StreamParser()
    parser.feed(b"<?xml version='1.0'?><!DOCTYPE lolz [<!ENTITY lol 'lol'>]><stream:stream>")
    assert parser.fault is not None
    assert parser.fault.condition == "restricted-xml"


@pytest.mark.parametrize(
    "data",
    [
        b"<message><body>\xc0\x80</body></message>",
        b"<message><body>\xed\xa0\x80</body></message>",
        b"<message><body>\xf4\x90\x80\x80</body></message>",
        b"<message a='\xff'/>",
        b"<mess\xc3age/>",
        b"<message>\0</message>",
        b"<message>&#0;</message>",
        b"<message>\x01</message>",
        b"<message>\xef\xbf\xbe</message>",
        b"<message></presence>",
        b"<message a='1' a='2'/>",
        b"<p:message/>",
        b"\0",
        b"]]>",
        b"<message xmlns:x='urn:a|b'/>",  # our separator of namespace and name is no URI character (T18)
    ],
)
@pytest.mark.parametrize("drip", [False, True])
def test_not_well_formed(data: bytes, drip: bool) -> None:
    """T16."""
    parser = opened()
    for piece in [data[i : i + 1] for i in range(len(data))] if drip else [data]:
        parser.feed(piece)
    assert parser.fault is not None
    assert parser.fault.condition == "not-well-formed"


@pytest.mark.parametrize(
    "start",
    [
        b"<?xml version='1.0' encoding='UTF-16'?>",
        b"<?xml version='1.0' encoding='ISO-8859-1'?>",
        b"<?xml version='1.1'?>",
        "<?xml version='1.0'?><a/>".encode("utf-16"),
        "<?xml version='1.0'?><a/>".encode("utf-16-be"),
    ],
)
def test_unsupported_encoding(start: bytes) -> None:
    parser = StreamParser()
    parser.feed(start + HEADER.split(b"?>")[1])
    assert parser.fault is not None
    assert parser.fault.condition in ("unsupported-encoding", "not-well-formed")


@pytest.mark.parametrize(
    "junk", [b"POST / HTTP/1.1\r\nHost: x\r\n\r\n<x/>", b"\x16\x03\x01\x02\x00\x01", b"SSH-2.0-x\r\n"]
)
def test_other_protocols(junk: bytes) -> None:
    """T07."""
    parser = StreamParser()
    assert parser.feed(junk) == []
    assert parser.fault is not None


@pytest.mark.parametrize(
    ("header", "condition"),
    [
        (b"<stream xmlns='jabber:client'>", "invalid-namespace"),
        (b"<stream:stream xmlns:stream='urn:other'>", "invalid-namespace"),
        (b"<html>", "bad-format"),
        (b"<s:stream xmlns:s='http://etherx.jabber.org/streams' xmlns='jabber:client'>", "bad-namespace-prefix"),
        (b"<stream:stream xmlns:stream='http://etherx.jabber.org/streams' xmlns='jabber:client'/>", "bad-format"),
    ],
)
def test_bad_headers(header: bytes, condition: str) -> None:
    parser = StreamParser()
    parser.feed(header)
    assert parser.fault is not None
    assert parser.fault.condition == condition


def test_nested_stream_elements() -> None:
    """T17: never relayed."""
    message = opened().feed(b"<message><x xmlns='u'><stream:stream to='x'><iq/></stream:stream></x></message>")[0]
    assert isinstance(message, Stanza)
    assert message.fault == "bad-request"
    assert message.inside == b""


# ---- limits


def test_size_is_counted_while_parsing() -> None:
    """T03: the limit hits before the element ends, and exactly at the limit it does not."""
    assert fault(b"<message><body>" + b"a" * 8192, BEFORE_SIGN_IN) == "policy-violation"
    body = b"<message><body>" + b"a" * (8192 - 32) + b"</body></message>"
    assert len(body) == 8192
    assert fault(body, BEFORE_SIGN_IN) == ""
    assert fault(body.replace(b"aa", b"aaa", 1), BEFORE_SIGN_IN) == "policy-violation"


def test_a_tag_that_never_ends() -> None:
    parser = opened(BEFORE_SIGN_IN)
    for _ in range(200):
        parser.feed(b"<message " + b"a" * 64 if parser.pending == 0 else b"a" * 64)
    assert parser.fault is not None
    assert parser.fault.condition == "policy-violation"


@pytest.mark.parametrize(
    ("limits", "good", "bad"),
    [
        (Limits(depth=8), b"<m>" * 7 + b"</m>" * 7, b"<m>" * 8 + b"</m>" * 8),
        (Limits(elements=10), b"<m/>" * 10, b"<m/>" * 11),
        (
            Limits(attributes=8),
            b"<m %s/>" % b" ".join(b"a%d=''" % i for i in range(8)),
            b"<m %s/>" % b" ".join(b"a%d=''" % i for i in range(9)),
        ),
    ],
)
def test_counts(limits: Limits, good: bytes, bad: bytes) -> None:
    """T03, T20."""
    assert fault(b"<message>%s</message>" % good, limits) == ""
    assert fault(b"<message>%s</message>" % bad, limits) == "policy-violation"


def test_depth_costs_nothing_to_refuse() -> None:
    assert fault(b"<message>" + b"<m>" * 80_000) == "policy-violation"


class Watched:
    """An expat that checks that no piece ends in the middle of a token, and counts the pieces."""

    pieces = 0

    def __init__(self, *args: Any, **options: Any) -> None:
        self.__dict__["real"] = ParserCreate(*args, **options)
        self.__dict__["fed"] = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.real, name, value)

    def Parse(self, data: bytes, final: bool) -> None:
        Watched.pieces += 1
        self.__dict__["fed"] += data
        self.real.Parse(data, final)
        with pytest.raises(ExpatError) as ended:
            ParserCreate("UTF-8", namespace_separator="|").Parse(self.fed, True)
        assert ErrorString(ended.value.code) in (
            errors.XML_ERROR_NO_ELEMENTS,
            errors.XML_ERROR_UNCLOSED_CDATA_SECTION,
            errors.XML_ERROR_PARTIAL_CHAR,
        ), f"{ErrorString(ended.value.code)}: {self.fed!r}"


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> type[Watched]:
    monkeypatch.setattr("xmppd.protocol.parser.ParserCreate", Watched)
    Watched.pieces = 0
    return Watched


TRICKY = [
    b"<message xmlns='jabber:client'></message>",
    b"<message id='a>b' type=\"it's\"><body>x &amp; &#x1F600; > ]] y</body></message>",
    b"<message><body><![CDATA[ <a b='> <!-- <? ]] ]]> c &lt; <![CDATA[]]]]></body></message>",
    "<message><body>\r\n\U0001f600]\U0001f600</body><x xmlns='urn:x' a='>'/></message>".encode(),
    b"<iq/> \n <presence\n/>",
]


def whole(data: bytes) -> int:
    """How many stanzas lie whole in `data`, as expat finds when it is told that this is all."""
    depth, ended = 0, 0

    def start(*_: Any) -> None:
        nonlocal depth
        depth += 1

    def end(*_: Any) -> None:
        nonlocal depth, ended
        depth -= 1
        ended += depth == 1

    parser = ParserCreate("UTF-8")
    parser.StartElementHandler, parser.EndElementHandler = start, end
    with pytest.raises(ExpatError):
        parser.Parse(b"<s>" + data, True)
    return ended


@pytest.mark.parametrize("size", [1, 2, 3, 0])
@pytest.mark.parametrize("stanza", TRICKY)
def test_a_stanza_is_there_with_its_last_byte(stanza: bytes, size: int) -> None:
    """Whether expat puts off what is unfinished or not: nothing waits for bytes that come later (0: random pieces)."""
    for seed in range(40 if size == 0 else 1):
        dice = random.Random(seed)
        parser, at, came = opened(), 0, 0
        while at < len(stanza):
            piece = stanza[at : at + (size or dice.randint(1, 30))]
            at += len(piece)
            came += len(parser.feed(piece))
            assert parser.fault is None
            assert came == whole(stanza[:at]), stanza[:at]


@given(st.lists(stanzas(), min_size=1, max_size=3), st.randoms())
@settings(max_examples=100, deadline=None)
def test_expat_is_given_whole_tokens(found: list[str], dice: random.Random) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("xmppd.protocol.parser.ParserCreate", Watched)
        parser, document, at = opened(), "".join(found).encode(), 0
        while at < len(document):
            piece = document[at : at + dice.randint(1, 20)]
            at += len(piece)
            parser.feed(piece)
    assert parser.fault is None
    assert parser.pending == 0


@pytest.mark.parametrize("start", [b'<message a="', b"<message><body>&#", b"<message ", b"<message><body>&"])
@pytest.mark.parametrize("piece", [b">" * 64, b"a'" * 32, b"> " * 32, b"0" * 64])
def test_a_token_in_drips_is_linear(watched: type[Watched], start: bytes, piece: bytes) -> None:
    """T04: a megabyte of one token in writes of 64 bytes is not read again at each of them."""
    if start == b"<message " and piece[:1] != b"0":
        return  # that ends the tag
    parser = opened()
    parser.feed(start)
    before, feeds = watched.pieces, 0
    while parser.fault is None:
        parser.feed(piece)
        feeds += 1
    assert parser.fault.condition in ("policy-violation", "not-well-formed", "restricted-xml")
    assert feeds >= 4000
    assert watched.pieces - before <= 2


def test_a_comment_in_drips_ends_at_once() -> None:
    for start in (b"<!-- <a>", b"<message><!-- <a>", b"<message>a<?b <a>"):
        assert fault(start) == "restricted-xml"


# ---- names


def test_a_long_name_is_refused_with_the_stanza() -> None:
    """Names cost more than their bytes everywhere behind: the stanza is answered, the stream goes on."""
    long = b"n" * 600
    parser = opened()
    for data in (
        b"<message id='1'><%s/></message>" % long,
        b"<message id='2'><x %s=''/></message>" % long,
        b"<message id='3'><x xmlns='urn:%s'><y/></x></message>" % long,
        b"<message id='4' %s=''/>" % long,
        "<message id='5'><{}/></message>".format("\u00e9" * 260).encode(),
    ):
        stanza = parser.feed(data)[0]
        assert isinstance(stanza, Stanza)
        assert (stanza.fault, stanza.inside, stanza.tags) == ("long-name", b"", ())
        assert parser._parser is None, "expat keeps each name it has seen"
    good = parser.feed(b"<message id='6'><%s xmlns='urn:x'/></message>" % (b"n" * 500))[0]
    assert isinstance(good, Stanza)
    assert good.fault == ""
    assert fault(b"<%s/>" % long) == "policy-violation"
    assert fault(b"<a xmlns='urn:x' %s=''/>" % long) == "policy-violation"


def test_a_parser_is_not_kept_for_ever() -> None:
    """A stream that never rests: expat keeps every name that it has seen."""
    parser, parsers = opened(), set()
    for number in range(5000):
        parser.feed(b"<message><name-%d/></message><" % number)
        parsers.add(id(parser._parser))
        parser.feed(b"presence/>")
        assert parser._parser is None or len(parser._parser.intern) < 4000
    parser = opened()
    for _ in range(300):
        parser.feed(b"<message xmlns:%s='urn:x'/>" % (b"p" * 10_000))
        assert parser._base < 1 << 17


# ---- white space


@pytest.mark.parametrize("rests", [False, True])
def test_a_stranger_may_not_send_white_space_for_ever(rests: bool) -> None:
    parser, sent = opened(BEFORE_SIGN_IN), 0
    while parser.fault is None:
        assert parser.feed(b" " * 100) == []
        if rests:
            parser.rest()
        sent += 100
    assert parser.fault.condition == "policy-violation"
    assert 8192 < sent <= 8300
    assert parser.feed(b" ") == []
    parser = StreamParser(BEFORE_SIGN_IN)
    parser.feed(b" " * 9000)
    assert parser.fault is not None, "also before the header"


def test_white_space_keeps_a_session_alive_for_ever() -> None:
    parser = opened()
    for _ in range(100_000):
        parser.feed(b" ")
    parser.feed(b"\n" * 3_000_000)
    assert parser.fault is None
    assert parser.pending == 0


# ---- the expat that is there


def test_whether_expat_defers_is_found_by_trying() -> None:
    parser = ParserCreate()
    if hasattr(parser, "GetReparseDeferralEnabled"):  # Python since 3.11.9, 3.12.3
        assert tokens.defers() == parser.GetReparseDeferralEnabled()


def test_an_old_expat_is_spoken_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "EXPAT_VERSION", "expat_2.5.0")
    monkeypatch.setattr(tokens, "defers", lambda: False)
    assert "expat 2.5.0" in tokens.advice()
    monkeypatch.setattr(tokens, "defers", lambda: True)
    assert tokens.advice() == "", "a distribution's backport"
    monkeypatch.setattr(tokens, "EXPAT_VERSION", "expat_2.10.1")
    monkeypatch.setattr(tokens, "defers", lambda: False)
    assert tokens.advice() == "", "switched off"


@pytest.mark.parametrize(
    "raw",
    [
        "<auth xmlns='urn:x'>Yml3cw==</auth>",
        "<auth xmlns='urn:x' a='>' b=\"/>'\">Yml3cw==</auth>",
        "<auth xmlns='urn:x'/>",
        "<auth xmlns='urn:x'></auth>",
        "<auth xmlns='urn:x'>=</auth >",
        "<auth xmlns='urn:x'>a&amp;b</auth>",
        "<auth xmlns='urn:x'>ab<![CDATA[cd]]></auth>",
        "<auth xmlns='urn:x'>ab<c>cd</c></auth>",
        "<auth xmlns='urn:x'><c>cd</c>ab</auth>",
        "<auth xmlns='urn:x'>ab\r\ncd </auth>",
        "<auth xmlns='urn:x'>\N{SNOWMAN}</auth>",
        "<auth xmlns='urn:x' a='/'>ab</auth>",
    ],
)
def test_the_text_of_a_nonza_is_that_of_its_tree(raw: str) -> None:
    nonza = Nonza("urn:x", "auth", {}, raw.encode())
    assert nonza.text == (nonza.xml.text or "")
