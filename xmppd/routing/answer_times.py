"""Answers that must not tell by their time whether an account exists (ADR 0007)."""

from __future__ import annotations

import asyncio
from functools import partial
from math import floor
from random import shuffle

from ..clock import Clock


class AnswerTimes:
    """Times at which to answer that do not depend on the work that is done meanwhile: the ticks of a metronome.

    When a question comes, its tick is chosen, before anything is looked up; it lies half a step to one and a half steps
    ahead. If the work takes longer, the answer waits for the next tick. The timers of an event loop are too coarse for
    this: they count milliseconds from the end of the work, so that the fraction would tell how long that took. The
    answers of one tick go out in an order by chance, which is not that in which their work was done.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: dict[float, list[asyncio.Future[None]]] = {}

    def next(self, step: float) -> float:
        """The tick for a question that comes now (`step` in seconds)."""
        return (floor(self._clock.monotonic() / step + 0.5) + 1) * step

    async def come(self, tick: float, step: float) -> None:
        """Wait for it, or for the next one if it is over."""
        now = self._clock.monotonic()
        if now >= tick:
            tick = (floor(now / step) + 1) * step
        waiting = self._waiting.get(tick)
        if waiting is None:
            waiting = self._waiting[tick] = []
            self._clock.call_exactly(tick - now, partial(self._come, tick))
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting.append(future)
        await future

    def _come(self, tick: float) -> None:
        waiting = self._waiting.pop(tick)
        shuffle(waiting)
        for each in waiting:
            if not each.done():  # cancelled meanwhile
                each.set_result(None)
