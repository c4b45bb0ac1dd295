"""XEP-0466: Ephemeral Messages, enforced in the archives: when its timer ends, the content of a message is deleted.

The timer runs from when the message was accepted. Its place in the archive stays, empty, so that clients that read on
from its id still find it; a message that no device has received yet waits for one, for a while. What expires when is a
log of its own (ids are the times), written with the message, so it outlives a crash.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Final

from xmppd.clock import microseconds
from xmppd.config import option
from xmppd.contracts.archive import LOG
from xmppd.contracts.expiry import EPHEMERAL_NS, EPHEMERAL_TAG, EXPIRY
from xmppd.contracts.owners import OWNERS_ARRIVED
from xmppd.contracts.routing import INBOUND, OUTBOUND
from xmppd.contracts.store_check import CHECK_ACCOUNT, CHECK_STORE, AccountCheck, StoreCheck, in_log
from xmppd.errors import StorageUnavailable
from xmppd.plugin import JID, Account, Inbound, Kind, Outbound, Plugin, Stage, Stanza, Xep, on
from xmppd.storage.api import Entry, Flags, Range, Write
from xmppd.xep.numbers import unsigned
from xmppd.xep.retraction import author_of, delete_files, emptied

SECOND: Final = 1_000_000
LONGEST: Final = 10 * 366 * 86_400
"""Seconds; a longer timer is none."""
SWEEP: Final = 30.0
PAGE: Final = 200
OWNERS: Final = 500
RECHECK: Final = 3600 * SECOND
"""Microseconds until an expired message that no device had received is looked at again, at most."""


@dataclass(frozen=True)
class Config:
    undelivered_days: int = option(
        30, "Days that a message which no device has received yet waits when its timer has ended.", low=0, high=3650
    )


@dataclass(frozen=True, slots=True)
class Timed:
    """An owner has messages with timers."""


class EphemeralMessages(Plugin[Config]):
    """Implements `contracts.expiry.Expiry`."""

    xeps = (Xep(466, "0.1.0", "in archives, rooms' too; timers within encryption cannot be seen"),)
    serves = ("accounts", "rooms")
    provides = (EXPIRY,)

    def setup(self) -> None:
        storage = self.host.storage
        self.log = storage.log(LOG)
        self.due = storage.log("expiry")
        """Ids: microseconds since 1970 UTC when something expires. Bodies: the id in the archive."""
        self.timed_owners = storage.map("expiry", Timed)
        self.next: dict[str, int] = self.host.owned({})
        """By owner: the time before which nothing expires."""

    async def start(self) -> None:
        await self._find_owners(None)
        self.every(SWEEP, self.sweep, "sweep")

    @on(OWNERS_ARRIVED)
    async def owners_arrived(self, owners: Container[str]) -> None:
        await self._find_owners(owners)

    async def _find_owners(self, among: Container[str] | None) -> None:
        """Finds the owners of messages with timers, of all or among some; the next sweep looks up when they expire."""
        owner = ""
        while owners := await self.timed_owners.owners(self.host.domain, owner, OWNERS):
            self.next.update((each, 0) for each in owners if among is None or each in among)
            owner = owners[-1]

    # ---- contracts.expiry.Expiry

    def timed(self, owner: str, id: int, stanza: Stanza) -> Sequence[Write]:
        mark = stanza.child(EPHEMERAL_NS, "ephemeral")
        timer = unsigned(str(mark.get("timer", ""))) if mark is not None else None
        if timer is None or not 0 < timer <= LONGEST:
            return ()
        at = id + timer * SECOND
        self.next[owner] = min(at, self.next.get(owner, at))  # if nothing is committed, a sweep finds nothing
        return (
            self.due.append(owner, Entry(at, owner, "", 0, str(id).encode())),
            self.timed_owners.put(owner, "", Timed()),
        )

    @on(OUTBOUND, Stage.ARCHIVE, (Kind.MESSAGE,), tags=(EPHEMERAL_TAG,))
    def outgoing(self, event: Outbound) -> None:
        if event.log_id:
            owner, stanza = event.owner.bare, event.stanza
            event.write_after_id(lambda id: self.timed(owner, id, stanza))

    @on(INBOUND, Stage.ARCHIVE, (Kind.MESSAGE,), tags=(EPHEMERAL_TAG,))
    def incoming(self, event: Inbound) -> None:
        if event.log_id:
            owner, stanza = event.owner.bare, event.stanza
            event.write_after_id(lambda id: self.timed(owner, id, stanza))

    # ---- expiry

    async def sweep(self) -> None:
        now = microseconds(self.host.clock)
        for owner in [owner for owner, at in self.next.items() if at <= now]:
            async with self.host.locks.hold(f"expiry {owner}"):
                if owner in self.next:  # else it has left meanwhile
                    await self._sweep(owner, now)

    async def _sweep(self, owner: str, now: int) -> None:
        due = self.next.pop(owner)  # `timed` sets it again for later messages
        try:
            while await self._expire(owner, now):
                pass
            first = await self.due.page(owner, Range(), 1)
        except StorageUnavailable:
            self.next[owner] = due  # the next sweep tries again
            return
        if first:
            self.next[owner] = min(first[0].id, self.next.get(owner, first[0].id))

    async def _expire(self, owner: str, now: int) -> bool:
        """Deletes the content of a page of expired messages. Returns whether there may be more."""
        due = await self.due.page(owner, Range(high=now), PAGE)
        if not due:
            return False
        ids = tuple(sorted({int(each.body) for each in due}))
        entries = await self.log.page(owner, Range(ids=ids), len(ids))
        account = await self.host.open_account(JID.parse(owner)) if self.host.has_accounts else None
        writes: list[Write] = [self.due.delete(owner, [each.id for each in due])]
        for entry in entries:
            if account is not None and self._waits(account, entry, now):
                at = now + RECHECK - (now - entry.id) % RECHECK  # ids differ, so these do
                writes.append(self.due.append(owner, Entry(at, owner, "", 0, str(entry.id).encode())))
                continue
            if not self._has_recipient_here(entry):
                await delete_files(self.host, author_of(self.host, owner, entry), entry)
            if entry.flags & Flags.HIDDEN:
                writes.append(self.log.delete(owner, (entry.id,)))
            else:
                writes.append(self.log.replace(owner, emptied(entry, (EPHEMERAL_NS,))))
        await self.host.storage.commit(writes)
        return len(due) == PAGE

    def _has_recipient_here(self, entry: Entry) -> bool:
        """Whether it is the sender's copy of what somebody of this server gets, who may not have it yet: the files that
        it names go with the recipient's copy."""
        domain = entry.peer.rpartition("@")[2]
        outgoing = not entry.flags & Flags.INCOMING
        return self.host.has_accounts and outgoing and self.host.router.routes.serves_accounts(domain)

    def _waits(self, account: Account, entry: Entry, now: int) -> bool:
        """Whether no device has received it yet, and may still."""
        if not entry.flags & Flags.INCOMING or now - entry.id > self.config.undelivered_days * 86_400 * SECOND:
            return False
        return not account.cursor.is_acknowledged(entry.id)

    # ---- xmppd store check

    @on(CHECK_ACCOUNT)
    async def check_account(self, account: AccountCheck) -> None:
        """Who has timers is known as one who has: nobody else's are looked at."""
        owner = account.bare
        if await self.due.last_id(owner) and await self.timed_owners.read_stored(owner, "") is None:
            account.store.problem(owner, self.timed_owners.name, "it has messages with timers, and they never end")

    @on(CHECK_STORE)
    async def check(self, store: StoreCheck) -> None:
        async for owner, _, _ in store.records(self.timed_owners):
            async for entry in store.entries(self.due, owner):
                if not entry.body.isdigit():
                    what = "it names no message, so no timer of the owner ends any more"
                    store.problem(owner, in_log(self.due.name, entry.id), what)
