"""A conversation and what changes it, as pure functions. The archive is asked by `account_count.py`."""

from __future__ import annotations

import enum
from array import array
from bisect import bisect_right

from msgspec import Struct
from msgspec.structs import replace

LONGEST_ID = 128
"""Characters of a message's id that are stored."""
LONGEST_RUN = 16
"""Received messages that one activity holds at most."""


class Conversation(Struct, frozen=True):
    """The conversation with `peer`, the key of the record. All numbers are ids of the owner's log, 0 for none.

    `last`: the newest instant message (XEP-0430 section 3.2). `newest`: the newest entry of any kind, receipts and
    markers too. `read`: the entry up to which it was read. `unread`: how many incoming messages come after that.
    `mark`: the stanza id of the newest incoming message, by which a marker names it.
    """

    last: int = 0
    newest: int = 0
    read: int = 0
    unread: int = 0
    mark: str = ""


NEW = Conversation()


class Summary(Struct, frozen=True):
    """The sums of an account. `position`: every entry of its log up to this id is counted. `unread`: messages of all
    conversations. `conversations`: how many there are."""

    position: int = 0
    unread: int = 0
    conversations: int = 0


class ActivityKind(enum.IntEnum):
    RECEIVED = 0
    """An instant message of the other side; `text` is its stanza id."""
    SENT = 1
    """An instant message of the owner."""
    OTHER = 2
    """Any other entry of the archive."""
    MARKER = 3
    """A marker that the owner has sent; `text` is the stanza id that it names."""
    READ = 4
    """The owner has read up to the entry `id`."""


class Activity(Struct, gc=False):
    """Something that happened in a conversation. `id`: the log entry, 0 if there is none. `ids`: of several messages
    that were received one after the other, the entries of all, ascending; `id` and `text` are those of the last one."""

    kind: ActivityKind
    id: int
    text: str = ""
    ids: array[int] | None = None

    def absorb(self, later: Activity) -> bool:
        """Become both activities, if one can say it: conversations are counted by what has changed in them, not message
        by message."""
        kind = self.kind
        if later.kind is not kind or later.id <= self.id:
            return False
        if kind is ActivityKind.RECEIVED:
            ids = self.ids
            if ids is None:
                ids = self.ids = array("q", (self.id,))
            elif len(ids) >= LONGEST_RUN:
                return False
            ids.append(later.id)
            self.text = later.text
        elif kind is not ActivityKind.SENT and kind is not ActivityKind.OTHER:
            return False
        self.id = later.id
        return True


class Lookup(enum.Enum):
    """What only the archive can tell."""

    MARKED_ENTRY = "marked entry"
    """Which entry a marker names."""
    UNREAD_COUNT = "unread count"
    """How many messages are unread after the entry that was read."""


def apply(old: Conversation, activity: Activity) -> tuple[Conversation, Lookup | None]:
    """The conversation after an activity, and what the archive must be asked then. The same activity again changes
    nothing.

    Section 4: a message starts unread; one's own is read; what comes before a read one is read.
    """
    id, kind = activity.id, activity.kind
    newest = max(old.newest, id) if kind is not ActivityKind.READ else old.newest
    if kind is ActivityKind.RECEIVED:
        if id <= old.last:
            return replace(old, newest=newest), None
        ids, known = activity.ids or (id,), max(old.last, old.read)
        unread = old.unread + len(ids) - (bisect_right(ids, known) if ids[0] <= known else 0)
        return replace(old, last=id, newest=newest, unread=unread, mark=activity.text[:LONGEST_ID]), None
    if kind is ActivityKind.OTHER:
        return replace(old, newest=newest), None
    if kind is ActivityKind.MARKER:
        found = replace(old, newest=newest)
        if not old.unread:
            return found, None
        if old.mark and activity.text[:LONGEST_ID] == old.mark:
            return replace(found, read=max(old.read, old.last), unread=0), None
        return found, Lookup.MARKED_ENTRY
    if kind is ActivityKind.READ:
        id = min(id, old.newest)  # nobody has read what is not there yet
    if id <= old.read:
        return replace(old, newest=newest), None
    last = max(old.last, id) if kind is ActivityKind.SENT else old.last
    found = replace(old, last=last, newest=newest, read=id)
    if not old.unread:
        return found, None
    if id >= old.last:
        return replace(found, unread=0), None
    return found, Lookup.UNREAD_COUNT
