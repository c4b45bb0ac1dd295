"""What a connection and its protocol know of each other."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Protocol


class Link(Protocol):
    """A connection, as its protocol sees it."""

    peer: str
    """The other end's IP address."""
    loopback: bool
    last_read: float
    """Monotonic time of the last read."""

    @property
    def secure(self) -> bool:
        """TLS is established."""
        ...

    @property
    def tls_server_end_point(self) -> bytes | None:
        """Channel binding data of RFC 5929 section 4."""
        ...

    @property
    def tls_version(self) -> str: ...

    @property
    def write_buffer_size(self) -> int:
        """Bytes that the kernel has not taken yet."""
        ...

    def write(self, data: bytes) -> None:
        """Send; all that one turn of the loop writes leaves in one piece."""
        ...

    def on_drained(self, callback: Callable[[], None]) -> None:
        """Call once when all that was written is with the kernel. Not called if the connection is lost first."""
        ...

    def start_tls(self, context: ssl.SSLContext) -> None:
        """What was written goes out in the clear; from the next read on there is TLS only."""
        ...

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...

    def close(self) -> None:
        """Close after what was written."""
        ...

    def abort(self) -> None: ...


class Receiver(Protocol):
    """A protocol, as its connection sees it."""

    def connected(self, link: Link) -> None: ...
    def data_received(self, data: bytes) -> None: ...
    def secured(self) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...

    def connection_lost(self, error: Exception | None) -> None:
        """Exactly once."""
        ...
