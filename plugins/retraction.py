"""XEP-0424: Message Retraction. A retracted message leaves a tombstone in both archives."""

from __future__ import annotations

from collections.abc import Container
from typing import Final

from xmppd.contracts.archive import ARCHIVE, LOG, STORED_TYPES
from xmppd.contracts.owners import OWNERS_ARRIVED
from xmppd.contracts.routing import ARRIVED, INBOUND, OUTBOUND, SENT, Event
from xmppd.contracts.store_check import CHECK_STORE, StoreCheck
from xmppd.plugin import Inbound, Kind, NoConfig, Outbound, Plugin, Stage, Stanza, Xep, on
from xmppd.stanza import parse_stanza
from xmppd.storage.api import Entry, Flags, Range
from xmppd.xep.retraction import (
    RETRACT_NS,
    RETRACT_TAG,
    PendingRetraction,
    RetractionWriter,
    has_id,
    is_tombstone,
    occupant_id,
    retracted_id,
)

PAGE: Final = 100
PAGES: Final = 10
"""Of the messages with one peer, so many pages are searched for the retracted one."""
MESSAGES: Final = (Kind.MESSAGE,)


class Retraction(Plugin[NoConfig]):
    xeps = (Xep(424, "0.4.2", "also in rooms; of the last thousand messages with one peer"),)
    uses = (ARCHIVE,)
    account_features = (RETRACT_NS, f"{RETRACT_NS}#tombstone")

    def setup(self) -> None:
        self.log = self.host.storage.log(LOG)
        self.retractions = RetractionWriter(self.host, self.log, self._find)

    async def start(self) -> None:
        self.retractions.start()

    @on(OWNERS_ARRIVED)
    async def owners_arrived(self, owners: Container[str]) -> None:
        await self.retractions.arrived(owners)

    @on(OUTBOUND, Stage.ARCHIVE, MESSAGES, types=STORED_TYPES, tags=(RETRACT_TAG,))
    def outgoing(self, event: Outbound) -> None:
        self._store_pending(event, _sent(event.stanza))

    @on(INBOUND, Stage.ARCHIVE, MESSAGES, types=STORED_TYPES, tags=(RETRACT_TAG,))
    def incoming(self, event: Inbound) -> None:
        self._store_pending(event, self._received(event.stanza))

    def _store_pending(self, event: Event, pending: PendingRetraction | None) -> None:
        """In the batch of the retraction."""
        owner = event.owner.bare
        if pending is not None and event.log_id:
            event.write_after_id(lambda id: (self.retractions.store_pending(owner, id, pending),))

    @on(SENT, kinds=MESSAGES, types=STORED_TYPES, tags=(RETRACT_TAG,))
    def sent(self, event: Outbound) -> None:
        self._retract(event, _sent(event.stanza))

    @on(ARRIVED, kinds=MESSAGES, types=STORED_TYPES, tags=(RETRACT_TAG,))
    def arrived(self, event: Inbound) -> None:
        """An account can retract only its own messages: another's are found under another peer, those of a former
        account of that name are older."""
        self._retract(event, self._received(event.stanza))

    def _retract(self, event: Event, pending: PendingRetraction | None) -> None:
        if pending is not None:
            self.spawn(self.retractions.write_tombstone(event.owner.bare, event.log_id, pending), "retract")

    def _received(self, stanza: Stanza) -> PendingRetraction | None:
        id, sender = retracted_id(stanza), stanza.sender
        if sender is None or not id or id == stanza.id:
            return None
        since = self.host.router.routes.since(sender)
        return PendingRetraction(sender.bare, id, stanza.id, came=True, since=since, occupant=occupant_id(stanza))

    @on(CHECK_STORE)
    async def check(self, store: StoreCheck) -> None:
        await self.retractions.check(store)

    async def _find(self, owner: str, pending: PendingRetraction) -> Entry | None:
        incoming = int(Flags.INCOMING)
        flags, without = (incoming, 0) if pending.came else (0, incoming)
        before: int | None = None
        for _ in range(PAGES):
            where = Range(peer=pending.peer, flags=flags, without=without, before=before, low=pending.since or None)
            page = await self.log.page(owner, where, PAGE, backwards=True)
            for entry in reversed(page):
                if has_id(entry, pending.id) and not is_tombstone(entry) and _is_of(entry, pending.occupant):
                    return entry
            if len(page) < PAGE:
                return None
            before = page[0].id
        return None


def _sent(stanza: Stanza) -> PendingRetraction | None:
    id = retracted_id(stanza)
    return (
        PendingRetraction(stanza.to.bare, id, stanza.id) if stanza.to is not None and id and id != stanza.id else None
    )


def _is_of(entry: Entry, occupant: str) -> bool:
    """The nick says nothing: another may have it by now."""
    return not occupant or occupant_id(parse_stanza(entry.body)) == occupant
