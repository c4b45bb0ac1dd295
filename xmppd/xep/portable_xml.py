"""Files of XEP-0227, written as the pieces come: an element that comes in several is one in the file."""

from __future__ import annotations

from typing import Final

from ..contracts.moving import ARCHIVE_NS, PIE_NS
from ..xml import Element, alone, quoted, tag_of, to_bytes

PUBSUB: Final = "http://jabber.org/protocol/pubsub"
SPLIT: Final = {
    f"{ARCHIVE_NS}|archive": 1,
    f"{PIE_NS}|offline-messages": 1,
    "jabber:iq:roster|query": 1,
    "jabber:iq:private|query": 1,
    "urn:xmpp:blocking|blocklist": 1,
    "http://jabber.org/protocol/muc#admin|query": 1,
    f"{PUBSUB}#owner|pubsub": 1,
    f"{PUBSUB}|pubsub": 2,
}
"""Elements that may come in pieces, and how deep they are cut: the children of these, or their children."""
HEAD: Final = b"<?xml version='1.0' encoding='UTF-8'?>\n"


class PieceWriter:
    """Makes the content of <user/> and the like. An element that is being written stays open until
    another one comes."""

    def __init__(self) -> None:
        self._open: list[tuple[bytes, bytes]] = []
        """Start tags that are not closed, and what closes them."""

    def write(self, element: Element) -> bytes:
        """What the file gets for the next piece."""
        depth = SPLIT.get(tag_of(element), 0)
        parts: list[bytes] = []
        if not depth:
            return self.end() + to_bytes(alone(element)) + b"\n"
        tags = _tags(element)
        if not self._open or self._open[0] != tags:
            parts.append(self.end())
            self._enter(tags, parts)
        for child in element:
            if depth == 1:
                parts.append(to_bytes(alone(child)) + b"\n")
                continue
            tags = _tags(child)
            if len(self._open) > 1 and self._open[1] != tags:
                parts.append(self._leave())
            if len(self._open) < 2:
                self._enter(tags, parts)
            parts.extend(to_bytes(alone(each)) + b"\n" for each in child)
        return b"".join(parts)

    def _enter(self, tags: tuple[bytes, bytes], parts: list[bytes]) -> None:
        self._open.append(tags)
        parts.append(tags[0])

    def _leave(self) -> bytes:
        return self._open.pop()[1]

    def end(self) -> bytes:
        """What ends the element that is open."""
        parts = []
        while self._open:
            parts.append(self._leave())
        return b"".join(parts)


def _tags(element: Element) -> tuple[bytes, bytes]:
    """Start and end tag, without a prefix."""
    ns, _, name = tag_of(element).partition("|")
    pairs = sorted((str(key), str(value)) for key, value in element.attrib.items())
    attributes = "".join(f" {key}='{quoted(value)}'" for key, value in pairs if "}" not in key)
    return f"<{name} xmlns='{quoted(ns)}'{attributes}>".encode(), f"</{name}>\n".encode()
