"""Erlang terms and Lua tables: what is read, and what is refused at little cost."""

from __future__ import annotations

import io
from typing import Any

import pytest

from xmppd.moving.ejabberd_dump import EjabberdDump
from xmppd.moving.erlang import Atom, BadTerm, parse_term
from xmppd.moving.events import Begin, Problem
from xmppd.moving.lua import BadLua, parse_items, parse_value


@pytest.mark.parametrize(("text", "term"), [
    (b"<<>>", b""),
    (b'<<"a\\"b\\n">>', b'a"b\n'),
    (b"<<82,111,109,195,169,111>>", "Roméo".encode()),
    ("<<\"Söhne\"/utf8>>".encode(), "Söhne".encode()),
    (b'<<"long "\n   "text">>', b"long text"),
    (b'<<"a",0,"b">>', b"a\0b"),
    (b"{a,[1,-2,3.5],'B c',\"s\"}.", (Atom("a"), [1, -2, 3.5], Atom("B c"), b"s")),
    (b"[]", []),
    (b"{}", ()),
])  # fmt: skip
def test_terms(text: bytes, term: Any) -> None:
    assert parse_term(text) == term


@pytest.mark.parametrize("text", [b"", b"<<", b"<<a>>", b"{1,", b"#Fun<x>", b"[" * 10_000, b"{a b}", b"<0.1.0>"])
def test_no_terms(text: bytes) -> None:
    with pytest.raises(BadTerm):
        parse_term(text)


@pytest.mark.parametrize(("text", "value"), [
    ("return {};", {}),
    ('return { "a", "b"; x = 1, }', {1: "a", 2: "b", "x": 1}),
    ('return { ["y"] = { true, false, nil } }', {"y": {1: True, 2: False, 3: None}}),
    (r'return "\195\188\n\\\"\x41\z   b"', 'ü\n\\"Ab'),
    ("-- a comment\nreturn -1.5e3", -1500),
    ("return 0x10", 16),
    ("return (0/0)", None),
])  # fmt: skip
def test_tables(text: str, value: Any) -> None:
    assert parse_value(text.encode()) == value


@pytest.mark.parametrize("text", [
    "", "{}", "return", "return {", 'return "x', "return os.exit()", "return {[{}]=1}", "return {a=}",
    "return " + "{" * 500,
])  # fmt: skip
def test_no_tables(text: str) -> None:
    with pytest.raises(BadLua):
        parse_value(text.encode())


def test_items_are_found_wherever_a_file_is_cut() -> None:
    items = [{1: f"m{number});\nitem({{" + "x" * (number * 1000)} for number in range(200)]
    text = "".join("item({" + '"' + each[1].replace("\n", "\\n") + '"});\n' for each in items)
    assert list(parse_items(io.BytesIO(text.encode()))) == items


def test_a_dump_with_broken_records(tmp_path: Any) -> None:
    path = tmp_path / "dump.txt"
    path.write_bytes(
        b"{tables,[]}.\n"
        b'{passwd,{<<"romeo">>,<<"localhost">>},<<"pencil">>}.\n'
        b'{passwd,{<<"juliet">>,}}.\n'
        b'{roster,{<<"romeo">>,<<"localhost">>,{<<"a">>,<<"b">>,<<>>}},oops}.\n'
        b'{vcard,{<<"nobody">>,<<"localhost">>},{xmlel,<<"vCard">>,[],[]}}.\n'
        b"{mystery,{1,2},3}.\n"
        b'{vcard,{<<"romeo">>,<<"localhost">>},{xmlel,<<"vC'
    )
    found = list(EjabberdDump(path).events())
    assert [each for each in found if isinstance(each, Begin)] == [
        Begin(found[1].kind if isinstance(found[1], Begin) else found[2].kind, "romeo", "localhost", "pencil")  # type: ignore[union-attr]
    ]
    told = [f"{each.where} {each.what}" for each in found if isinstance(each, Problem)]
    assert len(told) == 4, told
    for text, line in zip(("'passwd'", "nobody@localhost", "romeo@localhost", "'mystery'"), told, strict=True):
        assert text in line
