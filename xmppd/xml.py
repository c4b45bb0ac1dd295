"""Trees: lxml behind a few functions. The hot path never comes here (`Stanza` works on bytes).

libxml2 keeps every name that it has read (and namespaces, prefixes, runs of white space) in a dictionary, and lxml
keeps one dictionary per thread for ever. What strangers invent must not stay: after `FRESH_AFTER` bytes the thread is
given a new dictionary, and the old one goes with the last tree that was made with it (docs/adr/0012).
"""

from __future__ import annotations

import ctypes
import re
import threading
from collections.abc import Iterator
from copy import deepcopy
from typing import Any, NamedTuple

from lxml import etree

Element = etree._Element

CLIENT_NS = "jabber:client"
XML_NS = "http://www.w3.org/XML/1998/namespace"
LANG = f"{{{XML_NS}}}lang"

FRESH_AFTER = 1 << 20
"""Bytes that are read with one dictionary; the worst that a megabyte can leave in it are some 10 MB."""
_CONTEXT = "_ParserDictionaryContext"
"""Where lxml keeps its dictionary of a thread, since 2.x (lxml/parser.pxi, _ParserDictionaryContext)."""
_OPTIONS: dict[str, Any] = {
    "resolve_entities": False,
    "no_network": True,
    "load_dtd": False,
    "remove_comments": False,
    "collect_ids": False,
    "huge_tree": True,
}
"""libxml2's own bounds (10 MB of text, 256 levels) are off: what comes here was within those that are configured, and
none may be let in that cannot be read later."""
_HARMLESS = frozenset(
    (etree.ErrorTypes.WAR_NS_URI, etree.ErrorTypes.DTD_XMLID_VALUE, etree.ErrorTypes.DTD_ID_REDEFINED)
)
"""Errors of libxml2 about what is well-formed: a namespace that is no URI, an xml:id that is no name or not unique."""
_SPECIAL = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "'": "&apos;", '"': "&quot;", "\r": "&#13;"})
_ATTRIBUTE = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", "'": "&apos;", "\n": "&#10;", "\r": "&#13;", "\t": "&#9;"}
)
_NEEDS = re.compile("[&<>'\n\r\t]").search
_ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Written(NamedTuple):
    """An element that is serialised already, as `to_bytes` does it. `tag`: as `Stanza.tags` writes it."""

    tag: str
    data: bytes


def escape(text: str) -> str:
    """Text for element content or a quoted attribute value, carriage returns kept (XML 1.0 section 2.11)."""
    return text.translate(_SPECIAL)


def quoted(value: str) -> str:
    """An attribute value for single quotes, line breaks kept (XML 1.0 section 3.3.3)."""
    return value.translate(_ATTRIBUTE) if _NEEDS(value) else value


def clean(text: str) -> str:
    """The text without characters that XML 1.0 does not allow."""
    return _ILLEGAL.sub("", text)


def _thread_state() -> dict[str, object]:
    """The dictionary in which C extensions keep what belongs to the running thread."""
    get = ctypes.pythonapi.PyThreadState_GetDict
    get.restype = ctypes.c_void_p
    found: dict[str, object] = ctypes.cast(get(), ctypes.py_object).value
    return found


class _Reader(threading.local):
    """The parser of a thread, and how much it may still read before both it and the names are new."""

    def __init__(self) -> None:
        self.forgets = False
        self.renew()

    def renew(self) -> None:
        # Trees of several dictionaries may meet in one thread: that is how trees of several threads do (lxml compares
        # the dictionaries of two documents before it moves a node, and takes its names over).
        self.forgets = _thread_state().pop(_CONTEXT, None) is not None
        self.parser = etree.XMLParser(**_OPTIONS)
        self.left = FRESH_AFTER


_reader = _Reader()


def forgets() -> bool:
    """Whether this lxml lets go of the names it has read. If not, strangers can fill the memory."""
    parse(b"<x/>")
    _reader.renew()
    return _reader.forgets


def parse(data: bytes) -> Element:
    """A tree from one well-formed element, default namespace jabber:client if it declares none.

    Raises ValueError on anything that is not well-formed.
    """
    reader = _reader
    reader.left -= len(data)
    if reader.left < 0:
        reader.renew()
    try:
        return etree.fromstring(data, reader.parser)
    except etree.XMLSyntaxError as error:
        # The parser's own log: that of the exception is the thread's, with the errors of whatever was read before.
        if not _only_odd_namespaces(reader.parser.error_log):
            raise ValueError(str(error)) from None
    return _with_odd_namespaces(data)


def _with_odd_namespaces(data: bytes) -> Element:
    """Namespaces that are no URI: expat lets them pass (as most clients do), libxml2 does not."""
    parser = etree.XMLParser(recover=True, **_OPTIONS)
    tree = etree.fromstring(data, parser)
    if tree is None or not _only_odd_namespaces(parser.error_log):
        raise ValueError(str(parser.error_log))
    return tree


def _only_odd_namespaces(errors: Any) -> bool:
    return all(error.level < etree.ErrorLevels.ERROR or error.type in _HARMLESS for error in errors)


def parse_inside(data: bytes) -> Element:
    """A tree whose root holds what stood inside a stanza."""
    return parse(b"<x xmlns='jabber:client'>%s</x>" % data)


def E(name: str, ns: str, attributes: dict[str, str] | None = None, *children: Element | str | None) -> Element:
    """Build an element. A string child is text, None is left out."""
    element = etree.Element(f"{{{ns}}}{name}", attributes or {}, nsmap={None: ns})  # type: ignore[dict-item]
    last: Element | None = None
    for child in children:
        if child is None:
            continue
        if isinstance(child, str):
            if last is None:
                element.text = (element.text or "") + child
            else:
                last.tail = (last.tail or "") + child
        else:
            element.append(child)
            last = child
    return element


def find(element: Element, ns: str, name: str) -> Element | None:
    """The first child of that name."""
    return next(element.iterchildren(f"{{{ns}}}{name}"), None)


def children(element: Element, ns: str | None = None, name: str | None = None) -> Iterator[Element]:
    """The child elements, all or those of one name."""
    if ns is None and name is None:
        return iter(element)
    return element.iterchildren(f"{{{ns or '*'}}}{name or '*'}")


def text_of(element: Element | None) -> str:
    """The text of an element, "" for none."""
    return (element.text or "") if element is not None else ""


def name_of(element: Element) -> tuple[str, str]:
    """(namespace, local name)."""
    ns, brace, name = str(element.tag).rpartition("}")
    return (ns[1:], name) if brace else ("", name)


def tag_of(element: Element) -> str:
    """The tag as `Stanza.tags` writes it: "namespace|name"."""
    ns, name = name_of(element)
    return f"{ns}|{name}"


def alone(element: Element) -> Element:
    """A copy that declares no more namespaces than it uses, to be put anywhere.

    With prefixed names beside others it is made anew without prefixes: lxml gives what is moved the declaration of the
    new parent for its namespace, also where the default namespace is another in between.
    """
    copied = deepcopy(element)
    copied.tail = None
    etree.cleanup_namespaces(copied)
    if len({each.prefix is None for each in copied.iter("{*}*")}) == 2:
        return parse(_written(copied, None).encode())
    return copied


def in_namespace(element: Element, former: str, ns: str) -> Element:
    """A copy, made anew, in which names of one namespace are in another."""
    copied = deepcopy(element)
    copied.tail = None
    for each in list(copied.iter(f"{{{former}}}*")):
        each.tag = f"{{{ns}}}{name_of(each)[1]}"
    return parse(_written(copied, None).encode())


def moved(element: Element, former: str, ns: str) -> bytes:
    """The element alone, serialised; where it and what hangs on it is in one namespace it is in another. Below an
    element of a third one nothing changes."""
    copied = deepcopy(element)
    copied.tail = None
    below = [copied]
    for each in below:
        space, name = name_of(each)
        if space == former:
            each.tag = f"{{{ns}}}{name}"
            below.extend(each)
    return _written(copied, None).encode()


def to_bytes(element: Element) -> bytes:
    """The element alone, as it can stand inside a stanza: what is in no namespace says so, or it would fall into that
    of the element around it."""
    if next(element.iter("{}*"), None) is not None:
        return _written(element, None).encode()
    data: bytes = etree.tostring(element, encoding="utf-8", with_tail=False)
    return data


def written(element: Element) -> Written:
    """An element that is sent again and again as it is."""
    return Written(tag_of(element), to_bytes(element))


def _written(element: Element, around: str | None) -> str:
    """As text; `around` is the default namespace where it will stand, None if that is not known. lxml cannot be asked:
    it writes xmlns="" where the tree was read with it, which moving and tidying lose, or twice."""
    ns, name = name_of(element)
    parts = [f"<{name}"]
    if ns == XML_NS:
        name, ns = f"xml:{name}", around or ""
        parts = [f"<{name}"]
    elif ns != around:
        parts.append(f" xmlns='{quoted(ns)}'")
    for number, (key, value) in enumerate(element.attrib.items()):
        space, _, local = str(key).removeprefix("{").rpartition("}")
        if space == XML_NS:
            local = f"xml:{local}"
        elif space:
            parts.append(f" xmlns:n{number}='{quoted(space)}'")
            local = f"n{number}:{local}"
        parts.append(f" {local}='{quoted(str(value))}'")
    parts.append(">")
    parts.append(escape(element.text or ""))
    for child in element:
        parts.append(_written(child, ns))
        parts.append(escape(child.tail or ""))
    parts.append(f"</{name}>")
    return "".join(parts)
