"""The path of a stanza: decide, commit, release (docs/explanation/architecture.md)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Final, Protocol, TypeVar

from ..hooks import Chain, Notify
from ..service import Service
from ..stanza import Stanza
from ..storage.api import Entry, LogAppend, Map, Write
from .core import Account, Session
from .messages import MessagePolicy
from .routes import Arrival, Origin

T = TypeVar("T")


class Event:
    """A stanza in the chain of one account.

    A handler may put another stanza in `stanza`, call `write`, or refuse; it changes no memory and sends nothing
    (that is for the release). `targets`: at release, the (session, stanza) pairs that the core will send.
    `log_id`: the id of the owner's log entry for this stanza, 0 if it is not kept; it may still rise before the commit.
    `entry`: that entry.
    """

    __slots__ = ("after_id", "entry", "log_id", "origin", "owner", "stanza", "targets", "undone", "writes")

    def __init__(self, stanza: Stanza, owner: Account, origin: Origin | None, writes: list[Write]) -> None:
        self.stanza = stanza
        self.owner = owner
        self.origin = origin
        """Who has sent it; None for what the server itself hands to sessions."""
        self.writes = writes
        self.targets: list[tuple[Session, Stanza]] = []
        self.log_id = 0
        self.entry: Entry | None = None
        self.after_id: list[Callable[[int], Iterable[Write]]] | None = None
        self.undone: list[Callable[[int], object]] | None = None

    @property
    def session(self) -> Session | None:
        """The local session it was sent by, if any."""
        origin = self.origin
        if origin is None:
            return None
        session: Session | None = origin.session
        return session

    def append_entry(self, log: str, entry: Entry) -> None:
        """Append the stanza's entry to a log of the owner's, before it is released."""
        self.log_id = entry.id
        self.entry = entry
        self.writes.append(LogAppend(log, self.owner.bare, entry))

    def write_after_id(self, make: Callable[[int], Iterable[Write]]) -> None:
        """Commit what `make` gives for the final `log_id`, too."""
        self.after_id = [*(self.after_id or ()), make]

    def on_failure(self, call: Callable[[int], object]) -> None:
        """Call it with the `log_id` if the stanza is not stored: what was counted for it counts no more."""
        self.undone = [*(self.undone or ()), call]

    def write(self, write: Write) -> None:
        """Commit this before the stanza is released."""
        self.writes.append(write)

    def update(self, map: Map[T], key: str, function: Callable[[T | None], T | None]) -> None:
        """Commit what `function` makes of the owner's record (None: there is none, or: delete it), before the stanza is
        released. Updates of one record count one another, whichever stanzas bring them: that a handler has read and
        then written would lose all but the last of what one read brings. The function only computes: it is called again
        when a commit is tried again. What it raises refuses the stanza."""
        self.writes.append(map.update(self.owner.bare, key, function))


class Outbound(Event):
    """Sent by a session of `owner`."""

    __slots__ = ()


class Inbound(Event):
    """Addressed to `owner`. The chain runs once for each recipient, also in a fan-out; `stanza.to` is the recipient's
    address then."""

    __slots__ = ()


OUTBOUND = Chain[Outbound]("outbound", plain=True)
"""A stanza leaves a session. Runs for everything a client sends."""
INBOUND = Chain[Inbound]("inbound", plain=True)
"""A stanza comes to an account: to its bare JID or to one of its sessions."""
SENT = Notify[Outbound]("sent", plain=True)
"""After the commit: a message or IQ left the sender's account."""
ARRIVED = Notify[Inbound]("arrived", plain=True)
"""After the commit: `targets` says who gets it; handlers may add, replace or take away."""

CONTACT_PRESENCE = Notify[Inbound]("contact-presence", plain=True)
"""Presence (available or not) of somebody elsewhere has come to the bare JID of an account, and its chain lets it in:
at the release. Whether that is a contact nobody has asked."""
HOST_MESSAGE = Notify[Stanza]("host-message", plain=True)
"""A message has come to the address of the host itself; `sender` and `to` are set. Nobody answers for who is silent."""


class MessageRules(Protocol):
    """Who gets a message (RFC 6121 section 8.5), and its policy by kind."""

    def targets(self, event: Inbound) -> list[Session]:
        """The sessions that get it, looked up now. Raises StanzaError for the error that section 8.5 asks for."""
        ...

    def policy(self, stanza: Stanza) -> MessagePolicy:
        """Storage, carbons, push, unread count and client state by type, payloads and hints. A plain call, on the hot
        path."""
        ...


MESSAGE_RULES = Service[MessageRules]("message-rules")


ADDRESSES_NS: Final = "http://jabber.org/protocol/address"


class Multicast(Protocol):
    """What goes to many (XEP-0033)."""

    def copies(self, stanza: Stanza) -> list[Stanza]:
        """Of a stanza with addresses to the domain: one for each recipient. Raises StanzaError for what is none.

        The order is that of the addresses; no two have the same `to`.
        """
        ...


MULTICAST = Service[Multicast]("multicast")


class Entities(Protocol):
    """What answers for the addresses of a service host (local@service…)."""

    def receive(self, arrival: Arrival) -> Awaitable[None] | None:
        """Decide one stanza. None: decided, `arrival` says what to commit and release.

        An awaitable: it changes state (a barrier). The core awaits it before it takes more from that stream; it
        begins when all before it on the stream is released. Raises StanzaError.
        """
        ...


ENTITIES = Service[Entities]("entities")
