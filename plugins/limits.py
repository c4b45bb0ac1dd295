"""XEP-0160 section 2: what may wait for an account that is away, and how much its archive keeps.

The count of what waits is in memory and follows the releases, so messages that are under way at the same time can pass
a full mailbox: at most those of one batch. After a restart it is read from the log when the first message comes.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from itertools import takewhile

from xmppd.config import Size, option
from xmppd.contracts.accounts import ACCOUNT_DELETED
from xmppd.contracts.archive import KEPT_TYPES, LOG, Worth
from xmppd.contracts.routing import ARRIVED, INBOUND, MESSAGE_RULES
from xmppd.contracts.sessions import SESSION_ENDED
from xmppd.errors import ServiceUnavailable, StorageUnavailable
from xmppd.plugin import JID, Account, Inbound, Kind, Plugin, Session, Stage, on
from xmppd.storage.api import Flags, Range

MESSAGES = (Kind.MESSAGE,)
INCOMING = int(Flags.INCOMING)
KEPT = 20_000
"""Accounts whose count is remembered."""
PAGE = 100
TRIM = 1000
OWNERS = 500
SWEEP = 3600.0


@dataclass(frozen=True)
class Config:
    waiting_messages: int = option(
        1000,
        "Messages of others that may wait for an account without a session; further ones are refused. 0: no limit.",
        low=0,
        high=10_000_000,
    )
    waiting_size: Size = option(Size("10 MiB"), "Their bytes in all. 0: no limit.", low=0, high=1 << 40)
    archive_messages: int = option(
        0,
        "Messages in the archive of one account; once an hour the oldest beyond them are deleted, but none that still "
        "waits for a device. 0: no limit.",
        low=0,
        high=1_000_000_000,
    )


class Waiting:
    """What waits for one account. `position`: the mailbox's, when it was counted; `counted`: up to that entry."""

    __slots__ = ("counted", "counting", "messages", "position", "size")

    def __init__(self, position: int, counted: int) -> None:
        self.position = position
        self.counted = counted
        self.messages = 0
        self.size = 0
        self.counting = False


class Limits(Plugin[Config]):
    uses = (MESSAGE_RULES,)

    def setup(self) -> None:
        self.rules = self.host.service(MESSAGE_RULES)
        self.log = self.host.storage.log(LOG)
        self.waiting: OrderedDict[str, Waiting] = OrderedDict()

    async def start(self) -> None:
        self.every(SWEEP, self.sweep, "sweep")

    # ---- what waits

    @on(INBOUND, Stage.GUARD, MESSAGES, types=KEPT_TYPES)
    def guard(self, event: Inbound) -> None:
        """Before anything is written: what is refused is in no archive (section 2, "service-unavailable")."""
        owner, stanza = event.owner, event.stanza
        if _somebody_there(event):
            return
        if stanza.sender is not None and stanza.sender.bare == owner.bare:
            return
        if self.rules.treatment(stanza).worth is Worth.NOTHING:
            return
        waiting = self._waiting(owner)
        if waiting is not None and self._full(waiting):
            raise ServiceUnavailable()

    @on(ARRIVED, kinds=MESSAGES, types=KEPT_TYPES)
    def arrived(self, event: Inbound) -> None:
        """It is stored and nobody took it."""
        if not event.stamp or event.targets:
            return
        waiting = self.waiting.get(event.owner.bare)
        if waiting is not None and event.stamp > waiting.counted:
            waiting.messages += 1
            waiting.size += len(event.stanza.data)

    def _waiting(self, owner: Account) -> Waiting | None:
        """The account's count; None while it is being read."""
        mailbox = owner.mailbox
        found = self.waiting.get(owner.bare)
        if found is None or found.position != mailbox.position:
            found = self.waiting[owner.bare] = Waiting(mailbox.position, owner.last_id)
            if len(self.waiting) > KEPT:
                self.waiting.popitem(last=False)
            if mailbox.gap:
                found.counting = True
                self.spawn(self._count(owner, found), "count")
        return None if found.counting else found

    async def _count(self, owner: Account, waiting: Waiting) -> None:
        """Read what waits, at most as much as may wait; the working set is in memory, the log is not."""
        after = waiting.position
        try:
            while not self._full(waiting):
                wanted = Range(after=after, high=waiting.counted, flags=INCOMING)
                page = await self.log.page(owner.bare, wanted, PAGE)
                owed = [entry for entry in page if owner.mailbox.owed(entry.id)]
                waiting.messages += len(owed)
                waiting.size += sum(len(entry.body) for entry in owed)
                if len(page) < PAGE:
                    break
                after = page[-1].id
        except StorageUnavailable:
            self.waiting.pop(owner.bare, None)  # the next message asks again
        waiting.counting = False

    def _full(self, waiting: Waiting) -> bool:
        most, size = self.config.waiting_messages, self.config.waiting_size
        return (most > 0 and waiting.messages >= most) or (size > 0 and waiting.size >= size)

    @on(SESSION_ENDED)
    def ended(self, session: Session) -> None:
        """It may have taken, fetched or removed some: count again."""
        self.waiting.pop(session.account.bare, None)

    @on(ACCOUNT_DELETED)
    def deleted(self, jid: JID) -> None:
        self.waiting.pop(jid.bare, None)

    # ---- the archive

    async def sweep(self) -> None:
        """The oldest go, in steps, so that a large archive holds up nobody (XEP-0313 section 3.2)."""
        keep, owner = self.config.archive_messages, ""
        if not keep:
            return
        while owners := await self.host.stored_accounts.owners(self.host.domain, owner, OWNERS):
            for owner in owners:
                while await self._trim(owner, keep):
                    pass

    async def _trim(self, owner: str, keep: int) -> bool:
        """Delete up to TRIM of the oldest entries; whether there may be more."""
        over = await self.log.count(owner, Range(), keep + TRIM) - keep
        if over <= 0:
            return False
        oldest = await self.log.page(owner, Range(), over)
        settled = await self._settled(owner)
        gone = list(takewhile(lambda entry: entry.id <= settled or not entry.flags & INCOMING, oldest))
        if gone:
            await self.host.storage.commit([self.log.trim(owner, gone[-1].id + 1)])
        return len(gone) == TRIM

    async def _settled(self, owner: str) -> int:
        """Up to there some device has acknowledged everything."""
        account = self.host.account(owner)
        if account is not None:
            return account.mailbox.position
        cursor = await self.host.delivery.cursors.read(owner, "")
        return cursor.position if cursor is not None else 0


def _somebody_there(event: Inbound) -> bool:
    """A session takes it: the one that is addressed, or any that is available (a hibernated one counts as there)."""
    sessions, to = event.owner.sessions, event.stanza.to
    if not sessions:
        return False
    if to is not None and to.resource in sessions:
        return True
    for each in sessions.values():  # noqa: SIM110 - runs for every message, and any() costs three times as much
        if each.presence is not None and each.priority >= 0:
            return True
    return False
