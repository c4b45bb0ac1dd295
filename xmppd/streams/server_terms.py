"""What both directions of streams between servers share."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final, Protocol

from ..protocol.dialback import DialbackKeys
from ..protocol.header import STREAM_NS
from .base import XmlStream
from .remote_carrier import Carrier
from .remote_resends import RemoteResends

if TYPE_CHECKING:
    from ..background import Background
    from ..config import FederationConfig
    from ..net.peer_certificate import Trust
    from ..net.tls import Certificates
    from ..protocol.items import Nonza
    from ..protocol.token_bucket import Rate

SM_NS: Final = "urn:xmpp:sm:3"
ERROR: Final = f"{STREAM_NS}|error"
BIDI_NS: Final = "urn:xmpp:bidi"
BIDI_FEATURE_NS: Final = "urn:xmpp:features:bidi"
BIDI: Final = frozenset((f"{BIDI_NS}|bidi", f"{BIDI_FEATURE_NS}|bidi"))
"""The element and the feature of XEP-0288: some servers take the one for the other. We do not."""
PAIRS: Final = 100
"""So many pairs of domains one stream may speak for."""

Pair = tuple[str, str]
"""Their domain and ours."""


class Proof(enum.StrEnum):
    """How a server has proved a domain to another one."""

    CERTIFICATE = "certificate"
    DIALBACK = "dialback"


class Remotes(Protocol):
    """All that has to do with other servers, as one stream sees it (`RemoteDomains`)."""

    keys: DialbackKeys
    trust: Trust
    certificates: Certificates
    config: FederationConfig
    rate: Rate
    resends: RemoteResends
    background: Background

    def reaches(self, domain: str) -> bool:
        """Whether the policy lets this server talk to a domain."""
        ...

    def serves(self, domain: str) -> bool:
        """Whether a domain is of this server."""
        ...

    def opened(self, stream: XmlStream) -> None:
        """A stream has begun."""
        ...

    def gone(self, stream: XmlStream) -> None:
        """It has ended; may be told twice."""
        ...

    def carries(self, carrier: Carrier, local: str, remote: str) -> None:
        """A stream that the other server has opened takes what goes from a domain of ours to one of theirs."""
        ...

    def refused(self, local: str, remote: str, reason: str, text: str) -> None:
        """A stream of another server could not prove its domain. `reason`: in a word, for the numbers."""
        ...

    def say(self, text: str, *values: object) -> None:
        """Write a line of the log that somebody else has caused; too many of them are left out."""
        ...

    async def verify(self, local: str, remote: str, stream_id: str, key: str, asker: str) -> bool:
        """Ask a domain whether a dialback key is its own. `asker`: the IP address of who has shown it. Raises
        StanzaError."""
        ...


def condition_of(error: Nonza) -> str:
    """What a stream error says, for the log."""
    names = [tag.rpartition("|")[2] for tag in error.tags]
    text = error.text_of("urn:ietf:params:xml:ns:xmpp-streams", "text")
    found = next((each for each in names if each != "text"), "an error")
    return f"{found} ({text[:200]})" if text else found
