"""XEP-0283: Moved. A contact that comes from another account, as its old one says, is a contact at once."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

from xmppd.contracts.blocking import BLOCKLIST
from xmppd.contracts.pubsub import PUBSUB
from xmppd.contracts.roster import ROSTER
from xmppd.contracts.sessions import APPROVALS, PRESENCE, SubscriptionRequest
from xmppd.errors import MalformedJid, StanzaError, StorageUnavailable
from xmppd.plugin import JID, Kind, NoConfig, Plugin, Stanza, Xep, on
from xmppd.stanza import tag
from xmppd.xml import find, parse, text_of

log = logging.getLogger("xmppd.moved")
NS: Final = "urn:xmpp:moved:1"
TAG: Final = tag(NS, "moved")
ITEM: Final = "current"


class Moved(Plugin[NoConfig]):
    xeps = (Xep(283, "0.2.0", "between accounts of this server; from elsewhere a request stays one"),)

    @on(APPROVALS)
    async def approve(self, request: SubscriptionRequest) -> Iterable[bool]:
        """The server's part (section "Server-side processing"). What cannot be verified is an ordinary request."""
        stanza = request.stanza
        if TAG not in stanza.tags or stanza.sender is None:
            return ()
        try:
            old = JID.parse(text_of(find(stanza.child(NS, "moved"), NS, "old-jid")))  # type: ignore[arg-type]
        except MalformedJid:
            return ()
        new, own = stanza.sender.to_bare(), request.account
        if old.resource or not old.local or old.bare in (new.bare, own.bare):
            return ()
        blocklist = self.host.find(BLOCKLIST)
        if blocklist is not None and blocklist.blocks(own.bare, stanza.sender):
            return ()
        roster = self.host.find(ROSTER)
        item = roster.item(own.bare, old.bare) if roster is not None else None
        if item is None or not item.sees_us:
            return ()
        try:
            if await self._statement(old) != new.bare:
                return ()
        except StorageUnavailable:
            return ()
        log.info("%s has moved to %s, a contact of %s", old.bare, new.bare, own.bare)
        self.spawn(self._revoke(own, old), "revoke")
        return (True,)

    async def _statement(self, old: JID) -> str:
        """Where the old account says that its owner is, a bare JID, or "". Raises StorageUnavailable."""
        nodes = self.host.router.routes.service(old.domain, PUBSUB)
        found = await nodes.item(old, NS, ITEM) if nodes is not None else None
        if found is None or not found.payload:
            return ""
        try:
            return JID.parse(text_of(find(parse(found.payload), NS, "new-jid"))).bare
        except MalformedJid:
            return ""

    async def _revoke(self, own: JID, old: JID) -> None:
        """Each address moves once, and who gets the old one next gets no presence."""
        presence, account = self.host.find(PRESENCE), await self.host.open_account(own)
        if presence is None or account is None:
            return
        try:
            await presence.own_subscription(account, Stanza(Kind.PRESENCE, "unsubscribed", old, own))
        except (StanzaError, StorageUnavailable) as error:
            log.warning("%s, who has moved, still sees the presence of %s: %s", old.bare, own.bare, error)
