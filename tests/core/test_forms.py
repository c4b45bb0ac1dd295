"""XEP-0004: forms as they are written and read."""

from __future__ import annotations

import pytest

from xmppd.errors import BadRequest, JidMalformed, NotAcceptable
from xmppd.xep.forms import MAX_FIELDS, MAX_VALUES, Field, Submitted, form, read_form
from xmppd.xml import E, Element, parse, to_bytes

DATA = "jabber:x:data"


def submitted(inside: str, type: str = "submit") -> Submitted | None:
    return read_form(parse(f"<query xmlns='x'><x xmlns='{DATA}' type='{type}'>{inside}</x></query>".encode()))


def field(var: str, *values: str) -> str:
    return f"<field var='{var}'>{''.join(f'<value>{value}</value>' for value in values)}</field>"


def local(element: Element) -> list[str]:
    return [str(child.tag).rpartition("}")[2] for child in element]


def test_a_form_is_written_in_the_order_of_the_schema() -> None:
    fields = (
        Field("name", label="Name", values=("a & b",), required=True),
        Field("kind", "list-single", options=(("a", "Alpha"), ("b", "")), values=("a",)),
        Field("ids", "list-multi", open=True),
    )
    x = parse(to_bytes(form("form", "urn:test", fields, "Title", "Do it.")))
    assert x.get("type") == "form"
    assert local(x) == ["title", "instructions", "field", "field", "field", "field"]
    hidden, name, kind, ids = x.findall(f"{{{DATA}}}field")
    assert (hidden.get("var"), hidden.get("type"), hidden[0].text) == ("FORM_TYPE", "hidden", "urn:test")
    assert local(name) == ["required", "value"]
    assert name[1].text == "a & b"
    assert local(kind) == ["value", "option", "option"]
    assert kind[1].get("label") == "Alpha" and kind[2].get("label") is None
    assert ids[0].tag == "{http://jabber.org/protocol/xdata-validate}validate"
    assert local(ids[0]) == ["open"]


def test_a_form_that_was_filled_in() -> None:
    found = submitted(field("FORM_TYPE", "urn:test") + field("a", "1", "2") + field("b") + "<field/>")
    assert found == Submitted("submit", "urn:test", {"a": ("1", "2"), "b": ()})
    assert found is not None
    assert (found.text("a"), found.text("b"), found.text("c")) == ("1", "", None)


def test_no_form() -> None:
    assert read_form(E("query", "x")) is None


@pytest.mark.parametrize(
    "inside",
    [
        field("a", "1") + field("a", "2"),
        "".join(field(f"f{number}") for number in range(MAX_FIELDS + 1)),
        field("a", *["v"] * (MAX_VALUES + 1)),
    ],
)
def test_what_is_no_form(inside: str) -> None:
    with pytest.raises(BadRequest):
        submitted(inside)


@pytest.mark.parametrize("type", ["", "form", "result", "nonsense"])
def test_only_submitted_forms_count(type: str) -> None:
    with pytest.raises(BadRequest):
        submitted("", type)


def test_values_have_types() -> None:
    found = Submitted("submit", "", {"yes": ("1",), "no": ("false",), "n": ("7",), "j": ("A@B/c",), "bad": ("x y@",)})
    assert found.boolean("yes") is True and found.boolean("no") is False and found.boolean("none") is None
    assert found.integer("n", 0, 10) == 7 and found.integer("none", 0, 10) is None
    jid = found.jid("j")
    assert jid is not None and jid.full == "a@b/c" and found.jid("none") is None
    with pytest.raises(BadRequest):
        found.boolean("n")
    with pytest.raises(NotAcceptable):
        found.integer("n", 8, 10)
    with pytest.raises(NotAcceptable):
        found.integer("bad", 0, 10)
    with pytest.raises(JidMalformed):
        found.jid("bad")
