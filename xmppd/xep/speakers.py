"""For whom a stanza speaks: its sender, and who has a room say something (XEP-0045)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ..errors import MalformedJid
from ..jid import JID
from ..stanza import Kind, Stanza
from ..xml import find

ROOM_NS: Final = "http://jabber.org/protocol/muc#user"
ROOM_TAG: Final = f"{ROOM_NS}|x"


def speakers(stanza: Stanza) -> Iterator[JID]:
    """The sender, and for whom a room invites or declines (XEP-0045 section 7.8.2)."""
    if stanza.sender is not None:
        yield stanza.sender
    if stanza.kind is Kind.MESSAGE and ROOM_TAG in stanza.tags and stanza.type in ("", "normal"):
        x = stanza.child(ROOM_NS, "x")
        for name in ("invite", "decline"):
            found = find(x, ROOM_NS, name) if x is not None else None
            try:
                if found is not None:
                    yield JID.parse(str(found.get("from", "")))
            except MalformedJid:
                continue
