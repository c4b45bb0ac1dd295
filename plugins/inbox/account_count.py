"""One count of one account: its conversations after a list of activities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from xmppd.clock import microseconds
from xmppd.contracts.pubsub import PUBSUB
from xmppd.plugin import JID, Host

from .archive_lookup import ArchiveLookup
from .markers import MDS_NODE, displayed_item
from .model import NEW, Activity, ActivityKind, Conversation, Lookup, Summary, apply
from .store import ConversationStore

MARGIN = 10_000_000
"""Microseconds. An id is given when a message is decided, and can be read when it is committed: the stored position
stays this much behind, so that none falls between. Counting an entry again changes nothing."""


class AccountCount:
    """All its coroutines raise StorageUnavailable."""

    def __init__(
        self,
        host: Host,
        store: ConversationStore,
        archive: ArchiveLookup,
        owner: str,
        unstored: Mapping[str, Conversation],
    ) -> None:
        """`unstored`: conversations that the store does not have yet."""
        self.host = host
        self.store = store
        self.archive = archive
        self.owner = owner
        self.unstored = unstored
        self.changed: dict[str, Conversation] = {}
        self.before: dict[str, Conversation] = {}
        """Those in `changed`, as they were."""
        self.read_up_to: dict[str, int] = {}
        """By peer: conversations of which something unread was read, and up to which entry."""
        self.position = 0

    def differing(self) -> dict[str, Conversation]:
        """The conversations that are not as they were."""
        return {peer: each for peer, each in self.changed.items() if each != self.before[peer]}

    def summary(self, old: Summary) -> Summary:
        before, changed = self.before, self.changed
        unread = sum(each.unread - before[peer].unread for peer, each in changed.items())
        added = sum(not before[peer].newest for peer in changed)
        newest = max((each.newest for each in changed.values()), default=0)
        safe = min(max(newest, self.position), microseconds(self.host.clock) - MARGIN)
        return Summary(max(old.position, safe), max(0, old.unread + unread), old.conversations + added)

    async def apply_all(self, activities: Mapping[str, Sequence[Activity]]) -> None:
        for peer, each in activities.items():
            for activity in each:
                await self.apply(peer, activity)

    async def apply(self, peer: str, activity: Activity) -> None:
        old = await self._conversation(peer)
        new, lookup = apply(old, activity)
        if lookup is Lookup.MARKED_ENTRY:
            id = await self.archive.find_marked(self.owner, peer, new.read, activity.text)
            if id <= new.read:
                lookup = None
            else:
                new, lookup = apply(new, Activity(ActivityKind.READ, id))
        if lookup is Lookup.UNREAD_COUNT:
            new = await self.archive.count_unread(self.owner, peer, new)
        if not new.newest:
            return  # there is no message in it
        self.changed[peer] = new
        if new.read > old.read and old.unread:
            self.read_up_to[peer] = new.read

    async def _conversation(self, peer: str) -> Conversation:
        found = self.changed.get(peer)
        if found is not None:
            return found
        store = self.store
        found = store.cache.get(self.owner, peer) or self.unstored.get(peer)
        if found is None:
            found = await store.conversations.read(self.owner, peer) or NEW
        self.before[peer] = found
        return found

    async def catch_up(self, summary: Summary | None, until: int) -> Summary:
        """Counts the log from the position up to an id: entries of which this process has no activities. `summary`: the
        sums that the store does not have yet."""
        owner = self.owner
        summary = summary or await self.store.summaries.read(owner, "") or Summary()
        after = summary.position
        while page := await self.archive.activities(owner, after, until):
            for peer, activity in page:
                await self.apply(peer, activity)
            after = self.position = page[-1][1].id
        pubsub = self.host.find(PUBSUB)
        if pubsub is not None:
            for item in await pubsub.items(JID.parse(owner), MDS_NODE):
                displayed = displayed_item(owner, item.payload)
                if displayed:
                    await self.apply(item.id, Activity(ActivityKind.READ, displayed))
        return summary
