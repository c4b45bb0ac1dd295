"""What moves the accounts' cursors to the disk (docs/explanation/delivery.md). The cursors are in `mailbox`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from .contracts import archive
from .errors import StorageUnavailable
from .mailbox import Cursor, Mailbox
from .storage.api import Write

if TYPE_CHECKING:
    from .host import Host
    from .sessions import Session

log = logging.getLogger("xmppd.delivery")

LOG: Final = archive.LOG
"""The name of the accounts' log."""
CURSOR: Final = "cursor"
"""The name of the resident map that holds the cursors."""


class Delivery:
    """Per host: writes the cursors that moved, in one commit for all, about once a second."""

    INTERVAL = 1.0

    def __init__(self, host: Host) -> None:
        self.host = host
        self.cursors = host.storage.map(CURSOR, Cursor, resident=True)
        self.log = host.storage.log(LOG)
        self._touched: set[Mailbox] = set()
        self._forgotten: list[tuple[str, int]] = []
        self._timer = False

    def touched(self, mailbox: Mailbox) -> None:
        self._touched.add(mailbox)
        self._arm()

    def forget(self, owner: str, id: int) -> None:
        """A hidden entry was delivered: delete it."""
        self._forgotten.append((owner, id))
        self._arm()

    def _arm(self) -> None:
        if not self._timer:
            self._timer = True
            self.host.clock.call_later(self.INTERVAL, self._due)

    def _due(self) -> None:
        self._timer = False
        self.host.background.spawn(self.flush(), "cursors")

    async def flush(self) -> None:
        """Commit the cursors that moved. They are absolute, so a lost one only repeats a delivery."""
        touched, self._touched = self._touched, set()
        forgotten, self._forgotten = self._forgotten, []
        writes: list[Write] = []
        for mailbox in touched:
            mailbox.dirty = False
            if mailbox.account.alive:
                writes.append(self.cursors.put(mailbox.account.bare, "", mailbox.record()))
        writes.extend(self.log.delete(owner, (id,)) for owner, id in forgotten)
        if not writes:
            return
        try:
            await self.host.storage.commit(writes)
        except StorageUnavailable:
            self._forgotten += forgotten
            for mailbox in touched:
                mailbox.dirty = True
                self.touched(mailbox)

    def overflow(self, session: Session) -> None:
        """More than may be held for a client that does not read, and none of it can be dropped."""
        session.host.server.counts.overflows += 1
        log.warning("%s does not read: the session ends", session.jid)
        session.host.server.binder.end(session, "resource-constraint")
