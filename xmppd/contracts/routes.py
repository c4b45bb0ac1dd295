"""Where stanzas come from and where they go: origins, destinations, and a stanza on its way between the two."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from ..jid import JID
from ..stanza import Stanza
from ..storage.api import Counter, Write
from .order import Lane


class To(enum.Enum):
    """Which addresses an IQ handler answers for."""

    SELF = "self"
    """The sender's own account: no `to`, or the own bare JID."""
    ACCOUNT = "account"
    """The bare JID of any account of this host (the sender's too): the handler looks at the rights."""
    HOST = "host"
    """The domain."""
    ABSENT = "absent"
    """The bare JID of an account that is not there, or that lets nothing of the sender in (which must look the same):
    where a specification names an answer other than <service-unavailable/>. `Request.owner` is None."""


class Origin(Protocol):
    """Who sends stanzas to the router: a client's session, the server itself, or a stream of another kind (a server's,
    a component's).

    Each stanza that is given to `Router.receive` is settled exactly once, in whatever order; so an origin that counts
    what it has given and what is settled knows how much of it waits, and reads no more when that is too much. Where
    `Router.receive` returns an awaitable, the next stanza is given when that is done.
    """

    received: int
    """Stanzas given to the router, with the one that is being given."""
    counter: Counter | None
    """Makes the count of its stanzas durable, in the batches that hold them; None: nothing asks for the count."""

    @property
    def lane(self) -> Lane:
        """The order of what it sends."""
        ...

    @property
    def session(self) -> Any:
        """The local session that it is (contracts.core.Session), else None."""
        ...

    @property
    def relays(self) -> bool:
        """What it sends may go to another server: a client's and a component's may, another server's may not."""
        ...

    def may_send_as(self, sender: JID) -> bool:
        """Whether it speaks for that address. Not asked of a session, whose stream has stamped the sender."""
        ...

    def reply(self, stanza: Stanza) -> None:
        """Send it an answer to one of its stanzas, when that is released."""
        ...

    def refusing(self, number: int) -> None:
        """Its stanza of that number will be refused, when all before it is released."""
        ...

    def refuse(self, number: int, error: Stanza) -> None:
        """Tell it that its stanza of that number is refused."""
        ...

    def settled(self) -> None:
        """One more of its stanzas has found its end: released or refused."""
        ...

    def accounted(self, count: int) -> int:
        """How many of the first `count` stanzas need not be sent again if its stream breaks."""
        ...

    def charge(self, size: int, stanzas: int) -> None:
        """It has caused more work than it has sent: bytes and stanzas count against its limits."""
        ...


class Arrival(Protocol):
    """A stanza that came to a destination, with what may be done with it."""

    stanza: Stanza

    @property
    def origin(self) -> Origin:
        """Who has sent it, and hears of it."""
        ...

    @property
    def session(self) -> Any:
        """The sender's local session (contracts.core.Session), None for a sender that has none."""
        ...

    @property
    def lane(self) -> Lane:
        """The order of its origin."""
        ...

    @property
    def home(self) -> int | None:
        """The home of the owner that has decided it so far; None for what comes from elsewhere."""
        ...

    def write(self, write: Write) -> None:
        """Commit this before the release."""
        ...

    def behind(self, lane: Lane) -> None:
        """Take a place in another order too (a room's)."""
        ...

    def then(self, action: Callable[[], None]) -> None:
        """Run at release, after the commit."""
        ...

    def reply(self, stanza: Stanza) -> None:
        """Answer the sender now (from `then`: in its place in the order)."""
        ...

    def send(self, stanza: Stanza) -> None:
        """Send a stanza on to an owner with another home, behind the commit; what may be stored there is kept until it
        is. Raises ResourceConstraint: too much of the sender waits."""
        ...

    def forward(self, stanza: Stanza) -> None:
        """Pass a stanza on to an account, in the same batch if it has the same home, through its INBOUND chain. Raises
        ServiceUnavailable if the account is not in memory, ResourceConstraint."""
        ...

    def barrier(self, work: Awaitable[None]) -> Awaitable[None]:
        """`work`, begun when all before the stanza in its origin's order is released."""
        ...


class Homes(Protocol):
    """Which home an owner has, among those of this process."""

    @property
    def several(self) -> bool:
        """There is more than one."""
        ...

    def of(self, bare: str) -> int:
        """The home of an owner, by its bare JID."""
        ...


class Destination(Protocol):
    """Where the stanzas to some addresses go: the accounts of a host, its rooms, the host itself, another server."""

    @property
    def remote(self) -> bool:
        """Another server's: what came from another server does not go on to there."""
        ...

    def accept(self, arrival: Arrival, stanza: Stanza) -> Awaitable[None] | None:
        """Decide what becomes of a stanza: `arrival` is told what to commit and what to do at release.

        An awaitable: the decision takes time, and its origin sends no more until it is done. Raises StanzaError:
        nothing is written, and the sender gets the error.
        """
        ...
