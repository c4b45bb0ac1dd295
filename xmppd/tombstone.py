"""What is left in an archive of a message that its author took back (XEP-0424 section 4)."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from .stanza import Stanza, parse_stanza
from .storage.api import Entry
from .xep import stamp
from .xml import E, name_of

RETRACT_NS: Final = "urn:xmpp:message-retract:1"
RETRACT_TAG: Final = f"{RETRACT_NS}|retract"
KEPT: Final = ("urn:xmpp:sid:0", "urn:xmpp:occupant-id:0", "http://jabber.org/protocol/muc#user")
"""Namespaces of what says nothing of the content."""
_ID = re.compile(rb"""^<message[^>]*?\sid='([^']*)'""")


def retracted_id(stanza: Stanza) -> str:
    """Which message a stanza takes back, "" for none."""
    if RETRACT_TAG not in stanza.tags:
        return ""
    found = stanza.child(RETRACT_NS, "retract")
    return str(found.get("id", "")) if found is not None else ""


def has_id(entry: Entry, id: str) -> bool:
    """Of the stored bytes, which are our own writing."""
    found = _ID.match(entry.body)
    return found is not None and found[1].decode() == id


def is_tombstone(entry: Entry) -> bool:
    return f"<retracted xmlns='{RETRACT_NS}'".encode() in entry.body or (
        b"<retracted " in entry.body and RETRACT_NS.encode() in entry.body
    )


def emptied(entry: Entry, besides: tuple[str, ...] = ()) -> Entry:
    """The entry without what it said, but for children in the namespaces `besides` and in those that say nothing."""
    old = parse_stanza(entry.body)
    rest = [each for each in old.xml if name_of(each)[0] in (*KEPT, *besides)]
    return msgspec.structs.replace(entry, body=old.with_inside(*rest).data)


def tombstone(entry: Entry, by: str, at: int) -> Entry:
    """The entry without what it said. `by`: the id of the retraction; `at`: microseconds since 1970 UTC."""
    old = parse_stanza(entry.body)
    mark = E("retracted", RETRACT_NS, {"id": by, "stamp": stamp(at)})
    rest = [each for each in old.xml if name_of(each)[0] in KEPT]
    return msgspec.structs.replace(entry, body=old.with_inside(mark, *rest).data)
