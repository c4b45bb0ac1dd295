"""What a peer may not send, and the stream error for it (RFC 6120 sections 4.9.3 and 11)."""

from __future__ import annotations

import re
from pyexpat import ExpatError, ParserCreate, errors

from ..errors import StreamError

_XML_DECLARATION = re.compile(rb"<\?xml[ \t\r\n]([^>]*)\?>")
_ENCODING = re.compile(rb"""encoding[ \t\r\n]*=[ \t\r\n]*["']([^"']*)["']""")

_USUAL = (b"<stream:stream", b"<?xml version='1.0'?><s", b'<?xml version="1.0"?><s')


def check_start(head: bytes) -> None:
    """What stands before the header: an XML declaration in UTF-8 or nothing (RFC 6120 section 11.5, 11.6). Raises
    StreamError."""
    if head.startswith(_USUAL):
        return
    head = head.lstrip(b" \t\r\n")
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


def has_long_prefix(header: bytes, raw: bytes, most: int) -> bool:
    """Whether a prefix has more than so many bytes. expat does not tell them with the names, and to libxml2 an element
    with a prefix of more than 50,000 is not well-formed."""
    if len(raw) <= most or re.search(rb"xmlns:[^=]{%d}" % most, raw) is None:
        return False
    found: list[str] = []
    parser = ParserCreate("UTF-8", namespace_separator="|")
    parser.StartNamespaceDeclHandler = lambda prefix, uri: found.append(prefix or "")
    parser.Parse(b"%s%s" % (header, raw), False)
    return any(len(prefix.encode()) > most for prefix in found)


def restricted(*_: object) -> None:
    raise StreamError("restricted-xml")


def too_big() -> StreamError:
    # XEP-0205 section 4.5 and XEP-0478 name the application-specific condition.
    return StreamError("policy-violation", "too big", ("urn:xmpp:errors", "stanza-too-big"))


def fault_of(error: ExpatError) -> StreamError:
    text = errors.messages.get(error.code, "")
    if text in (errors.XML_ERROR_UNKNOWN_ENCODING, errors.XML_ERROR_INCORRECT_ENCODING):
        return StreamError("unsupported-encoding")
    if text == errors.XML_ERROR_UNDEFINED_ENTITY:
        return StreamError("restricted-xml")
    return StreamError("not-well-formed")
