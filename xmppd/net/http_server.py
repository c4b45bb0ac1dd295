"""All HTTP connections of a process, whatever listener has taken them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from .engine import Engine

if TYPE_CHECKING:
    from ..clock import Clock
    from ..memory.budget import MemoryBudget
    from .http_connection import HttpConnection
    from .http_routes import Match

ALPN: Final = b"http/1.1"
"""RFC 7301 section 6."""
SLOWEST: Final = 1024
"""Bytes per second of a body, on the average."""


@dataclass(frozen=True, slots=True)
class HttpBounds:
    """Seconds and bytes that a client may take. `header_time`: to a request's header; `body_time`: for its body, beside
    a second for each `SLOWEST` bytes; `keep_alive`: between an answer and the next request."""

    header_size: int = 16 << 10
    header_time: float = 10.0
    body_time: float = 30.0
    keep_alive: float = 75.0


class Site(Protocol):
    """What a listener serves."""

    def find(self, method: str, host: str, path: str) -> tuple[Match, str]:
        """The route for a request, and the domain that answers; `host` is "" where the client names none. Raises
        HttpError."""
        ...


class HttpServer:
    """All HTTP connections of a process."""

    def __init__(self, clock: Clock, memory: MemoryBudget, bounds: HttpBounds | None = None) -> None:
        """`memory`: where the bytes of bodies that are held are counted, and bounded."""
        self.engine = Engine.of(clock)
        self.memory = memory
        self.bounds = bounds or HttpBounds()
        self.stopping = False
        self.connections: set[HttpConnection] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
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

    def begins(self) -> None:
        """The current task answers a request."""
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
