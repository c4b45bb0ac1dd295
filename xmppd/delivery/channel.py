"""The way of stanzas to one client (docs/explanation/delivery.md).

The archive is the offline store: entries of the account's log come as they are released, or, if the session lags, from
the log in pages (`CatchUp`). The states and their transitions are in `states`.
"""

from __future__ import annotations

from collections.abc import Callable

from ..clock import microseconds
from ..contracts.core import Session
from ..contracts.delivery import Gate, Waiting
from ..memory.budget import FREE, Share
from ..protocol.ack_queue import OutboundQueue
from ..stanza import Stanza
from ..storage.api import Write
from ..xep.elements import LATE
from .catch_up import CatchUp
from .late import stamped_late
from .ping_ack import PingAcknowledger
from .states import AVAILABLE, SENDING, TRANSITIONS, Action, Event, State
from .unlogged_queue import UnloggedQueue

ASK_SIZE = 64 << 10
"""An acknowledgement is asked for after so many bytes, too: large messages are not to pile up."""
UNAVAILABLE = State.UNAVAILABLE


class DeliveryChannel:
    """Sends to one client, and counts, remembers and repeats what needs an acknowledgement."""

    __slots__ = (
        "_ping_ack",
        "already_sent",
        "archive_read",
        "catching_up",
        "due_after",
        "gate",
        "high_water",
        "last_progress",
        "live",
        "paused",
        "position",
        "queue",
        "session",
        "share",
        "state",
        "trace",
        "traced",
        "unlogged",
        "untraced",
    )

    def __init__(self, session: Session) -> None:
        self.session = session
        self.share = Share(session.account.pool, session.host.server.memory)
        """The bytes that wait here."""
        self.queue: OutboundQueue | None = None
        """What the client has not acknowledged (XEP-0198); None until it has enabled acknowledgements."""
        self.trace: Callable[[], Write] | None = None
        """Makes durable what the client was sent and has not acknowledged, so that its count says what it has, even
        after a crash."""
        self.traced = 0
        """The count of sent stanzas when that was written last."""
        self.untraced = False
        """It was sent entries since."""
        self.gate: Gate | None = None
        """Set while the client is inactive (XEP-0352)."""
        self.paused = False
        """The connection does not take more now (asyncio's `pause_writing`)."""
        self.last_progress = 0.0
        """When the client was last seen to take something of what waits for it (monotonic)."""
        self.state = UNAVAILABLE
        self.live = True
        """Whether the state is in SENDING: looked at for every stanza."""
        self.position = 0
        """The last log entry that was sent or skipped."""
        self.high_water = 0
        """The furthest that `position` was: it is set back for what another session did not acknowledge. 0: the
        session was not available yet."""
        self.due_after = 0
        """Entries behind this log id are due to the session even if another one has got them: it was available, or has
        read its archive up to there. While it is unavailable: from where that is so when it comes again; 0: from
        then on only."""
        self.archive_read = 0
        """The client read its archive itself up to this log id; 0 for not."""
        self.already_sent: set[int] | None = None
        """Entries that it got as carbons, or for its full JID, while it was unavailable."""
        self.catching_up: CatchUp | None = None
        """Set while the state is CATCHING_UP."""
        self.unlogged: UnloggedQueue | None = None
        """What is in no log and waits in memory for room."""
        self._ping_ack: PingAcknowledger | None = None

    # ---- the state

    def on(self, event: Event) -> None:
        """Make the transition of an event, if there is one."""
        transition = TRANSITIONS.get((self.state, event))
        if transition is None:
            return
        state, actions = transition
        self.enter(state)
        for action in actions:
            ACTIONS[action](self)

    def enter(self, state: State) -> None:
        """Be in a state without what its transition does: that of before a restart."""
        self.state = state
        self.live = state in SENDING

    @property
    def available(self) -> bool:
        """The session is available for messages: it has sent such presence."""
        return self.state in AVAILABLE

    def _read_log(self) -> None:
        self.catching_up = CatchUp(self)
        self.session.host.background.spawn(self.catching_up.run(), f"catch-up {self.session.jid}")

    def _stop_reading(self) -> None:
        self.catching_up = None

    def _send_waiting(self) -> None:
        unlogged, self.unlogged = self.unlogged, None
        for data, at, log_id in unlogged.empty() if unlogged is not None else ():
            if log_id and self.state is UNAVAILABLE:
                self._note_sent(log_id)
            self.put(self.late(data, at), log_id, at)
            if log_id:
                self.session.account.cursor.unmark_in_flight((log_id,))  # the queue of the client has it now

    # ---- sending

    def send(self, data: bytes, log_id: int, stanza: Stanza | None = None) -> None:
        """Send a stanza in order: while the channel lags, entries wait in the log. `log_id`: of the entry that it is, 0
        for none. `stanza`: the same, perhaps to another address; without it a gate has to parse `data`."""
        if self.gate is not None and self.gate(data, log_id, stanza):
            return
        if not log_id and self.queue is None and self._ping_ack is None and self.live and not self.paused:
            session = self.session  # nothing to look at: most of a fan-out
            session.delivered += 1
            if session.stream is not None:
                session.stream.write(data)
            return
        if log_id:
            if not self.live or self.paused or self.queue_full():
                if self.live:
                    self._lag(log_id - 1)
                self.session.account.cursor.mark_pending(log_id)
                return
            if self.state is UNAVAILABLE:
                self._note_sent(log_id)
            else:
                self.position = self.high_water = log_id
        elif not self.live or not self.has_room():
            self._wait(data, stanza)
            return
        self.put(data, log_id)

    def copy(self, data: bytes, log_id: int, stanza: Stanza) -> None:
        """Send a carbon of an entry that went to another device (XEP-0280): acknowledged, it delivers the entry."""
        if not log_id:
            self.send(data, 0, stanza)
            return
        if not self.live or not self.has_room():
            self._wait(data, stanza, log_id)
            return
        if self.state is UNAVAILABLE:
            self._note_sent(log_id)
        self.put(data, log_id)

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
            self.put(data, 0)
        return queue.sent

    def put(self, data: bytes, log_id: int, at: int = 0) -> None:
        """Write a stanza, and queue it for an acknowledgement. `at`: when it was accepted, if that was not now."""
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

    def _note_sent(self, log_id: int) -> None:
        """An entry goes to this very resource while it is unavailable: no catch-up sends it again."""
        already_sent = self.already_sent
        if already_sent is None:
            already_sent = self.already_sent = set()
        already_sent.add(log_id)
        if len(already_sent) > self.session.host.server.limits.queue:
            already_sent.discard(min(already_sent))

    # ---- room

    def pause_writing(self) -> None:
        """The connection does not take more."""
        self.paused = True
        self.last_progress = self.session.host.clock.monotonic()  # until now its system took what was sent

    def resume_writing(self) -> None:
        """The connection takes more again."""
        self.paused = False
        self.last_progress = self.session.host.clock.monotonic()
        self.go_on()

    def has_room(self) -> bool:
        """Connection and queue take more."""
        return not self.paused and not self.queue_full()

    def queue_full(self) -> bool:
        """As much waits for the client's acknowledgement as may (`limits.queue`, `limits.queue_size`)."""
        queue, limits = self.queue, self.session.host.server.limits
        if queue is None:
            return self._ping_ack is not None and len(self._ping_ack) >= limits.queue
        if len(queue) >= limits.queue or queue.size >= limits.queue_size:
            return True
        return queue.size > FREE and self.share.crowded  # with little in it no acknowledgement may be left to wait for

    def _lag(self, position: int) -> None:
        """From here on the log is the queue. `position`: for a session that was not available yet."""
        self.session.host.server.counts.lagging += 1
        self.position = self.high_water or position
        self.on(Event.NO_ROOM)

    def go_on(self) -> None:
        """There may be room again. At a stop the log keeps what is in it."""
        if not self.live and not self.session.host.server.stopping and not self.session.ended and self.has_room():
            self.on(Event.ROOM)

    def _wait(self, data: bytes, stanza: Stanza | None, log_id: int = 0) -> None:
        """Keep in memory what is in no log, or is a carbon of that entry, until there is room."""
        if self.live:
            self._lag(self.session.account.cursor.position)
        if self.unlogged is None:
            self.unlogged = UnloggedQueue(self.session, self.share)
        self.unlogged.put(data, stanza, self.now(), log_id)

    # ---- time

    def now(self) -> int:
        """Microseconds since 1970 UTC."""
        return microseconds(self.session.host.clock)

    def late(self, data: bytes, at: int) -> bytes:
        """A message or presence that was accepted at that time (0: not known) as it is sent now: with the time, if that
        was a while ago (XEP-0203, XEP-0198 section 5)."""
        if not at or self.now() - at <= LATE or data.startswith(b"<iq"):
            return data
        return stamped_late(data, self.session.host.domain, at)

    # ---- acknowledgements

    def ask(self) -> None:
        """Ask for an acknowledgement (<r/>)."""
        queue, stream = self.queue, self.session.stream
        if queue is not None and stream is not None and queue.asked < queue.sent:
            queue.asked, queue.unasked = queue.sent, 0
            stream.write(b"<r xmlns='urn:xmpp:sm:3'/>")

    def enable_acknowledgements(self) -> None:
        """From here on what is sent is counted, and sent again on the next stream (XEP-0198 section 3)."""
        self.queue = OutboundQueue(self.share)

    def resume(self, h: int) -> bool:
        """A client that comes back has handled `h` stanzas. False: it cannot go on, for nothing is counted, or it had
        acknowledged more before and what lies between is not here any more. Raises HandledTooHigh."""
        if self.queue is None or self.queue.is_outdated(h):
            return False
        self.acknowledge(h)
        return True

    def send_again(self) -> None:
        """Write what is not acknowledged on the stream of the client that is back, and ask (XEP-0198 section 5)."""
        queue, stream = self.queue, self.session.stream
        assert queue is not None and stream is not None
        for data in self.unacknowledged():
            stream.write(data)
        queue.asked = queue.acknowledged  # what was asked on the former stream may be lost
        self.ask()

    def sent_log_ids(self) -> tuple[int, tuple[int, ...]]:
        """How many stanzas the client has acknowledged, and of those that it was sent behind them the log ids, 0 for
        none."""
        queue = self.queue
        assert queue is not None
        return queue.acknowledged, tuple(log_id for _, log_id, _ in queue.items)

    def sent(self) -> list[Waiting]:
        """What the client was sent and has not acknowledged, with the time when it was accepted."""
        return list(self.queue.unacknowledged()) if self.queue is not None else []

    def acknowledge(self, h: int) -> None:
        """The client has handled `h` stanzas. Raises HandledTooHigh."""
        queue = self.queue
        assert queue is not None
        before = queue.acknowledged
        log_ids = queue.acknowledge(h)
        if queue.acknowledged != before:
            self.last_progress = self.session.host.clock.monotonic()
        if log_ids:
            self.session.account.cursor.acknowledge(log_ids)
        self.go_on()

    def ask_before_stop(self) -> None:
        """The server stops: ask at once what the client has."""
        if self.queue is not None:
            self.ask()
        elif self._ping_ack is not None:
            self._ping_ack.hurry()

    def stream_closed(self) -> None:
        """The client closes its stream."""
        if self._ping_ack is not None:
            self._ping_ack.stream_closed()

    def unacknowledged(self) -> list[bytes]:
        """What is sent again when the client is back (XEP-0198 section 5)."""
        return [self.late(data, at) for data, at in self.queue.unacknowledged()] if self.queue is not None else []

    def pending(self) -> list[int]:
        """Log ids of the entries that this client has not acknowledged."""
        log_ids = self._ping_ack.pending if self._ping_ack is not None else []
        if self.queue is not None:
            log_ids += [log_id for _, log_id, _ in self.queue.items if log_id]
        if self.unlogged is not None:
            log_ids += self.unlogged.log_ids
        return log_ids

    def waiting(self) -> list[Waiting]:
        """What is in no log and waits in memory, with the time when it was accepted: first `unlogged`, then what the
        gate delays."""
        return [
            *((data, at) for data, at, _ in (self.unlogged.all() if self.unlogged is not None else ())),
            *(self.gate.waiting() if self.gate is not None else ()),
        ]

    # ---- availability, and the way back to live

    def start(self) -> None:
        """The session is available for messages (its priority is not negative): it catches up, then it is live.

        A device that reads its archive, now or last time under this resource, takes the backlog over: it gets the
        hidden entries, which no archive shows, and what came after its query (docs/explanation/delivery.md).
        """
        if self.available:
            return
        session = self.session
        cursor, released = session.account.cursor, session.account.released
        if self.archive_read:
            cursor.reads_archive(session.resource)
        elif cursor.first_pending and session.resource in cursor.readers and not self.high_water:
            self.archive_read = released
        self.due_after = max(self.archive_read, self.due_after) or max(released, 1)
        self.high_water = max(self.high_water, self.due_after)
        self.on(Event.AVAILABLE)
        self.catch_up(missed=self.due_after < released)

    def leave(self) -> None:
        """The session is not available for messages any more, but its stream stays.

        When it comes again it is sent what is pending. A device that reads its archive does so once on a stream, so
        what other devices got meanwhile is due to it, too; and to one that lagged.
        """
        if not self.available:
            return
        if self.live:
            self.high_water = max(self.high_water, self.session.account.released)
        self.due_after = self.high_water if self.archive_read or not self.live else 0
        self.on(Event.UNAVAILABLE)
        self.go_on()

    def read_by_client(self, until: int) -> None:
        """The client has read its archive itself, up to this log id: it takes over what is pending so far. Only before
        it is available; after that it is sent that anyway."""
        if not self.available:
            self.archive_read = max(self.archive_read, until)

    def catch_up(self, missed: bool = False) -> None:
        """Send what is pending in the log, then be live again. `missed`: all behind `due_after`, too."""
        if not self.available:
            return
        first_pending = self.session.account.cursor.first_pending
        start = first_pending - 1 if first_pending else self.high_water
        if missed:
            start = min(start, self.due_after)
        if not self.live:
            self.position = min(start, self.position)
        elif first_pending or missed:
            self.position = start
        else:
            return
        self.on(Event.BACKLOG)
        self.go_on()


ACTIONS = {
    Action.READ_LOG: DeliveryChannel._read_log,
    Action.STOP_READING: DeliveryChannel._stop_reading,
    Action.SEND_WAITING: DeliveryChannel._send_waiting,
}
