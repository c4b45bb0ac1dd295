"""The harness in real time: what a real store does takes as long as it takes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from tests.harness import Harness
from xmppd.net.loop import RealClock
from xmppd.storage import open_storage
from xmppd.storage.group_commit import Limits

PATIENCE = 30.0
"""Seconds until something that must happen has happened: the longest a store may hang, and some."""
QUIET = 0.03
"""So long nothing may move before the server counts as quiet."""


class RealHarness(Harness):
    """`until` waits as long as work is under way, not for a number of turns."""

    @classmethod
    async def on(cls, url: str, limits: Limits | None = None, **options: Any) -> RealHarness:
        """A running server on the store of that URL. `limits`: of the store."""
        clock = RealClock()
        harness = cls(store=await open_storage(url, clock, limits), clock=clock, **options)  # type: ignore[arg-type]
        await harness.start()
        return harness

    async def start(self) -> RealHarness:
        """Without opening the store, which is open."""
        from xmppd.server.server import Server

        self.server = Server(self.config, self.storage, self.clock, secret=b"s" * 32)
        await self.server.start()
        return self

    async def until(self, done: Callable[[], bool]) -> bool:
        end = time.monotonic() + PATIENCE
        moved = time.monotonic()
        while not done():
            now = time.monotonic()
            if self._working() or self.storage.busy:
                moved = now
            if now - moved > QUIET or now > end:
                return done()
            await asyncio.sleep(0.001)
        return True

    async def eventually(self, done: Callable[[], bool]) -> None:
        """Wait for what needs more than the quiet of the server, such as a timer."""
        async with asyncio.timeout(PATIENCE):
            while not done():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
