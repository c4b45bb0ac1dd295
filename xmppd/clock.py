"""Time, passed in: the core reads no clock of its own, so tests can turn it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    """A call that is to come."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """Where time comes from."""

    def now(self) -> float:
        """Wall time, seconds since 1970 UTC. May jump: for stamps only."""
        ...

    def monotonic(self) -> float:
        """Seconds that only rise: for every interval and deadline."""
        ...

    def call_later(self, delay: float, callback: Callable[[], object]) -> Timer:
        """Run `callback` on the event loop after `delay` seconds, or up to two milliseconds before: who compares the
        time then must be armed again while work waits."""
        ...

    def call_exactly(self, delay: float, callback: Callable[[], object]) -> None:
        """The same by a better clock: a fraction of a millisecond after `delay` seconds, whatever the event loop has
        done before."""
        ...

    def call_soon(self, callback: Callable[[], object]) -> None:
        """Run `callback` on the next turn of the event loop."""
        ...


def microseconds(clock: Clock) -> int:
    """Wall time in microseconds since 1970 UTC, as the ids of log entries are."""
    return int(clock.now() * 1_000_000)


async def pause(clock: Clock, seconds: float) -> None:
    """Wait so long by the clock that was passed in."""
    over = asyncio.Event()
    timer = clock.call_later(seconds, over.set)
    try:
        await over.wait()
    finally:
        timer.cancel()
