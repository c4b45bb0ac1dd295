"""A message that its author (XEP-0424 section 4) or a moderator (XEP-0425) retracts leaves a tombstone in the room's
archive."""

from __future__ import annotations

from xmppd.storage.api import Entry, Flags, Log, Range
from xmppd.xep.numbers import log_id
from xmppd.xep.retraction import PendingRetraction
from xmppd.xml import quoted


async def find_retracted(archive: Log, room: str, pending: PendingRetraction) -> Entry | None:
    """Finds the entry that a retraction names. `pending.id`: the stanza-id that the room gave; `pending.peer`: its
    author. Without a moderator another's message stays, also that of a former account of the same name."""
    id = log_id(pending.id)
    if id is None:
        return None
    found = await archive.page(room, Range(ids=(id,), flags=int(Flags.GROUP), low=pending.since or None), 1)
    if not found or (pending.moderation is None and f"jid='{quoted(pending.peer)}/".encode() not in found[0].body):
        return None
    return found[0]
