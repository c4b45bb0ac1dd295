"""TCP ports that plugins listen on (`host.server.open_port`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Link(Protocol):
    """One connection; nothing raises because the peer is gone (`xmppd.net.link` has it in full)."""

    @property
    def peer(self) -> str:
        """IP address."""
        ...

    def write(self, data: bytes) -> None:
        """Send at the end of this turn of the loop; kept if the peer reads slowly."""
        ...

    def on_drained(self, callback: Callable[[], None]) -> None:
        """Call back once when nothing written waits any more; never if the connection is lost first."""
        ...

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...

    def close(self) -> None:
        """Send what is written, then end."""
        ...

    def abort(self) -> None: ...


class Receiver(Protocol):
    """What is told of a connection. All calls come from the event loop."""

    def connected(self, link: Link) -> None: ...
    def data_received(self, data: bytes) -> None: ...
    def secured(self) -> None: ...

    def pause_writing(self) -> None:
        """The peer reads too slowly."""
        ...

    def resume_writing(self) -> None: ...

    def connection_lost(self, error: Exception | None) -> None:
        """The last call, exactly once."""
        ...


class Port(Protocol):
    port: int
    """The real one."""
