"""Whether the chat list of an account says what its archive says (`xmppd store check`).

The archive is read once, and counted as `counting` counts it. What was deleted or emptied since (retention,
retractions, timers) was counted all the same, so there is a least and a most that a conversation can have.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from xmppd.contracts.store_check import AccountCheck, StoreCheck, in_map
from xmppd.storage.api import Entry, Flags, Range

from .archive_lookup import MOST, ArchiveLookup
from .model import ActivityKind, Conversation, Summary
from .store import ConversationStore

INCOMING = int(Flags.INCOMING)


@dataclass(slots=True)
class Counted:
    """What the archive has of one conversation. `unread`: at least so many; `most`: at most, of what is left.
    `last`: whether its newest instant message is there. `newest`: of what is certainly counted."""

    unread: int = 0
    most: int = 0
    last: bool = False
    newest: int = 0


class InboxCheck:
    """Raises StorageUnavailable."""

    def __init__(self, store: ConversationStore, archive: ArchiveLookup) -> None:
        self.store = store
        self.archive = archive

    async def check(self, account: AccountCheck) -> None:
        owner, check = account.bare, account.store
        conversations = await self.store.conversations.read_all(owner)
        summary = await self.store.summaries.read_stored(owner, "") or Summary()
        check_sums(check, owner, conversations.values(), summary)
        oldest, counted = await self._count(check, owner, conversations, summary.position)
        pruned = min((each.newest for each in conversations.values()), default=0)
        for peer, archived in counted.items():
            found = conversations.get(peer)
            where = in_map(self.store.conversations.name, peer)
            if found is None:
                if archived.newest > pruned:  # only the oldest conversations are given up
                    check.problem(owner, where, "there are messages, and no conversation")
                continue
            if archived.newest > found.newest:
                check.problem(owner, where, f"it ends at {found.newest}, and there is a later message")
        for peer, found in conversations.items():
            archived = counted.get(peer, Counted())
            for what in conversation_problems(found, archived, oldest):
                check.problem(owner, in_map(self.store.conversations.name, peer), what)
            if check.is_future(max(found.newest, found.read)):
                check.problem(owner, in_map(self.store.conversations.name, peer), "it ends in the future")

    async def _count(
        self, check: StoreCheck, owner: str, known: dict[str, Conversation], position: int
    ) -> tuple[int, dict[str, Counted]]:
        """The oldest entry of the archive (0: none), and what it holds, by conversation."""
        counted: dict[str, Counted] = {}
        oldest = 0
        async for entry in check.entries(self.archive.log, owner, Range(without=Flags.HIDDEN)):
            oldest = oldest or entry.id
            peer, activity = self.archive.activity(owner, entry)
            of_peer = counted.setdefault(peer, Counted())
            if entry.id <= position:
                of_peer.newest = entry.id
            self._count_entry(known, counted, peer, activity.kind, entry)
        return oldest, counted

    def _count_entry(
        self, known: dict[str, Conversation], counted: dict[str, Counted], peer: str, kind: ActivityKind, entry: Entry
    ) -> None:
        conversation = known.get(peer)
        if conversation is not None and kind is ActivityKind.RECEIVED:
            counted[peer].unread += conversation.read < entry.id <= conversation.last
        # A count after a marker goes by the address alone, and takes what was emptied since for what it was.
        for name in {peer, entry.peer}:
            conversation = known.get(name)
            if conversation is not None:
                archived = counted.setdefault(name, Counted())
                archived.last |= entry.id == conversation.last
                archived.most += bool(entry.flags & INCOMING) and conversation.read < entry.id


def check_sums(check: StoreCheck, owner: str, conversations: Iterable[Conversation], summary: Summary) -> None:
    found = list(conversations)
    unread = sum(each.unread for each in found)
    if summary.unread != unread:
        check.problem(owner, "inbox-summary", f"it says {summary.unread} unread, and the conversations have {unread}")
    if summary.conversations != len(found):
        check.problem(
            owner, "inbox-summary", f"it says {summary.conversations} conversations, and there are {len(found)}"
        )
    if check.is_future(summary.position):
        check.problem(owner, "inbox-summary", "its position is in the future, so what comes is not counted")


def conversation_problems(found: Conversation, archived: Counted, oldest: int) -> Iterable[str]:
    """`oldest`: what is older may have been deleted."""
    if found.newest < found.last:
        yield "its newest entry is older than its newest message"
    if found.unread < 0 or found.read > found.newest:
        yield "it is read beyond its end, or less than nothing is unread"
    if found.unread < min(archived.unread, MOST):
        yield f"{found.unread} are unread, and {archived.unread} messages came since it was read"
    if found.unread > archived.most and found.read >= oldest:
        yield f"{found.unread} are unread, and {archived.most} messages came since it was read"
    if found.last >= oldest > 0 and not archived.last:
        yield f"its newest message, {found.last}, is not in the archive"
