"""Memory that is free in this process after much was in use, given back to the system.

The C library keeps what is freed in the middle of its heap: after thousands of half handshakes, or a queue that was
large once, the process stays as large as it was then. glibc gives such pages back when it is asked (malloc_trim).
"""

from __future__ import annotations

import ctypes
import logging
import time
from collections.abc import Callable
from typing import Final

log = logging.getLogger("xmppd")

WORTH: Final = 64 << 20
"""Bytes that must have become free: giving them back stops the process for some 0.1 ms each MiB."""
EVERY: Final = 30.0
"""Seconds between two looks."""


class Heap:
    """The C library's heap. Where that is not glibc, nothing is free and nothing is given back."""

    def __init__(self) -> None:
        library = ctypes.CDLL(None)
        self._info = getattr(library, "mallinfo2", None)
        self._trim = getattr(library, "malloc_trim", None)
        if self._info is not None:
            self._info.restype = _MallInfo

    def free(self) -> int:
        """Bytes of the heap that nobody uses, those already given back included."""
        return int(self._info().fordblks) if self._info is not None else 0

    def used(self) -> int:
        """Bytes of the heap that somebody holds."""
        return int(self._info().uordblks) if self._info is not None else 0

    def give_back(self) -> None:
        if self._trim is not None:
            self._trim(0)


class _MallInfo(ctypes.Structure):
    """struct mallinfo2 (mallinfo(3))."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    ]  # fmt: skip


class Trimmer:
    """Looks now and then whether much has become free since it was last given back."""

    def __init__(self, heap: Heap | None = None, now: Callable[[], float] = time.perf_counter) -> None:
        self._heap = heap or Heap()
        self._now = now
        self._next = 0.0
        self._given = 0
        """Free bytes that are the system's already; as they are used again they become fewer."""

    def look(self, now: float) -> None:
        """`now`: monotonic seconds."""
        if now < self._next:
            return
        self._next = now + EVERY
        free = self._heap.free()
        self._given = min(self._given, free)
        if free - self._given < WORTH:
            return
        began = self._now()
        self._heap.give_back()
        log.info("gave back what was free of %d MiB, in %.0f ms", free >> 20, (self._now() - began) * 1000)
        self._given = self._heap.free()
