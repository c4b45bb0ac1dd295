"""What goes to another server needs a stream to carry it, whoever has opened it."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Protocol

from ..errors import StreamError


class Carrier(Protocol):
    """A stream to another server, as the lines see it that write to it (`remote_lines`)."""

    outgoing: ClassVar[bool]
    """This server has opened it, and closes it when nothing uses it."""
    closed: bool
    managed: bool
    """XEP-0198 is on for what is written from now on: `on_acknowledged` is told how many of those stanzas they have. It
    may come to be on while the stream is in use."""
    slow: bool
    """The link was given as much as it takes now; `on_room` is called when there is room."""
    used: float
    """When a stanza went over it last, in either direction; monotonic seconds."""
    write: Callable[[bytes], None]
    on_acknowledged: Callable[[int], None]
    on_room: Callable[[], None]
    on_end: Callable[[str], None]
    """Called once, with the reason."""

    def request(self) -> None:
        """Ask how many stanzas they have (XEP-0198 section 4)."""
        ...

    def too_high(self, count: int, sent: int) -> None:
        """They say that they have more than was sent: it ends."""
        ...

    def fail(self, error: StreamError) -> None:
        """End it with a stream error."""
        ...

    def leave(self) -> None:
        """Close it in order. Nothing goes over it any more; what they have on their way is still taken."""
        ...

    def abort(self) -> None:
        """Cut the connection: a goodbye would say that nothing is sent again."""
        ...
