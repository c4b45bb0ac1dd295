"""Reads an account's log for one session, in pages, and sends it what is due to it."""

from __future__ import annotations

import logging
from typing import Final, Protocol

from ..contracts.archive import LOG
from ..contracts.core import Session
from ..errors import StorageUnavailable
from ..protocol.ack_queue import OutboundQueue
from ..storage.api import Entry, Flags, Range
from ..xep.stored_message import StoredMessage
from .late import delayed
from .states import Event
from .unlogged_queue import UnloggedQueue

log = logging.getLogger("xmppd.delivery")

PAGE: Final = 50
"""Entries that are read at once."""
RETRY: Final = 2.0
"""Seconds until a log that could not be read is read again."""


class Reading(Protocol):
    """What a catch-up sees of its channel (see `DeliveryChannel`)."""

    position: int
    high_water: int
    archive_read: int
    due_after: int
    already_sent: set[int] | None
    queue: OutboundQueue | None
    unlogged: UnloggedQueue | None

    @property
    def session(self) -> Session: ...
    @property
    def catching_up(self) -> CatchUp | None: ...
    def has_room(self) -> bool: ...
    def queue_full(self) -> bool: ...
    def put(self, data: bytes, log_id: int) -> None: ...
    def ask(self) -> None: ...
    def go_on(self) -> None: ...
    def on(self, event: Event) -> None: ...


class CatchUp:
    """One catch-up of a session, from the position of its channel to the end of the log. Its channel drops it
    (`DeliveryChannel.catching_up`) when the session leaves; then what the store still gives is not sent."""

    __slots__ = ("channel", "cursor")

    def __init__(self, channel: Reading) -> None:
        self.channel = channel
        self.cursor = channel.session.account.cursor

    @property
    def current(self) -> bool:
        """The channel has not dropped it."""
        return self.channel.catching_up is self

    async def run(self) -> None:
        """Read on while there is room, and tell the channel how that ended: CAUGHT_UP or NO_ROOM."""
        channel, session = self.channel, self.channel.session
        entries = session.host.storage.log(LOG)
        try:
            while self.current and channel.has_room() and self._reachable() and not session.host.server.stopping:
                start, wanted = channel.position, self._wanted()
                page = await entries.page(session.account.bare, wanted, PAGE)
                if self.current and self._reachable() and channel.position == start:
                    self._send(page, wanted)
                    self.cursor.read(start, channel.position)
                    if page:
                        channel.ask()
                    if channel.position >= session.account.released:
                        self._caught_up()
        except StorageUnavailable:
            # Not lost: it is in the log, and the next acknowledgement or sign-in reads on.
            log.warning("cannot read the log for %s: the store is away", session.jid)
            session.host.clock.call_later(RETRY, channel.go_on)
        finally:
            if self.current:
                channel.on(Event.NO_ROOM)

    def _reachable(self) -> bool:
        """Its client is there, or what is sent is queued until it is."""
        session = self.channel.session
        return not session.ended and (session.stream is not None or self.channel.queue is not None)

    def _caught_up(self) -> None:
        channel = self.channel
        channel.already_sent = None
        if channel.archive_read and channel.archive_read not in self.cursor.transient:
            self.cursor.acknowledge((channel.archive_read,))
        channel.on(Event.CAUGHT_UP)

    def _wanted(self) -> Range:
        """What comes next; of what the device has read itself only the hidden entries."""
        channel = self.channel
        if channel.position < channel.archive_read:
            return Range(after=channel.position, high=channel.archive_read, flags=Flags.INCOMING | Flags.HIDDEN)
        return Range(after=channel.position, high=channel.session.account.released, flags=Flags.INCOMING)

    def _send(self, page: list[Entry], wanted: Range) -> None:
        """Send a page as far as there is room. Few large entries fill a queue, too."""
        channel = self.channel
        for entry in page:
            if channel.queue_full():
                return
            self._send_entry(entry)
        if len(page) < PAGE and wanted.high is not None:
            channel.position = max(channel.position, wanted.high)
            channel.high_water = max(channel.high_water, channel.position)

    def _send_entry(self, entry: Entry) -> None:
        channel = self.channel
        channel.position = entry.id
        first_time = entry.id > channel.high_water
        channel.high_water = max(channel.high_water, entry.id)
        hidden = bool(entry.flags & Flags.HIDDEN)
        if entry.id <= channel.archive_read and not hidden:
            return
        if self.cursor.is_pending(entry.id) or (first_time and self._is_due(entry)):
            if hidden:
                self.cursor.transient.add(entry.id)
            channel.put(delayed(entry, channel.session.account), entry.id)

    def _is_due(self, entry: Entry) -> bool:
        """It came while this session was available but lagged, or behind what its device has read of the archive: it
        is due to this session, whichever other device has it."""
        channel = self.channel
        if entry.id <= channel.due_after or (channel.already_sent is not None and entry.id in channel.already_sent):
            return False
        if channel.unlogged is not None and entry.id in channel.unlogged.log_ids:
            return False  # a carbon of it waits
        to = StoredMessage(entry.body).to
        return "/" not in to or to == channel.session.jid.full
