"""Calls at an exact time (timerfd_create(2)).

An event loop counts milliseconds from the end of its work. A thread that sleeps is exact, but when it wakes it takes
the interpreter's lock from the loop in the middle of that work: two switches of threads and a dozen system calls. A
file that becomes readable costs one.
"""

from __future__ import annotations

import asyncio
import ctypes
import heapq
import os
import time
from collections.abc import Callable
from itertools import count
from typing import Any, Final

_ABSOLUTE: Final = 1
"""TFD_TIMER_ABSTIME."""
_FLAGS: Final = os.O_NONBLOCK | os.O_CLOEXEC
"""TFD_NONBLOCK, TFD_CLOEXEC."""
_library: Final[Any] = ctypes.CDLL(None, use_errno=True)
AVAILABLE: Final = hasattr(_library, "timerfd_create")


class ExactTimer:
    """For one event loop. Times are those of `time.monotonic`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Raises OSError."""
        self.loop = loop
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._serial = count()
        self._file = _library.timerfd_create(time.CLOCK_MONOTONIC, _FLAGS)
        if self._file < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        loop.add_reader(self._file, self._ready)

    def __del__(self, close: Callable[[int], None] = os.close) -> None:  # at the interpreter's end `os` is gone
        if getattr(self, "_file", -1) >= 0:
            close(self._file)

    def call_at(self, when: float, callback: Callable[[], object]) -> None:
        """Raises OSError."""
        first = self._due[0][0] if self._due else None
        heapq.heappush(self._due, (when, next(self._serial), callback))
        if first is None or when < first:
            self._arm(when)

    def _arm(self, when: float) -> None:
        nanoseconds = max(1, int(when * 1e9))  # 0 would disarm it
        new = (ctypes.c_long * 4)(0, 0, *divmod(nanoseconds, 1_000_000_000))  # struct itimerspec
        if _library.timerfd_settime(self._file, _ABSOLUTE, new, None) < 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime")

    def _ready(self) -> None:
        try:
            os.read(self._file, 8)
        except BlockingIOError:
            return  # armed anew meanwhile
        due, now = self._due, time.monotonic()
        while due and due[0][0] <= now:
            self.loop.call_soon(heapq.heappop(due)[2])
        if due:
            self._arm(due[0][0])
