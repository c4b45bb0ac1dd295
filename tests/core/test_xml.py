"""Trees and back: what libxml2 and lxml make of the XML that expat lets through, and what is written again."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.harness import Harness, condition, xml
from xmppd.config import StreamLimits
from xmppd.stanza import parse_stanza
from xmppd.xml import E, Element, alone, parse, parse_inside, quoted, to_bytes

SPACES = ("", "urn:a", "urn:b", "jabber:client")


@st.composite
def elements(draw: Any, depth: int = 0) -> str:
    """An element that declares its namespaces in one of the ways there are: as the default, by a prefix, or not at all
    where the one around it is meant."""
    ns = draw(st.sampled_from(SPACES))
    by_prefix = bool(ns) and draw(st.booleans())
    name = draw(st.sampled_from("xyz"))
    declared = f" xmlns='{draw(st.sampled_from(SPACES))}'" if draw(st.booleans()) else ""
    if by_prefix:
        name, declared = f"p:{name}", f"{declared} xmlns:p='{ns}'"
    if draw(st.booleans()):
        value = draw(st.sampled_from(["", "'", '"', "<&", "\n"]))
        declared += f" xmlns:q='urn:q' q:k='{quoted(value)}'"
    if draw(st.booleans()):
        declared += " xml:lang='de' k='v'"
    inside = draw(st.sampled_from(["", "t", "&lt;&amp;", "&#13;", "\n"]))
    if depth < 3:
        inside += "".join(draw(st.lists(elements(depth + 1), max_size=2)))
    return f"<{name}{declared}>{inside}</{name}>"


def what(element: Element) -> Any:
    inside = [(what(child), child.tail or "") for child in element]
    return element.tag, element.text or "", sorted(element.attrib.items()), inside


@given(elements())
def test_what_is_written_says_the_same_wherever_it_stands(text: str) -> None:
    tree = parse(b"<o xmlns='jabber:client'>%s</o>" % text.encode())[0]
    wanted = what(tree)
    for written in (to_bytes(tree), to_bytes(alone(tree))):
        assert what(parse_inside(written)[0]) == wanted
        assert what(parse(b"<o xmlns='urn:a' xmlns:p='urn:other'>%s</o>" % written)[0]) == wanted
    moved = to_bytes(E("x", "urn:a", {}, alone(tree)))
    assert what(parse_inside(moved)[0][0]) == wanted


@pytest.mark.parametrize(
    "data",
    [
        b"<x xmlns:p='http://['/>",
        b"<x xml:space='other' xmlns='a b'/>",
        b"<x xml:id='1' xmlns:p='1:a'/>",
        b"<x xml:id='a' xmlns:p=':'><y xml:id='a' xmlns='relative'/></x>",
    ],
)
def test_a_namespace_that_is_no_uri_is_read_whatever_was_read_before(data: bytes) -> None:
    """libxml2's errors of another document, of another stream then, are not of this one."""
    for wrong in (b"<x:y:z xmlns:x='urn:a'/>", b"<x", b"<x>&y;</x>"):
        with pytest.raises(ValueError, match="line 1"):
            parse(wrong)
        assert parse(data).tag.endswith("x")


def test_whatever_the_configuration_allows_can_be_read_and_written() -> None:
    """Text beyond 10 MB, and as many levels as there may be."""
    most = {each.name: int(rules.high) for each in fields(StreamLimits) for rules in each.metadata.values()}
    depth, size = most["depth"], most["size"]
    deep = parse(b"<x xmlns=''>" * depth + b"</x>" * depth)
    assert to_bytes(alone(deep)).count(b"<x") == depth
    assert len(to_bytes(parse(b"<x xmlns='urn:x'>%s</x>" % (b"x" * (size - 100))))) > size - 100


async def test_an_element_without_a_namespace_is_no_weapon(server: Harness) -> None:
    """What is written anew on the way (here without the false stanza-id) stays well-formed: the client's parser ends
    at anything else."""
    romeo, juliet = await server.login("romeo"), await server.login("juliet", presence=True)
    await juliet.receive_all()
    romeo.send(
        "<message to='juliet@localhost' type='chat'><body>x</body><a xmlns=''><b/></a>"
        "<c xmlns='urn:c'><d xmlns=''/></c><stanza-id xmlns='urn:xmpp:sid:0' by='juliet@localhost' id='1'/></message>"
    )
    message = await juliet.receive()
    assert message.find("a/b") is not None and message.find("{urn:c}c/d") is not None, xml(message)
    again = parse_stanza(b"<message><a xmlns=''/></message>")
    assert parse_stanza(again.data).tags == again.tags == ("|a",)


async def test_carriage_returns_stay(server: Harness) -> None:
    """Also where the stanza is written anew because it hangs on a prefix from outside (XML 1.0 section 2.11)."""
    romeo, juliet = await server.login("romeo"), await server.login("juliet", presence=True)
    await juliet.receive_all()
    romeo.send(
        "<message to='juliet@localhost' type='chat' xmlns:p='urn:p'><body>a&#13;\nb</body>"
        "<x xmlns='' p:k='&#13;\n\t&#10;'>&#13;</x></message>"
    )
    message = await juliet.receive()
    assert message.findtext("{jabber:client}body") == "a\r\nb"
    x = message.find("x")
    assert x is not None and x.text == "\r" and x.get("{urn:p}k") == "\r  \n"


async def test_declarations_of_namespaces_count_as_attributes(server: Harness) -> None:
    """On a stanza they make it cost as many copies as it has children."""
    romeo = await server.login("romeo")
    many = " ".join(f"xmlns:p{number}='urn:{number}'" for number in range(200))
    romeo.send(f"<message to='juliet@localhost' id='1' {many}><x p1:y=''/></message>")
    assert await romeo.stream_error() == "policy-violation"


async def test_a_prefix_is_a_name_too(server: Harness) -> None:
    """One that libxml2 would not take (XML_MAX_NAME_LENGTH) is answered where it comes in."""
    romeo = await server.login("romeo")
    prefix = "p" * 60_000
    romeo.send(f"<message to='juliet@localhost' id='1'><{prefix}:x xmlns:{prefix}='urn:x'/></message>")
    assert condition(await romeo.receive()) == "policy-violation"
    romeo.send(f"<message to='juliet@localhost' id='2'><x xmlns='urn:x'><y xmlns:{prefix}='urn:x'/></x></message>")
    assert condition(await romeo.receive()) == "policy-violation"
    romeo.send(f"<iq type='get' id='3' to='localhost'><ping xmlns='urn:xmpp:ping'>xmlns:{prefix}</ping></iq>")
    assert (await romeo.receive()).get("type") == "result"
    romeo.send(f"<enable xmlns='urn:xmpp:sm:3' xmlns:{prefix}='urn:x'/>")
    assert await romeo.stream_error() == "policy-violation"
