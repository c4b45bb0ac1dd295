"""A conversation: what was last said in it, and how much of that is unread. Pure; the log is asked by `counting`."""

from __future__ import annotations

import enum
from array import array
from bisect import bisect_right

from msgspec import Struct
from msgspec.structs import replace

LONGEST_ID = 128
"""Characters of a message's id that are remembered."""
LONGEST_RUN = 16
"""Messages of the other side that one step holds at most."""


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
    """What happened in a conversation. `id`: the log entry, 0 if there is none. `ids`: of several messages that came
    one after the other, the entries of all, ascending; `id` and `text` are those of the last one."""

    what: What
    id: int
    text: str = ""
    ids: array[int] | None = None

    def absorb(self, later: Step) -> bool:
        """Become both steps, if one step can say it: conversations are counted by what has changed in them, not message
        by message."""
        what = self.what
        if later.what is not what or later.id <= self.id:
            return False
        if what is What.CAME:
            ids = self.ids
            if ids is None:
                ids = self.ids = array("q", (self.id,))
            elif len(ids) >= LONGEST_RUN:
                return False
            ids.append(later.id)
            self.text = later.text
        elif what is not What.WENT and what is not What.PASSED:
            return False
        self.id = later.id
        return True


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
        ids, known = step.ids or (id,), max(old.last, old.read)
        unread = old.unread + len(ids) - (bisect_right(ids, known) if ids[0] <= known else 0)
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
