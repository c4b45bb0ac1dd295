"""Where whole tokens end, so that expat is never given half of one. Sans-I/O.

An expat that is given an unfinished token reads it again from its start at every further piece, which is quadratic;
one that defers (2.6, and older ones that carry this as a backport) waits instead until the token has doubled, so the
end of a stanza can lie unread in it until more bytes come. Neither happens where every piece ends with a whole token.
A token that is waited for is looked at once: only what is new is searched for its end.
"""

from __future__ import annotations

import re
from pyexpat import EXPAT_VERSION, ParserCreate
from typing import Final

from ..errors import StreamError

START_TAG: Final = re.compile(rb"""<[^>"']*(?:"[^"]*"[^>"']*|'[^']*'[^>"']*)*>""")
_QUOTE_OR_END: Final = re.compile(rb"""["'>]""")
_REFERENCE_END: Final = re.compile(rb"[;<]")
_CDATA: Final = b"<![CDATA["


def ends_simply(data: bytes) -> bool:
    """Whether `data`, which begins between two elements, ends with a closing tag: so do most reads. No quote can be in
    one, so nothing has to be searched for."""
    return data.endswith(b">") and data[data.rfind(b"<") + 1] == 0x2F and b"<!" not in data and b"<?" not in data


class Tokens:
    """Follows the markup of one stream as far as is needed to tell where an unfinished token begins."""

    __slots__ = ("_cdata", "_quote", "_reference", "declaration", "waits")

    def __init__(self) -> None:
        self._cdata = False
        """Inside a CDATA section."""
        self.declaration = True
        """An XML declaration may still come."""
        self.waits = False
        """An unfinished token is waited for: ask `still_open` whether it goes on."""
        self._reference = False
        """It is a reference, not a tag."""
        self._quote = b""
        """The quote that is open in the tag."""

    def still_open(self, data: bytes) -> bool:
        """Whether the token that is waited for goes on behind `data`. Reads new bytes only."""
        if self._reference:
            self.waits = _REFERENCE_END.search(data) is None
        else:
            self._quote, self.waits = _go_on(data, 0, self._quote)
        return self.waits

    def whole(self, buffer: bytearray, start: int) -> int:
        """Where the tokens end that lie whole in `buffer` from `start` on; `start` when there is none, or it must be
        called again behind the result. Raises StreamError for what RFC 6120 section 11.1 forbids."""
        self.waits = self._reference = False
        if self._cdata:
            end = buffer.find(b"]]>", start)
            if end < 0:
                return _without_brackets(buffer, start)
            self._cdata = False
            return end + 3
        mark, other = buffer.find(b"<!", start), buffer.find(b"<?", start)
        if mark >= 0 or other >= 0:
            mark = other if mark < 0 or 0 <= other < mark else mark
            return mark if mark > start else self._declared(buffer, start)
        tag = buffer.rfind(b"<", start)
        text = start
        if tag >= 0:
            match = START_TAG.match(buffer, tag)
            if match is None:
                if tag + 1 < len(buffer):  # a lone "<" can begin a CDATA section as well
                    self._quote, self.waits = _go_on(buffer, tag + 1, b"")
                return tag
            text = match.end()
        return self._text(buffer, text)

    def _text(self, buffer: bytearray, start: int) -> int:
        size = len(buffer)
        if start == size:
            return size
        reference = buffer.rfind(b"&", start)
        if reference >= 0 and buffer.find(b";", reference) < 0:
            self.waits = self._reference = True
            return reference
        return _without_brackets(buffer, start)

    def _declared(self, buffer: bytearray, start: int) -> int:
        """What begins with <! or <?: a CDATA section, or the XML declaration where one may stand."""
        if self.declaration and buffer.startswith(b"<?", start):
            end = buffer.find(b"?>", start)
            return end + 2 if end >= 0 else start
        head = buffer[start : start + len(_CDATA)]
        if head == _CDATA:
            self._cdata = True
            return start + len(_CDATA)
        if _CDATA.startswith(head):
            return start
        raise StreamError("restricted-xml")


def _without_brackets(buffer: bytearray, start: int) -> int:
    """The end of the text from `start` on, without "]" or "]]", which can be the beginning of "]]>"."""
    size = end = len(buffer)
    while end > start and size - end < 2 and buffer[end - 1] == 0x5D:
        end -= 1
    return end


def _go_on(data: bytes | bytearray, at: int, quote: bytes) -> tuple[bytes, bool]:
    """Go on in a tag: the quote that is open at the end, and whether the tag is."""
    while True:
        if quote:
            at = data.find(quote, at)
            if at < 0:
                return quote, True
            quote, at = b"", at + 1
        else:
            match = _QUOTE_OR_END.search(data, at)
            if match is None:
                return b"", True
            at = match.end()
            if match[0] == b">":
                return b"", False
            quote = bytes(match[0])


# ---- the expat that is there


def defers() -> bool:
    """Whether this expat puts off an unfinished token (reparse deferral): by what it does, not by its version."""
    ended: list[str] = []
    parser = ParserCreate("UTF-8", namespace_separator="|")
    parser.EndElementHandler = ended.append
    stanza = b"<message xmlns='jabber:client'></message>"
    for piece in (b"<s>", stanza[:21], stanza[21:]):
        parser.Parse(piece, False)
    return not ended


def advice() -> str:
    """What the administrator should know of this expat, "" for nothing."""
    version = EXPAT_VERSION.removeprefix("expat_")
    if tuple(map(int, version.split("."))) >= (2, 6, 0) or defers():
        return ""
    return (
        f"expat {version} is older than 2.6.0 and lacks its fixes, also as a backport (CVE-2023-52425 among them): "
        "update the package libexpat1, or the Python that brings its own expat"
    )
