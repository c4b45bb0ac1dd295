"""The start and the end of a stream as bytes: headers, features, stream errors (RFC 6120 section 4)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from ..errors import STREAMS_NS, StreamError
from ..xml import XML_NS, escape, quoted

STREAM_NS: Final = "http://etherx.jabber.org/streams"
SERVER_NS: Final = "jabber:server"
"""Of stanzas between servers (section 4.8.2)."""
DIALBACK_NS: Final = "jabber:server:dialback"
LANG: Final = f"{XML_NS}|lang"
"""xml:lang, as a parser names the attribute."""
CLOSING_TAG: Final = b"</stream:stream>"
_EACH: Final = ("id", "to")
"""Attributes of a header that differ from stream to stream."""
_LANGUAGE = re.compile(r"[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8}){0,7}").fullmatch
"""A language tag (RFC 5646) that may be written on every stanza of a stream: no other is, and none that is long."""


def written_attributes(attributes: Mapping[str, str]) -> str:
    """Attributes in a start tag, a space before each."""
    return "".join(f" {'xml:lang' if key == LANG else key}='{quoted(value)}'" for key, value in attributes.items())


def stream_header(attributes: Mapping[str, str], namespace: str, declared: str = "") -> bytes:
    """Our own stream header (section 4.7). `namespace`: of the stanzas; `declared`: further namespace declarations."""
    start = _start(namespace, declared, *[item for item in attributes.items() if item[0] not in _EACH])
    for key in _EACH:
        if key in attributes:
            start += f" {key}='{quoted(attributes[key])}'"
    return f"{start}>".encode()


@lru_cache(64)
def _start(namespace: str, declared: str, *attributes: tuple[str, str]) -> str:
    start = f"<?xml version='1.0'?><stream:stream xmlns='{namespace}' xmlns:stream='{STREAM_NS}'{declared}"
    return f"{start}{written_attributes(dict(attributes))}"


def stream_error(error: StreamError, declared: str = "") -> bytes:
    """<stream:error/> (section 4.9.2). `declared`: namespace declarations for its start tag."""
    text = f"<text xmlns='{STREAMS_NS}' xml:lang='en'>{escape(error.text)}</text>" if error.text else ""
    extra = ""
    if error.extra:
        ns, name, *more = error.extra
        extra = f"<{name} xmlns='{ns}'{''.join(map(written_attributes, more))}/>"
    return f"<stream:error{declared}><{error.condition} xmlns='{STREAMS_NS}'/>{text}{extra}</stream:error>".encode()


def language(attributes: Mapping[str, str]) -> str:
    """The language of a peer's stream header (section 4.7.4), "" for none."""
    tag = attributes.get(LANG, "")
    return tag if _LANGUAGE(tag) else ""


def speaks_version_1(attributes: Mapping[str, str]) -> bool:
    """Whether a peer's stream header names version 1.0 or a later one (section 4.7.5)."""
    major = attributes.get("version", "0.9").partition(".")[0]
    return major.isascii() and major.isdigit() and int(major[:4]) >= 1
