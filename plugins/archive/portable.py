"""Archives and offline messages that move (XEP-0227, "Message Archive" and "Offline Messages"), and the preferences of
XEP-0441.

Archive and offline store are one log here. A message that waited offline on the other server is looked for in the
archive that came with it, so it is there once, and waits.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Final

from xmppd.contracts.archive import LOG, STORED_TYPES, Retention
from xmppd.contracts.expiry import EPHEMERAL_TAG, EXPIRY
from xmppd.contracts.messages import MessagePolicy
from xmppd.contracts.moving import PIE_NS, PIECE, Intake, OwnerKind, Portable
from xmppd.errors import MalformedJid
from xmppd.jid import JID
from xmppd.plugin import Element, Host, Kind, Stanza
from xmppd.stanza import appended
from xmppd.storage.api import Entry, Flags, Map, Range, Write
from xmppd.xep.elements import DELAY_NS, SID_NS, delay_bytes, parse_time, stanza_id_bytes
from xmppd.xep.mam import MAM_NS
from xmppd.xep.moved_messages import (
    ARCHIVE_TAG,
    archive_element,
    fingerprint,
    place,
    read_archive,
    stanza_of,
    stored,
    tidy,
)
from xmppd.xml import E, children

from .preferences import Preferences, read_preferences, shown

OFFLINE_TAG: Final = f"{PIE_NS}|offline-messages"
PREFERENCES_TAG: Final = f"{MAM_NS}|prefs"
TEMPORARY_NS: Final = "urn:xmpp:mam:tmp"
NEAR: Final = 5_000_000
"""Microseconds between a message in the archive and the same one in the offline store, at most."""
WINDOW: Final = 500
WHAT: Final = "archived messages"


class PortableArchive:
    def __init__(
        self, host: Host, preferences: Map[Preferences], most: Callable[[], int],
        policy: Callable[[Stanza], MessagePolicy],
    ) -> None:  # fmt: skip
        """`most`: addresses in preferences; `policy`: of a message by its kind."""
        self._host = host
        self._log = host.storage.log(LOG)
        self._preferences = preferences
        self._most = most
        self._policy = policy

    def parts(self) -> Iterable[Portable]:
        kind = OwnerKind.ACCOUNT
        yield Portable(kind, (PREFERENCES_TAG,), self._give_preferences, self._take_preferences)
        yield Portable(kind, (ARCHIVE_TAG,), self._give, self._take)
        yield Portable(kind, (OFFLINE_TAG,), self._give_offline, self._take_offline)

    # ---- out

    async def _give_preferences(self, owner: JID) -> AsyncIterator[Element]:
        chosen = await self._preferences.read(owner.bare, "")
        if chosen is not None:
            yield shown(chosen)

    async def _give(self, owner: JID) -> AsyncIterator[Element]:
        after = 0
        while page := await self._log.page(owner.bare, Range(after=after, without=Flags.HIDDEN), PIECE):
            yield archive_element(owner.bare, page)
            after = page[-1].id

    async def _give_offline(self, owner: JID) -> AsyncIterator[Element]:
        acknowledged = await self._host.acknowledged(owner.bare)
        after = await self._host.delivered_until(owner.bare)
        while page := await self._log.page(owner.bare, Range(after=after, flags=Flags.INCOMING), PIECE):
            waiting = [entry for entry in page if not acknowledged(entry.id)]
            if waiting:
                yield E("offline-messages", PIE_NS, {}, *(self._waiting(owner, each) for each in waiting))
            after = page[-1].id

    def _waiting(self, owner: JID, entry: Entry) -> Element:
        """With its time, and its id in the archive (without which ejabberd's archive fails over it)."""
        marks = delay_bytes(self._host.domain, entry.id) + stanza_id_bytes(owner.bare, entry.id)
        return stored(appended(entry.body, marks))

    # ---- in

    async def _take_preferences(self, owner: JID, prefs: Element, intake: Intake) -> Sequence[Write]:
        """Raises StanzaError."""
        chosen = read_preferences(prefs, self._most())
        if not intake.replace and await self._preferences.read(owner.bare, "") is not None:
            intake.kept("archive preferences")
            return ()
        intake.took("archive preferences")
        return [self._preferences.put(owner.bare, "", chosen)]

    async def _take(self, owner: JID, archive: Element, intake: Intake) -> Sequence[Write]:
        wanted: list[tuple[str, Entry]] = []
        stanzas: list[Stanza] = []
        for moved in read_archive(archive):
            if isinstance(moved, str):
                intake.lost(moved)
                continue
            found = self._entry(owner, moved.message, moved.at, intake)
            if found is not None:
                wanted.append((moved.id, found[0]))
                stanzas.append(found[1])
        placed = await place(self._log, owner.bare, wanted, intake.now)
        intake.kept(WHAT, len(placed.there))
        intake.took(WHAT, len(placed.entries))
        writes: list[Write] = [self._log.append(owner.bare, entry) for entry in placed.entries]
        expiry = self._host.find(EXPIRY)
        new = [stanza for number, stanza in enumerate(stanzas) if number not in placed.there]
        for entry, stanza in zip(placed.entries, new, strict=True):
            if expiry is not None and EPHEMERAL_TAG in stanza.tags:
                writes += expiry.timed(owner.bare, entry.id, stanza)
        intake.deliver((), [entry.id for entry in placed.entries if entry.flags & Flags.INCOMING])
        return writes

    def _entry(self, owner: JID, message: Element, at: int, intake: Intake) -> tuple[Entry, Stanza] | None:
        """As the archive would have stored it; None for what it does not store."""
        try:
            stanza = stanza_of(message)
            bare = _without_marks(stanza, owner)
            stanza = tidy(bare) if bare is not stanza else stanza
        except (MalformedJid, ValueError) as error:
            intake.lost(f"a message: {error}")
            return None
        if stanza.kind is not Kind.MESSAGE or stanza.type not in STORED_TYPES:
            intake.lost(f"a message of type {stanza.type!r} in an archive")
            return None
        if stanza.sender is None:
            stanza.sender = self._host.jid
        sender, to = stanza.sender, stanza.to
        if sender is not None and sender.bare == owner.bare and to is not None and to.bare != owner.bare:
            return Entry(at, to.bare, to.resource, 0, stanza.data), stanza
        if stanza.to is None:
            stanza = stanza.stamped(to=owner)
        if stanza.to is None or stanza.to.bare != owner.bare or stanza.sender is None:
            intake.lost("a message in an archive that is neither from nor to its owner")
            return None
        return Entry(at, stanza.sender.bare, stanza.sender.resource, int(Flags.INCOMING), stanza.data), stanza

    async def _take_offline(self, owner: JID, given: Element, intake: Intake) -> Sequence[Write]:
        waiting: list[int] = []
        wanted: list[tuple[str, Entry]] = []
        for message in children(given):
            at = _stamped(message) or intake.now
            found = self._entry(owner, message, min(at, intake.now), intake)
            if found is None:
                continue
            entry, stanza = found
            there = await self._near(owner, entry)
            if there is not None:
                if intake.first:  # later on a device may have had it
                    waiting.append(there.id)
                    intake.took("offline messages")
                else:
                    intake.kept("offline messages")
                continue
            retention = self._policy(stanza).retention
            if retention is Retention.NONE:
                intake.lost("an offline message of a kind that is not stored")
                continue
            if retention is not Retention.ARCHIVE:
                entry = Entry(entry.id, entry.peer, entry.resource, int(Flags.INCOMING | Flags.HIDDEN), entry.body)
            wanted.append(("", entry))
        placed = await place(self._log, owner.bare, wanted, intake.now)
        intake.took("offline messages", len(placed.entries))
        intake.deliver([*waiting, *(each.id for each in placed.entries)])
        return [self._log.append(owner.bare, each) for each in placed.entries]

    async def _near(self, owner: JID, entry: Entry) -> Entry | None:
        """The same message in the archive."""
        window = Range(low=entry.id - NEAR, high=entry.id + NEAR, peer=entry.peer, flags=Flags.INCOMING)
        wanted = fingerprint(entry)
        for each in await self._log.page(owner.bare, window, WINDOW):
            if fingerprint(each) == wanted:
                return each
        return None


def _without_marks(stanza: Stanza, owner: JID) -> Stanza:
    """Without what the other server has added for its own purposes: ids in its archive, the time of an offline
    message."""
    if f"{SID_NS}|stanza-id" in stanza.tags:
        stanza = stanza.without(SID_NS, "stanza-id", lambda each: _is_of(each.get("by"), owner))
    if f"{TEMPORARY_NS}|archived" in stanza.tags:
        stanza = stanza.without(TEMPORARY_NS, "archived")
    if f"{DELAY_NS}|delay" in stanza.tags:
        stanza = stanza.without(DELAY_NS, "delay", lambda each: _is_of(each.get("from"), owner))
    return stanza


def _is_of(claimed: object, owner: JID) -> bool:
    try:
        return JID.parse(str(claimed or "")).bare in (owner.bare, owner.domain)
    except MalformedJid:
        return False


def _stamped(message: Element) -> int:
    """When it came, as the server that kept it says: the last of its delays. 0 if it does not."""
    found = 0
    for delay in children(message, DELAY_NS, "delay"):
        try:
            found = parse_time(str(delay.get("stamp", "")))
        except (ValueError, OverflowError):
            continue
    return max(found, 0)
