"""What moves the accounts' cursors to the disk (docs/explanation/delivery.md). The cursors are in `cursor`."""

from __future__ import annotations

import logging
from typing import Final

from ..contracts import archive
from ..contracts.core import Host, Session
from ..contracts.delivery import Channel
from ..errors import StorageUnavailable
from ..storage.api import Flags, Range, Write
from .cursor import MANY, CursorRecord, DeliveryCursor

log = logging.getLogger("xmppd.delivery")

LOG: Final = archive.LOG
"""The name of the accounts' log."""
CURSOR: Final = "cursor"
"""The name of the resident map that holds the cursors."""


LONG: Final = 32
"""Stanzas of a queue that is written whenever one was added."""
REFUSED: Final = 60.0
"""Seconds until a cursor that the store has refused is written again."""
MERGED: Final = 100
"""Entries that are read at once to see which acknowledged ones follow each other."""


class CursorWriter:
    """Per host: stores the cursors that moved, and what sessions with XEP-0198 were sent since. They go along with the
    batches that are committed anyway; in quiet times they are stored a moment later."""

    QUIET = 0.25
    """Seconds. What a client was sent and a crash takes from here is sent once more."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.cursors = host.storage.map(CURSOR, CursorRecord, cached=True)
        self.log = host.storage.log(LOG)
        self.soon = host.storage.write_behind(self.QUIET)
        self.forgotten: dict[DeliveryCursor, set[int]] = {}
        """Transient entries that are acknowledged and to be deleted."""
        self._late: set[DeliveryCursor] = set()
        self._merging: set[DeliveryCursor] = set()

    def touched(self, cursor: DeliveryCursor) -> None:
        """Its cursor moved."""
        self.soon.note(cursor, CursorMove(self, cursor))

    def forget(self, cursor: DeliveryCursor, id: int) -> None:
        """A transient entry was acknowledged: delete it."""
        self.forgotten.setdefault(cursor, set()).add(id)
        self.touched(cursor)

    def merge(self, cursor: DeliveryCursor) -> None:
        """Make ranges of what is acknowledged behind something that is not: the log says what follows each other."""
        if cursor not in self._merging and not self.host.server.stopping:
            self._merging.add(cursor)
            self.host.background.spawn(self._merge(cursor), f"merge {cursor.account.bare}")

    async def _merge(self, cursor: DeliveryCursor) -> None:
        account = cursor.account
        after = cursor.unmerged()
        until = min(account.released, max(cursor.acknowledged, default=0))
        try:
            while after < until:
                wanted = Range(after=after, high=until, flags=Flags.INCOMING)
                page = await self.log.page(account.bare, wanted, MERGED)
                end = page[-1].id if len(page) == MERGED else until
                cursor.merge(after, end, [entry.id for entry in page])
                after = end
        except StorageUnavailable:
            log.warning("cannot read the log of %s, to shorten its cursor: the store is away", account.bare)
        finally:
            self._merging.discard(cursor)
            cursor.merge_at = max(MANY, 2 * len(cursor.acknowledged))

    def later(self, cursor: DeliveryCursor) -> None:
        """Something of it is not worth being written now."""
        if cursor not in self._late:
            if not self._late:
                self.host.clock.call_later(self.QUIET, self._again)
            self._late.add(cursor)

    def _again(self) -> None:
        late, self._late = self._late, set()
        for cursor in late:
            for session in cursor.account.sessions.values():
                session.channel.traced = 0  # now it is worth it
            self.touched(cursor)

    async def flush(self) -> None:
        """Store all that moved. Raises StorageUnavailable."""
        await self.soon.flush()

    def overflow(self, session: Session) -> None:
        """End a session: more waits for its client than may, and none of it can be dropped."""
        session.host.server.counts.overflows += 1
        log.warning("%s does not read: the session ends", session.jid)
        session.host.server.session_manager.end(session, "resource-constraint")


class CursorMove:
    """A `Note` of the store: one cursor, as it is when it is written. Its records are absolute, so a lost one only
    repeats a delivery. Cursor and traces go together: what a newer trace does not name any more is in the cursor."""

    __slots__ = ("cursor", "cursor_writer", "deleted", "traced")

    def __init__(self, cursor_writer: CursorWriter, cursor: DeliveryCursor) -> None:
        self.cursor_writer = cursor_writer
        self.cursor = cursor
        self.deleted: tuple[int, ...] = ()
        self.traced: list[Channel] = []

    def writes(self) -> list[Write]:
        cursor_writer, cursor = self.cursor_writer, self.cursor
        account = cursor.account
        moved, cursor.dirty = cursor.dirty, False
        self.deleted, self.traced = tuple(cursor_writer.forgotten.get(cursor, ())), []
        if not account.alive:
            return []
        writes: list[Write] = []
        if moved:
            writes.append(cursor_writer.cursors.put(account.bare, "", cursor.record()))
        if self.deleted:
            writes.append(cursor_writer.log.delete(account.bare, self.deleted))
        for session in account.sessions.values():
            channel = session.channel
            if channel.untraced and channel.trace is not None and self._worth(channel):
                channel.untraced = False
                self.traced.append(channel)
                writes.append(channel.trace())
        return writes

    def _worth(self, channel: Channel) -> bool:
        """A long queue is not written for every stanza that joins it: that would cost more than the stanza."""
        queue = channel.queue
        if queue is None:
            return False
        if len(queue) > LONG and queue.sent - channel.traced < len(queue) // 4:
            self.cursor_writer.later(self.cursor)
            return False
        channel.traced = queue.sent
        return True

    def stored(self) -> None:
        forgotten = self.cursor_writer.forgotten.get(self.cursor)  # the batch before may have deleted the same
        if forgotten is not None:
            forgotten.difference_update(self.deleted)
            if not forgotten:
                del self.cursor_writer.forgotten[self.cursor]

    def failed(self, again: bool) -> None:
        cursor_writer, cursor = self.cursor_writer, self.cursor
        cursor.dirty = True
        for channel in self.traced:
            channel.untraced = True
        if not again:  # who is dirty notes nothing, so nobody else would
            cursor_writer.host.clock.call_later(REFUSED, lambda: cursor_writer.touched(cursor))
