"""What is left in an archive of a message that its author took back (XEP-0424 section 4)."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from ..errors import StorageUnavailable
from ..stanza import Stanza, parse_stanza
from ..storage.api import Entry, Log, Write
from ..xml import E, name_of
from .elements import stamp

if TYPE_CHECKING:
    from ..plugin import Host

log = logging.getLogger("xmppd.xep.retraction")

RETRACT_NS: Final = "urn:xmpp:message-retract:1"
RETRACT_TAG: Final = f"{RETRACT_NS}|retract"
OCCUPANT_ID_NS: Final = "urn:xmpp:occupant-id:0"
KEPT: Final = ("urn:xmpp:sid:0", OCCUPANT_ID_NS, "http://jabber.org/protocol/muc#user")
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


def occupant_id(stanza: Stanza) -> str:
    """What a room says of who speaks (XEP-0421), "" for nothing."""
    found = stanza.child(OCCUPANT_ID_NS, "occupant-id")
    return str(found.get("id", "")) if found is not None else ""


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


@dataclass(frozen=True, slots=True)
class Owed:
    """A tombstone to be written. `id`: what the retraction names; `by`: the id of the retraction itself; `peer`: the
    other side, in a room who has said it (a bare JID); `came`: from the other side; `since`: what is older (ids are
    microseconds since 1970 UTC) is not its author's, see Router.since; `occupant`: the occupant-id (XEP-0421) of
    whoever takes back a private message of a room, where all have the bare JID of the room."""

    peer: str
    id: str
    by: str
    came: bool = False
    since: int = 0
    occupant: str = ""


Find = Callable[[str, Owed], Awaitable[Entry | None]]
"""The entry of the owner's log that is to be buried; None: there is none."""


class Burials:
    """Tombstones are written behind the retraction, since the entry must be looked for. What is owed is committed
    together with the retraction, so that a crash between the two leaves nothing to be read."""

    PAGE: Final = 500
    SWEEP: Final = 30.0

    def __init__(self, host: Host, entries: Log, find: Find) -> None:
        self.host = host
        self.log = entries
        self.find = find
        self.owed = host.storage.map("retracted", Owed)
        self.late: set[str] = set()
        """Owners for whom something is left: from an earlier process, or the store was away."""
        self._looked = False

    def note(self, owner: str, retraction: int, owed: Owed) -> Write:
        """`retraction`: its id in the owner's log."""
        return self.owed.put(owner, str(retraction), owed)

    async def bury(self, owner: str, retraction: int, owed: Owed) -> None:
        """`retraction`: 0 if it is not in the log itself, so that nothing is noted."""
        try:
            entry = await self.find(owner, owed)
            writes: list[Write] = [self.owed.delete(owner, str(retraction))] if retraction else []
            if entry is not None and not is_tombstone(entry):
                now = int(self.host.clock.now() * 1_000_000)
                writes.append(self.log.replace(owner, tombstone(entry, owed.by, now)))
            if writes:
                await self.host.storage.commit(writes)
        except StorageUnavailable:
            log.warning("a message that was taken back stays in the archive of %s for now: the store is away", owner)
            self.late.add(owner)

    def start(self) -> None:
        """What the last process has left is looked for in the background, then what the store could not take."""
        self.host.background.spawn(self.sweep(), "tombstones")
        self.host.background.every(self.SWEEP, self.sweep, "tombstones")

    async def sweep(self) -> None:
        try:
            if not self._looked:
                await self._look()
            late, self.late = self.late, set()
            for owner in late:
                found = await self.owed.read_all(owner)
                for retraction, owed in found.items():
                    await self.bury(owner, int(retraction), owed)
        except StorageUnavailable:
            self._looked = False
            log.warning("messages that were taken back stay in archives for now: the store is away")

    async def _look(self) -> None:
        after = ""
        while owners := await self.owed.owners(self.host.domain, after, self.PAGE):
            self.late.update(owners)
            after = owners[-1]
        self._looked = True
