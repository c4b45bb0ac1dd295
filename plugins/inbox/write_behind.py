"""The changes of one account's conversations that the store does not have yet: a note of `Storage.write_behind`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from xmppd.errors import ResourceConstraint
from xmppd.plugin import Account
from xmppd.storage.api import Map, Write

from .model import LONGEST_ID, LONGEST_RUN, NEW, Activity, ActivityKind, Conversation, Summary

ACCOUNT_BYTES = 512 << 10
"""Of one account. Where messages come faster than they are counted, the archive is read instead."""
ACTIVITY_BYTES = 120
CONVERSATION_BYTES = 400
"""What an activity, and a conversation, are taken to need beside their texts."""
RUN_BYTES = ACTIVITY_BYTES + LONGEST_ID + 80 + 8 * LONGEST_RUN
"""What an activity needs that may come to hold several messages: reserved at once."""


class Store(Protocol):
    """What a buffer needs of the store of conversations."""

    @property
    def soon(self) -> Any: ...
    @property
    def conversations(self) -> Map[Conversation]: ...
    @property
    def summaries(self) -> Map[Summary]: ...
    def remove_buffer(self, buffer: WriteBehindBuffer) -> None: ...
    def rejected(self, owner: str) -> None:
        """The store has rejected conversations of an account."""
        ...


class WriteBehindBuffer:
    """Activities that are not counted yet, and conversations that are counted and not stored yet. The bytes reserved
    for an activity stay reserved until its conversation is stored."""

    def __init__(self, store: Store, account: Account) -> None:
        self.store = store
        self.account = account
        self.discarded = False
        """The account was deleted, or its home is elsewhere."""
        self.rejections = 0
        """How often the store has rejected counted conversations."""
        self.activities: dict[str, list[Activity]] = {}
        """By peer."""
        self.size = 0
        """Bytes of the activities."""
        self.counted: dict[str, Conversation] = {}
        """By peer; `NEW`: to be deleted."""
        self.summary: Summary | None = None
        """With all that was counted, stored or not."""
        self._reserved = 0
        """Bytes of what was counted."""
        self._in_flight: dict[str, Conversation] = {}
        """Conversations in a batch that is not committed yet."""
        self._reserved_in_flight = 0
        self._summary_in_flight: Summary | None = None
        self._users = 0

    # ---- activities

    def add(self, peer: str, activity: Activity) -> bool:
        """False if there was no room for all: the archive must be read."""
        activities = self.activities.get(peer)
        if activities is None:
            size = _weight(activity) + CONVERSATION_BYTES + len(peer)
        elif activities[-1].absorb(activity):
            return True
        else:
            size = _weight(activity)
        complete = True
        if self.size + size > ACCOUNT_BYTES:
            self._drop_archived()
            complete, activities = False, self.activities.get(peer)
        try:
            self.store.soon.reserve(size)
        except ResourceConstraint:
            self._drop_archived()
            return False
        self.size += size
        if activities is None:
            self.activities[peer] = [activity]
        else:
            activities.append(activity)
        return complete

    def _drop_archived(self) -> None:
        """Drops the activities that the archive tells again. Of the others (markers that no archive holds) the newest
        stay, because they include the older ones: a flood stays bounded."""
        left: dict[str, list[Activity]] = {}
        size = 0
        for peer, activities in reversed(self.activities.items()):
            for activity in reversed(activities):
                if is_archived(activity):
                    continue
                added = _weight(activity) + (0 if peer in left else CONVERSATION_BYTES + len(peer))
                if size + added > ACCOUNT_BYTES // 2:
                    break
                left.setdefault(peer, []).append(activity)
                size += added
        self.activities = {peer: activities[::-1] for peer, activities in reversed(left.items())}
        self.store.soon.free(self.size - size)
        self.size = size

    def drain(self) -> tuple[dict[str, list[Activity]], int]:
        """Takes out all activities, to be counted, and the bytes that stay reserved for them."""
        drained, self.activities, self.size = (self.activities, self.size), {}, 0
        return drained

    def requeue(self, activities: dict[str, list[Activity]], size: int) -> None:
        """Puts activities back that could not be counted."""
        if self.discarded:
            self.store.soon.free(size)
            return
        for peer, later in self.activities.items():
            activities.setdefault(peer, []).extend(later)
        self.activities, self.size = activities, self.size + size
        if activities:
            self.store.soon.note(self, self)

    # ---- counted conversations

    @property
    def unwritten(self) -> bool:
        """Whether there is something that is not in a batch yet."""
        return bool(self.counted) or self.summary is not self._summary_in_flight

    def unstored(self) -> dict[str, Conversation]:
        """The conversations that the store does not have yet."""
        return {**self._in_flight, **self.counted} if self._in_flight else dict(self.counted)

    def add_counted(self, changed: Mapping[str, Conversation], found: int, summary: Summary, size: int) -> None:
        """`changed`: conversations that differ from what is stored. `found`: how many conversations were counted.
        `size`: bytes that are reserved for the activities."""
        self.counted.update(changed)
        self.summary = summary
        more = max(0, found * CONVERSATION_BYTES - size)  # for those that were found in the archive
        self.store.soon.reserve(more, anyway=True)
        self._reserved += size + more

    def remove(self, peers: Iterable[str], summary: Summary) -> None:
        """Deletes conversations. `summary`: the sums without them."""
        self.counted.update((peer, NEW) for peer in peers)
        self.summary = summary

    def discard(self) -> None:
        """Drops everything."""
        self.discarded = True
        self.store.soon.free(self.size + self._reserved)
        self.activities, self.size, self.counted, self._reserved = {}, 0, {}, 0
        self.summary = self._summary_in_flight = None

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Within, it stays the buffer of its account, even while it is empty."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            self._remove_if_empty()

    @property
    def is_empty(self) -> bool:
        """Nobody uses it, and the store has everything."""
        return not (self._users or self.activities or self.counted or self._in_flight or self.summary is not None)

    def _remove_if_empty(self) -> None:
        if self.is_empty:
            self.store.remove_buffer(self)

    # ---- storage.api.Note

    def writes(self) -> list[Write]:
        """The conversations, and after them the sums with the position up to which they are counted."""
        in_flight, self._in_flight, self.counted = self.counted, self.counted, {}
        self._reserved_in_flight, self._reserved = self._reserved, 0
        before, self._summary_in_flight = self._summary_in_flight, self.summary
        if (
            self.summary is None
            or self.discarded
            or not self.account.alive
            or (not in_flight and self.summary is before)
        ):
            return []
        map, owner = self.store.conversations, self.account.bare
        writes: list[Write] = [
            map.delete(owner, peer) if each is NEW else map.put(owner, peer, each) for peer, each in in_flight.items()
        ]
        writes.append(self.store.summaries.put(owner, "", self.summary))
        return writes

    def stored(self) -> None:
        self._release_in_flight()
        if self.summary is self._summary_in_flight:
            self.summary = None  # the store has it
        self._summary_in_flight = None
        self._remove_if_empty()

    def failed(self, again: bool) -> None:
        if again:
            self.counted = {**self._in_flight, **self.counted}
            self._reserved += self._reserved_in_flight
            self._in_flight, self._reserved_in_flight, self._summary_in_flight = {}, 0, None
            return
        self._release_in_flight()
        self._summary_in_flight = None
        self.rejections += 1
        if not self.discarded:
            self.store.soon.free(self._reserved)
            self.counted, self._reserved, self.summary = {}, 0, None
            self.store.rejected(self.account.bare)
        self._remove_if_empty()

    def _release_in_flight(self) -> None:
        self.store.soon.free(self._reserved_in_flight)
        self._in_flight, self._reserved_in_flight = {}, 0


def _weight(activity: Activity) -> int:
    """Bytes."""
    return RUN_BYTES if activity.kind is ActivityKind.RECEIVED else ACTIVITY_BYTES + len(activity.text)


def is_archived(activity: Activity) -> bool:
    """Reading the archive finds it again."""
    return bool(activity.id) and activity.kind is not ActivityKind.READ
