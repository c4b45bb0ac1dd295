"""A message that its author retracts leaves a tombstone in the room's archive (XEP-0424 section 4)."""

from __future__ import annotations

from xmppd.storage.api import Entry, Flags, Log, Range
from xmppd.xep.numbers import log_id
from xmppd.xep.retraction import PendingRetraction
from xmppd.xml import quoted


async def find_retracted(archive: Log, room: str, pending: PendingRetraction) -> Entry | None:
    """Finds the entry that a retraction names. `pending.id`: the stanza-id that the room gave; `pending.peer`: who
    retracts. Another's message stays, also that of a former account of the same name."""
    id = log_id(pending.id)
    if id is None:
        return None
    found = await archive.page(room, Range(ids=(id,), flags=int(Flags.GROUP), low=pending.since or None), 1)
    return found[0] if found and f"jid='{quoted(pending.peer)}/".encode() in found[0].body else None
