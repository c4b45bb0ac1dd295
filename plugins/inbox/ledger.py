"""The conversations of the accounts of a host: steps are noted in memory, counted and stored about once a second."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping

from msgspec import structs

from xmppd.cache import BESIDE
from xmppd.contracts.archive import LOG
from xmppd.contracts.inbox import CONVERSATION_READ, ConversationRead
from xmppd.errors import StorageUnavailable
from xmppd.plugin import Account, Host, Stanza

from .counting import Count
from .model import NEW, Conversation, Step, Summary, What
from .pending import Pending

log = logging.getLogger("xmppd.inbox")

INTERVAL = 1.0
CACHED = 50_000
CACHED_BYTES = 32 << 20
"""Sums of so many owners, and so many bytes of conversations, are kept in memory."""
WAITING_BYTES = 16 << 20
"""Bytes of all owners that may wait for the store."""

Classify = Callable[[Stanza, bool], "tuple[What, str]"]
"""What a stanza of the archive is (True: it came in), and its text for `Step`."""


class Ledger:
    def __init__(self, host: Host, classify: Classify) -> None:
        self.host = host
        self.classify = classify
        self.log = host.storage.log(LOG)
        self.conversations = host.storage.map("inbox", Conversation)
        self.summaries = host.storage.map("inbox-summary", Summary)
        self.soon = host.storage.soon(INTERVAL, WAITING_BYTES, self._prepare)
        self.pending: dict[str, Pending] = {}
        """By owner, as long as there is something that the store does not have."""
        self.known = Known()
        self.caught_up: OrderedDict[str, Summary] = OrderedDict()
        """Owners of whom all is counted that was in their log before `note` began to tell of all that comes."""
        self.behind: set[str] = set()
        """Owners of whom something was forgotten since they were last counted."""

    # ---- on the path of a message

    def note(self, account: Account, peer: str, step: Step) -> None:
        """Remember it; counted and stored later."""
        pending = self.pending.get(account.bare)
        if pending is None or pending.account is not account:
            if not account.alive:
                return
            pending = self._pending(account)
        if not pending.steps:
            self.soon.note(pending, pending)
        if not pending.add(peer, step):
            self.behind.add(account.bare)

    def _pending(self, account: Account) -> Pending:
        pending = self.pending.get(account.bare)
        if pending is not None and account.alive and not pending.account.alive:
            pending.drop()  # another account of that name
            pending = None
        if pending is None:
            pending = self.pending[account.bare] = Pending(self, account)
        if account.alive:
            pending.account = account  # it may have left the memory, and come again
        return pending

    # ---- counting

    async def flush(self) -> None:
        """Count and store what was noted of all accounts. Raises StorageUnavailable."""
        await self.soon.flush()

    async def _prepare(self, pending: Pending) -> None:
        if pending.gone:
            return
        if pending.account.alive:
            await self._count(pending.account)
        else:
            self.forget(pending.account.bare)

    async def settle(self, account: Account) -> Summary:
        """Count all that was released to this account; stored soon. Raises StorageUnavailable."""
        summary = await self._count(account)
        pending = self.pending.get(account.bare)
        if pending is not None and pending.unwritten:
            self.soon.note(pending, pending)
        return summary

    async def _count(self, account: Account) -> Summary:
        owner = account.bare
        async with self.host.locks.hold(f"inbox {owner}"):
            pending = self._pending(account)
            with pending.at_work():
                # What is released from here on is noted anew: counting the log does not run after it.
                behind, until = owner in self.behind, account.began
                if behind:
                    self.behind.discard(owner)
                    self.caught_up.pop(owner, None)
                    until = account.released
                summary = self.caught_up.get(owner)
                if summary is not None and not pending.steps:
                    return summary
                (steps, size), refusals = pending.take(), pending.refusals
                count = Count(self, owner, pending.unstored())
                try:
                    if summary is None:
                        summary = await count.catch_up(pending.summary, until)
                    await count.run(steps)
                except BaseException as error:
                    if isinstance(error, StorageUnavailable) or not isinstance(error, Exception):  # or cancelled
                        pending.put_back(steps, size)
                    else:
                        self.soon.release(size)
                        behind = True
                    if behind:
                        self.behind.add(owner)
                    raise
                summary = count.summary(summary)
                if pending.gone or not account.alive:
                    self.soon.release(size)
                    return summary
                refused = pending.refusals != refusals
                if refused:  # what this was counted upon has been given up meanwhile
                    pending.put_back(steps, size)
                else:
                    pending.keep(count, summary, size)
                    self._remember(owner, count.changed, summary)
        if refused:
            return await self._count(account)
        for peer, until in count.read.items():
            self.host.tell(CONVERSATION_READ, ConversationRead(owner, peer, until))
        return summary

    def _remember(self, owner: str, changed: Mapping[str, Conversation], summary: Summary) -> None:
        self.known.put(owner, changed)
        self.caught_up[owner] = summary
        self.caught_up.move_to_end(owner)
        while len(self.caught_up) > CACHED:
            self.caught_up.popitem(last=False)

    def count_anew(self, owner: str) -> None:
        """What was counted could not be stored: the archive tells again."""
        log.error("the inbox of %s is counted anew from the archive", owner)
        self.behind.add(owner)
        self.caught_up.pop(owner, None)
        self.known.forget(owner)

    def forget(self, owner: str) -> None:
        """The account is gone."""
        self.behind.discard(owner)
        self.caught_up.pop(owner, None)
        self.known.forget(owner)
        pending = self.pending.pop(owner, None)
        if pending is not None:
            pending.drop()

    async def listed(self, account: Account, most: int) -> Mapping[str, Conversation]:
        """All conversations, by peer, at most so many: the oldest go. The sums are put right. To look at only."""
        owner = account.bare
        async with self.host.locks.hold(f"inbox {owner}"):
            pending = self._pending(account)
            with pending.at_work():
                known = self.known.all(owner)
                found = known or {}
                if known is None:
                    unstored = pending.unstored()
                    stored = await self.conversations.read_all(owner)
                    found = {peer: each for peer, each in {**stored, **unstored}.items() if each is not NEW}
                    self.known.read(owner, found)
                summary = self.caught_up.get(owner, Summary())
                order = sorted(found, key=lambda peer: found[peer].newest, reverse=True) if len(found) > most else []
                gone = order[most:]
                unread = sum(each.unread for each in found.values()) - sum(found[peer].unread for peer in gone)
                right = structs.replace(summary, unread=unread, conversations=len(found) - len(gone))
                if (gone or right != summary) and account.alive and not pending.gone:
                    pending.right(gone, right)
                    self.soon.note(pending, pending)
                    if owner in self.caught_up:
                        self.caught_up[owner] = right
                    for peer in gone:
                        self.known.forget(owner, peer)
                    found = {peer: each for peer, each in found.items() if peer not in gone}
                return found


def _weight(conversations: Mapping[str, Conversation]) -> int:
    return sum(_needs(peer, each) for peer, each in conversations.items())


def _needs(peer: str, conversation: Conversation) -> int:
    """Bytes, roughly: four numbers and two texts."""
    return BESIDE + 40 + len(peer) + len(conversation.mark)


class Known:
    """What the store has, of owners that were counted or asked last, so that it need not be read again."""

    def __init__(self) -> None:
        self._by_owner: OrderedDict[str, dict[str, Conversation]] = OrderedDict()
        self._whole: set[str] = set()
        """Owners of whom all conversations are known."""
        self._size = 0
        """Bytes."""

    def get(self, owner: str, peer: str) -> Conversation | None:
        """None: the store must be asked."""
        found = self._by_owner.get(owner, {}).get(peer)
        return NEW if found is None and owner in self._whole else found

    def all(self, owner: str) -> dict[str, Conversation] | None:
        """None: the store must be asked."""
        if owner not in self._whole:
            return None
        self._by_owner.move_to_end(owner)
        return dict(self._by_owner[owner])

    def put(self, owner: str, changed: Mapping[str, Conversation]) -> None:
        """What was committed."""
        known = self._by_owner.setdefault(owner, {})
        by = 0
        for peer, each in changed.items():
            former = known.get(peer)
            by += _needs(peer, each) if former is None else len(each.mark) - len(former.mark)
        known.update(changed)
        self._grown(owner, by)

    def read(self, owner: str, found: Mapping[str, Conversation]) -> None:
        """All that the store has."""
        self.forget(owner)
        self._by_owner[owner] = dict(found)
        self._whole.add(owner)
        self._grown(owner, _weight(found))

    def _grown(self, owner: str, by: int) -> None:
        self._by_owner.move_to_end(owner)
        self._size += by
        while self._size > CACHED_BYTES and len(self._by_owner) > 1:
            self.forget(next(iter(self._by_owner)))

    def forget(self, owner: str, peer: str | None = None) -> None:
        """A conversation is gone; without `peer`, nothing is known of the owner any more."""
        if peer is not None:
            gone = self._by_owner.get(owner, {}).pop(peer, None)
            self._size -= _needs(peer, gone) if gone is not None else 0
            return
        self._size -= _weight(self._by_owner.pop(owner, {}))
        self._whole.discard(owner)
