"""What streams need of the server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ..background import Background
from ..clock import Clock
from ..contracts import core
from ..contracts.link import Link
from ..contracts.runtime import RuntimeLimits
from ..errors import StreamError
from ..memory.budget import MemoryBudget
from ..net.tls_context import ServerContext
from ..sessions.session import Session
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
    def background(self) -> Background: ...

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


class NegotiatingClient(Protocol):
    """A client's stream, as the steps of its negotiation see it."""

    closed: bool
    channel_binding: str
    link: Link
    host: core.Host
    header_from: str
    """The bare JID of an account of the host that the header names, "" for none."""

    @property
    def server(self) -> StreamServer: ...
    @property
    def account(self) -> core.Account | None:
        """The account that has signed in."""
        ...

    @property
    def session(self) -> Session | None: ...
    @property
    def peer(self) -> str:
        """IP address."""
        ...

    @property
    def safe(self) -> bool:
        """Nobody else can read along."""
        ...

    @property
    def write(self) -> Callable[[bytes], None]: ...
    def signed_in(self, account: core.Account) -> None:
        """SASL succeeded."""
        ...

    def bound(self, session: Session) -> None:
        """From now on the stream carries a session."""
        ...

    def fail(self, error: StreamError) -> None:
        """Send a stream error and close."""
        ...
