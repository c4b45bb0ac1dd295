"""What an invitation has promised to a new account: its inviter is its contact, and it is in the room.

The promise is committed with the account, and taken back when it is kept; so a crash in between delays it only.
"""

from __future__ import annotations

import logging
from typing import Final

from xmppd.contracts.pubsub import PUBSUB
from xmppd.contracts.rooms import ROOMS
from xmppd.contracts.sessions import PRESENCE
from xmppd.errors import StanzaError, StorageUnavailable
from xmppd.plugin import JID, E, Host, Kind, Stanza
from xmppd.stanza import message

from .book import InvitationBook, Newcomer

log = logging.getLogger("xmppd.invitations")
BOOKMARKS: Final = "urn:xmpp:bookmarks:1"
PRIVATE: Final = {"access_model": "whitelist", "max_items": "max", "send_last_published_item": "never"}


class Welcomer:
    """Keeps the promises. What it does can be done twice."""

    def __init__(self, host: Host, book: InvitationBook) -> None:
        self.host = host
        self.book = book

    async def welcome_all(self) -> None:
        """Those that are left from the last time."""
        try:
            found = await self.book.unfinished()
        except StorageUnavailable as error:
            log.warning("new accounts do not know their inviters yet (%s)", error)
            return
        for bare, newcomer in found:
            await self.welcome(bare, newcomer)

    async def welcome(self, bare: str, newcomer: Newcomer) -> None:
        """`bare`: the JID of the new account."""
        who = JID.parse(bare)
        try:
            if newcomer.inviter:
                await self._introduce(JID.parse(newcomer.inviter), who)
            if newcomer.room:
                await self._lead_in(who, JID.parse(newcomer.room), newcomer.invited)
            await self.host.storage.commit([self.book.newcomers.delete(bare, "")])
        except StorageUnavailable as error:
            log.warning("%s does not know its inviter, or its room, yet (%s)", bare, error)

    async def _introduce(self, inviter: JID, newcomer: JID) -> None:
        """Each approves the other beforehand (RFC 6121 section 3.4), then each asks: decisions of two accounts, told by
        the routes. Raises StorageUnavailable."""
        presence = self.host.find(PRESENCE)
        pair = [await self.host.open_account(jid) for jid in (inviter, newcomer)]
        if presence is None or None in pair:
            return
        try:
            for type in ("subscribed", "subscribe"):
                for account, contact in zip(pair, (newcomer, inviter), strict=True):
                    assert account is not None
                    await presence.own_subscription(account, Stanza(Kind.PRESENCE, type, contact, account.jid))
        except StanzaError as error:
            log.info("%s and %s are not each other's contacts: %s", inviter, newcomer, error)

    async def _lead_in(self, who: JID, room: JID, invited: float) -> None:
        """The room lets it in, and its clients join by themselves. Raises StorageUnavailable."""
        rooms = self.host.router.routes.service(room.domain, ROOMS)
        try:
            name = await rooms.add_member(room, who, invited) if rooms is not None else None
            if name is None:
                log.info("%s is not let into %s", who, room)
                return
            pubsub = self.host.find(PUBSUB)
            if pubsub is None:
                invitation = E("x", "jabber:x:conference", {"jid": room.bare})  # XEP-0249
                self.host.deliver(message("normal", invitation, to=who, sender=self.host.jid))
                return
            bookmark = E("conference", BOOKMARKS, {"autojoin": "true", **({"name": name} if name else {})})
            await pubsub.publish(who, BOOKMARKS, room.bare, bookmark, PRIVATE)
        except StanzaError as error:
            log.info("%s is not led into %s: %s", who, room, error)
