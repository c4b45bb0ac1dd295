"""The <body/> of BOSH (XEP-0124 section 5, XEP-0206): how requests are read, answers written, and a session's elements
framed. Sans-I/O.

The wrapper of a request is its start tag, parsed alone, and its end tag; what lies between goes through the parser of
all streams, with its limits, as if it had come behind a stream header. So a <body/> can hold no more, and nothing
else, than a stream over TCP.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pyexpat import ExpatError, ParserCreate
from typing import Final

from ..errors import StreamError
from ..xml import CLIENT_NS, quoted
from .header import LANG, STREAM_NS, stream_error
from .items import BEFORE_SIGN_IN, Item, Limits, StreamClose, StreamOpen
from .parser import StreamParser
from .tokens import START_TAG

BODY_NS: Final = "http://jabber.org/protocol/httpbind"
XBOSH_NS: Final = "urn:xmpp:xbosh"
VERSION: Final = (1, 11)
"""Of XEP-0124."""
MOST_RID: Final = (1 << 53) - 1
"""Section 14.1."""
MOST_START: Final = 4096
"""Bytes of the wrapper's start tag, and of what stands before it."""
MOST_ATTRIBUTES: Final = 40
_LONG: Final = 512
"""Bytes of one attribute of the wrapper."""
_DECLARATION: Final = re.compile(rb"\s*(?:<\?xml\s([^>?]*)\?>)?\s*")
_ENCODING: Final = re.compile(rb"""encoding\s*=\s*["']([^"']*)["']""")
_NUMBER: Final = re.compile(r"[0-9]{1,16}").fullmatch
_VERSION: Final = re.compile(r"([0-9]{1,4})\.([0-9]{1,4})").fullmatch
_NAME: Final = re.compile(rb"<([^\s/>]+)")
_STREAM: Final = f"<stream:stream xmlns:stream='{STREAM_NS}'"
_SPACE: Final = b" \t\r\n"


class BoshError(Exception):
    """A terminal binding condition (section 17.2). `condition`: its name."""

    def __init__(self, condition: str, why: str = "") -> None:
        super().__init__(condition, why)
        self.condition = condition
        self.why = why
        """For the log."""

    @property
    def status(self) -> int:
        """The HTTP status for clients of before there were conditions (section 17.1); 200: there is none."""
        return {"bad-request": 400, "policy-violation": 403, "item-not-found": 404}.get(self.condition, 200)


# ---- requests


@dataclass(frozen=True, slots=True)
class Start:
    """The start tag of a wrapper. `attributes` by name, those with a prefix by "namespace|name"; `declared`: namespaces
    by prefix, "" for the default one."""

    name: bytes
    attributes: Mapping[str, str]
    declared: Mapping[str, str]
    end: int
    """Where it ends in the data."""
    empty: bool
    """It is the whole element."""

    @property
    def sid(self) -> str:
        return self.attributes.get("sid", "")


def read_start(data: bytes) -> Start | None:
    """The wrapper's start tag; None: it is not complete. Raises BoshError."""
    head = data[:MOST_START]
    before = _DECLARATION.match(head.removeprefix(b"\xef\xbb\xbf"))
    assert before is not None
    encoding = _ENCODING.search(before[1] or b"")
    if encoding is not None and encoding[1].upper() not in (b"UTF-8", b"UTF8", b"US-ASCII"):
        raise BoshError("bad-request", "not UTF-8")
    begin = before.end() + (3 if head.startswith(b"\xef\xbb\xbf") else 0)
    found = START_TAG.match(head, begin)
    if found is None:
        if len(head) == MOST_START or (begin < len(head) and head[begin : begin + 1] != b"<"):
            raise BoshError("bad-request", "no start tag")
        return None
    raw = found[0]
    named = _NAME.match(raw)
    if named is None or raw[1:2] in (b"!", b"?", b"/"):
        raise BoshError("bad-request", "no start tag")
    empty = raw.endswith(b"/>")
    full, attributes, declared = _parsed(raw if empty else raw[:-1] + b"/>")
    if full != f"{BODY_NS}|body":
        raise BoshError("bad-request", "no <body/>")
    if len(attributes) > MOST_ATTRIBUTES or any(len(value) > _LONG for value in attributes.values()):
        raise BoshError("bad-request", "too many or too long attributes")
    return Start(named[1], attributes, declared, found.end(), empty)


def _parsed(tag: bytes) -> tuple[str, dict[str, str], dict[str, str]]:
    """Name, attributes and namespaces of one empty element. Raises BoshError."""
    names: list[tuple[str, dict[str, str]]] = []
    declared: dict[str, str] = {}
    parser = ParserCreate("UTF-8", namespace_separator="|")
    parser.StartElementHandler = lambda name, attributes: names.append((name, attributes))
    parser.StartNamespaceDeclHandler = lambda prefix, uri: declared.__setitem__(prefix or "", uri or "")
    try:
        parser.Parse(tag, True)
    except ExpatError as error:
        raise BoshError("bad-request", str(error)) from None
    return *names[0], declared


@dataclass(frozen=True, slots=True)
class RequestBody:
    """One request. `payload`: what is inside the wrapper; `context`: the start tag that it is parsed behind."""

    rid: int
    attributes: Mapping[str, str]
    context: bytes
    payload: bytes

    @property
    def key(self) -> str:
        """Section 15."""
        return self.attributes.get("key", "")

    @property
    def newkey(self) -> str:
        return self.attributes.get("newkey", "")

    @property
    def terminates(self) -> bool:
        return self.attributes.get("type") == "terminate"

    @property
    def restarts(self) -> bool:
        """XEP-0206 section 5."""
        return self.attributes.get(f"{XBOSH_NS}|restart") in ("true", "1")

    @property
    def creates(self) -> bool:
        """It begins a session."""
        return "sid" not in self.attributes

    @property
    def pause(self) -> int | None:
        """Seconds (section 10). Raises BoshError."""
        return self.number("pause")

    @property
    def empty(self) -> bool:
        """It only asks for what there is."""
        return not (self.payload or self.terminates or self.restarts or "pause" in self.attributes)

    def number(self, name: str) -> int | None:
        """An attribute as a number; None: it is not there. Raises BoshError."""
        text = self.attributes.get(name)
        if text is None:
            return None
        if not _NUMBER(text):
            raise BoshError("bad-request", f"{name} is no number")
        return int(text)

    @property
    def version(self) -> tuple[int, int] | None:
        """Of BOSH, as the client speaks it (section 7.1). Raises BoshError."""
        text = self.attributes.get("ver")
        if text is None:
            return None
        found = _VERSION(text)
        if found is None:
            raise BoshError("bad-request", "ver is no version")
        return int(found[1]), int(found[2])


def read_body(data: bytes, start: Start | None = None) -> RequestBody:
    """A whole request; `start`: as `read_start` found it. Its payload is not parsed yet. Raises BoshError."""
    start = start or read_start(data)
    if start is None:
        raise BoshError("bad-request", "no whole start tag")
    rest = data[start.end :].rstrip(_SPACE)
    payload = b""
    if start.empty:
        if rest:
            raise BoshError("bad-request", "more than one element")
    else:
        at = rest.rfind(b"</")
        if at < 0 or not rest.endswith(b">") or rest[at + 2 : -1].rstrip(_SPACE) != start.name:
            raise BoshError("bad-request", "no end tag")
        payload = rest[:at].strip(_SPACE)
    text = start.attributes.get("rid", "")
    rid = int(text) if _NUMBER(text) else 0
    if not 0 < rid <= MOST_RID:
        raise BoshError("bad-request", "no rid")
    return RequestBody(rid, start.attributes, _context(start.declared, payload), payload)


def _context(declared: Mapping[str, str], payload: bytes) -> bytes:
    """What the payload stands in, as far as it uses it. Many clients do not name the namespace of stanzas, and mean
    jabber:client (XEP-0206 section 2). Raises BoshError."""
    default = declared.get("", "")
    written = f"{_STREAM} xmlns='{quoted(default) if default not in ('', BODY_NS) else CLIENT_NS}'"
    for prefix, uri in declared.items():
        if prefix and prefix != "stream" and f"{prefix}:".encode() in payload:
            written += f" xmlns:{prefix}='{quoted(uri)}'"
        elif prefix == "stream" and uri != STREAM_NS:
            raise BoshError("bad-request", "the prefix 'stream' is taken")
    return f"{written}>".encode()


# ---- answers


def written_body(payload: bytes = b"", **attributes: str) -> bytes:
    """One <body/>. Attributes with a prefix: `xmpp_restartlogic`; one with a value of "" is left out."""
    start = f"<body xmlns='{BODY_NS}'"
    if any(name.startswith("xmpp_") for name in attributes):
        start += f" xmlns:xmpp='{XBOSH_NS}'"
    if b"<stream:" in payload:  # section 2 of XEP-0206
        start += f" xmlns:stream='{STREAM_NS}'"
    for name, value in attributes.items():
        if value:
            start += f" {name.replace('_', ':')}='{quoted(value)}'"
    return f"{start}/>".encode() if not payload else b"%s>%s</body>" % (start.encode(), payload)


RECOVERABLE: Final = written_body(type="error")
"""Section 17.3."""


def condition_of(error: StreamError) -> str:
    """The binding condition that tells a stream error (section 17.2)."""
    return error.condition if error.condition in ("host-unknown", "system-shutdown") else "remote-stream-error"


# ---- the stream of a session


class Bodies:
    """The framing of one session's stream (`framing.Framing`). The header is in attributes of <body/>, and so is the
    end: this holds both until they are written."""

    def __init__(self) -> None:
        self.namespace = CLIENT_NS
        self.closing = b""
        self.opened: Mapping[str, str] = {}
        """The attributes of our last header."""
        self.failed: StreamError | None = None
        """What has ended the stream."""

    def parser(self, limits: Limits) -> BodyParser:
        return BodyParser(limits)

    def header(self, attributes: Mapping[str, str]) -> bytes:
        self.opened = attributes
        return b""

    def features(self, inside: bytes) -> bytes:
        return b"<stream:features>" + inside + b"</stream:features>"

    def error(self, error: StreamError) -> bytes:
        """Where a condition of BOSH tells it, no element does (XEP-0206 section 2)."""
        self.failed = error
        return stream_error(error) if condition_of(error) == "remote-stream-error" else b""


class BodyParser:
    """Tell it of a request (`expect`), then feed it the payload of that, in one piece (which may be empty) or several.
    The first request, and one that restarts the stream, stand for a stream header; one that terminates the session for
    the closing tag."""

    __slots__ = ("_context", "_elements", "_expected", "_left", "_opened", "fault", "to")

    def __init__(self, limits: Limits = BEFORE_SIGN_IN) -> None:
        self._elements = StreamParser(limits)
        self._expected: RequestBody | None = None
        self._left = 0
        """Bytes of its payload that were not fed."""
        self._context = b""
        self.to = ""
        """The domain that the client has named last: a restart need not name it."""
        self.reset()

    def reset(self) -> None:
        """Expect a new stream (XEP-0206 section 5)."""
        self.fault: StreamError | None = None
        self._opened = False
        self._stand_behind(self._context)

    def _stand_behind(self, context: bytes) -> None:
        self._context = context
        self._elements.reset()
        if context:
            self._elements.stand_behind(context)

    @property
    def limits(self) -> Limits:
        return self._elements.limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        self._elements.limits = limits

    @property
    def pending(self) -> int:
        """None: a request is whole."""
        return 0

    @property
    def held(self) -> int:
        return 0

    def rest(self) -> None:
        self._elements.rest()

    def forget(self) -> None:
        self._elements.forget()

    def expect(self, body: RequestBody) -> None:
        """What is fed next is the payload of this request."""
        self._expected = body
        self._left = len(body.payload)

    def feed(self, data: bytes) -> list[Item]:
        body = self._expected
        if self.fault is not None or body is None:
            return []
        items: list[Item] = []
        if (body.creates or body.restarts) and self._left == len(body.payload):
            items.append(self._open(body.attributes))
        self._left -= len(data)
        last = self._left <= 0
        if last:
            self._expected = None
        if body.restarts:
            data = b""  # XEP-0206 section 5: a payload beside it is ignored
        if data and not self._opened:
            self.fault = StreamError("bad-format", "the stream must be restarted first")
        elif data:
            if body.context != self._context:
                self._stand_behind(body.context)
            items += self._elements.feed(data)
            self.fault = self._fault(items, last)
            items = [item for item in items if not isinstance(item, StreamClose)]
        if last and body.terminates and self.fault is None:
            items.append(StreamClose())
        return items

    def _fault(self, items: list[Item], last: bool) -> StreamError | None:
        elements = self._elements
        if elements.fault is not None:
            return elements.fault
        if (last and elements.pending) or any(isinstance(item, StreamClose) for item in items):
            return StreamError("not-well-formed", "a payload is whole elements")
        return None

    def _open(self, attributes: Mapping[str, str]) -> StreamOpen:
        self._opened = True
        self.to = attributes.get("to") or self.to
        header = {"to": self.to, "version": attributes.get(f"{XBOSH_NS}|version", "1.0")}
        for name in ("from", LANG):
            if name in attributes:
                header[name] = attributes[name]
        return StreamOpen(header, CLIENT_NS)
