"""Two clocks: the loop's own, and one that only tests turn."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Callable
from itertools import count


class LoopClock:
    """Real time."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def call_later(self, delay: float, callback: Callable[[], object]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(delay, callback)

    def call_soon(self, callback: Callable[[], object]) -> None:
        asyncio.get_running_loop().call_soon(callback)


class FakeTimer:
    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        self.callback = None


class FakeClock(LoopClock):
    """Stands still until `advance`."""

    def __init__(self) -> None:
        self.time = 1000.0
        self._timers: list[tuple[float, int, FakeTimer]] = []
        self._numbers = count()

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    def call_later(self, delay: float, callback: Callable[[], object]) -> FakeTimer:  # type: ignore[override]
        timer = FakeTimer(callback)
        heapq.heappush(self._timers, (self.time + delay, next(self._numbers), timer))
        return timer

    @property
    def timers(self) -> int:
        """How many timers are set."""
        return sum(1 for *_, timer in self._timers if timer.callback is not None)

    async def advance(self, seconds: float) -> None:
        """Let time pass; every timer runs at its time, and the loop turns behind each."""
        end = self.time + seconds
        await turn()
        while self._timers and self._timers[0][0] <= end:
            self.time, _, timer = heapq.heappop(self._timers)
            if timer.callback is not None:
                timer.callback()
                await turn()
        self.time = end
        await turn()


async def turn(times: int = 8) -> None:
    """Let the loop turn."""
    for _ in range(times):
        await asyncio.sleep(0)
