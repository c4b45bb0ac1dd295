"""What an HTTP connection may take, and what it needs of the server that has it."""

from __future__ import annotations

import asyncio
from collections.abc import MutableSet
from dataclasses import dataclass
from typing import Any, Final, Protocol

from ..memory.budget import MemoryBudget
from ..observe.metrics import HttpCounts
from .engine import Engine
from .http_routes import Match
from .proxies import Proxies

SLOWEST: Final = 1024
"""Bytes per second of a body, or of an answer that is taken."""


@dataclass(frozen=True, slots=True)
class HttpBounds:
    """Seconds and bytes that a client may take. `header_time`: to a request's header; `body_time`: for which its body
    may stand still, or come slower than `SLOWEST`; `keep_alive`: between an answer and the next request."""

    header_size: int = 16 << 10
    header_time: float = 10.0
    body_time: float = 30.0
    keep_alive: float = 75.0
    per_address: int = 200
    """Requests under way from one address behind a proxy; the listener bounds those that come straight."""


class Site(Protocol):
    """What a listener serves, and which proxies are in front of it."""

    proxies: Proxies

    def find(self, method: str, host: str, path: str) -> tuple[Match, str]:
        """The route for a request, and the domain that answers; `host` is "" where the client names none. Raises
        HttpError."""
        ...


class Connections(Protocol):
    """All HTTP connections of a process."""

    engine: Engine
    memory: MemoryBudget
    counts: HttpCounts
    bounds: HttpBounds
    stopping: bool
    manager: Any
    """What aiohttp wants all connections to share (`web.Server`)."""

    @property
    def connections(self) -> MutableSet[Any]: ...
    def begins(self) -> asyncio.Task[Any] | None:
        """The current task, which answers a request."""
        ...

    def count(self, address: str) -> None:
        """A request from an address behind a proxy begins. Raises HttpError 429: too many are under way."""
        ...

    def uncount(self, address: str) -> None:
        """It is answered."""
        ...
