"""How far one session is in its account's log (docs/explanation/delivery.md).

The archive is the offline store. A `DeliveryChannel` is live (entries come as they are released) or reading (it lags:
signing in, or its queue is full, and gets the entries from the log in pages).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from ..clock import microseconds
from ..contracts.archive import LOG
from ..contracts.core import Account, Session
from ..contracts.delivery import Cursor, Gate, Waiting
from ..contracts.messages import Idle
from ..contracts.routing import MESSAGE_RULES
from ..errors import StorageUnavailable
from ..memory.budget import FREE, Share
from ..protocol.ack_queue import OutboundQueue
from ..stanza import Kind, Stanza, appended, look_at, parse_stanza
from ..storage.api import Entry, Flags, Range, Write
from ..xep.elements import DELAY_NS, LATE, delay_bytes, stanza_id_bytes
from ..xep.stored_message import StoredMessage
from ..xml import children
from .ping_ack import PingAcknowledger
from .unlogged_queue import Item, UnloggedQueue

log = logging.getLogger("xmppd.delivery")

PAGE: Final = 50
ASK_SIZE: Final = 64 << 10
"""An acknowledgement is asked for after so many bytes, too: large messages are not to pile up."""


class DeliveryChannel:
    """The way to one client. Counts, remembers and replays what needs an acknowledgement."""

    __slots__ = (
        "_back",
        "_held",
        "_ping_ack",
        "_reading",
        "archive_read",
        "copies",
        "gate",
        "left",
        "live",
        "moved",
        "paused",
        "position",
        "queue",
        "reached",
        "returning",
        "session",
        "share",
        "since",
        "trace",
        "traced",
        "untraced",
    )

    def __init__(self, session: Session) -> None:
        self.session = session
        self.share = Share(session.account.pool, session.host.server.memory)
        """The bytes that wait here."""
        self.queue: OutboundQueue | None = None
        """Set once the client has enabled acknowledgements."""
        self.trace: Callable[[], Write] | None = None
        """Makes durable what the client was sent and has not acknowledged, so that its count says what it has, even
        after a crash."""
        self.traced = 0
        """How much was sent when that was written last."""
        self.untraced = False
        """It was sent entries since."""
        self.gate: Gate | None = None
        """Set while the client sleeps."""
        self.live = True
        self.paused = False
        """The connection does not take more now."""
        self.moved = 0.0
        """When the client was last seen to take something of what waits for it (monotonic)."""
        self.position = 0
        """The last log entry that was sent or skipped."""
        self.reached = 0
        """The furthest that `position` was: it goes back for what another session leaves behind."""
        self._back = -1
        self.archive_read = 0
        """The client read its archive itself, when this was the last id."""
        self.since = 0
        """From this log id on the session was online, or had not read its archive: what came later is for it, too. 0:
        it is not there for messages, so the log has nothing for it now, and how far it is says nothing."""
        self.returning = False
        """It was there for messages before, and may come again on the same stream."""
        self.left = 0
        """It was there up to this log id, and what came since is for it, too, when it comes again. 0: only what is owed
        is."""
        self._reading = False
        self.copies: set[int] | None = None
        """What it got as carbons, or under its full JID, while it was not there for messages."""
        self._held: UnloggedQueue | None = None
        self._ping_ack: PingAcknowledger | None = None

    # ---- sending

    def send(self, data: bytes, log_id: int, stanza: Stanza | None = None) -> None:
        """In order: entries behind the position wait in the log while the feed lags. `stanza`: the same, perhaps to
        another address; without it a gate has to parse `data`."""
        if self.gate is not None and self.gate(data, log_id, stanza):
            return
        if not log_id and self.queue is None and self._ping_ack is None and self.live and not self.paused:
            session = self.session  # nothing to look at: most of a fan-out
            session.delivered += 1
            if session.stream is not None:
                session.stream.write(data)
            return
        if log_id:
            if not self.live:
                self.session.account.cursor.mark_pending(log_id)
                return
            if self.paused or self._full():
                self._lag(log_id)
                return
            if self.since:
                self.position = self.reached = log_id
            else:
                self._copied(log_id)  # to this very resource, while it is not there for all messages
        elif not self.live or self.paused or self._full():
            if self.live:
                self._lag_behind()
            self._hold(data, stanza)
            return
        self._put(data, log_id)

    def refuse(self, data: bytes) -> int:
        """Send the error of a message that is refused, before anything that acknowledges the message: it waits for
        nothing. Returns the count of acknowledged stanzas that covers it; 0 without XEP-0198."""
        queue = self.queue
        if queue is None:
            self.send(data, 0)
            return 0
        limits = self.session.host.server.limits
        if len(queue) >= 2 * limits.queue or queue.size >= 2 * limits.queue_size:
            self.session.host.cursor_writer.overflow(self.session)
        else:
            self._put(data, 0)
        return queue.sent

    def copy(self, data: bytes, log_id: int, stanza: Stanza) -> None:
        """A carbon of an entry that went to another device (XEP-0280): acknowledged, it delivers the entry as well."""
        if not log_id:
            self.send(data, 0, stanza)
            return
        if not self.live or self.paused or self._full():
            if self.live:
                self._lag_behind()
            self._hold(data, stanza, log_id)
            return
        if not self.since:
            self._copied(log_id)
        self._put(data, log_id)

    def _copied(self, log_id: int) -> None:
        copies = self.copies
        if copies is None:
            copies = self.copies = set()
        copies.add(log_id)
        if len(copies) > self.session.host.server.limits.queue:
            copies.discard(min(copies))

    def _put(self, data: bytes, log_id: int, at: int = 0) -> None:
        """`at`: when it was accepted, if that was not now."""
        session = self.session
        session.delivered += 1
        if log_id:
            session.account.cursor.mark_in_flight(log_id)
        queue = self.queue
        if queue is not None:
            queue.append(data, log_id, log_id or at or self.now())
            if log_id and not self.untraced and self.trace is not None:
                self.untraced = True
                session.host.cursor_writer.touched(session.account.cursor)
            if session.stream is not None:
                session.stream.write(data)
                limits = session.host.server.limits
                if queue.sent - queue.asked >= limits.ask_every or queue.unasked >= ASK_SIZE:
                    self.ask()
            return
        if session.stream is None:
            if log_id:
                session.account.cursor.unmark_in_flight((log_id,))
            return
        session.stream.write(data)
        if log_id:
            if self._ping_ack is None:
                self._ping_ack = PingAcknowledger(session)
            self._ping_ack.wrote(log_id)

    # ---- what comes later than it should

    def now(self) -> int:
        """Microseconds since 1970 UTC."""
        return microseconds(self.session.host.clock)

    def late(self, data: bytes, at: int) -> bytes:
        """A message or presence that was accepted at that time (0: not known) as it is sent now: with the time, if that
        was a while ago (XEP-0203, XEP-0198 section 5)."""
        if not at or self.now() - at <= LATE or data.startswith(b"<iq"):
            return data
        return stamped_late(data, self.session.host.domain, at)

    def unacknowledged(self) -> list[bytes]:
        """What is sent again when the client is back (XEP-0198 section 5)."""
        return [self.late(data, at) for data, at in self.queue.unacknowledged()] if self.queue is not None else []

    # ---- asking

    def ask(self) -> None:
        """Ask for an acknowledgement (<r/>)."""
        queue, stream = self.queue, self.session.stream
        if queue is not None and stream is not None and queue.asked < queue.sent:
            queue.asked, queue.unasked = queue.sent, 0
            stream.write(b"<r xmlns='urn:xmpp:sm:3'/>")

    def _full(self) -> bool:
        queue, limits = self.queue, self.session.host.server.limits
        if queue is None:
            return self._ping_ack is not None and len(self._ping_ack) >= limits.queue
        if len(queue) >= limits.queue or queue.size >= limits.queue_size:
            return True
        return queue.size > FREE and self.share.crowded  # with little in it no acknowledgement may be left to wait for

    def _lag(self, log_id: int) -> None:
        """From here on the log is the queue."""
        self.live = False
        self.session.host.server.counts.lagging += 1
        self.position = self.reached or log_id - 1
        self.session.account.cursor.mark_pending(log_id)

    def _lag_behind(self) -> None:
        """The queue is full of what is not in the log, too: hold such things until there is room."""
        self.live = False
        self.session.host.server.counts.lagging += 1
        self.position = self.reached or self.session.account.cursor.position

    def _hold(self, data: bytes, stanza: Stanza | None, log_id: int = 0) -> None:
        """Not in the log, or a copy of what is, and behind entries that are: keep a few, in order, until they are sent.
        With more, chat states are dropped, and anything else ends the session: its client must know that it has missed
        something."""
        held, limits = self._held, self.session.host.server.limits
        if held is None:
            held = self._held = UnloggedQueue(self.share)
        if len(held) < limits.queue and held.size < limits.queue_size:
            held.add(data, stanza, self.now(), log_id)
            if log_id:
                self.session.account.cursor.mark_in_flight(log_id)  # it is on its way: the log has it for nobody else
        elif self._may_drop(stanza or parse_stanza(data)):
            self.session.host.server.counts.dropped += 1
        elif len(held) == limits.queue and held.replaces(stanza) and held.size < limits.queue_size:
            held.add(data, stanza, self.now())
        else:
            self.session.host.cursor_writer.overflow(self.session)

    def _may_drop(self, stanza: Stanza) -> bool:
        """It is of the moment only: a later one of the same sender would take its place."""
        rules = self.session.host.find(MESSAGE_RULES)
        return stanza.kind is Kind.MESSAGE and rules is not None and rules.policy(stanza).idle is Idle.LATEST

    # ---- acknowledgements

    def acknowledge(self, h: int) -> None:
        """The client has handled `h` stanzas. Raises HandledTooHigh."""
        queue = self.queue
        assert queue is not None
        before = queue.acknowledged
        stamps = queue.acknowledge(h)
        if queue.acknowledged != before:
            self.moved = self.session.host.clock.monotonic()
        if stamps:
            self.session.account.cursor.acknowledge(stamps)
        self.go_on()

    def unread(self) -> float:
        """Seconds for which the client has taken nothing of what waits for it, and those for which it is silent."""
        stream, now = self.session.stream, self.session.host.clock.monotonic()
        unread = now - self.moved
        if self.queue:
            unread = min(unread, max(0.0, (self.now() - self.queue.items[0][2]) / 1_000_000))
        return unread + (now - stream.last_read if stream is not None else unread)

    def confirm(self) -> None:
        """The server stops: ask at once what the client has."""
        if self.queue is not None:
            self.ask()
        elif self._ping_ack is not None:
            self._ping_ack.hurry()

    def covered(self, count: int) -> bool:
        """Whether the client has acknowledged so much (see `refuse`)."""
        return self.queue is None or self.queue.acknowledged >= count

    def goodbye(self) -> None:
        """The client closes its stream."""
        if self._ping_ack is not None:
            self._ping_ack.goodbye()

    def pending(self) -> list[int]:
        """Log entries that this client has not acknowledged."""
        stamps = self._ping_ack.pending if self._ping_ack is not None else []
        if self.queue is not None:
            stamps += [log_id for _, log_id, _ in self.queue.items if log_id]
        if self._held is not None:
            stamps += self._held.stamps
        return stamps

    def held(self) -> list[Waiting]:
        """What is not in the log and waits behind it, with the time when it was accepted."""
        return [
            *((data, at) for data, at, _ in (self._held.all() if self._held is not None else ())),
            *(self.gate.held() if self.gate is not None else ()),
        ]

    def held_stamps(self) -> list[int]:
        """Of which log entries the first of these are copies, 0 for none."""
        return [log_id for _, _, log_id in self._held.all()] if self._held is not None else []

    def restore(self, live: bool, position: int, reached: int, held: list[Item]) -> None:
        """As it was before a restart. Nothing could come meanwhile; one that lagged, or for which something was held
        back, reads on when it is resumed."""
        live = live and not held
        self.live, self.position, self.reached = live, position, reached
        if held:
            self._held = UnloggedQueue(self.share)
            for data, at, log_id in held:
                self._held.add(data, None, at, log_id)
                if log_id:
                    self.session.account.cursor.mark_in_flight(log_id)

    # ---- reading the log

    def start(self) -> None:
        """The device is there for messages (available, priority not negative): send what is owed.

        One that reads its archive, now or last time under this resource, takes the backlog over: it gets the
        hidden entries, which no archive shows, and what came after its query (docs/explanation/delivery.md).
        """
        session = self.session
        cursor = session.account.cursor
        if self.archive_read:
            cursor.reads_archive(session.resource)
        elif cursor.first_pending and session.resource in cursor.readers and not self.returning:
            self.archive_read = session.account.released
        released = session.account.released
        self.since = max(self.archive_read, self.left) or max(released, 1)
        self.reached = max(self.reached, self.since)
        self.catch_up(behind=self.since < released)

    def leave(self) -> None:
        """The device is not there for messages any more (unavailable, or of negative priority), but its stream is.

        When it comes again it is sent what is owed. One that reads its archive does so once on a stream, so what other
        devices got meanwhile is for it, too; and for one that was behind.
        """
        if not self.since:
            return
        if self.live:
            self.reached = max(self.reached, self.session.account.released)
        self.left = self.reached if self.archive_read or not self.live else 0
        self.returning = True
        self.since = 0
        self.go_on()

    def read_by_client(self, until: int) -> None:
        """The client has read its archive itself, up to this log id: it takes over what is owed so far. Only before it
        is there for messages; after that it is sent them anyway."""
        if not self.since:
            self.archive_read = max(self.archive_read, until)

    def catch_up(self, behind: bool = False) -> None:
        """Send what is owed and waits in the log; live again when all is sent. `behind`: there is more for it."""
        cursor = self.session.account.cursor
        start = cursor.first_pending - 1 if cursor.first_pending else self.reached
        if behind:
            start = min(start, self.since)
        if self._reading:
            self._back = min(self._back, start) if self._back >= 0 else start
            return
        if not cursor.first_pending and not behind and self.live:
            return
        self.position = start if self.live else min(start, self.position)
        self.live = False
        self.go_on()

    def go_on(self) -> None:
        """There may be room again. At a stop the log keeps what is in it."""
        if self.session.host.server.stopping:
            return
        if not self.live and not self._reading and not self.paused and not self._full() and not self.session.ended:
            if not self.since:
                self._live_again()
                return
            self._reading = True
            self.session.host.background.spawn(self._read(), f"feed {self.session.jid}")

    async def _read(self) -> None:
        session = self.session
        cursor, entries = session.account.cursor, session.host.storage.log(LOG)
        try:
            while not self.paused and not self._full() and not session.ended and not session.host.server.stopping:
                if self._back >= 0:
                    self.position, self._back = min(self.position, self._back), -1
                start, wanted = self.position, self._wanted()
                page = await entries.page(session.account.bare, wanted, PAGE)
                more = len(page) == PAGE
                for entry in page:
                    if self._gone() or not self.since:
                        break
                    if self._full():  # few large ones fill it, too
                        more = True
                        break
                    self._send_entry(entry, cursor)
                if not self.since:
                    self._live_again()  # it has left meanwhile
                    return
                if self._gone():
                    return  # while the store was asked: what it does not get waits in the log as before
                if not more and wanted.high is not None:
                    self.position = max(self.position, wanted.high)
                    self.reached = max(self.reached, self.position)
                cursor.read(start, self.position)
                if page:
                    self.ask()
                if self.position >= session.account.released and self._back < 0:
                    self._caught_up(cursor)
                    return
        except StorageUnavailable:
            # Not lost: it is in the log, and the next acknowledgement or sign-in reads on.
            log.warning("cannot read what is owed to %s: the store is away", session.jid)
            session.host.clock.call_later(2.0, self.go_on)
        finally:
            self._reading = False

    def _gone(self) -> bool:
        """Nobody is there, and nothing is kept for when the client comes back."""
        session = self.session
        return session.ended or (session.stream is None and self.queue is None)

    def _wanted(self) -> Range:
        """What comes next; of what the device has read itself only the hidden entries."""
        if self.position < self.archive_read:
            return Range(after=self.position, high=self.archive_read, flags=Flags.INCOMING | Flags.HIDDEN)
        return Range(after=self.position, high=self.session.account.released, flags=Flags.INCOMING)

    def _send_entry(self, entry: Entry, cursor: Cursor) -> None:
        self.position = entry.id
        fresh = entry.id > self.reached
        self.reached = max(self.reached, entry.id)
        hidden = bool(entry.flags & Flags.HIDDEN)
        if entry.id <= self.archive_read and not hidden:
            return
        if cursor.is_pending(entry.id) or (fresh and self._is_mine(entry)):
            if hidden:
                cursor.transient.add(entry.id)
            self._put(delayed(entry, self.session.account), entry.id)

    def _is_mine(self, entry: Entry) -> bool:
        """It came while this session was online but lagged, or behind what its device has read of the archive: it is
        for this session, whoever else has it."""
        if not self.since or entry.id <= self.since or (self.copies is not None and entry.id in self.copies):
            return False
        if self._held is not None and entry.id in self._held.stamps:
            return False
        to = StoredMessage(entry.body).to
        return "/" not in to or to == self.session.jid.full

    def _caught_up(self, cursor: Cursor) -> None:
        self.copies = None
        if self.archive_read and self.archive_read not in cursor.transient:
            cursor.acknowledge((self.archive_read,))
        self._live_again()

    def _live_again(self) -> None:
        self.live = True
        held, self._held = self._held, None
        for data, at, log_id in held.empty() if held is not None else ():
            if log_id and not self.since:
                self._copied(log_id)
            self._put(self.late(data, at), log_id, at)
            if log_id:
                self.session.account.cursor.unmark_in_flight((log_id,))  # the queue holds it now


def stamped_late(data: bytes, domain: str, at: int) -> bytes:
    """With <delay/> of this server, once. A presence says itself since when it holds."""
    if DELAY_NS.encode() in data:
        stanza = look_at(data)
        for delay in children(stanza.xml, DELAY_NS, "delay"):
            if stanza.kind is Kind.PRESENCE or delay.get("from") == domain:
                return data
    return appended(data, delay_bytes(domain, at))


def delayed(entry: Entry, account: Account) -> bytes:
    """A stored stanza as it is sent later (XEP-0203, XEP-0359)."""
    extra = delay_bytes(account.host.domain, entry.id)
    if not entry.flags & Flags.HIDDEN:
        extra = stanza_id_bytes(account.bare, entry.id) + extra
    return appended(entry.body, extra)
