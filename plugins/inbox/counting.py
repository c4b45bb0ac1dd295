"""Keeps the conversations of the accounts of a host up to date: activities are recorded in memory on the path of a
message, and counted and stored about once a second."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from msgspec import structs

from xmppd.cache import Cache
from xmppd.contracts.inbox import CONVERSATION_READ, ConversationRead
from xmppd.errors import StorageUnavailable
from xmppd.plugin import Account, Host
from xmppd.storage.api import Write
from xmppd.xep.numbers import HIGHEST

from .account_count import AccountCount
from .archive_lookup import ArchiveLookup
from .model import Activity, ActivityKind, Conversation, Summary
from .store import ConversationStore
from .write_behind import WriteBehindBuffer

log = logging.getLogger("xmppd.inbox")

CAUGHT_UP_ACCOUNTS = 50_000
CAUGHT_UP_BYTES = 32 << 20


class UnreadCounter:
    def __init__(self, host: Host, archive: ArchiveLookup) -> None:
        self.host = host
        self.archive = archive
        self.store = ConversationStore(host, self._count_before_write, self._recount)
        self.caught_up: Cache[str, Summary] = host.owned(
            Cache(CAUGHT_UP_ACCOUNTS, CAUGHT_UP_BYTES, lambda owner, summary: 400 + len(owner))
        )
        """The sums of accounts whose log is counted up to the first activity that `record` got of them; the activities
        bring the rest."""
        self.incomplete: set[str] = host.owned(set())
        """Accounts of which activities were dropped since the last count: the archive must be read."""

    # ---- on the path of a message

    def record(self, account: Account, peer: str, activity: Activity) -> None:
        """Buffers an activity, to be counted and stored later."""
        buffer = self.store.buffers.get(account.bare)
        if buffer is None or buffer.account is not account:
            if not account.alive:
                return
            buffer = self.store.buffer(account)
        if not buffer.activities:
            self.store.write_soon(buffer)
        if not buffer.add(peer, activity):
            self.incomplete.add(account.bare)

    # ---- counting

    async def count(self, account: Account) -> Summary:
        """Counts everything that was released to this account; it is stored soon. Raises StorageUnavailable."""
        summary = await self._count(account)
        buffer = self.store.buffers.get(account.bare)
        if buffer is not None and buffer.unwritten:
            self.store.write_soon(buffer)
        return summary

    async def _count_before_write(self, buffer: WriteBehindBuffer) -> None:
        if not buffer.discarded:
            await self._count(buffer.account)

    async def _count(self, account: Account) -> Summary:
        owner = account.bare
        async with self.host.locks.hold(f"inbox {owner}"):
            buffer = self.store.buffer(account)
            with buffer.in_use():
                # Activities from here on go into the emptied buffer: reading the log need not follow them.
                incomplete, until = owner in self.incomplete, account.last_id_at_load
                if incomplete:
                    self.incomplete.discard(owner)
                    self.caught_up.pop(owner)
                    until = account.released
                summary = self.caught_up.get(owner)
                if summary is not None and not buffer.activities:
                    return summary
                (activities, size), rejections = buffer.drain(), buffer.rejections
                count = AccountCount(self.host, self.store, self.archive, owner, buffer.unstored())
                try:
                    if summary is None:
                        summary = await count.catch_up(buffer.summary, until)
                    await count.apply_all(activities)
                except BaseException as error:
                    if isinstance(error, StorageUnavailable) or not isinstance(error, Exception):  # or cancelled
                        buffer.requeue(activities, size)
                    else:
                        self.store.soon.free(size)
                        incomplete = True
                    if incomplete:
                        self.incomplete.add(owner)
                    raise
                summary = count.summary(summary)
                if buffer.discarded or not account.alive:
                    self.store.soon.free(size)
                    return summary
                rejected = buffer.rejections != rejections
                if rejected:  # the conversations that this count began with were never stored
                    buffer.requeue(activities, size)
                else:
                    buffer.add_counted(count.differing(), len(count.changed), summary, size)
                    self._remember(owner, count.changed, summary)
        if rejected:
            return await self._count(account)
        for peer, until in count.read_up_to.items():
            self.host.tell(CONVERSATION_READ, ConversationRead(owner, peer, until))
        return summary

    def _remember(self, owner: str, changed: Mapping[str, Conversation], summary: Summary) -> None:
        self.store.cache.update(owner, changed)
        self.caught_up.put(owner, summary)

    def _recount(self, owner: str) -> None:
        """The store has rejected what was counted."""
        log.error("the inbox of %s is counted anew from the archive", owner)
        self.incomplete.add(owner)
        self.caught_up.pop(owner)

    async def count_moved(self, owner: str, read: int, limit: int) -> list[Write]:
        """The writes that make the chat list of an account whose log got messages from another server: all of the log
        is counted. Of conversations that are new here everything up to the id `read` is read; the `limit` newest are
        stored. Nobody may be signed in. Raises StorageUnavailable."""
        store = self.store
        known = await store.conversations.read_all(owner)
        count = AccountCount(self.host, store, self.archive, owner, known)
        after = 0
        while page := await self.archive.activities(owner, after, HIGHEST):
            for peer, activity in page:
                await count.apply(peer, activity)
            after = page[-1][1].id
        for peer in [peer for peer, each in count.changed.items() if each.unread and peer not in known]:
            await count.apply(peer, Activity(ActivityKind.READ, read))
        found = {**known, **count.changed}
        newest = sorted(found, key=lambda peer: found[peer].newest, reverse=True)
        writes: list[Write] = [store.conversations.put(owner, peer, found[peer]) for peer in newest[:limit]]
        writes += [store.conversations.delete(owner, peer) for peer in newest[limit:] if peer in known]
        stored = await store.summaries.read(owner, "") or Summary()
        unread = sum(found[peer].unread for peer in newest[:limit])
        summary = structs.replace(count.summary(stored), unread=unread, conversations=len(newest[:limit]))
        return [*writes, store.summaries.put(owner, "", summary)]

    # ---- reading

    async def conversations(self, account: Account, limit: int) -> Mapping[str, Conversation]:
        """The newest `limit` conversations, by peer; older ones are deleted. Read-only. Raises StorageUnavailable."""
        owner, store = account.bare, self.store
        async with self.host.locks.hold(f"inbox {owner}"):
            buffer = store.buffer(account)
            with buffer.in_use():
                found = await store.read_all(buffer)
                summary = self.caught_up.get(owner) or Summary()
                order = sorted(found, key=lambda peer: found[peer].newest, reverse=True) if len(found) > limit else []
                surplus = order[limit:]
                remaining = {peer: each for peer, each in found.items() if peer not in surplus} if surplus else found
                unread = sum(each.unread for each in remaining.values())
                corrected = structs.replace(summary, unread=unread, conversations=len(remaining))
                if (surplus or corrected != summary) and account.alive and not buffer.discarded:
                    buffer.remove(surplus, corrected)
                    store.write_soon(buffer)
                    if owner in self.caught_up:
                        self.caught_up.put(owner, corrected)
                    for peer in surplus:
                        store.cache.remove(owner, peer)
                    return remaining
                return found
