"""Reads markers (XEP-0333) and displayed synchronisation (XEP-0490), by which a client says what was read."""

from __future__ import annotations

from typing import Final

from xmppd.plugin import Stanza
from xmppd.xep.elements import SID_NS
from xmppd.xep.numbers import log_id
from xmppd.xml import children, find, parse

MARKERS_NS: Final = "urn:xmpp:chat-markers:0"
MARKERS: Final = ("displayed", "acknowledged")
"""XEP-0430 section 4."""
MARKER_TAGS: Final = frozenset(f"{MARKERS_NS}|{name}" for name in MARKERS)
MDS_NODE: Final = "urn:xmpp:mds:displayed:0"


def marked(stanza: Stanza) -> str:
    """The id that a marker names, "" if there is none."""
    for name in MARKERS:
        marker = stanza.child(MARKERS_NS, name)
        if marker is not None:
            return str(marker.get("id", ""))
    return ""


def displayed_item(owner: str, payload: bytes) -> int:
    """XEP-0490 section 3.1: the entry of the owner's archive that was displayed last, 0 for none.

    In a room the id is one of the room's archive: that says nothing here.
    """
    if not payload:
        return 0
    try:
        tree = parse(payload)
    except ValueError:
        return 0
    if tree.tag != f"{{{MDS_NODE}}}displayed" or find(tree, SID_NS, "stanza-id") is None:
        return 0
    for each in children(tree, SID_NS, "stanza-id"):
        id = log_id(str(each.get("id", ""))) if each.get("by") == owner else None
        if id is not None:
            return id
    return 0
