"""Work beside the path of a stanza: owned, named, logged on failure, ended at stop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from .clock import Clock, Timer
from .errors import StorageUnavailable

R = TypeVar("R")
P = TypeVar("P")

log = logging.getLogger("xmppd.background")


class Background:
    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers: dict[int, Timer] = {}
        self._serial = 0
        self._closed = False

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        if self._closed:
            work.close()
            return
        task = asyncio.get_running_loop().create_task(_guarded(work, name), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def every(self, seconds: float, call: Callable[[], Awaitable[None] | None], name: str) -> None:
        self._serial += 1
        serial = self._serial

        def due() -> None:
            if self._closed:
                return
            self._timers[serial] = self.clock.call_later(seconds, due)
            try:
                work = call()
            except Exception:
                log.exception("%s failed", name)
                return
            if work is not None:
                self.spawn(_wait(work), name)

        self._timers[serial] = self.clock.call_later(seconds, due)

    async def in_thread(self, call: Callable[..., R], *args: Any) -> R:
        """For what blocks or computes long; the loop goes on meanwhile."""
        return await asyncio.to_thread(call, *args)

    def workers(self, most: int, apart: bool = False) -> Workers:
        """Worker threads for one purpose, at most so many at a time: what is slow there leaves threads to others.
        `apart`: they are nobody else's, for what may hang; `Workers.close` ends them."""
        return Workers(most, apart)

    async def close(self) -> None:
        """Cancel what is left and wait for it."""
        self._closed = True
        for timer in self._timers.values():
            timer.cancel()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def settle(self, within: float) -> None:
        """Let what runs come to its end, at most `within` seconds."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=within)


class Signal:
    """What one coroutine waits for, and others tell."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._event = asyncio.Event()
        self._told = False

    def set(self) -> None:
        self._told = True
        self._event.set()

    async def wait(self, within: float) -> bool:
        """Whether it was set; after so many seconds it was not."""
        timer = self.clock.call_later(max(0.0, within), self._event.set)
        try:
            await self._event.wait()
        finally:
            timer.cancel()
        return self._told


class Workers:
    """A bounded share of the worker threads of the process, or threads of its own."""

    def __init__(self, most: int, apart: bool = False) -> None:
        self._free = asyncio.Semaphore(most)
        self._own = ThreadPoolExecutor(most, "apart") if apart else None
        """Makes threads when they are needed."""

    async def run(self, call: Callable[..., R], *args: Any) -> R:
        """Call what blocks, when there is a thread; it must not touch what the event loop uses."""
        async with self._free:
            if self._own is not None:
                return await asyncio.get_running_loop().run_in_executor(self._own, partial(call, *args))
            return await asyncio.to_thread(call, *args)

    def close(self) -> None:
        """Threads of its own end when their work does."""
        if self._own is not None:
            self._own.shutdown(wait=False, cancel_futures=True)

    async def feed(self, call: Callable[[P], object], pieces: AsyncIterator[P]) -> None:
        """Call what blocks for each piece, in order; meanwhile the next one is made. Raises what either of them
        raises."""
        working: asyncio.Task[object] | None = None
        try:
            async for piece in pieces:
                if working is not None:
                    await working
                working = asyncio.get_running_loop().create_task(self.run(call, piece))
            if working is not None:
                await working
        finally:
            if working is not None:
                await asyncio.wait((working,))
                if not working.cancelled():
                    working.exception()  # of two errors the one that is raised is told


async def _wait(work: Awaitable[None]) -> None:
    await work


async def _guarded(work: Coroutine[Any, Any, None], name: str) -> None:
    try:
        await work
    except StorageUnavailable as error:  # an outage, which the store tells of itself, and no fault of the work's
        log.warning("%s is not done: %s", name, error)
    except Exception:
        log.exception("%s failed", name)
