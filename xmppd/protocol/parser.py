"""Bytes to stanzas (RFC 6120 section 11). Sans-I/O.

expat stands in front, on the raw bytes: it proves well-formedness, bounds depth, size and number, refuses what
section 11.1 forbids, and yields of each first-level element its attributes, its children's names and its exact
bytes. No tree is built. It is given whole tokens only (`tokens`). The parser is dropped when nothing is under way
(`rest`), so an idle stream holds none, and after `_FRESH_AFTER` bytes, because it keeps every name that it has seen.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import islice
from pyexpat import ExpatError, ParserCreate, XMLParserType
from sys import getsizeof

from ..errors import StreamError
from ..stanza import KINDS, Stanza, kinds_of
from ..xml import CLIENT_NS, alone, escape, in_namespace, parse, to_bytes
from .header import STREAM_NS
from .items import BEFORE_SIGN_IN, Item, Limits, Nonza, Part, StreamClose, StreamOpen
from .tokens import START_TAG, Tokens, ends_simply
from .violations import check_start, fault_of, has_long_prefix, restricted, too_big

_STREAM_PREFIX = STREAM_NS + "|"
_STREAM_TAG = f"{STREAM_NS}|stream"
_FRESH_AFTER = 1 << 16
"""A new parser after so many bytes: what is named in them stays in it."""
_SPACE = b" \t\r\n"
_DECLARES = re.compile(rb"""\sxmlns:([^\s=]+)\s*=(?=\s*(?:'([^']*)'|"([^"]*)"|))""")
"""Finds them in values of attributes, too. So the value is looked at only: what it takes could hide a declaration."""
_PREFIXED = re.compile(rb"<[^\s/>:]+:").match
_DEFAULT = re.compile(rb"""\sxmlns\s*=\s*(?:'([^']*)'|"([^"]*)")""")
_USUAL_HEADER = 256
"""Bytes. Many clients send the same header: what is in those that are no longer is remembered."""
_DECLARATION = b"<?xml version='1.0'?>"
_USUAL_START = (_DECLARATION + b"<stream:stream", b'<?xml version="1.0"?><stream:stream')
_SURELY_SHORT = 128
"""A name of so many characters is within every limit: four bytes each at most."""


_Declared = tuple[tuple[bytes, ...], str, frozenset[str]]


def _declared(header: bytes) -> _Declared:
    """The prefixes that a header declares, a colon behind each, its default namespace, "" for none, and those of the
    prefixes."""
    return _usual(header) if len(header) <= _USUAL_HEADER else _declarations(header)


def _declarations(header: bytes) -> _Declared:
    default = _DEFAULT.search(header)
    namespace = (default[1] or default[2] or b"").decode() if default else ""
    found = [each.groups(b"") for each in _DECLARES.finditer(header)]
    return tuple(each[0] + b":" for each in found), namespace, frozenset((each[1] + each[2]).decode() for each in found)


_usual = lru_cache(64)(_declarations)


def may_name(inside: bytes, namespace: bytes) -> bool:
    """Whether elements may declare that namespace: it is there as it is, or perhaps with character references."""
    return namespace in inside or (b"&#" in inside and b"xmlns" in inside)


class StreamParser:
    """Feed it bytes, get items. A violation ends the items and stands in `fault`; nothing is read after it.

    `namespace`: of the stanzas. They come out as stanzas of jabber:client, whichever it is.
    """

    __slots__ = (
        "_attributes",
        "_base",
        "_begin",
        "_blank",
        "_buffer",
        "_count",
        "_done",
        "_fresh",
        "_header",
        "_kids",
        "_kinds",
        "_long",
        "_long_names",
        "_name",
        "_names",
        "_namespace",
        "_out",
        "_parser",
        "_parts",
        "_prefixes",
        "_replayed",
        "_skip",
        "_tokens",
        "depth",
        "fault",
        "limits",
    )

    def __init__(self, limits: Limits = BEFORE_SIGN_IN, namespace: str = CLIENT_NS) -> None:
        self.limits = limits
        self._namespace = namespace
        self._kinds = KINDS if namespace == CLIENT_NS else kinds_of(namespace)
        self._begin_anew()

    def reset(self) -> None:
        """Expect a new stream header, as after TLS and SASL (RFC 6120 section 4.3.3); forget what came."""
        if not self._fresh:
            self._begin_anew()

    def _begin_anew(self) -> None:
        self._fresh = True
        """Nothing has come."""
        self.fault: StreamError | None = None
        self._parser: XMLParserType | None = None
        self._buffer = bytearray()
        self._header = b""
        self._prefixes: tuple[bytes, ...] = ()
        """What of the header an element may use: it does not stand alone then."""
        self._out: list[Item] = []
        self._blank = 0
        self.depth = 0
        self._begin = self._done = 0
        self._clear()

    def stand_behind(self, header: bytes) -> None:
        """Read elements as if `header`, a <stream:stream> with that prefix, had come."""
        self._fresh = False
        self._header = header
        self._prefixes = _declared(header)[0]
        self.depth = 1

    def _clear(self) -> None:
        self._base = 0
        """Offset in the parser of the buffer's first byte."""
        self._skip = 0
        """Up to here the buffer is with the parser."""
        self._tokens = Tokens()
        self._count = 0
        self._long = False
        self._long_names: set[str] | None = None
        """Names that are too long, if this parser has met some."""
        self._names = 0
        """So many names that the parser has met have been looked at."""
        self._name = ""
        self._attributes: dict[str, str] = {}
        self._kids: list[str] = []
        self._parts: list[Part] | None = None
        """What is noted of the element (`Nonza.parts`)."""
        self._replayed = False

    @property
    def pending(self) -> int:
        """Bytes of an unfinished element."""
        return len(self._buffer)

    @property
    def held(self) -> int:
        """Bytes of memory that it takes, about. In a string one character out of the ordinary makes four bytes of each;
        expat keeps what it has made the string of, too."""
        strings = sum(map(getsizeof, self._attributes.values())) if self.depth > 1 else 0
        for _, attributes, _, inside in self._parts or ():
            for each in (attributes, *(part[1] for part in inside)):
                strings += getsizeof(each) + sum(map(getsizeof, each.values()))
        return len(self._buffer) + strings + strings // 2

    def rest(self) -> None:
        """Give the parser back if no element is under way; the next bytes make a new one."""
        if self._header and self.depth == 1 and not self._buffer:
            self._parser = None

    def forget(self) -> None:
        """Nothing more will be fed: let go of what is held."""
        self._parser = None
        self._buffer.clear()
        self._attributes = {}
        self._kids = []
        self._parts = None

    # ---- feeding

    def feed(self, data: bytes) -> list[Item]:
        """The items that `data` completes. Look at `fault` afterwards."""
        if self.fault is not None:
            return []
        if self._parser is None:
            fresh, self._fresh = self._fresh, False
            if self._header and self.depth == 1 and not data.strip(_SPACE):
                self._pause(len(data))  # whitespace keep-alive (RFC 6120 section 4.6.1) costs no parser
                return []
            self._create(fresh)
        buffer, tokens = self._buffer, self._tokens
        simple = not buffer and self._header and ends_simply(data)
        buffer += data
        if tokens.waits and tokens.still_open(data) and len(buffer) <= self.limits.most:
            return []
        try:
            if simple:
                self._skip = len(data)
                self._parser.Parse(data, False)  # type: ignore[union-attr]
            else:
                self._feed()
        except ExpatError as error:
            at = self._parser.ErrorByteIndex - self._base if self._parser is not None else 0
            start = buffer.rfind(b"<", 0, max(at, 0) + 1)
            declares = buffer.startswith(b"<!", start) and not buffer.startswith(b"<![CDATA[", start)
            self.fault = StreamError("restricted-xml") if declares else fault_of(error)
        except StreamError as error:
            self.fault = error.with_traceback(None)  # whose frames hold all that was fed
        return self._take()

    def _feed(self) -> None:
        """Give the parser what lies whole in the buffer."""
        buffer, start = self._buffer, self._skip
        looked = start
        if not self._header and self.depth == 0:
            if buffer.startswith(_USUAL_START):
                looked = len(_DECLARATION)
                self._tokens.declaration = False
            else:
                check_start(bytes(buffer[:256]))
        while start < len(buffer):
            end = self._tokens.whole(buffer, max(start, looked))
            if end == start:
                break
            self._skip = end
            self._parser.Parse(bytes(buffer[start:end]), False)  # type: ignore[union-attr]
            start = end

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
        if buffer and self.depth == 1 and buffer.isspace():
            self._pause(len(buffer))
            self._done = self._base = self._base + len(buffer)
            self._skip = 0
            buffer.clear()
        if not buffer:
            if self.depth == 1 and (self._base > _FRESH_AFTER or self._long):
                self._parser = None
        elif len(buffer) > self.limits.most:
            self.fault = too_big()
            self._parser = None
        return out

    def _pause(self, size: int) -> None:
        """White space between elements."""
        if self.limits.space:
            self._blank += size
            if self._blank > self.limits.space:
                self.fault = StreamError("policy-violation", "too much white space before sign-in")
                self._parser = None

    # ---- the parser

    def _create(self, fresh: bool) -> None:
        parser = ParserCreate("UTF-8", namespace_separator="|")
        parser.buffer_text = False
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.StartDoctypeDeclHandler = parser.CommentHandler = restricted
        parser.ProcessingInstructionHandler = parser.EntityDeclHandler = restricted
        self._parser = parser
        if not fresh:
            self._clear()
        if self._header:
            self._tokens.declaration = False
            self._replayed = True
            self.depth = 0
            parser.Parse(self._header, False)
            self._replayed = False
            self._base = self._done = len(self._header)
            self._names = len(parser.intern)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        depth = self.depth
        self.depth = depth + 1
        if depth == 1:
            assert self._parser is not None
            self._begin = self._parser.CurrentByteIndex
            self._name = name
            self._attributes = attributes
            self._kids = []
            self._parts = [] if self.limits.parts and name not in self._kinds else None
            self._count = 0
            self._long = False
        elif depth == 0:
            self._open(name, attributes)
            return
        else:
            if depth == 2:
                self._kids.append(name)
            count = self._count = self._count + 1
            if count > self.limits.elements or depth > self.limits.depth:
                raise StreamError("policy-violation", "too many elements or too deep")
            if name.startswith(_STREAM_PREFIX):
                self._kids.append(STREAM_NS)  # refused as a whole, in `_end`
            parts = self._parts
            if parts is not None:
                if depth > 3:
                    self._parts = None  # of what is deeper there is the tree only
                else:
                    at = self._parser.CurrentByteIndex - self._begin  # type: ignore[union-attr]
                    (parts if depth == 2 else parts[-1][3]).append((name, attributes, at, []))
        if attributes and len(attributes) > self.limits.attributes:
            raise StreamError("policy-violation", "too many attributes")
        known = self._long_names
        if known is not None and (name in known or not known.isdisjoint(attributes)):
            self._long = True

    def _look_at_names(self, names: dict[str, str]) -> None:
        """The parser has met new ones, of elements or attributes."""
        for name in islice(names, self._names, None):
            if len(name) > _SURELY_SHORT and len(name.encode()) > self.limits.name:
                self._long = True
                self._long_names = self._long_names or set()
                self._long_names.add(name)
        self._names = len(names)

    def _open(self, name: str, attributes: dict[str, str]) -> None:
        if self._replayed:
            return
        parser = self._parser
        assert parser is not None
        begin = parser.CurrentByteIndex - self._base
        match = START_TAG.match(self._buffer, begin)
        assert match is not None
        raw = bytes(match[0])
        self._done = match.end() + self._base
        if name != _STREAM_TAG:
            known = name.endswith("|stream") or name == "stream"
            raise StreamError("invalid-namespace" if known else "bad-format")
        if raw.endswith(b"/>"):
            raise StreamError("bad-format", "the stream is closed at once")
        self._header = raw
        self._tokens.declaration = False
        self._names = len(parser.intern)
        self._prefixes, namespace, declared = _declared(raw)
        if b"stream:" not in self._prefixes or not raw.startswith(b"<stream:stream"):
            raise StreamError("bad-namespace-prefix", "the prefix must be 'stream'")
        self._out.append(StreamOpen(attributes, namespace, declared))

    def _end(self, name: str) -> None:
        depth = self.depth = self.depth - 1
        if depth == 1:
            names = self._parser.intern  # type: ignore[union-attr]
            if len(names) != self._names:
                self._look_at_names(names)
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
        match = START_TAG.match(buffer, begin)
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
        kind = self._kinds.get(name)
        large = stop - begin > self.limits.size
        if stop - begin > self.limits.most or (large and kind is None):
            raise too_big()
        if kind is None:
            if self._long or has_long_prefix(self._header, bytes(buffer[begin:stop]), self.limits.name):
                raise StreamError("policy-violation", "an XML name is too long")
            self._out.append(self._nonza(bytes(buffer[begin:stop])))
            return
        attributes = self._attributes
        if not self._long and stop - begin > self.limits.name and buffer.find(b"xmlns:", begin, stop) >= 0:
            self._long = has_long_prefix(self._header, bytes(buffer[begin:stop]), self.limits.name)
        if large or self._long or STREAM_NS in kids:
            stanza = Stanza.received(kind, attributes, b"", ())
            stanza.fault = "too-big" if large else "long-name" if self._long else "bad-request"
        else:
            tags = tuple(kids) if self._kinds is KINDS else self._client_tags(kids)
            stanza = Stanza.received(kind, attributes, inside, tags)
            head = match[0]
            plain = head.startswith(_PLAIN_STARTS) and b"xmlns:" not in head
            plain = plain and (self._kinds is KINDS or not may_name(inside, self._namespace.encode()))
            for prefix in self._prefixes:
                if prefix in inside:
                    plain = False
            if not plain:
                if head.count(b"xmlns") > self.limits.attributes:
                    raise StreamError("policy-violation", "too many attributes")
                stanza = self._rewritten(bytes(buffer[begin:stop]), stanza)
        self._out.append(stanza)

    def _client_tags(self, tags: list[str]) -> tuple[str, ...]:
        """As if the stanza were in jabber:client."""
        outer = f"{self._namespace}|"
        return tuple(f"{CLIENT_NS}|{tag.removeprefix(outer)}" if tag.startswith(outer) else tag for tag in tags)

    def _rewritten(self, raw: bytes, stanza: Stanza) -> Stanza:
        """Names that hang on prefixes or namespaces from outside: write the inside anew, so that it stands alone."""
        tree = parse(b"%s%s</stream:stream>" % (self._header, raw))[0]
        if self._namespace != CLIENT_NS:
            tree = in_namespace(tree, self._namespace, CLIENT_NS)
        tags = stanza.tags
        inside = escape(tree.text or "").encode()
        for child in tree:
            inside += to_bytes(alone(child)) + escape(child.tail or "").encode()
        other = stanza.with_inside()
        other.inside, other.tags = inside, tags
        return other

    def _nonza(self, raw: bytes) -> Nonza:
        ns, _, name = self._name.rpartition("|")
        kids, parts, self._parts = self._kids, self._parts, None
        inherits = ns == self._namespace or b"xmlns" not in raw or _PREFIXED(raw) is not None
        if inherits or ns == STREAM_NS or any([prefix in raw for prefix in self._prefixes]):
            tree = parse(b"%s%s</stream:stream>" % (self._header, raw))[0]
            raw, parts = to_bytes(alone(tree)), None
        tags = tuple(kids) if STREAM_NS not in kids else tuple([each for each in kids if each != STREAM_NS])
        return Nonza(ns, name, self._attributes, raw, tags, None, parts)


_PLAIN_STARTS = (b"<message", b"<presence", b"<iq")
