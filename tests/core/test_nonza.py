"""Elements that are no stanzas: what is in them, from their bytes and from a tree."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from xmppd.protocol.items import BEFORE_SIGN_IN, Limits, Nonza
from xmppd.xml import E

from .test_parser import HEADER, opened, trees

PARTS = Limits(parts=True)


def received(raw: str, limits: Limits = PARTS, header: bytes = HEADER, size: int = 1 << 20) -> Nonza:
    parser = opened(limits, header)
    data = raw.encode()
    items = [item for at in range(0, len(data), size) for item in parser.feed(data[at : at + size])]
    assert parser.fault is None
    (nonza,) = items
    assert isinstance(nonza, Nonza)
    return nonza


def as_tree(nonza: Nonza) -> list[Any]:
    return [nonza.tag, nonza.attributes, nonza.text, [as_tree(each) for each in nonza.children()]]


@given(st.lists(trees(depth=2), max_size=4).map("".join), st.integers(1, 60))
@settings(max_examples=300)
def test_what_is_noted_is_what_is_in_the_tree(inside: str, size: int) -> None:
    raw = f"<p:auth xmlns:p='urn:x' xmlns='urn:y' a='1'>{inside}</p:auth>"
    nonza = received(raw, size=size)
    expected = Nonza.of(etree.fromstring(nonza.raw))
    assert as_tree(nonza) == as_tree(expected)
    assert [etree.tostring(each.xml) for each in nonza.children()] == [etree.tostring(each) for each in expected.xml]
    assert as_tree(received(raw, Limits())) == as_tree(expected), "not noted"


SIGN_IN = (
    "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='X'><initial-response>AGE=</initial-response>"
    "<user-agent id='u' xml:lang='de'><software>A&amp;B</software><device>C</device></user-agent>"
    "<bind xmlns='urn:xmpp:bind:0'><tag> T </tag><enable xmlns='urn:xmpp:carbons:2'/></bind>"
    "<again xmlns='urn:x' n='1'/><again xmlns='urn:x' n='2'/></authenticate>"
)


def test_a_request_needs_no_tree() -> None:
    request = received(SIGN_IN, BEFORE_SIGN_IN)
    assert request.parts is not None
    initial, agent = (
        request.child("urn:xmpp:sasl:2", "initial-response"),
        request.child("urn:xmpp:sasl:2", "user-agent"),
    )
    bind, again = request.child("urn:xmpp:bind:0", "bind"), request.child("urn:x", "again")
    assert initial is not None and agent is not None and bind is not None and again is not None
    assert initial.text == "AGE="
    assert agent.attributes == {"id": "u", "http://www.w3.org/XML/1998/namespace|lang": "de"}
    assert agent.text_of("urn:xmpp:sasl:2", "device") == "C"
    assert [each.tag for each in bind.children()] == ["urn:xmpp:bind:0|tag", "urn:xmpp:carbons:2|enable"]
    assert bind.text_of("urn:xmpp:bind:0", "tag") == " T "
    assert again.attributes == {"n": "1"}, "the first one"
    assert request.child("urn:y", "again") is None and request.child("urn:x", "bind") is None
    assert request.text_of("urn:x", "none") == ""
    assert request.tree is None, "all of it without a tree"
    assert agent.text_of("urn:xmpp:sasl:2", "software") == "A&B"
    assert request.tree is not None, "a reference takes one"


def test_what_is_deeper_is_in_the_tree() -> None:
    request = received("<a xmlns='urn:x'><b><c><d n='1'>t</d></c></b><e n='2'/></a>")
    assert request.parts is None
    assert as_tree(request) == as_tree(Nonza.of(request.xml))
    first = request.children()[0].children()[0].child("urn:x", "d")
    assert first is not None and first.attributes == {"n": "1"} and first.text == "t"


def test_what_hangs_on_prefixes_of_the_header_is_in_the_tree() -> None:
    header = HEADER.replace(b" to=", b" xmlns:q='urn:q' to=")
    request = received("<a xmlns='urn:x'><q:b n='1'>t</q:b></a>", header=header)
    assert as_tree(request) == ["urn:x|a", {}, "", [["urn:q|b", {"n": "1"}, "t", []]]]


def test_an_element_of_the_stream_is_a_child_like_others() -> None:
    request = received("<a xmlns='urn:x'><b xmlns='http://etherx.jabber.org/streams'/><c>t</c></a>")
    assert request.tags == ("http://etherx.jabber.org/streams|b", "urn:x|c")
    assert request.text_of("urn:x", "c") == "t"


def test_one_that_nobody_has_sent() -> None:
    nothing = Nonza("urn:x", "a", {}, b"")
    assert nothing.child("urn:x", "b") is None and nothing.children() == []
    made = Nonza.of(E("a", "urn:x", {"n": "1"}, "t", E("b", "urn:x", None, "u")))
    assert as_tree(made) == ["urn:x|a", {"n": "1"}, "t", [["urn:x|b", {}, "u", []]]]


@pytest.mark.parametrize("inside", ["<b c='{}'/>", "<b><c d='{}'/></b>"])
def test_what_is_noted_of_an_unfinished_element_counts(inside: str) -> None:
    text = "x" * 10_000
    parser = opened(PARTS)
    parser.feed(f"<a xmlns='urn:x'>{inside.format(text)}".encode())
    assert parser.held > 2 * len(text), "the bytes, and the strings made of them"
    other = opened()
    other.feed(f"<a xmlns='urn:x'>{inside.format(text)}".encode())
    assert other.held < 2 * len(text)


def test_stanzas_are_not_noted() -> None:
    parser = opened(PARTS)
    parser.feed(b"<message><body c='" + b"x" * 10_000 + b"'/>")
    assert parser.held < 20_000
