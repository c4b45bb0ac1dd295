"""What a parser of streams yields beside stanzas, and what it may hold while it reads."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final, Protocol

from ..errors import StreamError
from ..stanza import Stanza
from ..xml import Element, name_of, parse, tag_of
from .tokens import START_TAG

Part = tuple[str, dict[str, str], int, list[Any]]
"""An element inside another one: its "namespace|name", its attributes, where it begins in the bytes of the first-level
element, and its own parts."""
_text = re.compile(START_TAG.pattern + rb"(?:(?<=/>)|([^<&\r]*)<(?!!))").match
"""A start tag and the text behind it, if a tree has the same: no references, no CDATA, no line ends to change."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one stream may hold. Bytes and counts are per first-level element, counted while parsing."""

    size: int = 262_144
    elements: int = 4096
    depth: int = 128
    attributes: int = 128
    tolerance: int = 4
    """A stanza of up to so many times the size is answered with an error; beyond, the stream ends."""
    name: int = 512
    """Bytes of a name, its namespace included. A stanza with a longer one is answered with an error."""
    space: int = 0
    """Bytes of white space that may come between elements; 0: any number, as keep-alives are (section 4.6.1)."""
    parts: bool = False
    """What is in elements that are no stanzas is noted while they are read (`Nonza.parts`), so no tree is made of most.
    It is held until the element ends, so where they are small only."""

    @property
    def most(self) -> int:
        return self.size * self.tolerance


BEFORE_SIGN_IN: Final = Limits(8192, 32, 8, 32, 1, space=8192, parts=True)


@dataclass(frozen=True, slots=True)
class StreamOpen:
    """The stream header. `attributes`: as written; `namespace`: of the stanzas; `declared`: those with a prefix, by
    which servers tell that they know dialback (XEP-0220 section 2.3.1)."""

    attributes: dict[str, str]
    namespace: str
    declared: frozenset[str] = frozenset()


class StreamClose:
    """The closing tag."""


@dataclass(slots=True)
class Nonza:
    """An element that is not a stanza (SASL, XEP-0198, …), or one inside it, to be handled as if it had come alone
    (XEP-0388, XEP-0386). Nobody changes it: it is not frozen because that makes it three times as dear.

    `raw`: the first-level element, which stands alone; this one begins at `begin`. `tags`: of its children. `parts`:
    one for each of them; None: they are in the tree only. `around`: what it stands in, and its place there. `tree`:
    once it was made.
    """

    ns: str
    name: str
    attributes: dict[str, str]
    raw: bytes
    tags: tuple[str, ...] = ()
    tree: Element | None = None
    parts: list[Part] | None = None
    begin: int = 0
    around: tuple[Nonza, int] | None = None

    @classmethod
    def of(cls, element: Element) -> Nonza:
        """An element of a tree."""
        ns, name = name_of(element)
        attributes = {str(key).removeprefix("{").replace("}", "|"): str(value) for key, value in element.attrib.items()}
        return cls(ns, name, attributes, b"", tuple(map(tag_of, element)), element)

    @property
    def tag(self) -> str:
        """ "namespace|name"."""
        return f"{self.ns}|{self.name}"

    @property
    def text(self) -> str:
        """Its text up to the first child. Most is cut out of the bytes, the rest is parsed."""
        if self.tree is None:
            match = _text(self.raw, self.begin)
            if match is not None:
                return (match[1] or b"").decode()
        return self.xml.text or ""

    @property
    def xml(self) -> Element:
        """As a tree, which is made when it is first asked for."""
        tree = self.tree
        if tree is None:
            around = self.around
            tree = self.tree = parse(self.raw) if around is None else around[0].xml[around[1]]
        return tree

    def child(self, ns: str, name: str) -> Nonza | None:
        """The first child of that name, which is in a namespace."""
        tag = f"{ns}|{name}"
        return self._at(self.tags.index(tag)) if tag in self.tags else None

    def text_of(self, ns: str, name: str) -> str:
        """The text of the first child of that name, "" for none."""
        found = self.child(ns, name)
        return found.text if found is not None else ""

    def children(self) -> list[Nonza]:
        """All of them, in order."""
        return [self._at(place) for place in range(len(self.tags))]

    def _at(self, place: int) -> Nonza:
        if self.parts is None:
            return Nonza.of(self.xml[place])
        tag, attributes, begin, parts = self.parts[place]
        ns, _, name = tag.rpartition("|")
        tags = tuple([each[0] for each in parts]) if parts else ()
        return Nonza(ns, name, attributes, self.raw, tags, None, parts, begin, (self, place))


Item = StreamOpen | StreamClose | Stanza | Nonza


class Parser(Protocol):
    """Bytes to items. A violation ends the items and stands in `fault`; nothing is read after it."""

    limits: Limits
    fault: StreamError | None

    @property
    def pending(self) -> int:
        """Bytes of an unfinished element."""
        ...

    @property
    def held(self) -> int:
        """Bytes of memory that it takes, about."""
        ...

    def feed(self, data: bytes) -> list[Item]:
        """The items that `data` completes. Look at `fault` afterwards."""
        ...

    def reset(self) -> None:
        """Expect a new stream header, as after TLS and SASL (RFC 6120 section 4.3.3); forget what came."""
        ...

    def rest(self) -> None:
        """The peer is silent: give back what is only needed while something comes."""
        ...

    def forget(self) -> None:
        """Nothing more will be fed: let go of what is held."""
        ...
