"""All HTTP connections of a process, whatever listener has taken them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ..contracts.http import HttpError
from ..observe.metrics import HttpCounts
from .address import network
from .engine import Engine
from .http_bounds import HttpBounds, Site

if TYPE_CHECKING:
    from ..clock import Clock
    from ..memory.budget import MemoryBudget
    from .http_connection import HttpConnection

ALPN: Final = b"http/1.1"
"""RFC 7301 section 6."""


class HttpServer:
    """All HTTP connections of a process."""

    def __init__(self, clock: Clock, memory: MemoryBudget, bounds: HttpBounds | None = None) -> None:
        """`memory`: where the bytes of bodies that are held are counted, and bounded."""
        self.engine = Engine.of(clock)
        self.memory = memory
        self.bounds = bounds or HttpBounds()
        self.counts = HttpCounts()
        self.stopping = False
        self.connections: set[HttpConnection] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._under_way: dict[str, int] = {}
        """Requests from behind proxies, by network."""
        self.manager: Any = None
        """What aiohttp wants all connections to share (`web.Server`)."""

    def receiver(self, site: Site) -> Callable[[], HttpConnection]:
        """For a listener: what makes the receiver of each of its connections."""
        from .http_connection import HttpConnection  # aiohttp takes 8 MiB, which nobody without such a listener pays

        return lambda: HttpConnection(self, site)

    async def stop(self, within: float) -> None:
        """Answer no further request; wait for those under way, at most so many seconds, then cancel them. The listeners
        close the connections."""
        self.stopping = True
        for connection in list(self.connections):
            connection.stop()
        tasks = list(self._tasks)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=within)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=1.0)

    def begins(self) -> asyncio.Task[Any] | None:
        """The current task, which answers a request."""
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return task

    def count(self, address: str) -> None:
        """A request from an address behind a proxy begins. Raises HttpError 429 (RFC 6585 section 4)."""
        key = network(address)
        count = self._under_way.get(key, 0)
        if count >= self.bounds.per_address:
            raise HttpError(429, headers={"Retry-After": "5"})
        self._under_way[key] = count + 1

    def uncount(self, address: str) -> None:
        """It is answered."""
        key = network(address)
        self._under_way[key] -= 1
        if not self._under_way[key]:
            del self._under_way[key]
