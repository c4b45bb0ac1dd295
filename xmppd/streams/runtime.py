"""What streams need of the server."""

from __future__ import annotations

from typing import Protocol

from ..contracts import core
from ..net.tls import ServerContext
from .rate_limits import Hashing, RateLimiter, SignInGuard


class StreamServer(core.Server, Protocol):
    """The server as streams see it."""

    @property
    def guard(self) -> SignInGuard:
        """Who failed to sign in too often waits."""
        ...

    @property
    def hashing(self) -> Hashing: ...
    @property
    def rate_limiter(self) -> RateLimiter: ...
    @property
    def secret(self) -> bytes:
        """Behind answers to unknown users."""
        ...

    def nonce(self) -> str: ...
    def host_for(self, to: str) -> core.Host | None:
        """The host that a stream header names; without a name the first one with accounts."""
        ...

    def tls_context(self, domain: str) -> ServerContext: ...
