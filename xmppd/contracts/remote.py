"""What routing and the streams to other servers are to each other: routing hands stanzas over, and hears of each once
what became of it."""

from __future__ import annotations

from typing import Protocol

from ..errors import StanzaError
from ..stanza import Stanza


class Handover(Protocol):
    """A stanza that goes to another server. One of the two calls follows, once; among those that are patient, from one
    address to another, in their order."""

    @property
    def stanza(self) -> Stanza: ...

    @property
    def patient(self) -> bool:
        """The store has it: it may wait for the other server through failed attempts, for as long as the configuration
        says; others wait for one attempt."""
        ...

    @property
    def at(self) -> int:
        """When it was said, microseconds since 1970 UTC, before a restart of this server perhaps; 0: now."""
        ...

    @property
    def late(self) -> Stanza:
        """The stanza as it goes out when it has waited: a message tells when it was said (XEP-0203)."""
        ...

    def delivered(self) -> None:
        """The other server has it: it has acknowledged that (XEP-0198), or answered what was asked behind it."""
        ...

    def failed(self, error: StanzaError) -> None:
        """It cannot be brought there: RemoteServerNotFound, RemoteServerTimeout, or what the policy says."""
        ...


class RemoteServers(Protocol):
    """The streams to other servers."""

    def reaches(self, domain: str) -> bool:
        """Whether the policy lets anything go to that domain."""
        ...

    def send(self, local: str, remote: str, handover: Handover) -> None:
        """Bring a stanza from a domain of ours to a remote one, behind all that was given for that pair before. Never
        raises; too much that waits fails the handover, in a later turn of the loop."""
        ...
