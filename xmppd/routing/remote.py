"""What goes to other servers: kept in the store until they have it, and what comes back if they never do.

For an owner here another server is one more home (`routing.outbox`): what has to arrive is committed with its decision,
and ends when the other server has acknowledged it, or with an error that the sender gets (RFC 6120 section 10.4).
"""

from __future__ import annotations

from collections.abc import Awaitable
from functools import partial
from typing import Final, Protocol

from ..clock import Clock
from ..contracts.core import Router
from ..contracts.remote import RemoteServers
from ..contracts.routes import Arrival
from ..errors import NotNow, RemoteServerNotFound, StanzaError, StorageUnavailable
from ..stanza import Kind, Stanza
from ..storage.api import Storage
from .own import OwnOrder, OwnTransaction
from .release import DELAY_TAG, with_delay
from .sent import Sending

AGAIN: Final = 10.0
"""Seconds until the store is told again what another server has, if it did not answer."""


class Elsewhere:
    """The destination of all addresses that are not of this server. `servers`: None as long as it talks to no other."""

    remote = True

    def __init__(self) -> None:
        self.servers: RemoteServers | None = None

    def accept(self, arrival: Arrival, stanza: Stanza) -> Awaitable[None] | None:
        """Raises RemoteServerNotFound where nothing can go. Presence is dropped then, as nobody waits for an answer to
        it, but for the request to see presence (RFC 6121 section 3.1.2)."""
        assert stanza.to is not None
        if self.servers is None or not self.servers.reaches(stanza.to.domain):
            if not _is_answered(stanza):
                return None
            raise RemoteServerNotFound()
        arrival.send(stanza)
        return None


class Refusals(Protocol):
    """Where the errors of other servers go (`order.OwnOrders`)."""

    def deliver(self, stanza: Stanza) -> None:
        """Route a stanza that nobody keeps."""
        ...

    def carry(self, stanza: Stanza, sending: Sending | None = None) -> None:
        """Bring it to its recipient, and end the sending with that."""
        ...


class Departures:
    """Hands over what leaves for other servers, and ends its sendings."""

    def __init__(self, elsewhere: Elsewhere, storage: Storage, refusals: Refusals, clock: Clock) -> None:
        self._elsewhere = elsewhere
        self._storage = storage
        self._refusals = refusals
        self._clock = clock

    def hand_over(self, stanza: Stanza, sending: Sending | None) -> None:
        """`sending`: the store keeps it until the other server has it."""
        servers, sender, to = self._elsewhere.servers, stanza.sender, stanza.to
        assert sender is not None and to is not None
        handover = _Handover(self, stanza, sending)
        if servers is None:
            handover.failed(RemoteServerNotFound())
        else:
            servers.send(sender.domain, to.domain, handover)

    def arrived(self, sending: Sending) -> None:
        """The other server has it."""
        try:
            self._storage.join((sending.heard,), _Arrived(self, sending))
        except StorageUnavailable:
            self.again(sending)

    def again(self, sending: Sending) -> None:
        """The store does not answer: a restart before it knows would send the stanza once more."""
        self._clock.call_later(AGAIN, partial(self.arrived, sending))

    def came_back(self, stanza: Stanza, sending: Sending | None, error: StanzaError) -> None:
        """It cannot be brought there."""
        told = _is_answered(stanza)
        if sending is not None and told:
            self._refusals.carry(stanza.error(error), sending)
        elif sending is not None:
            self.arrived(sending)
        elif told:
            self._refusals.deliver(stanza.error(error))


class _Handover:
    """Implements `contracts.remote.Handover`."""

    __slots__ = ("_departures", "_sending", "stanza")

    def __init__(self, departures: Departures, stanza: Stanza, sending: Sending | None) -> None:
        self.stanza = stanza
        self._departures = departures
        self._sending = sending

    @property
    def patient(self) -> bool:
        return self._sending is not None

    @property
    def at(self) -> int:
        return self._sending.at if self._sending is not None else 0

    @property
    def late(self) -> Stanza:
        stanza, at, sender = self.stanza, self.at, self.stanza.sender
        if not at or sender is None or stanza.kind is not Kind.MESSAGE or DELAY_TAG in stanza.tags:
            return stanza
        return with_delay(stanza, sender.domain, at)

    def delivered(self) -> None:
        if self._sending is not None:
            self._departures.arrived(self._sending)

    def failed(self, error: StanzaError) -> None:
        self._departures.came_back(self.stanza, self._sending, error)


class _Arrived:
    """The word that another server has something, on its way to the store. A `Release`."""

    __slots__ = ("departures", "sending")

    def __init__(self, departures: Departures, sending: Sending) -> None:
        self.departures, self.sending = departures, sending

    def committed(self) -> None:
        self.sending.settled(True)

    def failed(self, error: Exception) -> None:
        self.departures.again(self.sending)


class Departing(OwnTransaction):
    """A stanza that leaves for another server, in its place behind what its sender has said to that address before."""

    __slots__ = ("departures", "sending")

    own = False

    def __init__(
        self, router: Router, stanza: Stanza, order: OwnOrder, departures: Departures, sending: Sending | None
    ) -> None:
        super().__init__(router, stanza, order)
        self.departures = departures
        self.sending = sending

    @property
    def kept(self) -> bool:  # type: ignore[override]
        return self.sending is not None

    def accept(self) -> Awaitable[None] | None:
        """Raises NotNow: one before it waits for the store."""
        if self.sending is not None and self.sending.waits:
            raise NotNow()
        self.then(partial(self.departures.hand_over, self.stanza, self.sending))
        return None

    def refuse(self, error: StanzaError) -> None:
        """What is kept is not refused here: it comes again."""
        if self.sending is None:
            super().refuse(error)
            return
        self.sending.undecided()
        self.actions = [partial(self.sending.settled, False)]
        self.finish()


def _is_answered(stanza: Stanza) -> bool:
    """Whether its sender is told that it did not arrive."""
    return not stanza.answers and (stanza.kind is not Kind.PRESENCE or stanza.type == "subscribe")
