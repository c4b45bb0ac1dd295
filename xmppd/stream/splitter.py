"""Bytes to stanzas (RFC 6120 section 11). Sans-I/O.

expat stands in front, on the raw bytes: it proves well-formedness, bounds depth, size and number, refuses what
section 11.1 forbids, and yields of each first-level element its attributes, its children's names and its exact
bytes. No tree is built. The parser is dropped when nothing is under way (`rest`), so an idle stream holds none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pyexpat import EXPAT_VERSION, ExpatError, ParserCreate, XMLParserType, errors
from typing import Final

from ..errors import StreamError
from ..stanza import KINDS, Stanza
from ..xml import CLIENT_NS, XML_NS, Element, alone, escape, parse, quoted, to_bytes

STREAM_NS: Final = "http://etherx.jabber.org/streams"
_STREAM_PREFIX = STREAM_NS + "|"
_STREAM_TAG = f"{STREAM_NS}|stream"
_START_TAG = re.compile(rb"""<[^>"']*(?:"[^"]*"[^>"']*|'[^']*'[^>"']*)*>""")
_XML_DECLARATION = re.compile(rb"<\?xml[ \t\r\n]([^>]*)\?>")
_ENCODING = re.compile(rb"""encoding[ \t\r\n]*=[ \t\r\n]*["']([^"']*)["']""")
_DEFER_REPARSE = tuple(map(int, EXPAT_VERSION.removeprefix("expat_").split("."))) >= (2, 6, 0)
_FRESH_AFTER = 4000
"""A new parser after so many distinct names: expat keeps every one it has seen."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one stream may hold. Bytes and counts are per first-level element, counted while parsing."""

    size: int = 262_144
    elements: int = 4096
    depth: int = 128
    attributes: int = 128
    tolerance: int = 4
    """A stanza of up to so many times the size is answered with an error; beyond, the stream ends."""

    @property
    def most(self) -> int:
        return self.size * self.tolerance


BEFORE_SIGN_IN: Final = Limits(8192, 32, 8, 32, 1)


@dataclass(frozen=True, slots=True)
class StreamOpen:
    """The stream header. `attributes`: as written; `namespace`: the default namespace."""

    attributes: dict[str, str]
    namespace: str


class StreamClose:
    """The closing tag."""


@dataclass(frozen=True, slots=True)
class Nonza:
    """A first-level element that is not a stanza (SASL, XEP-0198, …). `raw` stands alone."""

    ns: str
    name: str
    attributes: dict[str, str]
    raw: bytes
    tags: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        return self.xml.text or ""

    @property
    def xml(self) -> Element:
        return parse(self.raw)


Item = StreamOpen | StreamClose | Stanza | Nonza


@dataclass(slots=True)
class Names:
    """A budget of element and attribute names that this process has not seen (lxml never forgets one).

    `learn` is off before sign-in: a stranger's names are counted, not remembered.
    """

    left: int = 2000
    learn: bool = True
    known: set[str] = field(default_factory=lambda: _KNOWN)

    def spend(self, name: str) -> None:
        """Raises StreamError when the budget is gone."""
        if self.left <= 0:
            raise StreamError("policy-violation", "too many new element names")
        self.left -= 1
        if self.learn:
            self.known.add(name)


_KNOWN: set[str] = set()


class Splitter:
    """Feed it bytes, get items. A violation ends the items and stands in `fault`; nothing is read after it."""

    __slots__ = (
        "_attributes",
        "_base",
        "_begin",
        "_buffer",
        "_cdata",
        "_cdata_end",
        "_count",
        "_done",
        "_header",
        "_kids",
        "_last_open",
        "_name",
        "_out",
        "_parser",
        "_prefixes",
        "_quote",
        "_replayed",
        "_seen",
        "_skip",
        "_waiting",
        "depth",
        "fault",
        "limits",
        "names",
    )

    def __init__(self, limits: Limits = BEFORE_SIGN_IN, names: Names | None = None) -> None:
        self.limits = limits
        self.names = names or Names(learn=False)
        self.fault: StreamError | None = None
        self.reset()

    def reset(self) -> None:
        """Expect a new stream header, as after TLS and SASL (RFC 6120 section 4.3.3); forget what came."""
        self.fault = None
        self._parser: XMLParserType | None = None
        self._buffer = bytearray()
        self._header = b""
        self._prefixes: tuple[bytes, ...] = ()
        self._out: list[Item] = []
        self._seen = 0
        self.depth = 0
        self._begin = self._done = 0
        self._clear()

    def _clear(self) -> None:
        self._base = 0
        """Offset in the parser of the buffer's first byte."""
        self._skip = 0
        self._waiting = False
        self._quote = b""
        self._cdata = False
        self._cdata_end = -1
        self._last_open = -1
        self._count = 0
        self._name = ""
        self._attributes: dict[str, str] = {}
        self._kids: list[str] = []
        self._replayed = False

    @property
    def pending(self) -> int:
        """Bytes of an unfinished element."""
        return len(self._buffer)

    def rest(self) -> None:
        """Give the parser back if no element is under way; the next bytes make a new one."""
        if self._header and self.depth == 1 and not self._buffer:
            self._parser = None

    # ---- feeding

    def feed(self, data: bytes) -> list[Item]:
        """The items that `data` completes. Look at `fault` afterwards."""
        if self.fault is not None:
            return []
        if self._parser is None:
            if self._header and self.depth == 1 and not data.strip(b" \t\r\n"):
                return []  # whitespace keep-alive (RFC 6120 section 4.6.1) costs no parser
            self._create()
        buffer = self._buffer
        buffer += data
        size = len(buffer)
        if self._waiting and not self._closes(data) and size <= self.limits.most:
            return []
        try:
            if not self._header and self.depth == 0:
                self._check_start()
            unfed = bytes(buffer[self._skip :]) if self._skip else bytes(buffer)
            self._skip = size
            self._last_open = max(self._last_open, buffer.rfind(b"<", size - len(unfed)))
            assert self._parser is not None
            self._parser.Parse(unfed, False)
        except ExpatError as error:
            at = self._parser.ErrorByteIndex - self._base if self._parser is not None else 0
            start = buffer.rfind(b"<", 0, max(at, 0) + 1)
            declares = buffer.startswith(b"<!", start) and not buffer.startswith(b"<![CDATA[", start)
            self.fault = StreamError("restricted-xml") if declares else _expat_fault(error)
        except StreamError as error:
            self.fault = error
        return self._take()

    def _take(self) -> list[Item]:
        out, self._out = self._out, []
        if self.fault is not None:
            self._parser = None
            self._buffer = bytearray()
            return out
        buffer = self._buffer
        if self.depth > 1:
            cut = self._begin - self._base
        elif self.depth == 1:
            cut = self._done - self._base
        else:
            cut = 0
        if cut > 0:
            del buffer[:cut]
            self._base += cut
            self._skip -= cut
            self._last_open -= cut
            self._cdata_end -= cut
        if not buffer:
            self._waiting = False
            self._last_open = -1
            self._cdata_end = -1
            if self._seen > _FRESH_AFTER and self.depth == 1:
                self._parser = None
                self._seen = 0
        else:
            if self.depth == 1 and buffer.isspace():
                self._done = self._base + len(buffer)
                buffer.clear()
                self._base = self._done
                self._skip = 0
                self._waiting = False
                self._last_open = self._cdata_end = -1
                return out
            self._look_at_rest()
        return out

    def _look_at_rest(self) -> None:
        """Something is unfinished: bound it, and note whether it is a single token."""
        buffer = self._buffer
        if len(buffer) > self.limits.most:
            self.fault = _too_big()
            self._parser = None
            return
        start = self._last_open
        self._waiting = False
        if start < 0 or self._cdata or start < self._cdata_end:
            return
        rest = bytes(buffer[start : start + 9])
        if rest[1:2] in (b"", b"?", b"!"):
            declaration = self.depth == 0 and not self._header and rest[1:2] == b"?"
            if rest != b"<" and not declaration and not b"<![CDATA[".startswith(rest):
                self.fault = StreamError("restricted-xml")
                self._parser = None
            return
        if _START_TAG.match(buffer, start) is None:
            # expat before 2.6 reads an unfinished token again from its start at every feed: wait for its end.
            self._waiting = True
            self._quote = _open_quote(buffer, start)

    def _closes(self, data: bytes) -> bool:
        """Whether `data` ends the token that is waited for. Reads new bytes only."""
        quote, at = self._quote, 0
        while True:
            if quote:
                at = data.find(quote, at)
                if at < 0:
                    self._quote = quote
                    return False
                quote, at = b"", at + 1
            else:
                match = _QUOTE_OR_END.search(data, at)
                if match is None:
                    self._quote = b""
                    return False
                at = match.end()
                if match[0] == b">":
                    return True
                quote = match[0]

    def _check_start(self) -> None:
        """What stands before the header: an XML declaration in UTF-8 or nothing (RFC 6120 section 11.5, 11.6)."""
        head = bytes(self._buffer[:256]).lstrip(b" \t\r\n")
        if head[:2] in (b"\xff\xfe", b"\xfe\xff") or head[:2] in (b"<\0", b"\0<"):
            raise StreamError("unsupported-encoding", "UTF-8 only")
        declaration = _XML_DECLARATION.match(head)
        if declaration:
            encoding = _ENCODING.search(declaration[1])
            if encoding and encoding[1].upper() not in (b"UTF-8", b"UTF8"):
                raise StreamError("unsupported-encoding", "UTF-8 only")
            if re.search(rb"""version\s*=\s*["']1\.0["']""", declaration[1]) is None:
                raise StreamError("unsupported-encoding", "XML 1.0 only")
        elif head and not b"<?xml".startswith(head[:5]) and not head.startswith((b"<", b"\xef\xbb\xbf")):
            raise StreamError("not-well-formed")
        elif head.startswith(b"<!"):
            raise StreamError("restricted-xml")

    # ---- the parser

    def _create(self) -> None:
        parser = ParserCreate("UTF-8", namespace_separator="|")
        parser.buffer_text = False
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.StartDoctypeDeclHandler = parser.CommentHandler = _restricted
        parser.ProcessingInstructionHandler = parser.EntityDeclHandler = _restricted
        parser.StartCdataSectionHandler = self._cdata_start
        parser.EndCdataSectionHandler = self._cdata_stop
        if _DEFER_REPARSE:
            parser.SetReparseDeferralEnabled(False)
        self._parser = parser
        self._clear()
        if self._header:
            self._replayed = True
            self.depth = 0
            parser.Parse(self._header, False)
            self._replayed = False
            self._base = self._done = len(self._header)

    def _cdata_start(self) -> None:
        self._cdata = True

    def _cdata_stop(self) -> None:
        self._cdata = False
        if self._parser is not None:
            self._cdata_end = self._parser.CurrentByteIndex - self._base + 3

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        depth = self.depth
        self.depth = depth + 1
        if depth == 1:
            assert self._parser is not None
            self._begin = self._parser.CurrentByteIndex
            self._name = name
            self._attributes = attributes
            self._kids = []
            self._count = 0
        elif depth == 0:
            self._open(name, attributes)
            return
        else:
            if depth == 2:
                self._kids.append(name)
            self._count += 1
            if self._count > self.limits.elements or depth > self.limits.depth:
                raise StreamError("policy-violation", "too many elements or too deep")
            if name.startswith(_STREAM_PREFIX):
                self._kids.append(STREAM_NS)  # refused as a whole, in `_end`
        known = self.names.known
        if name not in known:
            self._new_name(name)
        if attributes:
            if len(attributes) > self.limits.attributes:
                raise StreamError("policy-violation", "too many attributes")
            for key in attributes:
                if key not in known:
                    self._new_name(key)

    def _new_name(self, name: str) -> None:
        self._seen += 1
        self.names.spend(name)

    def _open(self, name: str, attributes: dict[str, str]) -> None:
        if self._replayed:
            return
        parser = self._parser
        assert parser is not None
        begin = parser.CurrentByteIndex - self._base
        match = _START_TAG.match(self._buffer, begin)
        assert match is not None
        raw = bytes(match[0])
        self._done = match.end() + self._base
        if name != _STREAM_TAG:
            known = name.endswith("|stream") or name == "stream"
            raise StreamError("invalid-namespace" if known else "bad-format")
        if raw.endswith(b"/>"):
            raise StreamError("bad-format", "the stream is closed at once")
        self._header = raw
        prefixes = [m[1] for m in re.finditer(rb"\sxmlns:([^\s=]+)\s*=", raw)]
        if b"stream" not in prefixes or not raw.startswith(b"<stream:stream"):
            raise StreamError("bad-namespace-prefix", "the prefix must be 'stream'")
        self._prefixes = tuple(prefix + b":" for prefix in prefixes)
        default = re.search(rb"""\sxmlns\s*=\s*(?:'([^']*)'|"([^"]*)")""", raw)
        namespace = (default[1] or default[2] or b"").decode() if default else ""
        self._out.append(StreamOpen(attributes, namespace))

    def _end(self, name: str) -> None:
        depth = self.depth = self.depth - 1
        if depth == 1:
            self._finish()
        elif depth == 0:
            self._out.append(StreamClose())
            assert self._parser is not None
            self._done = self._base + len(self._buffer)

    def _finish(self) -> None:
        """A first-level element is complete: cut it out of the buffer."""
        parser, buffer = self._parser, self._buffer
        assert parser is not None
        base = self._base
        begin, end = self._begin - base, parser.CurrentByteIndex - base
        match = _START_TAG.match(buffer, begin)
        assert match is not None
        head_end = match.end()
        if buffer[head_end - 2] == 0x2F:  # <x/>: where expat sees its end differs between versions
            inside = b""
            stop = head_end
        else:
            inside = bytes(buffer[head_end:end])
            stop = buffer.index(b">", end) + 1
        self._done = base + stop
        name, kids = self._name, self._kids
        kind = KINDS.get(name)
        large = stop - begin > self.limits.size
        if stop - begin > self.limits.most or (large and kind is None):
            raise _too_big()
        if kind is None:
            self._out.append(self._nonza(bytes(buffer[begin:stop])))
            return
        attributes = self._attributes
        if large or STREAM_NS in kids:
            stanza = Stanza.received(kind, attributes, b"", ())
            stanza.fault = "too-big" if large else "bad-request"
        else:
            stanza = Stanza.received(kind, attributes, inside, tuple(kids))
            head = match[0]
            plain = head.startswith(_PLAIN_STARTS) and b"xmlns:" not in head
            for prefix in self._prefixes:
                if prefix in inside:
                    plain = False
            if not plain:
                stanza = self._rewritten(bytes(buffer[begin:stop]), stanza)
        self._out.append(stanza)

    def _rewritten(self, raw: bytes, stanza: Stanza) -> Stanza:
        """Names that hang on prefixes from outside: write the inside anew, so that it stands alone."""
        tree = parse(b"%s%s</stream:stream>" % (self._header, raw))[0]
        tags = stanza.tags
        inside = escape(tree.text or "").encode()
        for child in tree:
            inside += to_bytes(alone(child)) + escape(child.tail or "").encode()
        other = stanza.with_inside()
        other.inside, other.tags = inside, tags
        return other

    def _nonza(self, raw: bytes) -> Nonza:
        ns, _, name = self._name.rpartition("|")
        if ns == STREAM_NS or any(prefix in raw for prefix in self._prefixes) or b"xmlns" not in raw:
            tree = parse(b"%s%s</stream:stream>" % (self._header, raw))[0]
            raw = to_bytes(alone(tree))
        return Nonza(ns, name, self._attributes, raw, tuple(self._kids))


_PLAIN_STARTS = (b"<message", b"<presence", b"<iq")
_QUOTE_OR_END = re.compile(rb"""["'>]""")


def _open_quote(buffer: bytearray, start: int) -> bytes:
    """The quote that is open at the end of an unfinished tag, b"" for none."""
    quote, at = b"", start
    while True:
        if quote:
            at = buffer.find(quote, at)
            if at < 0:
                return quote
            quote, at = b"", at + 1
        else:
            match = _QUOTE_OR_END.search(buffer, at)
            if match is None or match[0] == b">":
                return b""
            quote, at = bytes(match[0]), match.end()


def _restricted(*_: object) -> None:
    raise StreamError("restricted-xml")


def _too_big() -> StreamError:
    # XEP-0205 section 4.5 and XEP-0478 name the application-specific condition.
    return StreamError("policy-violation", "too big", ("urn:xmpp:errors", "stanza-too-big"))


def _expat_fault(error: ExpatError) -> StreamError:
    text = errors.messages.get(error.code, "")
    if text in (errors.XML_ERROR_UNKNOWN_ENCODING, errors.XML_ERROR_INCORRECT_ENCODING):
        return StreamError("unsupported-encoding")
    if text == errors.XML_ERROR_UNDEFINED_ENTITY:
        return StreamError("restricted-xml")
    return StreamError("not-well-formed")


def header(attributes: dict[str, str], namespace: str = CLIENT_NS) -> bytes:
    """Our own stream header (RFC 6120 section 4.7)."""
    written = "".join(
        f" {'xml:lang' if key == f'{XML_NS}|lang' else key}='{quoted(value)}'" for key, value in attributes.items()
    )
    text = f"<?xml version='1.0'?><stream:stream xmlns='{namespace}' xmlns:stream='{STREAM_NS}'{written}>"
    return text.encode()
