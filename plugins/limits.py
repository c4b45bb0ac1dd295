"""XEP-0160 section 2: what may wait for an account that is away, and how much its archive keeps.

The count of what waits is in memory: what is stored, and what is on its way there. It is read from the log when the
account comes into memory, so that the first burst counts, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from itertools import takewhile

from xmppd.cache import BESIDE, Cache
from xmppd.config import Size, option
from xmppd.contracts.archive import LOG, STORED_TYPES, Retention
from xmppd.contracts.routing import ARRIVED, INBOUND, MESSAGE_RULES
from xmppd.contracts.sessions import ACCOUNT_LOADED, SESSION_ENDED
from xmppd.errors import ServiceUnavailable, StorageUnavailable
from xmppd.plugin import Account, Inbound, Kind, Plugin, Session, Stage, on
from xmppd.storage.api import Flags, Range, Write

MESSAGES = (Kind.MESSAGE,)
INCOMING = int(Flags.INCOMING)
COUNTED_ACCOUNTS = 20_000
COUNTED_BYTES = 16 << 20
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


class OfflineCount:
    """The offline messages of one account. `position`: the account's cursor's, when they were counted; `counted`: up
    to that entry; `messages`, `size`: how many, and their bytes."""

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
        self.counts: Cache[str, OfflineCount] = self.host.owned(
            Cache(COUNTED_ACCOUNTS, COUNTED_BYTES, lambda owner, count: BESIDE + len(owner) + 200)
        )
        self.undecided: dict[str, dict[int, int]] = self.host.owned({}, stays=lambda owner: True)
        """By account and log id: the bytes of messages that are on their way to the store."""

    async def start(self) -> None:
        self.every(SWEEP, self.sweep, "sweep")

    # ---- offline messages

    @on(INBOUND, Stage.GUARD, MESSAGES, types=STORED_TYPES)
    def guard(self, event: Inbound) -> None:
        """Before anything is written: a refused message is in no archive (section 2, "service-unavailable")."""
        owner, stanza = event.owner, event.stanza
        if _somebody_there(event):
            return
        if stanza.sender is not None and stanza.sender.bare == owner.bare:
            return
        if self.rules.policy(stanza).retention is Retention.NONE:
            return
        if self._is_full(self._count_of(owner), owner.bare):
            raise ServiceUnavailable()
        event.write_after_id(partial(self._accepted, owner.bare, len(stanza.data)))
        event.on_failure(partial(self._decided, owner.bare))

    def _accepted(self, owner: str, size: int, log_id: int) -> Iterable[Write]:
        """The message is on its way to the store."""
        if log_id:
            self.undecided.setdefault(owner, {})[log_id] = size
        return ()

    def _decided(self, owner: str, log_id: int) -> None:
        """The message is stored, or the store has rejected it."""
        undecided = self.undecided.get(owner)
        if undecided is not None:
            undecided.pop(log_id, None)
            if not undecided:
                del self.undecided[owner]

    @on(ARRIVED, kinds=MESSAGES, types=STORED_TYPES)
    def arrived(self, event: Inbound) -> None:
        """A message is stored; it is an offline message if it has no targets."""
        log_id, owner = event.log_id, event.owner.bare
        if not log_id:
            return
        if self.undecided:
            self._decided(owner, log_id)
        if event.targets:
            return
        count = self.counts.get(owner)
        if count is not None and log_id > count.counted:
            count.messages += 1
            count.size += len(event.stanza.data)

    @on(ACCOUNT_LOADED)
    async def loaded(self, account: Account) -> None:
        """Counts the offline messages before the first new one is decided; their bytes are read meanwhile."""
        if not account.cursor.first_pending:
            return
        count = self._new_count(account)
        try:
            await self._count(account, count)
        except StorageUnavailable:
            self.counts.pop(account.bare)
        else:
            self.spawn(self._measure(account, count), "measure")

    def _count_of(self, owner: Account) -> OfflineCount:
        """The account's count; while its messages are being counted, of those that came since."""
        found = self.counts.get(owner.bare)
        if found is None or found.position != owner.cursor.position:
            found = self._new_count(owner)
            if owner.cursor.first_pending:
                self.spawn(self._read(owner, found), "count")
        return found

    def _new_count(self, owner: Account) -> OfflineCount:
        found = OfflineCount(owner.cursor.position, owner.released)
        self.counts.put(owner.bare, found)
        return found

    async def _read(self, owner: Account, count: OfflineCount) -> None:
        try:
            await self._count(owner, count)
        except StorageUnavailable:
            self.counts.pop(owner.bare)  # the next message asks again
        else:
            await self._measure(owner, count)

    async def _count(self, owner: Account, count: OfflineCount) -> None:
        """Raises StorageUnavailable."""
        most, cursor = self.config.waiting_messages, owner.cursor
        if most:
            wanted = Range(after=count.position, high=count.counted, flags=INCOMING)
            acknowledged = cursor.taken()
            count.messages += max(0, await self.log.count(owner.bare, wanted, most + acknowledged) - acknowledged)

    async def _measure(self, owner: Account, count: OfflineCount) -> None:
        """Adds the bytes of the offline messages, at most as many as may wait; the log is not in memory."""
        after, size = count.position, self.config.waiting_size
        try:
            while size and count.size < size:
                wanted = Range(after=after, high=count.counted, flags=INCOMING)
                page = await self.log.page(owner.bare, wanted, PAGE)
                count.size += sum(len(entry.body) for entry in page if owner.cursor.is_pending(entry.id))
                if len(page) < PAGE:
                    break
                after = page[-1].id
        except StorageUnavailable:
            self.counts.pop(owner.bare)

    def _is_full(self, count: OfflineCount, owner: str) -> bool:
        most, size = self.config.waiting_messages, self.config.waiting_size
        undecided = self.undecided.get(owner)
        messages, used = count.messages, count.size
        if undecided:
            messages += len(undecided)
            used += sum(undecided.values()) if size else 0
        return (most > 0 and messages >= most) or (size > 0 and used >= size)

    @on(SESSION_ENDED)
    def ended(self, session: Session) -> None:
        """It may have received, fetched or removed some: count again, before more come."""
        self.counts.pop(session.account.bare)
        if not session.account.sessions and session.account.alive:
            self._count_of(session.account)

    # ---- the archive

    async def sweep(self) -> None:
        """The oldest go, in steps, so that a large archive holds up nobody (XEP-0313 section 3.2)."""
        most, owner = self.config.archive_messages, ""
        if not most:
            return
        while owners := await self.host.stored_accounts.owners(self.host.domain, owner, OWNERS):
            for owner in owners:
                while await self._trim(owner, most):
                    pass

    async def _trim(self, owner: str, most: int) -> bool:
        """Delete up to TRIM of the oldest entries; whether there may be more."""
        over = await self.log.count(owner, Range(), most + TRIM) - most
        if over <= 0:
            return False
        oldest = await self.log.page(owner, Range(), over)
        acknowledged = await self.host.delivered_until(owner)
        surplus = list(takewhile(lambda entry: entry.id <= acknowledged or not entry.flags & INCOMING, oldest))
        if surplus:
            await self.host.storage.commit([self.log.trim(owner, surplus[-1].id + 1)])
        return len(surplus) == TRIM


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
