"""What all connections of one event loop share, so that an idle connection holds none of it.

Two read buffers, one pair of TLS pipes, one list of connections to write at the end of the turn, one timer for all
handshakes and closings. A connection that does nothing is in none of the lists.
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol
from weakref import WeakKeyDictionary

from .tls_layer import Pipes

if TYPE_CHECKING:
    from ..clock import Clock, Timer

log = logging.getLogger("xmppd.net")

STRANGERS_PER_TURN: Final = 16
"""So many reads of connections whose peer is not known yet count in one turn of the event loop: handshakes, sign-ins,
some 6 ms. When a whole network comes back at once, whoever is signed in already waits for no more than that."""
HELD: Final = 8 << 20
"""Bytes of reads that wait for a later turn. With more, none waits."""
READ_SIZE: Final = 64 << 10
BULK_SIZE: Final = 256 << 10
"""Of one read where much is to come (`Link.read_in_bulk`)."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds a peer may take, and bytes that may wait for it."""

    handshake: float = 30.0
    """Some clients ask a person about the certificate inside the handshake."""
    handshakes: int = 2000
    """So many are under way at once, of all listeners and calls; each takes OpenSSL some 55 KB."""
    close: float = 5.0
    sweep: float = 1.0
    """How often deadlines are looked at: they are late by that much at most."""
    high_water: int = 64 << 10
    discard: int = 1 << 20
    """So many bytes are read and dropped from a peer that is being closed; then it is cut off."""


class EngineConnection(Protocol):
    """A connection, as far as the engine knows it."""

    def turn(self) -> None: ...

    def overdue(self) -> None: ...

    def abort(self) -> None: ...


class Stranger(Protocol):
    """A connection of which a read waits for a later turn."""

    def take(self, data: bytes) -> None: ...

    def abort(self) -> None: ...


class Pausing(Protocol):
    """What may hold up all reads (net.standstill)."""

    def holds(self) -> bool: ...

    def hold(self, connection: Stranger, data: bytes) -> None: ...


class Engine:
    """One per event loop: its read buffers are safe because between `get_buffer` and `buffer_updated` nothing runs."""

    def __init__(self, clock: Clock, timing: Timing | None = None) -> None:
        self.clock = clock
        self.timing = timing or Timing()
        self.view = memoryview(bytearray(READ_SIZE))
        self.bulk = memoryview(bytearray(BULK_SIZE))
        self.pipes = Pipes()
        self.open = 0
        """Connections of all listeners and diallers."""
        self._dirty: list[EngineConnection] = []
        self._deadlines: dict[EngineConnection, float] = {}
        self._handshakes: dict[EngineConnection, None] = {}
        """Under way, the oldest first."""
        self._taken = 0
        """Reads of strangers that counted in this turn of the loop."""
        self._waiting: deque[tuple[Stranger, bytes]] = deque()
        self._waiting_size = 0
        self._pacing = False
        self.standstill: Pausing | None = None
        self._timer: Timer | None = None

    @classmethod
    def of(cls, clock: Clock) -> Engine:
        """The one engine of a clock, which belongs to one loop."""
        engine = _engines.get(clock)
        if engine is None:
            engine = _engines[clock] = cls(clock)
        return engine

    def turn_soon(self, connection: EngineConnection) -> None:
        """Call the connection's `turn` at the end of this turn of the event loop. The caller does not ask twice."""
        if not self._dirty:
            self.clock.call_soon(self._turn)
        self._dirty.append(connection)

    def turn_behind(self, connection: EngineConnection) -> None:
        """The same, behind the first steps of the tasks that were started up to now: the turn that others have asked
        for may come before those."""
        self.clock.call_soon(partial(self._turn_of, connection))

    def _turn(self) -> None:
        dirty, self._dirty = self._dirty, []
        for connection in dirty:
            self._turn_of(connection)

    def _turn_of(self, connection: EngineConnection) -> None:
        try:
            connection.turn()
        except Exception:
            log.exception("a connection failed")
            connection.abort()

    def watch(self, connection: EngineConnection, seconds: float) -> None:
        """Call `overdue` unless `forget` comes within so many seconds. One deadline per connection, the last counts."""
        self._deadlines[connection] = self.clock.monotonic() + seconds
        if self._timer is None:
            self._timer = self.clock.call_later(self.timing.sweep, self._sweep)

    def forget(self, connection: EngineConnection) -> None:
        self._deadlines.pop(connection, None)
        self._handshakes.pop(connection, None)

    def begins(self, connection: EngineConnection) -> None:
        """A handshake has taken its memory. When there are too many, the oldest ends: an honest one takes a second or
        so, those of a flood stay for as long as they may."""
        self._handshakes[connection] = None
        if len(self._handshakes) > self.timing.handshakes:
            oldest = next(iter(self._handshakes))
            self.forget(oldest)
            oldest.overdue()

    # ---- strangers, a few in each turn

    def may_take(self) -> bool:
        """Whether what a stranger has sent may be taken in this turn of the loop; then it counts."""
        if self._waiting_size < HELD and (self._taken >= STRANGERS_PER_TURN or self._waiting):
            return False
        self._taken += 1
        self._pace_soon()
        return True

    def take_later(self, connection: Stranger, data: bytes) -> None:
        """Call the connection's `take` in a later turn, in the order of calls."""
        self._waiting.append((connection, data))
        self._waiting_size += len(data)
        self._pace_soon()

    def _pace_soon(self) -> None:
        if not self._pacing:
            self._pacing = True
            self.clock.call_soon(self._pace)

    def _pace(self) -> None:
        self._pacing = False
        self._taken = 0
        while self._waiting and self._taken < STRANGERS_PER_TURN:
            connection, data = self._waiting.popleft()
            self._waiting_size -= len(data)
            self._taken += 1
            try:
                connection.take(data)
            except Exception:
                log.exception("a connection failed")
                connection.abort()
        if self._taken:  # there is a next turn, with a count of its own
            self._pace_soon()

    def _sweep(self) -> None:
        now = self.clock.monotonic()
        for connection in [each for each, deadline in self._deadlines.items() if deadline <= now]:
            self._deadlines.pop(connection, None)
            try:
                connection.overdue()
            except Exception:
                log.exception("a connection failed")
        self._timer = self.clock.call_later(self.timing.sweep, self._sweep) if self._deadlines else None


_engines: WeakKeyDictionary[Clock, Engine] = WeakKeyDictionary()
