"""The event loop has stood still: the process was stopped, or the machine suspended.

Another server may have taken the store meanwhile, so what is in memory may be old. Nothing that comes from a socket is
looked at before that is known. This must be noticed in the read itself: when a process goes on, what has come is read
before any timer runs. What may be told in ignorance is the output of one turn.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from ..clock import Clock, pause
from ..errors import StorageUnavailable
from .engine import Engine, Stranger

log = logging.getLogger("xmppd.net")

LONGEST: Final = 1.0
"""Seconds between two signs of life of the loop that are believed without asking."""
TICK: Final = 0.25
HELD: Final = 8 << 20
"""Bytes that wait; of whom more comes, the connection ends, and its client resumes."""


_BOOT: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boot_time() -> float:
    """Seconds since the boot, with those in which the machine was suspended (on Linux)."""
    return time.clock_gettime(_BOOT)


class Standstill:
    """`confirm` returns when it is sure that the store is still this process's; it raises StorageUnavailable when that
    cannot be known yet, and does not return at all when it is not."""

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        confirm: Callable[[], Awaitable[None]],
        since_boot: Callable[[], float] = boot_time,
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._confirm = confirm
        self._since_boot = since_boot
        self._seen = since_boot()
        self._asking: asyncio.Task[None] | None = None
        self._held: deque[tuple[Stranger, bytes]] = deque()
        self._held_size = 0
        engine.standstill = self
        self._tick()

    def holds(self) -> bool:
        """Whether a read that is made now must wait."""
        now = self._since_boot()
        if self._asking is None:
            if now - self._seen < LONGEST:
                self._seen = now
                return False
            log.warning("the server stood still for %.1f s: is the store still its own?", now - self._seen)
            self._asking = asyncio.get_running_loop().create_task(self._ask(), name="confirm the store")
        return True

    def hold(self, connection: Stranger, data: bytes) -> None:
        """Give it to the connection's `take` when it may go on."""
        if self._held_size + len(data) > HELD:
            connection.abort()
            return
        self._held_size += len(data)
        self._held.append((connection, data))

    def _tick(self) -> None:
        self.holds()
        self._clock.call_later(TICK, self._tick)

    async def _ask(self) -> None:
        while True:
            try:
                await self._confirm()
            except StorageUnavailable:
                await pause(self._clock, TICK)
            except Exception:  # a mistake of ours must not silence everybody for ever
                log.exception("whether the store is still this server's cannot be asked; it is asked again")
                await pause(self._clock, LONGEST)
            else:
                break
        self._seen, self._asking = self._since_boot(), None
        held, self._held, self._held_size = self._held, deque(), 0
        for connection, data in held:
            self._engine.take_later(connection, data)
        log.info("the store is still this server's: %d connections go on", len(held))
