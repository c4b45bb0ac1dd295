"""The event loop, and the clock that runs on it."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import uvloop

from . import exact_timer
from .exact_timer import ExactTimer

T = TypeVar("T")

_sleepers = ThreadPoolExecutor(2, "sleep")
UNLIMITED_FILES = 1 << 20


class RealClock:
    """`xmppd.clock.Clock` on the running event loop; calls without one raise RuntimeError."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)
    _timer: ExactTimer | None = None
    """Of the loop that has asked last."""

    def call_later(self, delay: float, callback: Callable[[], object]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(delay, callback)

    def call_exactly(self, delay: float, callback: Callable[[], object]) -> None:
        until, loop = time.monotonic() + delay, asyncio.get_running_loop()
        if not exact_timer.AVAILABLE:  # no Linux
            loop.run_in_executor(_sleepers, _sleep_until, until).add_done_callback(lambda _: callback())
            return
        timer = self._timer
        if timer is None or timer.loop is not loop:
            timer = self._timer = ExactTimer(loop)
        timer.call_at(until, callback)

    def call_soon(self, callback: Callable[[], object]) -> None:
        asyncio.get_running_loop().call_soon(callback)


def _sleep_until(when: float) -> None:
    """A deadline, no span: how long the thread waited for its turn would show in the time of an answer."""
    time.sleep(max(0.0, when - time.monotonic()))


def run(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run` on uvloop, with as many open files as the system lets us have."""
    raise_file_limit()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


def open_file_limit() -> int:
    """How many files and sockets this process may open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft != resource.RLIM_INFINITY else UNLIMITED_FILES


def raise_file_limit() -> None:
    """The usual 1,024 is for programs that use `select`; what may be had without rights is the hard limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = hard if hard != resource.RLIM_INFINITY else UNLIMITED_FILES
    if wanted > open_file_limit():
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
