"""What moves the accounts' cursors to the disk (docs/explanation/delivery.md). The cursors are in `mailbox`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from ..contracts import archive
from ..errors import StorageUnavailable
from ..storage.api import Flags, Range, Write
from .cursor import MANY, Cursor, Mailbox

if TYPE_CHECKING:
    from ..hosts.host import Host
    from ..sessions.session import Session
    from .channel import Feed

log = logging.getLogger("xmppd.delivery")

LOG: Final = archive.LOG
"""The name of the accounts' log."""
CURSOR: Final = "cursor"
"""The name of the resident map that holds the cursors."""


LONG: Final = 32
"""Stanzas of a queue that is written whenever one was added."""
MERGED: Final = 100
"""Entries that are read at once to see which settled ones follow each other."""


class Delivery:
    """Per host: stores the cursors that moved, and what sessions with XEP-0198 were sent since. They go along with the
    batches that are committed anyway; in quiet times they are stored a moment later."""

    QUIET = 0.25
    """Seconds. What a client was sent and a crash takes from here is sent once more."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.cursors = host.storage.map(CURSOR, Cursor, resident=True)
        self.log = host.storage.log(LOG)
        self.soon = host.storage.soon(self.QUIET)
        self.forgotten: dict[Mailbox, set[int]] = {}
        """Hidden entries that were delivered and are to be deleted."""
        self._late: set[Mailbox] = set()
        self._merging: set[Mailbox] = set()

    def touched(self, mailbox: Mailbox) -> None:
        """Its cursor moved."""
        self.soon.note(mailbox, Moved(self, mailbox))

    def forget(self, mailbox: Mailbox, id: int) -> None:
        """A hidden entry was delivered: delete it."""
        self.forgotten.setdefault(mailbox, set()).add(id)
        self.touched(mailbox)

    def merge(self, mailbox: Mailbox) -> None:
        """Much of it is settled behind something that is not: the log says what follows each other."""
        if mailbox not in self._merging and not self.host.server.stopping:
            self._merging.add(mailbox)
            self.host.background.spawn(self._merge(mailbox), f"merge {mailbox.account.bare}")

    async def _merge(self, mailbox: Mailbox) -> None:
        account = mailbox.account
        after = mailbox.unmerged()
        until = min(account.released, max(mailbox.settled, default=0))
        try:
            while after < until:
                wanted = Range(after=after, high=until, flags=Flags.INCOMING)
                page = await self.log.page(account.bare, wanted, MERGED)
                end = page[-1].id if len(page) == MERGED else until
                mailbox.merge(after, end, [entry.id for entry in page])
                after = end
        except StorageUnavailable:
            log.warning("cannot read what is settled for %s: the store is away", account.bare)
        finally:
            self._merging.discard(mailbox)
            mailbox.merge_at = max(MANY, 2 * len(mailbox.settled))

    def later(self, mailbox: Mailbox) -> None:
        """Something of it is not worth being written now."""
        if mailbox not in self._late:
            if not self._late:
                self.host.clock.call_later(self.QUIET, self._again)
            self._late.add(mailbox)

    def _again(self) -> None:
        late, self._late = self._late, set()
        for mailbox in late:
            for session in mailbox.account.sessions.values():
                session.feed.traced = 0  # now it is worth it
            self.touched(mailbox)

    async def flush(self) -> None:
        """Store all that moved. Raises StorageUnavailable."""
        await self.soon.flush()

    def overflow(self, session: Session) -> None:
        """More than may be held for a client that does not read, and none of it can be dropped."""
        session.host.server.counts.overflows += 1
        log.warning("%s does not read: the session ends", session.jid)
        session.host.server.binder.end(session, "resource-constraint")


class Moved:
    """A `Note` of the store: one mailbox, as it is when it is written. Its records are absolute, so a lost one only
    repeats a delivery. Cursor and traces go together: what a newer trace does not name any more is in the cursor."""

    __slots__ = ("delivery", "gone", "mailbox", "traced")

    def __init__(self, delivery: Delivery, mailbox: Mailbox) -> None:
        self.delivery = delivery
        self.mailbox = mailbox
        self.gone: tuple[int, ...] = ()
        self.traced: list[Feed] = []

    def writes(self) -> list[Write]:
        delivery, mailbox = self.delivery, self.mailbox
        account = mailbox.account
        moved, mailbox.dirty = mailbox.dirty, False
        self.gone, self.traced = tuple(delivery.forgotten.get(mailbox, ())), []
        if not account.alive:
            return []
        writes: list[Write] = []
        if moved:
            writes.append(delivery.cursors.put(account.bare, "", mailbox.record()))
        if self.gone:
            writes.append(delivery.log.delete(account.bare, self.gone))
        for session in account.sessions.values():
            feed = session.feed
            if feed.untraced and feed.trace is not None and self._worth(feed):
                feed.untraced = False
                self.traced.append(feed)
                writes.append(feed.trace())
        return writes

    def _worth(self, feed: Feed) -> bool:
        """A long queue is not written for every stanza that joins it: that would cost more than the stanza."""
        queue = feed.queue
        if queue is None:
            return False
        if len(queue) > LONG and queue.sent - feed.traced < len(queue) // 4:
            self.delivery.later(self.mailbox)
            return False
        feed.traced = queue.sent
        return True

    def stored(self) -> None:
        left = self.delivery.forgotten.get(self.mailbox)  # the batch before may have deleted the same
        if left is not None:
            left.difference_update(self.gone)
            if not left:
                del self.delivery.forgotten[self.mailbox]

    def failed(self, again: bool) -> None:
        self.mailbox.dirty = True
        for feed in self.traced:
            feed.untraced = True
