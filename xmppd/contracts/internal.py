"""What the parts of the core use of each other, and plugins do not: the other halves of the protocols in `core`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Container, Iterable, Mapping
from typing import Any, NamedTuple, Protocol

from ..hooks import Hook, Verdict
from ..jid import JID
from ..memory.budget import MemoryBudget, Pool
from ..protocol.ack_queue import OutboundQueue
from ..protocol.token_bucket import TokenBucket
from ..stanza import Stanza
from ..storage.api import Map
from ..xml import Element, Written
from .routes import To

Handler = tuple[str, Callable[..., Any]]
"""Its name ("plugin.method"), and the bound method."""

Maps = tuple[Mapping[str, Mapping[str, Any]], ...]


class Concerned(NamedTuple):
    """Accounts by bare JID: those in `names`, and those with something in one of the `maps`."""

    maps: Maps
    names: Collection[str]


class Unloaded(NamedTuple):
    """Bare JIDs: whose memory is emptied, and for whom something is under way, so that nothing has changed."""

    left: frozenset[str]
    stayed: frozenset[str]


class CursorWriter(Protocol):
    """Moves the cursors of a host's accounts to the disk."""

    @property
    def cursors(self) -> Map[Any]:
        """The stored positions; key "": one for each account."""
        ...

    def touched(self, cursor: Any) -> None:
        """A cursor has moved."""
        ...

    def forget(self, cursor: Any, id: int) -> None:
        """Delete a transient entry that a device has acknowledged."""
        ...

    def merge(self, cursor: Any) -> None:
        """Make fewer ranges of what is acknowledged."""
        ...

    def overflow(self, session: Any) -> None:
        """End a session for which too much waits."""
        ...


class AnswerTimes(Protocol):
    """Answers that must not tell by their time whether an account exists (ADR 0007)."""

    def next(self, step: float) -> float: ...
    def come(self, at: float, step: float) -> Awaitable[None]: ...


class AccountInternals(Protocol):
    """Of an account in memory."""

    last_id: int
    """The last id that its log gave."""

    bucket: TokenBucket | None
    """What its connections have sent (streams.rate_limits)."""

    @property
    def pool(self) -> Pool:
        """Bytes that wait for its sessions."""
        ...

    def add(self, session: Any) -> None:
        """A session is bound."""
        ...

    def remove(self, session: Any) -> None:
        """A session is gone."""
        ...


class StreamInternals(Protocol):
    """Of the stream that a session is attached to."""

    @property
    def last_read(self) -> float:
        """When the client was last heard (monotonic)."""
        ...

    inbox_size: int
    """Bytes that came and wait behind something that takes its time."""

    def on_drained(self, callback: Any) -> None: ...

    def read_on(self) -> None:
        """Fewer stanzas wait: read again, unless there is another reason not to."""
        ...

    def count_unread(self, size: int) -> None:
        """So many bytes were written because the client has asked, and it does not read."""
        ...

    def charge(self, size: int, stanzas: int) -> None:
        """The client has caused more work than it has sent: bytes and stanzas count against its limits."""
        ...


class ChannelInternals(Protocol):
    """Of the way to one client."""

    queue: OutboundQueue | None
    """Set once the client has enabled acknowledgements."""

    traced: int

    untraced: bool

    @property
    def paused(self) -> bool:
        """The connection does not take more now."""
        ...


class CursorInternals(Protocol):
    """Of what an account's devices have acknowledged."""

    @property
    def readers(self) -> Collection[str]:
        """Resources that read the archive themselves."""
        ...

    def mark_in_flight(self, id: int) -> None:
        """It is on its way to a device."""
        ...

    def mark_pending(self, id: int) -> None:
        """It waits in the log."""
        ...

    def unmark_in_flight(self, ids: Iterable[int]) -> None:
        """They are on their way to one device less."""
        ...


class ServerInternals(Protocol):
    """Of the process."""

    @property
    def memory(self) -> MemoryBudget: ...

    @property
    def default_host(self) -> Any:
        """The first one with accounts."""
        ...

    @property
    def answer_times(self) -> AnswerTimes: ...

    @property
    def stopping(self) -> bool: ...


class HostInternals(Protocol):
    """Of a host: its handlers, which the router runs, and the answers to its own IQs."""

    @property
    def quarantine(self) -> float:
        """Seconds for which nobody can take the name of an account that was removed."""
        ...

    @property
    def cursor_writer(self) -> CursorWriter: ...
    @property
    def announced(self) -> dict[Any, Any]:
        """What strangers were told last, by the kind of their stream (streams.announced)."""
        ...

    def handlers(self, hook: Hook) -> tuple[Handler, ...]:
        """The handlers of a hook in order."""
        ...

    def chain(self, hook: Hook, stanza: Stanza) -> tuple[Handler, ...]:
        """The handlers of a hook on the path of a stanza that have to do with this one, in order."""
        ...

    def run(self, handlers: tuple[Handler, ...], event: Any) -> Verdict | None:
        """Ask a chain. Raises StanzaError."""
        ...

    def tell_these(self, handlers: tuple[Handler, ...], event: Any) -> None:
        """Notify handlers that were looked up already."""
        ...

    def concerned(self, stanza: Stanza) -> Concerned | None:
        """The accounts for which a handler may have to do with a stanza that comes to them. None: all."""
        ...

    def nonza_handler(self, tag: str, state: str) -> Callable[..., Any] | None:
        """The handler of a stream-level element in a state of the stream."""
        ...

    def answers(self, stanza: Stanza, to: To) -> bool:
        """Whether a stanza is an IQ get or set for which there is a handler."""
        ...

    def answer(self, request: Any, to: To) -> Awaitable[Element | Written | None]:
        """Ask the handler of the payload. Raises StanzaError."""
        ...

    def answered(self, stanza: Stanza) -> None:
        """The answer to an IQ of the host's own has come."""
        ...

    def expect(self, to: JID, answered: Callable[[Stanza | None], None], within: float) -> str:
        """The id for an IQ that the caller sends; `answered` gets the answer, None if none comes `within` seconds."""
        ...

    def forget(self, bare: str) -> None:
        """Take all that is in memory of an owner out of it: the account was made, or deleted."""
        ...

    def unload(self, owners: Container[str]) -> Awaitable[Unloaded]:
        """Empty the memory of owners that leave for another home, but of those for whom something is under way. Raises
        StorageUnavailable."""
        ...

    def arrived(self, owners: Container[str]) -> Awaitable[None]:
        """Owners have their home here from now on."""
        ...

    def ready(self, bare: str) -> bool:
        """Whether `account` can answer without waiting."""
        ...
