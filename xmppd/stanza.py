"""Stanzas: immutable, made of a start tag and the raw bytes inside (RFC 6120 section 8).

A *tag* is a string "namespace|name". The bytes inside are UTF-8 with default namespace jabber:client and no
inherited prefix, so they can be archived, forwarded and sent as they are.
"""

from __future__ import annotations

import enum
import re
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from .errors import STANZAS_NS, MalformedJid, StanzaError
from .jid import JID
from .xml import CLIENT_NS, LANG, XML_NS, Element, Written, alone, escape, parse, parse_inside, quoted, tag_of, to_bytes


class Kind(enum.IntEnum):
    """The three kinds of stanza (RFC 6120 section 8.2)."""

    MESSAGE = 0
    PRESENCE = 1
    IQ = 2


SUBSCRIPTIONS: Final = frozenset(("subscribe", "subscribed", "unsubscribe", "unsubscribed"))
"""Types of presence that change a subscription (RFC 6121 section 3)."""


NAMES = ("message", "presence", "iq")


def kinds_of(namespace: str) -> dict[str, Kind]:
    """The kinds of stanzas by tag, where they are in that namespace."""
    return {f"{namespace}|{name}": Kind(i) for i, name in enumerate(NAMES)}


KINDS = kinds_of(CLIENT_NS)
_OPEN = tuple(f"<{name}" for name in NAMES)
_OPEN_TO = tuple(f"<{name} to='".encode() for name in NAMES)
_NAMED = tuple((opening.encode(), f"{opening} xmlns='{CLIENT_NS}'".encode()) for opening in _OPEN)
_CLOSE = tuple(f"</{name}>".encode() for name in NAMES)
MESSAGE_TYPES = frozenset(("chat", "error", "groupchat", "headline", "normal"))
_ERROR_TAG = f"{CLIENT_NS}|error"
_LANG = f"{XML_NS}|lang"


class Shape:
    """What rules go by: the kind, the type and the tags of the children. Stanzas that are alike share one object, so
    what was worked out for it is found by identity (`known` says whether it will be met again)."""

    __slots__ = ("kind", "known", "tags", "type")

    def __init__(self, kind: Kind, type: str, tags: tuple[str, ...], known: bool) -> None:
        self.kind = kind
        self.type = type
        self.tags = tags
        self.known = known


SHAPES: Final = 2000
"""So many shapes are remembered …"""
SHAPE_SIZE: Final = 1000
"""… of at most so many characters. Who sends ever new names makes us forget, and costs a few microseconds."""
_shapes: dict[tuple[Kind, str, tuple[str, ...]], Shape] = {}


def _shape_of(kind: Kind, type: str, tags: tuple[str, ...]) -> Shape:
    shape = _shapes.get((kind, type, tags))
    if shape is None:
        known = len(type) + sum(map(len, tags)) <= SHAPE_SIZE
        shape = Shape(kind, type, tags, known)
        if known:
            if len(_shapes) >= SHAPES:
                _shapes.clear()
            _shapes[kind, type, tags] = shape
    return shape


TREES: Final = 8
"""So many stanzas keep their trees, those that were asked last: a tree is many times as large as its bytes, and keeps
all names that were read with it (xmppd.xml). A stanza that is kept for long is bytes again."""
_planted: deque[Stanza] = deque()


def tag(ns: str, name: str) -> str:
    """The tag of a name, for `Stanza.tags` and `Stanza.has_tag`."""
    return f"{ns}|{name}"


class Stanza:
    """A message, presence or iq.

    `type`: "" for an available presence, "normal" for a message without or with an unknown type.
    `sender`: the address it comes from; set by the server, never believed (`claimed` is what the peer wrote).
    `tags`: tags of the direct children, in order. `fault`: the stanza error condition of a malformed start tag.
    """

    __slots__ = (
        "_data",
        "_rest",
        "_shape",
        "_tree",
        "claimed",
        "fault",
        "id",
        "inside",
        "kind",
        "lang",
        "sender",
        "tags",
        "to",
        "type",
    )

    def __init__(
        self,
        kind: Kind,
        type: str = "",
        to: JID | None = None,
        sender: JID | None = None,
        id: str = "",
        inside: bytes = b"",
        tags: tuple[str, ...] = (),
        lang: str = "",
    ) -> None:
        self.kind = kind
        self.type = type or ("normal" if kind is Kind.MESSAGE else "")
        self.to = to
        self.sender = sender
        self.id = id
        self.inside = inside
        self.tags = tags
        self.lang = lang
        self.claimed = ""
        self.fault = ""
        self._data: bytes | None = None
        self._rest: bytes | None = None
        self._shape: Shape | None = None
        self._tree: Element | None = None

    @classmethod
    def received(cls, kind: Kind, attributes: dict[str, str], inside: bytes, tags: tuple[str, ...]) -> Stanza:
        """From a start tag as read from a peer."""
        get = attributes.get
        kind_type = get("type", "")
        if kind is Kind.MESSAGE and kind_type not in MESSAGE_TYPES:
            kind_type = "normal"  # RFC 6121 section 5.2.2
        self = cls(kind, kind_type, None, None, get("id", ""), inside, tags, get(_LANG, ""))
        self.claimed = get("from", "")
        to = get("to")
        if to is not None:
            try:
                self.to = JID.parse(to)
            except MalformedJid:
                self.fault = "jid-malformed"
        return self

    # ---- questions

    @property
    def shape(self) -> Shape:
        shape = self._shape
        if shape is None:
            shape = self._shape = _shape_of(self.kind, self.type, self.tags)
        return shape

    def has(self, ns: str, name: str) -> bool:
        """Whether there is a direct child of that name."""
        return f"{ns}|{name}" in self.tags

    @property
    def is_error(self) -> bool:
        return self.type == "error"

    @property
    def answers(self) -> bool:
        """Whether it answers something: no error may be sent in return (RFC 6120 section 8.3.1)."""
        return self.type == "error" or self.type == "result"

    # ---- bytes

    @property
    def rest(self) -> bytes:
        """All behind the `to` attribute's place."""
        rest = self._rest
        if rest is None:
            sender, kind = self.sender, self.kind
            head = f" from='{quoted(sender.full)}'" if sender is not None else ""
            if self.type and not (kind is Kind.MESSAGE and self.type == "normal"):
                head += f" type='{quoted(self.type)}'"
            if self.id:
                head += f" id='{quoted(self.id)}'"
            if self.lang:
                head += f" xml:lang='{quoted(self.lang)}'"
            if self.inside:
                rest = b"%s>%s%s" % (head.encode(), self.inside, _CLOSE[kind])
            else:
                rest = f"{head}/>".encode()
            self._rest = rest
        return rest

    @property
    def data(self) -> bytes:
        """The stanza as it goes over the wire. The same object each time."""
        data = self._data
        if data is None:
            data = self._data = self.start + self.rest
        return data

    @property
    def start(self) -> bytes:
        """All before `rest`."""
        to = self.to
        return (f"{_OPEN[self.kind]} to='{quoted(to.full)}'" if to is not None else _OPEN[self.kind]).encode()

    @property
    def around_address(self) -> tuple[bytes, bytes]:
        """What stands before and behind the address when the stanza is sent to many (fan-out)."""
        return _OPEN_TO[self.kind], b"'" + self.rest

    def data_for(self, address: bytes) -> bytes:
        """The same stanza to another address (escaped already), without building it again (fan-out)."""
        start, end = self.around_address
        return b"".join((start, address, end))

    # ---- others made from it

    def _copy(self) -> Stanza:
        other = Stanza.__new__(Stanza)
        other.kind = self.kind
        other.type = self.type
        other.to = self.to
        other.sender = self.sender
        other.id = self.id
        other.inside = self.inside
        other.tags = self.tags
        other.lang = self.lang
        other.claimed = self.claimed
        other.fault = self.fault
        other._data = other._rest = other._tree = other._shape = None
        return other

    def stamped(
        self,
        to: JID | None = None,
        sender: JID | None = None,
        type: str | None = None,
        id: str | None = None,
        lang: str | None = None,
    ) -> Stanza:
        """With other attributes; what is None stays."""
        other = self._copy()
        if type is None:
            other._shape = self._shape
            if sender is None and id is None and lang is None:
                other._rest = self._rest
        if to is not None:
            other.to = to
        if sender is not None:
            other.sender = sender
        if type is not None:
            other.type = type
        if id is not None:
            other.id = id
        if lang is not None:
            other.lang = lang
        return other

    def copy_to(self, to: JID) -> Stanza:
        """To another address, one of many: what stands behind that is serialised once, for all copies."""
        other = self.stamped(to=to)
        other._rest = self.rest
        return other

    def with_child(self, data: bytes, tag: str) -> Stanza:
        """With one more child, already serialised, at the end."""
        other = self._copy()
        other.inside = self.inside + data
        other.tags = (*self.tags, tag)
        if self.inside and self._rest is not None:  # spliced, not built again
            close = _CLOSE[self.kind]
            other._rest = self._rest[: -len(close)] + data + close
            if self._data is not None:
                other._data = self._data[: -len(close)] + data + close
        return other

    def with_element(self, element: Element) -> Stanza:
        return self.with_child(to_bytes(element), tag_of(element))

    def with_inside(self, *elements: Element) -> Stanza:
        """With exactly these children."""
        other = self._copy()
        other.inside = b"".join(map(to_bytes, elements))
        other.tags = tuple(map(tag_of, elements))
        return other

    def without(self, ns: str, name: str, when: Callable[[Element], bool] | None = None) -> Stanza:
        """Without the children of that name (for which `when` is true). Parses only if there is one."""
        if f"{ns}|{name}" not in self.tags:
            return self
        wanted = f"{{{ns}}}{name}"
        tree = parse_inside(self.inside)
        kept = [child for child in tree if child.tag != wanted or (when is not None and not when(child))]
        if len(kept) == len(self.tags):
            return self
        return self.with_inside(*kept)

    # ---- trees

    @property
    def xml(self) -> Element:
        """The stanza as a tree, kept while the stanza is worked on. Do not change it: copy first."""
        tree = self._tree
        if tree is None:
            start = _OPEN[self.kind] + f" xmlns='{CLIENT_NS}'"
            if self.to is not None:
                start += f" to='{quoted(self.to.full)}'"
            tree = self._tree = parse(start.encode() + self.rest)
            _planted.append(self)
            if len(_planted) > TREES:
                _planted.popleft()._tree = None
        return tree

    def child(self, ns: str, name: str) -> Element | None:
        """The first direct child of that name, without a tree if there is none."""
        if f"{ns}|{name}" not in self.tags:
            return None
        return self.xml.find(f"{{{ns}}}{name}")

    @property
    def payload(self) -> Element | None:
        """The first child: what an IQ carries."""
        return next(iter(self.xml), None)

    # ---- answers

    def result(self, payload: Element | Written | None = None) -> Stanza:
        """The result of this IQ."""
        answer = Stanza(Kind.IQ, "result", self.sender, self.to, self.id)
        if payload is None:
            return answer
        if isinstance(payload, Written):
            answer.inside, answer.tags = payload.data, (payload.tag,)
            return answer
        return answer.with_inside(payload)

    def error(self, error: StanzaError) -> Stanza:
        """The error that answers this stanza (RFC 6120 section 8.3). Of the payload only what the error says is sent
        back."""
        answer = Stanza(self.kind, "error", self.sender, self.to, self.id)
        answer.inside, answer.tags = error_bytes(error), (_ERROR_TAG,)
        if error.echo is not None:
            tag, element = error.echo
            answer.inside, answer.tags = element + answer.inside, (tag, _ERROR_TAG)
        return answer

    def __repr__(self) -> str:
        return f"<{NAMES[self.kind]} {self.type or '-'} from {self.sender} to {self.to} id={self.id!r}>"


def error_bytes(error: StanzaError) -> bytes:
    """The <error/> element."""
    code = f" code='{error.code}'" if error.code else ""
    by = f" by='{quoted(error.by)}'" if error.by else ""
    parts = [f"<error type='{error.type}'{code}{by}><{error.condition} xmlns='{STANZAS_NS}'/>"]
    if error.text:
        parts.append(f"<text xmlns='{STANZAS_NS}' xml:lang='en'>{escape(error.text)}</text>")
    if isinstance(error.extra, bytes):
        parts.append(error.extra.decode())
    elif error.extra:
        ns, name, *more = error.extra
        attributes: dict[str, Any] = more[0] if more else {}
        written = "".join(f" {key}='{quoted(value)}'" for key, value in attributes.items())
        parts.append(f"<{name} xmlns='{quoted(ns)}'{written}/>")
    return ("".join(parts) + "</error>").encode()


def message(type: str, *children: Element, to: JID | None = None, sender: JID | None = None) -> Stanza:
    """A message of the server's own."""
    return Stanza(Kind.MESSAGE, type, to, sender).with_inside(*children)


def presence(type: str = "", *children: Element, to: JID | None = None, sender: JID | None = None) -> Stanza:
    """A presence of the server's own; without a type: available."""
    return Stanza(Kind.PRESENCE, type, to, sender).with_inside(*children)


def iq(type: str, id: str, *children: Element, to: JID | None = None, sender: JID | None = None) -> Stanza:
    """An IQ of the server's own. To get its answer: `Host.ask`."""
    return Stanza(Kind.IQ, type, to, sender, id).with_inside(*children)


_START: Final = re.compile(rb"""<[^'">]*(?:(?:'[^']*'|"[^"]*")[^'">]*)*>""")


def embedded(data: bytes) -> bytes:
    """A stanza's `data` as it can stand under a parent of another namespace (XEP-0297)."""
    for opening, named in _NAMED:
        if data.startswith(opening):
            return named + data[len(opening) :]
    raise ValueError("not a stanza")


def appended(data: bytes, extra: bytes) -> bytes:
    """A stanza's `data` with more children, already serialised, at the end."""
    if data.endswith(b"/>"):
        name = data[1 : data.index(b" ")] if b" " in data else data[1:-2]
        return b"%s>%s</%s>" % (data[:-2], extra, name)
    end = data.rindex(b"</")
    return b"%s%s%s" % (data[:end], extra, data[end:])


def parse_stanza(data: bytes) -> Stanza:
    """A stanza from its own `data` (a stored body), with the bytes inside as they are. Raises ValueError if it is
    none."""
    stanza, tree = _stored(data)
    start = _START.match(data)
    assert start is not None  # it is well-formed
    stanza.inside = b"" if start[0].endswith(b"/>") else data[start.end() : data.rindex(b"</")]
    stanza.tags = tuple(map(tag_of, tree))
    if stanza.claimed:
        stanza.sender = JID.parse(stanza.claimed)
    return stanza


def stanza_of(element: Element) -> Stanza:
    """The stanza that an element of jabber:client is, as one that was forwarded (XEP-0297). Raises ValueError if it is
    none, or an address in it is none."""
    kind = KINDS.get(tag_of(element))
    if kind is None:
        raise ValueError(f"not a stanza: {element.tag!r}")
    attributes = {(_LANG if str(key) == LANG else str(key)): str(value) for key, value in element.attrib.items()}
    stanza = Stanza.received(kind, attributes, b"", ()).with_inside(*map(alone, element))
    if stanza.fault:
        raise ValueError(stanza.fault)
    if stanza.claimed:
        stanza.sender = JID.parse(stanza.claimed)
    return stanza


def look_at(data: bytes) -> Stanza:
    """The same, to be looked at and nothing else: type, id, addresses, `tags` and `child`. Half the work."""
    stanza, tree = _stored(data)
    stanza.tags = tuple(map(tag_of, tree))
    stanza._tree = tree
    return stanza


def _stored(data: bytes) -> tuple[Stanza, Element]:
    tree = parse(embedded(data))
    kind = KINDS.get(tag_of(tree))
    if kind is None:
        raise ValueError(f"not a stanza: {tree.tag!r}")
    attributes = {(_LANG if str(key) == LANG else str(key)): str(value) for key, value in tree.attrib.items()}
    return Stanza.received(kind, attributes, b"", ()), tree
