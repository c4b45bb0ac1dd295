"""XEP-0160 section 2: what may wait for an account that is away, and how much its archive keeps.

The count of what waits is in memory: what is stored, and what is on its way there. It is read from the log when the
account comes into memory, so that the first burst counts, too.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from itertools import takewhile

from xmppd.config import Size, option
from xmppd.contracts.accounts import ACCOUNT_DELETED
from xmppd.contracts.archive import LOG, STORED_TYPES, Retention
from xmppd.contracts.routing import ARRIVED, INBOUND, MESSAGE_RULES
from xmppd.contracts.sessions import ACCOUNT_LOADED, SESSION_ENDED
from xmppd.errors import ServiceUnavailable, StorageUnavailable
from xmppd.plugin import JID, Account, Inbound, Kind, Plugin, Session, Stage, on
from xmppd.storage.api import Flags, Range, Write

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

    __slots__ = ("counted", "messages", "position", "size")

    def __init__(self, position: int, counted: int) -> None:
        self.position = position
        self.counted = counted
        self.messages = 0
        self.size = 0


class Limits(Plugin[Config]):
    uses = (MESSAGE_RULES,)

    def setup(self) -> None:
        self.rules = self.host.service(MESSAGE_RULES)
        self.log = self.host.storage.log(LOG)
        self.waiting: OrderedDict[str, Waiting] = OrderedDict()
        self.coming: dict[str, dict[int, int]] = {}
        """By account and log id the bytes of what is accepted and not stored yet."""

    async def start(self) -> None:
        self.every(SWEEP, self.sweep, "sweep")

    # ---- what waits

    @on(INBOUND, Stage.GUARD, MESSAGES, types=STORED_TYPES)
    def guard(self, event: Inbound) -> None:
        """Before anything is written: what is refused is in no archive (section 2, "service-unavailable")."""
        owner, stanza = event.owner, event.stanza
        if _somebody_there(event):
            return
        if stanza.sender is not None and stanza.sender.bare == owner.bare:
            return
        if self.rules.policy(stanza).retention is Retention.NONE:
            return
        if self._full(self._waiting(owner), owner.bare):
            raise ServiceUnavailable()
        event.write_after_id(partial(self._comes, owner.bare, len(stanza.data)))
        event.on_failure(partial(self._came, owner.bare))

    def _comes(self, owner: str, size: int, log_id: int) -> Iterable[Write]:
        """It is accepted, and on its way to the store."""
        if log_id:
            self.coming.setdefault(owner, {})[log_id] = size
        return ()

    def _came(self, owner: str, log_id: int) -> None:
        """It is on its way no more: it is stored, or the store has refused it."""
        coming = self.coming.get(owner)
        if coming is not None:
            coming.pop(log_id, None)
            if not coming:
                del self.coming[owner]

    @on(ARRIVED, kinds=MESSAGES, types=STORED_TYPES)
    def arrived(self, event: Inbound) -> None:
        """It is stored; it waits, if nobody took it."""
        log_id, owner = event.log_id, event.owner.bare
        if not log_id:
            return
        if self.coming:
            self._came(owner, log_id)
        if event.targets:
            return
        waiting = self.waiting.get(owner)
        if waiting is not None and log_id > waiting.counted:
            waiting.messages += 1
            waiting.size += len(event.stanza.data)

    @on(ACCOUNT_LOADED)
    async def loaded(self, account: Account) -> None:
        """How many wait is known before the first message is decided; their bytes are read meanwhile."""
        if not account.cursor.first_pending:
            return
        waiting = self._begin(account)
        try:
            await self._count(account, waiting)
        except StorageUnavailable:
            self.waiting.pop(account.bare, None)
        else:
            self.spawn(self._measure(account, waiting), "measure")

    def _waiting(self, owner: Account) -> Waiting:
        """The account's count; while it is being read, what is known of it."""
        found = self.waiting.get(owner.bare)
        if found is None or found.position != owner.cursor.position:
            found = self._begin(owner)
            if owner.cursor.first_pending:
                self.spawn(self._read(owner, found), "count")
        return found

    def _begin(self, owner: Account) -> Waiting:
        found = self.waiting[owner.bare] = Waiting(owner.cursor.position, owner.released)
        self.waiting.move_to_end(owner.bare)
        if len(self.waiting) > KEPT:
            self.waiting.popitem(last=False)
        return found

    async def _read(self, owner: Account, waiting: Waiting) -> None:
        try:
            await self._count(owner, waiting)
        except StorageUnavailable:
            self.waiting.pop(owner.bare, None)  # the next message asks again
        else:
            await self._measure(owner, waiting)

    async def _count(self, owner: Account, waiting: Waiting) -> None:
        """Raises StorageUnavailable."""
        most, cursor = self.config.waiting_messages, owner.cursor
        if most:
            wanted = Range(after=waiting.position, high=waiting.counted, flags=INCOMING)
            taken = cursor.taken()
            waiting.messages += max(0, await self.log.count(owner.bare, wanted, most + taken) - taken)

    async def _measure(self, owner: Account, waiting: Waiting) -> None:
        """Read what waits, at most as much as may wait; the working set is in memory, the log is not."""
        after, size = waiting.position, self.config.waiting_size
        try:
            while size and waiting.size < size:
                wanted = Range(after=after, high=waiting.counted, flags=INCOMING)
                page = await self.log.page(owner.bare, wanted, PAGE)
                waiting.size += sum(len(entry.body) for entry in page if owner.cursor.is_pending(entry.id))
                if len(page) < PAGE:
                    break
                after = page[-1].id
        except StorageUnavailable:
            self.waiting.pop(owner.bare, None)

    def _full(self, waiting: Waiting, owner: str) -> bool:
        most, size = self.config.waiting_messages, self.config.waiting_size
        coming = self.coming.get(owner)
        messages, used = waiting.messages, waiting.size
        if coming:
            messages += len(coming)
            used += sum(coming.values()) if size else 0
        return (most > 0 and messages >= most) or (size > 0 and used >= size)

    @on(SESSION_ENDED)
    def ended(self, session: Session) -> None:
        """It may have taken, fetched or removed some: count again, before anything comes."""
        self.waiting.pop(session.account.bare, None)
        if not session.account.sessions and session.account.alive:
            self._waiting(session.account)

    @on(ACCOUNT_DELETED)
    def deleted(self, jid: JID) -> None:
        self.waiting.pop(jid.bare, None)
        self.coming.pop(jid.bare, None)

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
            return account.cursor.position
        cursor = await self.host.cursor_writer.cursors.read(owner, "")
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
