"""Message retraction in archives: the tombstone that replaces a retracted message (XEP-0424 section 4), also by a
moderator of a room (XEP-0425)."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Container
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from ..clock import microseconds
from ..contracts.files import FILES
from ..contracts.store_check import StoreCheck, in_map
from ..errors import StorageUnavailable
from ..stanza import Stanza, parse_stanza
from ..storage.api import Entry, Flags, Log, Write
from ..xml import E, Element, find, name_of
from .elements import stamp
from .stored_message import StoredMessage

if TYPE_CHECKING:
    from ..contracts.core import Host

log = logging.getLogger("xmppd.xep.retraction")

RETRACT_NS: Final = "urn:xmpp:message-retract:1"
RETRACT_TAG: Final = f"{RETRACT_NS}|retract"
OCCUPANT_ID_NS: Final = "urn:xmpp:occupant-id:0"
OLD_RETRACT_NS: Final = "urn:xmpp:message-retract:0"
MODERATE_NS: Final = "urn:xmpp:message-moderate:1"
OLD_MODERATE_NS: Final = "urn:xmpp:message-moderate:0"
"""XEP-0425 up to version 0.2, and what it takes from XEP-0424: what many clients read."""
PRESERVED: Final = ("urn:xmpp:sid:0", OCCUPANT_ID_NS, "http://jabber.org/protocol/muc#user")
"""Namespaces of the children that a tombstone keeps: they say nothing of the content."""


def retracted_id(stanza: Stanza) -> str:
    """The id of the message that a stanza retracts, "" for none."""
    if RETRACT_TAG not in stanza.tags:
        return ""
    found = stanza.child(RETRACT_NS, "retract")
    return str(found.get("id", "")) if found is not None else ""


def has_id(entry: Entry, id: str) -> bool:
    """Whether a stored message has this `id`."""
    return StoredMessage(entry.body).id == id


def occupant_id(stanza: Stanza) -> str:
    """By which a room names the sender (XEP-0421), "" for none."""
    found = stanza.child(OCCUPANT_ID_NS, "occupant-id")
    return str(found.get("id", "")) if found is not None else ""


def is_tombstone(entry: Entry) -> bool:
    """Whether the message of an entry was retracted already (XEP-0424 section 4)."""
    return f"<retracted xmlns='{RETRACT_NS}'".encode() in entry.body or (
        b"<retracted " in entry.body and RETRACT_NS.encode() in entry.body
    )


@dataclass(frozen=True, slots=True)
class Moderation:
    """Who has retracted another's message, and why (XEP-0425). `by`: the JID of the occupant; `occupant`: its
    occupant-id (XEP-0421)."""

    by: str
    occupant: str
    reason: str = ""


def marked(mark: Element, moderation: Moderation) -> Element:
    """Puts a moderation into <retract/> or <retracted/> of XEP-0424 (XEP-0425 sections 3.1 and 4)."""
    ns, _ = name_of(mark)
    mark.append(E("moderated", MODERATE_NS, {"by": moderation.by}, _occupant_id(moderation)))
    if moderation.reason:
        mark.append(E("reason", ns, {}, moderation.reason))
    return mark


def old_moderated(mark: Element, moderation: Moderation) -> Element:
    """<moderated/> as XEP-0425 had it up to version 0.2. `mark`: <retract/> or <retracted/> of that time."""
    reason = E("reason", OLD_MODERATE_NS, {}, moderation.reason) if moderation.reason else None
    return E("moderated", OLD_MODERATE_NS, {"by": moderation.by}, mark, reason, _occupant_id(moderation))


def _occupant_id(moderation: Moderation) -> Element:
    return E("occupant-id", OCCUPANT_ID_NS, {"id": moderation.occupant})


def emptied(entry: Entry, besides: tuple[str, ...] = ()) -> Entry:
    """The entry without its content, but for children in the namespaces `besides`."""
    return _emptied(entry, besides)


def tombstone(entry: Entry, by: str, at: int, moderation: Moderation | None = None) -> Entry:
    """The tombstone of an entry. `by`: the id of the retraction; `at`: microseconds since 1970 UTC; `moderation`: by
    whom, if not by its author."""
    mark = E("retracted", RETRACT_NS, {"id": by, "stamp": stamp(at)})
    if moderation is None:
        return _emptied(entry, (), mark)
    old = E("retracted", OLD_RETRACT_NS, {"stamp": stamp(at)})
    return _emptied(entry, (), marked(mark, moderation), old_moderated(old, moderation))


def _emptied(entry: Entry, besides: tuple[str, ...], *marks: Element) -> Entry:
    old = parse_stanza(entry.body)
    rest = [each for each in old.xml if name_of(each)[0] in (*PRESERVED, *besides)]
    return msgspec.structs.replace(entry, body=old.with_inside(*marks, *rest).data)


def author_of(host: Host, owner: str, entry: Entry) -> str:
    """The bare JID of who wrote an entry of an archive; "" where a room's does not say."""
    if host.has_accounts:
        return entry.peer if entry.flags & Flags.INCOMING else owner
    x = parse_stanza(entry.body).child(PRESERVED[2], "x")
    item = find(x, PRESERVED[2], "item") if x is not None else None
    return str(item.get("jid", "")).partition("/")[0] if item is not None else ""


async def delete_files(host: Host, author: str, entry: Entry) -> None:
    """Delete the files of an author (a bare JID) that an entry names (XEP-0363), before its content is. Raises
    StorageUnavailable."""
    files = host.router.routes.service(author.rpartition("@")[2], FILES)
    if files is not None:
        await files.delete_named_in(author, entry.body)


@dataclass(frozen=True, slots=True)
class PendingRetraction:
    """A retraction whose tombstone is not written yet. `id`: of the retracted message, as the retraction names it;
    `by`: of the retraction itself; `peer`: the other side, in a room the author (a bare JID); `came`: the retraction is
    incoming; `since`: older messages (ids are microseconds since 1970 UTC) are not its author's, see Router.since;
    `occupant`: the occupant-id (XEP-0421) of the author of a private message in a room, where all have the bare JID of
    the room; `moderation`: of a moderator, not of the author."""

    peer: str
    id: str
    by: str
    came: bool = False
    since: int = 0
    occupant: str = ""
    moderation: Moderation | None = None


FindEntry = Callable[[str, PendingRetraction], Awaitable[Entry | None]]
"""Finds the retracted entry in the owner's log; None: there is none."""


class RetractionWriter:
    """Writes tombstones after the retraction is released, since the entry must be looked for. The pending retraction is
    committed with the retraction itself, so that no crash between the two leaves the message in the archive."""

    PAGE: Final = 500
    SWEEP: Final = 30.0

    def __init__(self, host: Host, entries: Log, find: FindEntry) -> None:
        self.host = host
        self.log = entries
        self.find = find
        self.pending = host.storage.map("retracted", PendingRetraction)
        self.postponed: set[str] = host.owned(set())
        """Owners with pending retractions of an earlier process, or of a time when the store was away."""
        self._recovered = False

    def store_pending(self, owner: str, retraction: int, pending: PendingRetraction) -> Write:
        """The write for the batch of the retraction. `retraction`: its id in the owner's log."""
        return self.pending.put(owner, str(retraction), pending)

    async def write_tombstone(self, owner: str, retraction: int, pending: PendingRetraction) -> None:
        """`retraction`: its id in the owner's log, 0 if it is not there, so that nothing is stored as pending."""
        async with self.host.locks.hold(f"retraction {owner}"):
            await self._write_tombstone(owner, retraction, pending)

    async def _write_tombstone(self, owner: str, retraction: int, pending: PendingRetraction) -> None:
        try:
            entry = await self.find(owner, pending)
            writes: list[Write] = [self.pending.delete(owner, str(retraction))] if retraction else []
            if entry is not None and not is_tombstone(entry):
                own = self.host.has_accounts and not pending.came
                await delete_files(self.host, owner if own else pending.peer, entry)
                at = microseconds(self.host.clock)
                writes.append(self.log.replace(owner, tombstone(entry, pending.by, at, pending.moderation)))
            if writes:
                await self.host.storage.commit(writes)
        except StorageUnavailable:
            log.warning("a retracted message stays in the archive of %s for now: the store is away", owner)
            self.postponed.add(owner)

    def start(self) -> None:
        """Starts to write, in the background, the tombstones of the last process and those that were postponed."""
        self.host.background.spawn(self.sweep(), "tombstones")
        self.host.background.every(self.SWEEP, self.sweep, "tombstones")

    async def check(self, store: StoreCheck) -> None:
        """For `xmppd store check`. Raises StorageUnavailable."""
        async for owner, key, _ in store.records(self.pending):
            if not key.isdecimal():
                what = "it names no entry, so no retraction of the host is ended after a start"
                store.problem(owner, in_map(self.pending.name, key), what)

    async def sweep(self) -> None:
        try:
            if not self._recovered:
                await self._recover(None)
            for owner in list(self.postponed):
                if owner not in self.postponed:
                    continue  # it has left meanwhile
                self.postponed.discard(owner)
                for retraction, pending in (await self.pending.read_all(owner)).items():
                    await self.write_tombstone(owner, int(retraction), pending)
        except StorageUnavailable:
            self._recovered = False
            log.warning("retracted messages stay in archives for now: the store is away")

    async def arrived(self, owners: Container[str]) -> None:
        """The next sweep writes what their last home had to write. Raises StorageUnavailable."""
        await self._recover(owners)

    async def _recover(self, among: Container[str] | None) -> None:
        after = ""
        while owners := await self.pending.owners(self.host.domain, after, self.PAGE):
            self.postponed.update(each for each in owners if among is None or each in among)
            after = owners[-1]
        self._recovered = self._recovered or among is None
