"""A message that its author takes back leaves a tombstone in the room's archive (XEP-0424 section 4)."""

from __future__ import annotations

from xmppd.jid import JID
from xmppd.plugin import Host
from xmppd.storage.api import Flags, Log, Range
from xmppd.tombstone import is_tombstone, tombstone
from xmppd.xml import quoted


async def bury(host: Host, log: Log, room: JID, who: JID, id: str, by: str) -> None:
    """`id`: the stanza-id that the room gave. Another's message stays."""
    if not (id.isascii() and id.isdigit()) or len(id) > 18:
        return
    found = await log.page(room.bare, Range(ids=(int(id),), flags=int(Flags.GROUP)), 1)
    if found and f"jid='{quoted(who.bare)}/".encode() in found[0].body and not is_tombstone(found[0]):
        now = int(host.clock.now() * 1_000_000)
        await host.storage.commit([log.replace(room.bare, tombstone(found[0], by, now))])
