"""What streams need of the server."""

from __future__ import annotations

from typing import Protocol

from ..clock import Clock
from ..contracts import core
from ..contracts.runtime import RuntimeLimits
from ..memory.budget import MemoryBudget
from ..net.tls import ServerContext
from ..storage.api import Storage
from .rate_limits import Hashing, RateLimiter, SignInGuard


class StreamRuntime(Protocol):
    """What every XML stream needs."""

    @property
    def clock(self) -> Clock: ...
    @property
    def limits(self) -> RuntimeLimits: ...
    @property
    def memory(self) -> MemoryBudget: ...
    @property
    def storage(self) -> Storage: ...
    @property
    def rate_limiter(self) -> RateLimiter: ...
    @property
    def stopping(self) -> bool: ...


class StreamServer(StreamRuntime, core.Server, Protocol):
    """The server as clients' streams see it."""

    @property
    def guard(self) -> SignInGuard:
        """Who failed to sign in too often waits."""
        ...

    @property
    def hashing(self) -> Hashing: ...
    @property
    def secret(self) -> bytes:
        """Behind answers to unknown users."""
        ...

    def nonce(self) -> str: ...
    def host_for(self, to: str) -> core.Host | None:
        """The host that a stream header names; without a name the first one with accounts."""
        ...

    def tls_context(self, domain: str) -> ServerContext: ...
