"""XEP-0424: Message Retraction. A message that its author takes back leaves a tombstone in both archives."""

from __future__ import annotations

from typing import Final

from xmppd.contracts.archive import ARCHIVE, LOG, STORED_TYPES
from xmppd.contracts.routing import ARRIVED, INBOUND, OUTBOUND, SENT, Event
from xmppd.plugin import Inbound, Kind, NoConfig, Outbound, Plugin, Stage, Stanza, Xep, on
from xmppd.stanza import parse_stanza
from xmppd.storage.api import Entry, Flags, Range
from xmppd.xep.retraction import (
    RETRACT_NS,
    RETRACT_TAG,
    Burials,
    Owed,
    has_id,
    is_tombstone,
    occupant_id,
    retracted_id,
)

PAGE: Final = 100
PAGES: Final = 10
"""So far back a message can be taken back, among those with one peer."""
MESSAGES: Final = (Kind.MESSAGE,)


class Retraction(Plugin[NoConfig]):
    xeps = (Xep(424, "0.4.2", "also in rooms; of the last thousand messages with one peer"),)
    uses = (ARCHIVE,)
    account_features = (RETRACT_NS, f"{RETRACT_NS}#tombstone")

    def setup(self) -> None:
        self.log = self.host.storage.log(LOG)
        self.burials = Burials(self.host, self.log, self._find)

    async def start(self) -> None:
        self.burials.start()

    @on(OUTBOUND, Stage.ARCHIVE, MESSAGES, types=STORED_TYPES, tags=(RETRACT_TAG,))
    def outgoing(self, event: Outbound) -> None:
        self._note(event, _sent(event.stanza))

    @on(INBOUND, Stage.ARCHIVE, MESSAGES, types=STORED_TYPES, tags=(RETRACT_TAG,))
    def incoming(self, event: Inbound) -> None:
        self._note(event, self._came(event.stanza))

    def _note(self, event: Event, owed: Owed | None) -> None:
        """It is in the batch of the retraction."""
        owner = event.owner.bare
        if owed is not None and event.log_id:
            event.write_after_id(lambda id: (self.burials.note(owner, id, owed),))

    @on(SENT, kinds=MESSAGES, types=STORED_TYPES, tags=(RETRACT_TAG,))
    def sent(self, event: Outbound) -> None:
        self._bury(event, _sent(event.stanza))

    @on(ARRIVED, kinds=MESSAGES, types=STORED_TYPES, tags=(RETRACT_TAG,))
    def arrived(self, event: Inbound) -> None:
        """Only what the same account has sent: another's messages are found under another peer, those of a former
        account of that name are older."""
        self._bury(event, self._came(event.stanza))

    def _bury(self, event: Event, owed: Owed | None) -> None:
        if owed is not None:
            self.spawn(self.burials.bury(event.owner.bare, event.log_id, owed), "retract")

    def _came(self, stanza: Stanza) -> Owed | None:
        id, sender = retracted_id(stanza), stanza.sender
        if sender is None or not id or id == stanza.id:
            return None
        since = self.host.router.since(sender)
        return Owed(sender.bare, id, stanza.id, came=True, since=since, occupant=occupant_id(stanza))

    async def _find(self, owner: str, owed: Owed) -> Entry | None:
        incoming = int(Flags.INCOMING)
        flags, without = (incoming, 0) if owed.came else (0, incoming)
        before: int | None = None
        for _ in range(PAGES):
            where = Range(peer=owed.peer, flags=flags, without=without, before=before, low=owed.since or None)
            page = await self.log.page(owner, where, PAGE, backwards=True)
            for entry in reversed(page):
                if has_id(entry, owed.id) and not is_tombstone(entry) and _is_of(entry, owed.occupant):
                    return entry
            if len(page) < PAGE:
                return None
            before = page[0].id
        return None


def _sent(stanza: Stanza) -> Owed | None:
    id = retracted_id(stanza)
    return Owed(stanza.to.bare, id, stanza.id) if stanza.to is not None and id and id != stanza.id else None


def _is_of(entry: Entry, occupant: str) -> bool:
    """The nick says nothing: another may have it by now."""
    return not occupant or occupant_id(parse_stanza(entry.body)) == occupant
