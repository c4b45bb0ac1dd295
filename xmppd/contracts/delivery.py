"""The delivery of an account's log to its devices, as plugins see it (docs/explanation/delivery.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from ..memory.budget import Share
from ..stanza import Stanza
from ..storage.api import Write
from .internal import ChannelInternals, CursorInternals

Waiting = tuple[bytes, int]
"""A stanza, and when it was accepted: microseconds since 1970 UTC, 0 for not known."""


class Gate(Protocol):
    """Holds back what an inactive client need not see now (XEP-0352). Told of everything before it is sent."""

    def __call__(self, data: bytes, log_id: int, stanza: Stanza | None) -> bool:
        """Whether it took the stanza (see `DeliveryChannel.send`). Only what is no log entry (`log_id` 0) may be held
        back."""
        ...

    def flush(self) -> None:
        """Send what it holds back."""
        ...

    def waiting(self) -> list[Waiting]:
        """What it holds back, with the time when it was accepted."""
        ...


class Channel(ChannelInternals, Protocol):
    """Sends to one client, and counts, remembers and repeats what needs an acknowledgement."""

    gate: Gate | None
    """Set while the client is inactive (XEP-0352)."""
    trace: Callable[[], Write] | None
    """Makes durable what the client was sent and has not acknowledged."""

    @property
    def share(self) -> Share:
        """The bytes that wait here."""
        ...

    def send(self, data: bytes, log_id: int, stanza: Stanza | None = None) -> None:
        """Send in order. `log_id`: of the log entry that this is, 0 for none."""
        ...

    @property
    def live(self) -> bool:
        """Entries are sent as they are released; else they are read from the log."""
        ...

    @property
    def position(self) -> int:
        """The last log entry that was sent or skipped."""
        ...

    def start(self) -> None:
        """The session is available for messages: it catches up, then it is live."""
        ...

    def leave(self) -> None:
        """The session is not available for messages any more: entries wait in the log."""
        ...

    def copy(self, data: bytes, log_id: int, stanza: Stanza) -> None:
        """Send a carbon of an entry that went to another device."""
        ...

    def waiting(self) -> list[Waiting]:
        """What is in no log and waits in memory."""
        ...

    def unacknowledged(self) -> list[bytes]:
        """What is sent again on the next stream (XEP-0198 section 5)."""
        ...

    def ask(self) -> None:
        """Ask for an acknowledgement."""
        ...

    def late(self, data: bytes, at: int) -> bytes:
        """Stamp a stanza that was accepted `at` (microseconds since 1970 UTC) with its delay, if it waited."""
        ...

    def now(self) -> int:
        """Microseconds since 1970 UTC."""
        ...

    def enable_acknowledgements(self) -> None:
        """From here on what is sent is counted, and sent again on the next stream (XEP-0198 section 3)."""
        ...

    def resume(self, h: int) -> bool:
        """A client that comes back has `h` stanzas. False: it cannot go on. Raises HandledTooHigh."""
        ...

    def send_again(self) -> None:
        """Write what is not acknowledged on the stream of the client that is back."""
        ...

    def sent_log_ids(self) -> tuple[int, tuple[int, ...]]:
        """How many stanzas the client has acknowledged, and of those that it was sent behind them the log ids, 0 for
        none."""
        ...

    def sent(self) -> list[Waiting]:
        """What the client was sent and has not acknowledged."""
        ...

    def acknowledge(self, h: int) -> None:
        """The client has `h` stanzas (XEP-0198 section 4). Raises HandledTooHigh."""
        ...

    def read_by_client(self, until: int) -> None:
        """The client has read its archive up to a log id itself."""
        ...

    def pending(self) -> list[int]:
        """Log ids that were sent and are not acknowledged."""
        ...

    def go_on(self) -> None:
        """There may be room again."""
        ...


class Cursor(CursorInternals, Protocol):
    """What of an account's log is acknowledged."""

    transient: set[int]
    """Entries that are deleted once a device has acknowledged them."""

    @property
    def position(self) -> int:
        """Everything up to this id is acknowledged."""
        ...

    @property
    def first_pending(self) -> int:
        """The first entry that waits in the log; 0: none does."""
        ...

    def taken(self) -> int:
        """How many entries behind the position are acknowledged or in flight."""
        ...

    def read(self, start: int, end: int) -> None:
        """A page of the log was read."""
        ...

    def is_acknowledged(self, id: int) -> bool: ...
    def is_pending(self, id: int) -> bool: ...

    def acknowledge(self, ids: Iterable[int]) -> None: ...
    def acknowledge_until(self, id: int) -> None: ...
    def reads_archive(self, resource: str) -> None:
        """A resource reads the archive itself: nothing is sent to it by the server."""
        ...

    def reads_no_archive(self, resource: str) -> None: ...
