"""XEP-0424: Message Retraction. A message that its author takes back leaves a tombstone in both archives."""

from __future__ import annotations

from typing import Final

from xmppd.contracts.archive import LOG
from xmppd.contracts.routing import ARRIVED, SENT
from xmppd.plugin import Inbound, Kind, NoConfig, Outbound, Plugin, Xep, on
from xmppd.storage.api import Flags, Range
from xmppd.tombstone import RETRACT_NS, RETRACT_TAG, has_id, is_tombstone, retracted_id, tombstone

PAGE: Final = 100
PAGES: Final = 10
"""So far back a message can be taken back, among those with one peer."""


class Retraction(Plugin[NoConfig]):
    xeps = (Xep(424, "0.4.2", "also in rooms; of the last thousand messages with one peer"),)
    account_features = (RETRACT_NS, f"{RETRACT_NS}#tombstone")

    def setup(self) -> None:
        self.log = self.host.storage.log(LOG)

    @on(SENT, kinds=(Kind.MESSAGE,), types=("chat", "normal"), tags=(RETRACT_TAG,))
    def sent(self, event: Outbound) -> None:
        stanza = event.stanza
        if stanza.to is not None:
            wanted = Range(peer=stanza.to.bare, without=int(Flags.INCOMING))
            self.spawn(self._bury(event.owner.bare, wanted, retracted_id(stanza), stanza.id), "retract")

    @on(ARRIVED, kinds=(Kind.MESSAGE,), types=("chat", "normal"), tags=(RETRACT_TAG,))
    def arrived(self, event: Inbound) -> None:
        """Only what the same account has sent: another's messages are found under another peer."""
        stanza = event.stanza
        if stanza.sender is not None:
            wanted = Range(peer=stanza.sender.bare, flags=int(Flags.INCOMING))
            self.spawn(self._bury(event.owner.bare, wanted, retracted_id(stanza), stanza.id), "retract")

    async def _bury(self, owner: str, wanted: Range, id: str, by: str) -> None:
        if not id or id == by:
            return
        before: int | None = None
        for _ in range(PAGES):
            where = Range(peer=wanted.peer, flags=wanted.flags, without=wanted.without, before=before)
            page = await self.log.page(owner, where, PAGE, backwards=True)
            for entry in reversed(page):
                if has_id(entry, id) and not is_tombstone(entry):
                    now = int(self.host.clock.now() * 1_000_000)
                    await self.host.storage.commit([self.log.replace(owner, tombstone(entry, by, now))])
                    return
            if len(page) < PAGE:
                return
            before = page[0].id
