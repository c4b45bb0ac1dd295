"""An event loop and a clock for each simulated process: it runs when the world says so, stands still, or is gone."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.simulation.process import Process

EPOCH = 1_700_000_000.0
"""Wall time at which a simulation begins, seconds since 1970 UTC."""


class Loop(asyncio.AbstractEventLoop):
    """Just what tasks, futures and time-outs need."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.ready: deque[asyncio.Handle] = deque()
        self.tasks: list[asyncio.Task[Any]] = []

    def run(self, at_most: int | None = None) -> None:
        """Run what is ready, and what becomes so; or so many calls of it."""
        ready = self.ready
        if not ready:
            return
        asyncio._set_running_loop(self)
        try:
            while ready and at_most != 0:
                handle = ready.popleft()
                if not handle._cancelled:
                    handle._run()
                if at_most is not None:
                    at_most -= 1
        finally:
            asyncio._set_running_loop(None)

    def drop(self) -> None:
        """As a kill does it: nothing of it runs any more."""
        self.ready.clear()
        tasks, self.tasks = self.tasks, []
        for task in tasks:
            if not task.done():
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                with suppress(ValueError, RuntimeError):  # the one that runs
                    task.get_coro().close()  # type: ignore[union-attr]
        self.ready.clear()

    # ---- what asyncio asks for

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def time(self) -> float:
        return self.process.clock.monotonic()

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Any = None) -> asyncio.Handle:  # type: ignore[override]
        handle = asyncio.Handle(callback, args, self, context)
        self.ready.append(handle)
        return handle

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:  # type: ignore[override]
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:  # type: ignore[override]
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self.process.clock.set(when, handle)
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It does not run."""

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: str | None = None, context: Any = None) -> asyncio.Task[Any]:  # type: ignore[override]
        task = asyncio.Task(coro, loop=self, name=name)
        self.tasks.append(task)
        if len(self.tasks) > 200:
            self.tasks = [each for each in self.tasks if not each.done()]
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self.process.dead and self.process.world.failure is None:
            error = context.get("exception")
            self.process.world.found(f"{self.process.name}: {context.get('message')}: {error!r}")


class _Timer:
    __slots__ = ("_cancelled", "callback", "loop")

    def __init__(self, loop: Loop, callback: Callable[[], object]) -> None:
        self.loop = loop
        self.callback = callback
        self._cancelled = False

    def cancel(self) -> None:
        self._cancelled = True

    def _run(self) -> None:
        self.callback()


class Clock:
    """`xmppd.clock.Clock` of one process. `skew`: seconds that its wall clock is ahead."""

    def __init__(self, process: Process, skew: float = 0.0) -> None:
        self._process = process
        self._world = process.world
        self.skew = skew
        self.lost = 0.0
        """Seconds for which the machine was suspended: the monotonic clock does not count them."""

    def now(self) -> float:
        return EPOCH + self._world.time + self.skew

    def monotonic(self) -> float:
        return self._world.time - self.lost

    def call_later(self, delay: float, callback: Callable[[], object]) -> _Timer:
        timer = _Timer(self._process.loop, callback)
        self.set(self.monotonic() + delay, timer)
        return timer

    def call_exactly(self, delay: float, callback: Callable[[], object]) -> None:
        self.call_later(delay, callback)

    def call_soon(self, callback: Callable[[], object]) -> None:
        self._process.loop.call_soon(callback)

    def set(self, when: float, timer: Any) -> None:
        """Run it at that time of this clock."""
        self._world.at(max(0.0, when + self.lost - self._world.time), self._due, (when, timer))

    def _due(self, what: tuple[float, Any]) -> None:
        when, timer = what
        process = self._process
        if timer._cancelled or process.dead:
            return
        if process.paused:
            process.held.append((self._due, what))
        elif self.monotonic() < when - 1e-9:  # the machine was suspended meanwhile
            self.set(when, timer)
        else:
            process.loop.ready.append(timer)
            process.run()
