"""Erlang terms as text, as `ejabberdctl dump` writes them: atoms, numbers, binaries, tuples and lists. Nothing is run.

A tuple is a tuple, a list a list, an atom an `Atom`, a binary or a string `bytes`.
"""

from __future__ import annotations

import re
import sys
from math import isfinite
from typing import Any, Final

from .escapes import unescaped

DEPTH: Final = 200
LONGEST_NUMBER: Final = 100
"""Digits."""
_BLANK: Final = re.compile(rb"(?:\s++|%[^\n]*+\n)*+")
_STRING: Final = re.compile(rb'"((?:[^"\\]++|\\.)*+)"', re.DOTALL)
"""Possessive, as the others: else the engine remembers every byte of it, a hundred times its size."""
_QUOTED: Final = re.compile(rb"'((?:[^'\\]++|\\.)*+)'", re.DOTALL)
_ATOM: Final = re.compile(rb"[a-z][A-Za-z0-9_@]*")
_NUMBER: Final = re.compile(rb"-?[0-9]+(?:\.[0-9]+(?:e[+-]?[0-9]+)?)?")
_KIND: Final = re.compile(rb"/(?:utf8|binary|latin1)")
_ESCAPE: Final = re.compile(rb"\\(x\{[0-9a-fA-F]+\}|x[0-9a-fA-F]{2}|[0-7]{1,3}|\^.|.)", re.DOTALL)
_PLAIN: Final = {
    b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f", b"v": b"\v", b"e": b"\x1b", b"s": b" ",
}  # fmt: skip


class Atom(str):
    """An atom: a name that stands for itself."""

    __slots__ = ()


class BadTerm(ValueError):
    """It is no term that is known here."""


def _unescape(text: bytes) -> bytes:
    def plain(found: re.Match[bytes]) -> bytes:
        code = found[1]
        if code.startswith(b"x"):
            number = int(code.strip(b"x{}"), 16)
            if number > sys.maxunicode:
                raise BadTerm("a character that is none")
            return bytes((number,)) if number < 256 else chr(number).encode("utf-8", "replace")
        if code[:1].isdigit():
            return bytes((int(code, 8) & 255,))
        return _PLAIN.get(code, code)

    return unescaped(text, _ESCAPE, plain)


class _Text:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def match(self, pattern: re.Pattern[bytes]) -> re.Match[bytes] | None:
        found = pattern.match(self.data, self.at)
        if found is not None:
            self.at = found.end()
        return found

    def take(self, text: bytes) -> bool:
        self.match(_BLANK)
        if self.data.startswith(text, self.at):
            self.at += len(text)
            return True
        return False

    def want(self, text: bytes) -> None:
        if not self.take(text):
            raise BadTerm(f"expected {text.decode()!r}")

    def term(self, depth: int = 0) -> Any:
        if depth > DEPTH:
            raise BadTerm("terms in terms, too deep")
        if self.take(b"<<"):
            return self._binary()
        if self.take(b"{"):
            return tuple(self._until(b"}", depth))
        if self.take(b"["):
            return self._until(b"]", depth)
        if found := self.match(_ATOM):
            return Atom(found[0].decode())
        if found := self.match(_NUMBER):
            return _number(found[0])
        if found := self.match(_STRING):
            text = _unescape(found[1])
            while self.match(_BLANK) and (more := self.match(_STRING)):
                text += _unescape(more[1])
            return text
        if found := self.match(_QUOTED):
            return Atom(_unescape(found[1]).decode("utf-8", "replace"))
        raise BadTerm("expected a term")

    def _until(self, end: bytes, depth: int) -> list[Any]:
        found: list[Any] = []
        if self.take(end):
            return found
        while True:
            found.append(self.term(depth + 1))
            if self.take(end):
                return found
            self.want(b",")

    def _binary(self) -> bytes:
        parts: list[bytes] = []
        if self.take(b">>"):
            return b""
        while True:
            self.match(_BLANK)
            if found := self.match(_STRING):
                text = _unescape(found[1])
                kind = self.match(_KIND)
                parts.append(text)
                if kind is None and self.take(b'"'):  # adjacent strings are one
                    self.at -= 1
                    continue
            elif found := self.match(_NUMBER):
                parts.append(bytes((int(found[0]) & 255,)))
            else:
                raise BadTerm("a binary that is none")
            if self.take(b">>"):
                return b"".join(parts)
            self.want(b",")


def _number(text: bytes) -> int | float:
    """Raises BadTerm."""
    number = float(text) if b"." in text else int(text[: LONGEST_NUMBER + 1])
    if not isfinite(number) if isinstance(number, float) else len(text) > LONGEST_NUMBER:
        raise BadTerm("a number that is too large")
    return number


def parse_term(data: bytes) -> Any:
    """The term that the data begins with. Raises BadTerm."""
    return _Text(data).term()
