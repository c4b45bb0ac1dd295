"""How a stream lies on its connection: as one document in a stream of bytes (RFC 6120), or one element a frame
(RFC 7395). Sans-I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from ..errors import StreamError
from ..stanza import Stanza
from ..xml import CLIENT_NS, escape, moved, parse_inside
from .header import (
    CLOSING_TAG,
    DIALBACK_NS,
    SERVER_NS,
    STREAM_NS,
    stream_error,
    stream_header,
    written_attributes,
)
from .items import BEFORE_SIGN_IN, Item, Limits, Nonza, Parser, StreamClose, StreamOpen
from .parser import StreamParser, may_name

_SPACE: Final = b" \t\r\n"
FRAMING_NS: Final = "urn:ietf:params:xml:ns:xmpp-framing"
_DECLARED = f" xmlns:stream='{STREAM_NS}'"
_AROUND: Final = f"<stream:stream{_DECLARED}>".encode()
"""What a frame stands in, for the parser: no default namespace, since each frame has its own (section 3.3.2)."""


_CLIENT: Final = CLIENT_NS.encode()


def written_in(stanza: Stanza, namespace: str) -> bytes:
    """A stanza as it goes over a stream whose stanzas are in another namespace than jabber:client. Names that declare
    nothing follow the stream; a child that names jabber:client itself is written anew. What stands inside an element of
    another namespace, as a forwarded stanza (XEP-0297), stays what it is."""
    rest = rest_in(stanza, namespace)
    return stanza.data if rest is stanza.rest else stanza.start + rest


def rest_in(stanza: Stanza, namespace: str) -> bytes:
    """The same, without its `start`: one object for all copies of a stanza that share their `rest`, made once if they
    come one behind the other."""
    if not may_name(stanza.inside, _CLIENT):
        return stanza.rest
    return _written.rest_in(stanza, namespace)


class _Written:
    """What was written anew last: one stanza, that may go to many."""

    def __init__(self) -> None:
        self._last = (b"", "", b"")

    def rest_in(self, stanza: Stanza, namespace: str) -> bytes:
        rest, found, written = self._last
        if rest is not stanza.rest or found != namespace:
            written = _moved(stanza, namespace).rest
            self._last = (stanza.rest, namespace, written)
        return written


def _moved(stanza: Stanza, namespace: str) -> Stanza:
    tree = parse_inside(stanza.inside)
    inside = escape(tree.text or "").encode()
    for child in tree:
        inside += moved(child, CLIENT_NS, namespace) + escape(child.tail or "").encode()
    other = stanza.stamped(type=stanza.type)
    other.inside = inside
    return other


_written: Final = _Written()


class Framing(Protocol):
    """Reads and writes what is not an element of the stream itself."""

    @property
    def namespace(self) -> str:
        """Of the stanzas: jabber:client, jabber:server, jabber:component:accept."""
        ...

    @property
    def closing(self) -> bytes:
        """The end of the stream."""
        ...

    def parser(self, limits: Limits) -> Parser: ...
    def header(self, attributes: Mapping[str, str]) -> bytes:
        """The start of our stream."""
        ...

    def features(self, inside: bytes) -> bytes: ...
    def error(self, error: StreamError) -> bytes: ...


class ByteStream:
    """A stream of bytes holds one document (RFC 6120 section 4). `prefixes`: what our header declares beside the
    stanzas' namespace and that of streams, so that elements may be written with them."""

    def __init__(self, namespace: str = CLIENT_NS, prefixes: Mapping[str, str] | None = None) -> None:
        self.namespace = namespace
        self.closing = CLOSING_TAG
        self._declared = "".join(f" xmlns:{prefix}='{ns}'" for prefix, ns in (prefixes or {}).items())

    def parser(self, limits: Limits) -> Parser:
        return StreamParser(limits, self.namespace)

    def header(self, attributes: Mapping[str, str]) -> bytes:
        return stream_header(attributes, self.namespace, self._declared)

    def features(self, inside: bytes) -> bytes:
        return b"<stream:features>" + inside + b"</stream:features>"

    def error(self, error: StreamError) -> bytes:
        return stream_error(error)


SERVER_STREAM: Final = ByteStream(SERVER_NS, {"db": DIALBACK_NS})
"""Between servers, whichever opens it (section 4.8.2). The prefix is the one that old servers know (section 4.8.5), and
declaring it tells that we know dialback (XEP-0220 section 2.3.1)."""


_TOGETHER: Final = (b"<message", b"<presence", b"<iq", b"<r ", b"<a ")
"""How frames begin that are read in one go. None of them begins or ends a stream, or makes its limits others."""

_DECLARE: Final = {stanza: stanza + f" xmlns='{CLIENT_NS}'".encode() for stanza in (b"<iq", b"<message", b"<presence")}

_MESSAGE: Final = _DECLARE[b"<message"]


def standing_alone(data: bytes) -> bytes:
    """An element of a stream of bytes as a document of its own: a stanza gets the namespace that it has there from the
    stream (RFC 7395 section 3.3.3). All other elements declare theirs."""
    if data.startswith(b"<message "):  # nearly all
        return _MESSAGE + data[8:]
    end = 3 if data[1:2] == b"i" else 8 if data[1:2] == b"m" else 9
    declared = _DECLARE.get(data[:end])
    return data if declared is None or data[end : end + 1] not in b" />" else declared + data[end:]


class Frames:
    """Each frame is one document (RFC 7395 section 3.3)."""

    def __init__(self, namespace: str = CLIENT_NS) -> None:
        self.namespace = namespace
        self.closing = f"<close xmlns='{FRAMING_NS}'/>".encode()

    def parser(self, limits: Limits) -> Parser:
        return FrameParser(limits, self.namespace)

    def header(self, attributes: Mapping[str, str]) -> bytes:
        """Section 3.4."""
        return f"<open xmlns='{FRAMING_NS}'{written_attributes(attributes)}/>".encode()

    def features(self, inside: bytes) -> bytes:
        return f"<stream:features{_DECLARED}>".encode() + inside + b"</stream:features>"

    def error(self, error: StreamError) -> bytes:
        """Section 3.5."""
        return stream_error(error, _DECLARED)


class _Elements(StreamParser):
    """`ends`: where in the bytes of the last `feed` its elements end, if it was cleared before."""

    __slots__ = ("ends",)

    def __init__(self, limits: Limits, namespace: str) -> None:
        self.ends: list[int] = []
        super().__init__(limits, namespace)

    def _finish(self) -> None:
        super()._finish()
        self.ends.append(self._done - self._base)


def _whole(frames: list[bytes], ends: list[int]) -> int:
    """How many of the frames, from the first on, hold one element each and nothing else, by the ends of the elements
    in all of them together."""
    border = 0
    for number, frame in enumerate(frames):
        start, border = border, border + len(frame)
        if number == len(ends) or not start < ends[number] <= border:
            return number
        if ends[number] < border and frame[ends[number] - start :].strip(_SPACE):
            return number
    return len(frames)


class FrameParser:
    """Feed it whole frames. <open/> and <close/> are the header and the closing tag of a stream."""

    __slots__ = ("_elements", "_opened", "fault", "namespace", "unfinished")

    def __init__(self, limits: Limits = BEFORE_SIGN_IN, namespace: str = CLIENT_NS) -> None:
        self.namespace = namespace
        self._elements = _Elements(limits, namespace)
        self.unfinished = 0
        """Bytes of a frame that has not come whole; who reads the frames says so."""
        self.reset()

    def reset(self) -> None:
        """Expect a new <open/> (section 3.7)."""
        self.fault: StreamError | None = None
        self._opened = False
        self._read_afresh()

    def _read_afresh(self) -> None:
        self._elements.reset()
        self._elements.stand_behind(_AROUND)

    @property
    def limits(self) -> Limits:
        return self._elements.limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        self._elements.limits = limits

    @property
    def pending(self) -> int:
        return self.unfinished

    @property
    def held(self) -> int:
        return self.unfinished  # a frame is read when it is whole

    def rest(self) -> None:
        """Give the parser back until the next frame."""
        self._elements.rest()

    def forget(self) -> None:
        """Nothing more will be fed: let go of what is held."""
        self.unfinished = 0
        self._elements.forget()

    def feed(self, data: bytes) -> list[Item]:
        """The element of a frame. Look at `fault` afterwards."""
        if self.fault is not None:
            return []
        elements = self._elements
        items = elements.feed(data) if data.startswith(b"<") else []
        try:
            if elements.fault is not None:
                raise elements.fault
            if len(items) != 1 or elements.pending or isinstance(items[0], StreamClose):
                raise StreamError("not-well-formed", "a frame is one element")
            return [self._item(items[0])]
        except StreamError as error:
            self.fault = error.with_traceback(None)
            return []

    def can_feed_all(self, frames: list[bytes]) -> bool:
        """Whether `feed_all` may read these."""
        return self._opened and self.fault is None and all(frame.startswith(_TOGETHER) for frame in frames)

    def feed_all(self, frames: list[bytes]) -> list[Item]:
        """The elements of several frames, read in one go: what `feed` makes of one after the other. Look at `fault`
        afterwards."""
        elements = self._elements
        elements.ends.clear()
        found = elements.feed(b"".join(frames))
        whole = _whole(frames, elements.ends)
        items: list[Item] = []
        try:
            for item in found[:whole]:
                items.append(item if type(item) is Stanza else self._item(item))
        except StreamError as error:
            self.fault = error.with_traceback(None)
            return items
        if whole < len(frames):  # once more, to see what is wrong with that one alone
            self._read_afresh()
            for frame in frames[whole:]:
                items += self.feed(frame)
        return items

    def _item(self, item: Item) -> Item:
        if isinstance(item, Nonza) and item.ns == FRAMING_NS:
            if item.name == "open":
                self._opened = True
                return StreamOpen(item.attributes, self.namespace)
            if item.name == "close":
                return StreamClose()
            raise StreamError("bad-format")
        if not self._opened:
            named_open = isinstance(item, Nonza) and item.name == "open"
            raise StreamError("invalid-namespace" if named_open else "bad-format")
        return item
