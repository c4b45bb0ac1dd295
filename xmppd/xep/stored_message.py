"""A view of a message as it is stored: its attributes and marks, read from the bytes without a tree."""

from __future__ import annotations

import re
from html import unescape

from ..stanza import Stanza, parse_stanza

_ORIGIN_ID = re.compile(rb"""<origin-id\b[^>]*?\sid=(?:'([^']*)'|"([^"]*)")""")


class StoredMessage:
    """`data`: of a stanza, as `Stanza.data` writes it: attributes of the start tag in single quotes, escaped."""

    __slots__ = ("_start", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._start = data[: data.find(b">")] if data.startswith(b"<message") else b""

    @property
    def to(self) -> str:
        return self._attribute(b" to='")

    @property
    def sender(self) -> str:
        """The `from`."""
        return self._attribute(b" from='")

    @property
    def id(self) -> str:
        return self._attribute(b" id='")

    @property
    def type(self) -> str:
        return self._attribute(b" type='") or "normal"

    @property
    def origin_id(self) -> str:
        """XEP-0359, "" for none."""
        found = _ORIGIN_ID.search(self.data)
        return unescape((found[1] or found[2] or b"").decode()) if found else ""

    @property
    def may_have_text(self) -> bool:
        """False if it has certainly neither body nor subject."""
        return b"<body" in self.data or b"<subject" in self.data

    def stanza(self) -> Stanza:
        """Parsed. Raises ValueError if the data is no stanza."""
        return parse_stanza(self.data)

    def _attribute(self, opening: bytes) -> str:
        start = self._start
        at = start.find(opening)
        if at < 0:
            return ""
        at += len(opening)
        value = start[at : start.find(b"'", at)].decode()
        return unescape(value) if "&" in value else value
