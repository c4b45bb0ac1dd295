"""Without XEP-0198: a ping behind what was written asks whether it has arrived (docs/explanation/delivery.md).

XML is one order, so any answer to the ping says that the client has taken all that was written before it.
"""

from __future__ import annotations

from typing import Final

from ..contracts.core import Session
from ..stanza import Kind, Stanza

PING: Final = b"<ping xmlns='urn:xmpp:ping'/>"
PING_TAGS: Final = ("urn:xmpp:ping|ping",)
PAUSE: Final = 1.0
"""Seconds between two pings, if there is much to ask for. The first message after a pause is asked for at once, while
a phone's radio is on. What is not confirmed when the server is killed is sent again."""


class PingAcknowledger:
    """What one client was sent of its account's log, and has not confirmed. One ping at a time is on its way."""

    __slots__ = (
        "_asked",
        "_asked_at",
        "_drain_asked",
        "_hurried",
        "_mute",
        "_pausing",
        "_taken",
        "_written",
        "session",
    )

    def __init__(self, session: Session) -> None:
        self.session = session
        self._written: list[int] = []
        """Log ids that the socket has not taken yet."""
        self._taken: list[int] = []
        """Those that it has taken, and no ping is behind yet."""
        self._asked: list[int] = []
        """Those that the ping on its way is behind."""
        self._asked_at = -PAUSE
        self._drain_asked = False
        self._pausing = False
        self._hurried = False
        """No pauses any more."""
        self._mute = False
        """It is alive and answers no pings: the end of the write is the best that can be known."""

    @property
    def pending(self) -> list[int]:
        return self._asked + self._taken + self._written

    def __len__(self) -> int:
        return len(self._asked) + len(self._taken) + len(self._written)

    def wrote(self, log_id: int) -> None:
        """A log entry went out. All that is written in one burst is asked for at once, when the socket has taken it."""
        self._written.append(log_id)
        stream = self.session.stream
        if not self._drain_asked and stream is not None:
            self._drain_asked = True
            stream.on_drained(self._drained)

    def _drained(self) -> None:
        self._drain_asked = False
        self._taken += self._written
        self._written = []
        if self._mute or not self.session.host.server.limits.answer_time:
            self._acknowledge_taken()
            self.session.channel.go_on()
        else:
            self._ask_soon()

    def _acknowledge_taken(self) -> None:
        taken, self._taken = self._taken, []
        self._acknowledge(taken)

    def _ask_soon(self) -> None:
        if self._asked or not self._taken:
            return
        session = self.session
        wait = self._asked_at + PAUSE - session.host.clock.monotonic()
        if wait <= 0 or self._hurried or 4 * len(self._taken) >= session.host.server.limits.queue:
            self._ask()
        elif not self._pausing:
            self._pausing = True
            session.host.clock.call_later(wait, self._paused)

    def hurry(self) -> None:
        """From now on what was written is asked for at once."""
        self._hurried = True
        self._ask_soon()

    def _paused(self) -> None:
        self._pausing = False
        self._ask_soon()

    def _ask(self) -> None:
        if self.session.ended or self.session.stream is None:
            return
        self._asked, self._taken = self._taken, []
        self._asked_at = self.session.host.clock.monotonic()
        self._ping()

    def _ping(self) -> None:
        session = self.session
        assert session.stream is not None
        host = session.host
        id = host.expect(session.jid, self._answered, host.server.limits.answer_time)
        data = Stanza(Kind.IQ, "get", session.jid, host.jid, id, PING, PING_TAGS).data
        # A client may have begun to count meanwhile (XEP-0198): then this counts, too.
        if session.channel.queue is not None:
            session.channel.queue.append(data, 0, 0)
        session.stream.write(data)

    def _answered(self, answer: Stanza | None) -> None:
        session = self.session
        if session.ended or not self._asked:
            return
        if answer is None:
            stream = session.stream
            if stream is None:
                return  # its session waits for it; what is not confirmed is given back when that ends
            if stream.last_read < self._asked_at + session.host.server.limits.answer_time / 2:
                self._ping()  # not a word since: the connection may be dead, and what it was sent lost
                return
            self._mute = True
        self._acknowledge(self._asked)
        self._asked = []
        if self._mute:
            self._acknowledge_taken()
        else:
            self._ask_soon()
        session.channel.go_on()

    def stream_closed(self) -> None:
        """It closes its stream. Who does takes what still comes until the other side has closed, too (RFC 6120
        section 4.4), so this answers the ping. What the socket has not taken yet is not acknowledged."""
        self._acknowledge(self._asked)
        self._asked = []
        self._acknowledge_taken()

    def _acknowledge(self, log_ids: list[int]) -> None:
        if log_ids and not self.session.ended:
            self.session.account.cursor.acknowledge(log_ids)
