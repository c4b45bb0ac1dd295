"""What a parser of streams yields beside stanzas, and what it may hold while it reads."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Protocol

from ..errors import StreamError
from ..stanza import Stanza
from ..xml import Element, name_of, parse, tag_of
from .tokens import START_TAG

_ONLY_BASE64 = re.compile(START_TAG.pattern + rb"(?<!/>)([A-Za-z0-9+/=]*)</[^<>]*>").fullmatch


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

    @property
    def most(self) -> int:
        return self.size * self.tolerance


BEFORE_SIGN_IN: Final = Limits(8192, 32, 8, 32, 1, space=8192)


@dataclass(frozen=True, slots=True)
class StreamOpen:
    """The stream header. `attributes`: as written; `namespace`: of the stanzas."""

    attributes: dict[str, str]
    namespace: str


class StreamClose:
    """The closing tag."""


@dataclass(frozen=True, slots=True)
class Nonza:
    """A first-level element that is not a stanza (SASL, XEP-0198, …): `raw`, which stands alone, or a tree."""

    ns: str
    name: str
    attributes: dict[str, str]
    raw: bytes
    tags: tuple[str, ...] = ()
    tree: Element | None = None

    @classmethod
    def of(cls, element: Element) -> Nonza:
        """One that stands inside another one (XEP-0388, XEP-0386): handled as if it had come alone."""
        ns, name = name_of(element)
        attributes = {str(key): str(value) for key, value in element.attrib.items()}
        return cls(ns, name, attributes, b"", tuple(map(tag_of, element)), element)

    @property
    def tag(self) -> str:
        """ "namespace|name"."""
        return f"{self.ns}|{self.name}"

    @property
    def text(self) -> str:
        """Its text up to the first child. Base64, as in SASL, is cut out; everything else is parsed."""
        if self.tree is not None:
            return self.tree.text or ""
        match = _ONLY_BASE64(self.raw)
        return match[1].decode() if match is not None else self.xml.text or ""

    @property
    def xml(self) -> Element:
        return parse(self.raw) if self.tree is None else self.tree


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
