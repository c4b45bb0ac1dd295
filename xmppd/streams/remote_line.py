"""What waits for another server: lines, one for each pair of a domain of ours and another one, and the streams that
they are on."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from ..contracts.remote import Handover
from ..protocol.framing import SERVER_STREAM, rest_in, written_in
from .remote_carrier import Carrier

if TYPE_CHECKING:
    from ..clock import Timer

PAUSES: Final = (2.0, 60.0)
"""Seconds between two attempts, at first and at most; each pause is some 1.7 times the one before."""
BESIDE: Final = 600
"""Bytes that a waiting stanza needs beside its own."""


class Item:
    """A stanza that is handed over. `at`: when it was said, monotonic seconds. `before`: the one before it in its line.
    The bytes of what goes to many are there once, and count for the first of them."""

    __slots__ = ("at", "handover", "rest", "size", "start", "tries")

    def __init__(self, handover: Handover, at: float, before: Item | None) -> None:
        self.handover = handover
        self.start = handover.stanza.start
        self.rest = rest_in(handover.stanza, SERVER_STREAM.namespace)
        self.at = at
        self.tries = 0
        self.size = len(self.start) + BESIDE
        if before is None or before.rest is not self.rest:
            self.size += 3 * len(self.rest)

    @property
    def data(self) -> bytes:
        return self.start + self.rest

    @property
    def late(self) -> bytes:
        """As it goes out when it has waited."""
        return written_in(self.handover.late, SERVER_STREAM.namespace)


class Line:
    """From a domain of ours to another. `waiting`: not written yet; `written`: on the stream of `load`, and nobody has
    said that it is there."""

    __slots__ = ("asked", "careful", "connecting", "failed_at", "fruitful", "fruitless", "load", "local", "pause",
                 "pinged", "remote", "said", "since", "timer", "uncounted", "waiting", "written")  # fmt: skip

    def __init__(self, local: str, remote: str) -> None:
        self.local = local
        self.remote = remote
        self.waiting: deque[Item] = deque()
        self.written: deque[Item] = deque()
        self.load: Load | None = None
        self.connecting = False
        self.timer: Timer | None = None
        """Until the next attempt."""
        self.pause = PAUSES[0]
        self.failed_at = float("-inf")
        self.uncounted = 0
        """So many of `written`, the first ones, went before XEP-0198 was on."""
        self.asked = False
        """They were pinged, and have not answered."""
        self.pinged = 0
        """So many of `written` lie before the ping."""
        self.fruitful = False
        """They have something of this stream."""
        self.fruitless = 0
        """So many streams in a row have ended without a word about what was written."""
        self.careful = 0
        """So many stanzas go one by one, on a stream that nobody else is on."""
        self.since = 0.0
        """When it last got on."""
        self.said = ""
        """What the log has said last about it."""

    @property
    def size(self) -> int:
        """Bytes of what waits and is written."""
        return sum(item.size for item in (*self.waiting, *self.written))

    @property
    def last(self) -> Item | None:
        """Of what waits and is written."""
        return (self.waiting or self.written or (None,))[-1]

    @property
    def attempt(self) -> bool:
        """Somebody connects, or waits until it is time to."""
        return self.connecting or (self.load is None and self.timer is not None)

    @property
    def empty(self) -> bool:
        return not self.waiting and not self.written

    def put_on(self, load: Load, now: float) -> None:
        """It goes by that stream from now on."""
        self.load = load
        self.fruitful = False
        self.since = now
        load.lines.append(self)

    def take_off(self) -> deque[Item]:
        """It goes by no stream any more; what was written and not confirmed."""
        if self.load is not None:
            self.load.lines.remove(self)
            self.load = None
        written, self.written = self.written, deque()
        self.asked, self.pinged, self.uncounted = False, 0, 0
        return written

    def rest(self) -> None:
        """It waits for nothing."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


class Load:
    """What is on one stream. `lines`: those that it carries; `pairs`: of which domains it may carry a line, ours and
    theirs."""

    __slots__ = ("asked", "carrier", "count", "lines", "order", "pairs", "timer")

    def __init__(self, carrier: Carrier) -> None:
        self.carrier = carrier
        self.lines: deque[Line] = deque()
        self.pairs: set[tuple[str, str]] = set()
        self.order: deque[Line | None] = deque()
        """Whose the stanzas are, in the order of the stream, that XEP-0198 counts and they have not acknowledged; None:
        a ping."""
        self.count = 0
        """XEP-0198: stanzas acknowledged."""
        self.asked = False
        """They were asked what they have, and have not answered."""
        self.timer: Timer | None = None
        """Until the next question."""

    def takes(self, line: Line) -> bool:
        """Whether it has room for a line: one that is careful is alone, so that what ends the stream is its own."""
        if self.carrier.closed or any(each.careful for each in self.lines):
            return False
        return not line.careful or all(each.empty for each in self.lines)

    def acknowledged(self, count: int) -> dict[Line, int] | None:
        """Of which lines they have how many more, in order; None: they say that they have more than was sent."""
        new = (count - self.count) & 0xFFFFFFFF
        if new > len(self.order):
            return None
        self.count = count
        found: dict[Line, int] = {}
        for _ in range(new):
            line = self.order.popleft()
            if line is not None:
                found[line] = found.get(line, 0) + 1
        return found

    def rest(self) -> None:
        """Nothing is asked on it any more."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
