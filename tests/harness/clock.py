"""A clock that only tests turn."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from itertools import count


class FakeTimer:
    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        self.callback = None


class FakeClock:
    """`now` and `monotonic` move only by `Harness.advance`, `now` also by `step`."""

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self.wall = start
        self.time = 1000.0
        self.early = 0.0
        """Seconds that a timer fires before its time, as uvloop's do (up to 1.1 ms); shorter ones are in time."""
        self._order = count()
        self._timers: list[tuple[float, int, FakeTimer]] = []

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.time

    def call_soon(self, callback: Callable[[], object]) -> None:
        asyncio.get_running_loop().call_soon(callback)

    def step(self, seconds: float) -> None:
        """The wall clock is set; intervals go on as if nothing had happened."""
        self.wall += seconds

    def call_later(self, delay: float, callback: Callable[[], object]) -> FakeTimer:
        timer = FakeTimer(callback)
        when = self.time + delay - (self.early if delay > 2 * self.early else 0.0)
        heapq.heappush(self._timers, (when, next(self._order), timer))
        return timer

    def call_exactly(self, delay: float, callback: Callable[[], object]) -> None:
        heapq.heappush(self._timers, (self.time + delay, next(self._order), FakeTimer(callback)))

    def due(self, until: float) -> Callable[[], object] | None:
        """Move to the next timer before `until` and give its callback; None: there is none."""
        while self._timers and self._timers[0][0] <= until:
            when, _, timer = heapq.heappop(self._timers)
            if timer.callback is not None:
                self.wall += max(0.0, when - self.time)
                self.time = max(self.time, when)
                return timer.callback
        self.wall += max(0.0, until - self.time)
        self.time = max(self.time, until)
        return None
