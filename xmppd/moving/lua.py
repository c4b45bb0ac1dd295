"""Lua tables as Prosody writes them to files: text, numbers, booleans and tables of these; nothing is run.

A table is a dictionary; what stands in it without a key has the keys 1, 2, … as in Lua.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import isfinite
from typing import IO, Any, Final

from .escapes import unescaped

CHUNK: Final = 64 << 10
LONGEST: Final = 16 << 20
"""Bytes of one value."""
DEPTH: Final = 100

Table = dict[Any, Any]

_BLANK: Final = re.compile(rb"(?:\s++|--[^\n]*+\n)*+")
_STRING: Final = re.compile(rb'"((?:[^"\\]++|\\.)*+)"', re.DOTALL)
"""Possessive, as the others: else the engine remembers every byte of it, a hundred times its size."""
_SINGLE: Final = re.compile(rb"'((?:[^'\\]++|\\.)*+)'", re.DOTALL)
_NUMBER: Final = re.compile(rb"-?(?:0[xX][0-9a-fA-F]+|[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?)")
_WORD: Final = re.compile(rb"[A-Za-z_][A-Za-z0-9_]*")
_ESCAPE: Final = re.compile(rb"\\([0-9]{1,3}|x[0-9a-fA-F]{2}|z\s*|\r?\n|.)", re.DOTALL)
_NO_NUMBER: Final = re.compile(rb"-?\(\s*-?[01]\s*/\s*0\s*\)")
_PLAIN: Final = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"a": b"\a", b"b": b"\b", b"f": b"\f", b"v": b"\v"}
_WORDS: Final[dict[bytes, Any]] = {b"true": True, b"false": False, b"nil": None}


class BadLua(ValueError):
    """It is no table as Prosody writes them."""


class _More(Exception):
    """The text ends in the middle of a value."""


def _unescape(text: bytes) -> str:
    def plain(found: re.Match[bytes]) -> bytes:
        code = found[1]
        if code[:1].isdigit():
            return bytes((int(code) & 255,))
        if code[:1] == b"x":
            return bytes((int(code[1:], 16),))
        if code[:1] == b"z":
            return b""
        return b"\n" if code.endswith(b"\n") else _PLAIN.get(code, code)

    return unescaped(text, _ESCAPE, plain).decode("utf-8", "replace")


class _Text:
    """What is read of a file, and how far it is parsed."""

    def __init__(self, data: bytes, whole: bool) -> None:
        self.data = data
        self.whole = whole
        self.at = 0

    def blank(self) -> None:
        found = _BLANK.match(self.data, self.at)
        self.at = found.end() if found else self.at
        if self.at >= len(self.data) and not self.whole:
            raise _More

    def match(self, pattern: re.Pattern[bytes]) -> re.Match[bytes] | None:
        found = pattern.match(self.data, self.at)
        if found is not None:
            if found.end() == len(self.data) and not self.whole:
                raise _More  # it may go on
            self.at = found.end()
        return found

    def take(self, char: bytes) -> bool:
        self.blank()
        if self.data[self.at : self.at + 1] == char:
            self.at += 1
            return True
        return False

    def want(self, char: bytes) -> None:
        if not self.take(char):
            self.bad(f"expected {char.decode()!r}")

    def bad(self, why: str) -> Any:
        if not self.whole and len(self.data) - self.at < CHUNK:
            raise _More
        line = self.data.count(b"\n", 0, self.at) + 1
        raise BadLua(f"{why} (line {line} of this value)")

    def value(self, depth: int = 0) -> Any:
        if depth > DEPTH:
            raise BadLua("tables in tables, too deep")
        self.blank()
        char = self.data[self.at : self.at + 1]
        if char == b"{":
            return self._table(depth)
        if char == b'"' or char == b"'":
            found = self.match(_STRING if char == b'"' else _SINGLE)
            if found is None and not self.whole:
                raise _More  # a picture, say: it is longer than what was read
            return _unescape(found[1]) if found is not None else self.bad("a text without an end")
        if found := self.match(_NUMBER):
            return _number(found[0])
        if found := self.match(_WORD):
            if found[0] not in _WORDS:
                self.at = found.start()
                self.bad(f"{found[0].decode()!r} is no value")
            return _WORDS[found[0]]
        if self.match(_NO_NUMBER):
            return None
        return self.bad("expected a value")

    def _table(self, depth: int) -> Table:
        self.at += 1
        table: Table = {}
        number = 1
        while not self.take(b"}"):
            key: Any = None
            if self.take(b"["):
                key = self.value(depth + 1)
                self.want(b"]")
                self.want(b"=")
                if isinstance(key, dict) or key is None:
                    raise BadLua("a key that is a table or nil")
                table[key] = self.value(depth + 1)
            else:
                named = self._name()
                value = self.value(depth + 1)
                table[named if named else number] = value
                number += not named
            if not self.take(b";") and not self.take(b","):
                self.want(b"}")
                return table
        return table

    def _name(self) -> str:
        """The name in `name = value`."""
        start = self.at
        found = self.match(_WORD)
        if found is not None and self.take(b"="):
            return found[0].decode()
        self.at = start
        return ""


def finite(number: float) -> int | float | None:
    """As Lua shows it; None for what is no number of anything."""
    if not isfinite(number):
        return None
    return int(number) if number.is_integer() and abs(number) < 1e18 else number


def _number(text: bytes) -> int | float | None:
    if text.lower().lstrip(b"-").startswith(b"0x"):
        return int(text[:400], 16)
    try:
        return int(text) if len(text) < 400 else 0
    except ValueError:
        return finite(float(text))


def parse_value(data: bytes) -> Any:
    """What a file returns (`return {…};`). Raises BadLua."""
    text = _Text(data, True)
    text.blank()
    found = text.match(_WORD)
    if found is None or found[0] != b"return":
        raise BadLua("it does not begin with `return`")
    return text.value()


def parse_items(file: IO[bytes]) -> Iterator[Any]:
    """What a list holds (`item({…});` again and again), one after the other. Raises BadLua, behind what is good."""
    data, whole = b"", False
    while True:
        text = _Text(data, whole)
        try:
            while True:
                start = text.at
                text.blank()
                if text.whole and text.at >= len(text.data):
                    return
                found = text.match(_WORD)
                if found is None or found[0] != b"item":
                    text.bad("expected `item(`")
                text.want(b"(")
                value = text.value()
                text.want(b")")
                text.take(b";")
                yield value
        except _More:
            data = text.data[start:]
        if len(data) > LONGEST:
            raise BadLua("an item without an end, or one that is too large")
        more = file.read(max(CHUNK, len(data)))
        whole = not more
        data += more
