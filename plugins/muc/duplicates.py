"""Messages that an occupant sends again after its stream broke (docs/explanation/delivery.md)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Final

from xmppd.contracts.resends import RESENDS
from xmppd.jid import JID
from xmppd.plugin import Host, Stanza
from xmppd.stanza import parse_stanza
from xmppd.storage.api import Entry, Flags, Log, Range
from xmppd.xep.duplicates import RecentMessages, latest
from xmppd.xml import quoted

from .elements import archived_message
from .registry import RoomSlot

if TYPE_CHECKING:
    from xmppd.contracts.core import AcknowledgedUpTo

LEAST: Final = 100
"""So many of a room's last messages are compared …"""
MINUTES: Final = 10
MOST: Final = 2000
"""… and those of the last minutes, at most so many."""


async def expect_duplicates(host: Host, slot: RoomSlot, archive: Log, room: JID, who: JID) -> None:
    """Loads what may come again of somebody who joins after its stream broke. Raises StorageUnavailable."""
    slot.resendable.pop(who.full, None)
    resends = host.router.routes.service(who.domain, RESENDS)
    if resends is None or not resends.expects(who.bare):
        return
    last = await latest(archive, room.bare, Range(flags=int(Flags.GROUP)), LEAST, MINUTES * 60_000_000, MOST)
    author = f"jid='{quoted(who.bare)}/".encode()
    acknowledged = dict(resends.last_acknowledgements(who.bare))
    since = host.router.routes.since(who)
    own = (entry for entry in last if entry.id >= since and author in entry.body)
    found = RecentMessages(own, partial(_unacknowledged, acknowledged))
    if found:
        slot.resendable[who.full] = found


def _unacknowledged(acknowledged: Mapping[str, AcknowledgedUpTo], entry: Entry) -> bool:
    """Whether the author's client was sent no acknowledgement since the entry."""
    return any(
        entry.id > each.at and f"jid='{quoted(full)}'".encode() in entry.body for full, each in acknowledged.items()
    )


def find_duplicate(slot: RoomSlot, stanza: Stanza, who: JID, now: float) -> Stanza | None:
    """Finds the archived message that a stanza repeats, as its author alone gets it; None for a new message.

    `now`: seconds since 1970.
    """
    sent = slot.resendable.get(who.full)
    if sent is None:
        return None
    entry = sent.pop_original(stanza, now)
    if not sent:
        del slot.resendable[who.full]
    return parse_stanza(archived_message(entry.body, False)).stamped(to=who) if entry is not None else None
