"""Wakes a device for the messages that it has not acknowledged when its connection breaks.

While the connection seemed alive nothing was sent to its app server; what the client has not acknowledged it may never
have read.
"""

from __future__ import annotations

from typing import Final

from xmppd.contracts.archive import LOG
from xmppd.contracts.messages import Push
from xmppd.errors import StorageUnavailable
from xmppd.plugin import Account, Session, SessionKey, Stanza
from xmppd.stanza import parse_stanza
from xmppd.storage.api import Flags, Range
from xmppd.xep.stored_message import StoredMessage

from .chats import own_nicks
from .model import Device
from .notifier import Notifier

NOTIFIED = SessionKey[tuple[int, int]]("push-asked", (0, 0), durable=True)
"""Up to where its device was woken, if it had to be: an id of the account's log, and microseconds since 1970 UTC."""
MOST: Final = 100
"""Of the newest messages so many are looked at; all make one notification."""


class UnacknowledgedMessages:
    def __init__(self, plugin: Notifier) -> None:
        self.plugin = plugin
        self.host = plugin.host
        self.log = self.host.storage.log(LOG)

    def mark_notified(self, session: Session) -> None:
        """Its device needs no notification of what came until now: it was woken while it was not connected."""
        session[NOTIFIED] = (session.account.released, session.channel.now())

    def connection_lost(self, session: Session, devices: list[Device]) -> None:
        """`devices`: those that the session has enabled."""
        account, channel = session.account, session.channel
        log_id, at = session[NOTIFIED]
        self.mark_notified(session)
        ids = sorted(stamp for stamp in channel.pending() if stamp > log_id)[-MOST:]
        unheard = (*channel.sent(), *channel.waiting())
        heard = [parse_stanza(data) for data, when in unheard if when > at and _in_room(data)]
        said = [
            (stanza, nicks) for stanza in heard if stanza.sender and (nicks := own_nicks(account, stanza.sender.bare))
        ]
        behind = Range(after=max(channel.position, log_id), high=account.released, flags=int(Flags.INCOMING))
        if ids or said or not channel.live:
            work = self._wake(account, devices, ids, None if channel.live else behind, said[-MOST:])
            self.plugin.spawn(work, "unacknowledged")

    async def _wake(
        self,
        owner: Account,
        devices: list[Device],
        ids: list[int],
        behind: Range | None,
        said: list[tuple[Stanza, set[str]]],
    ) -> None:
        """`ids`: of the log entries that were sent; `behind`: those that were not sent yet; `said`: messages of rooms,
        with the nicks that the account had there."""
        bare, plugin = owner.bare, self.plugin
        try:
            entries = await self.log.page(bare, Range(ids=tuple(ids)), len(ids)) if ids else []
            if behind is not None:
                entries += await self.log.page(bare, behind, MOST, backwards=True)
            await plugin.chats.load(bare)
            account = await self.host.open_account(owner.jid)
        except StorageUnavailable:
            plugin.outbox.log.warning("nobody wakes the devices of %s: the store is away", bare)
            return
        if account is None:
            return
        of_account: list[tuple[Stanza, set[str]]] = [(parse_stanza(entry.body), set()) for entry in entries]
        for stanza, nicks in of_account + said:
            level, sender = plugin.rules.policy(stanza).push, stanza.sender
            own = sender is not None and (sender.bare == bare or sender.resource in nicks)
            if own or level is Push.NEVER or not plugin.chats.wakes(account, stanza, nicks):
                continue
            plugin.wake_these(account, stanza, level, devices)


def _in_room(data: bytes) -> bool:
    """Whether it is a message of a room to an occupant: no other one that is in no log wakes anybody."""
    return StoredMessage(data).type == "groupchat"
