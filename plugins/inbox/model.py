"""A conversation: what was last said in it, and how much of that is unread. Pure; the log is asked by `counting`."""

from __future__ import annotations

import enum

from msgspec import Struct
from msgspec.structs import replace

LONGEST_ID = 128
"""Characters of a message's id that are remembered."""


class Conversation(Struct, frozen=True):
    """One with `peer`, the key of the record. All numbers are ids of the owner's log, 0 for none.

    `last`: the newest that was said (an instant message, XEP-0430 section 3.2). `newest`: the newest entry of any kind,
    receipts and markers too. `read`: up to where it was read. `unread`: how many incoming ones lie behind. `mark`:
    the stanza id of the newest incoming one, by which a marker names it.
    """

    last: int = 0
    newest: int = 0
    read: int = 0
    unread: int = 0
    mark: str = ""


NEW = Conversation()


class Summary(Struct, frozen=True):
    """Of an account. `position`: every entry of its log up to this id is counted. `unread`: messages of all
    conversations. `conversations`: how many there are."""

    position: int = 0
    unread: int = 0
    conversations: int = 0


class What(enum.IntEnum):
    CAME = 0
    """An instant message of the other side; `text` is its stanza id."""
    WENT = 1
    """An instant message of the owner."""
    PASSED = 2
    """Any other entry of the archive."""
    DISPLAYED = 3
    """A marker of the owner's; `text` is the stanza id that it names."""
    READ = 4
    """Read up to the entry `id`."""


class Step(Struct, gc=False):
    """What happened in a conversation. `id`: the log entry, 0 if there is none."""

    what: What
    id: int
    text: str = ""


class Ask(enum.Enum):
    """What only the log can tell."""

    FIND = "find"
    """Which entry a marker names."""
    COUNT = "count"
    """How many are unread behind the entry that was read."""


def advance(old: Conversation, step: Step) -> tuple[Conversation, Ask | None]:
    """The conversation after a step, and what must be asked then. The same step again changes nothing.

    Section 4: a message starts unread; one's own is read; what lies before a read one is read.
    """
    id, what = step.id, step.what
    newest = max(old.newest, id) if what is not What.READ else old.newest
    if what is What.CAME:
        if id <= old.last:
            return replace(old, newest=newest), None
        unread = old.unread + 1 if id > old.read else old.unread
        return replace(old, last=id, newest=newest, unread=unread, mark=step.text[:LONGEST_ID]), None
    if what is What.PASSED:
        return replace(old, newest=newest), None
    if what is What.DISPLAYED:
        found = replace(old, newest=newest)
        if not old.unread:
            return found, None
        if old.mark and step.text[:LONGEST_ID] == old.mark:
            return replace(found, read=max(old.read, old.last), unread=0), None
        return found, Ask.FIND
    if what is What.READ:
        id = min(id, old.newest)  # nobody has read what is not there yet
    if id <= old.read:
        return replace(old, newest=newest), None
    last = max(old.last, id) if what is What.WENT else old.last
    found = replace(old, last=last, newest=newest, read=id)
    if not old.unread:
        return found, None
    if id >= old.last:
        return replace(found, unread=0), None
    return found, Ask.COUNT
