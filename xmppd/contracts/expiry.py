"""Messages that disappear (XEP-0466)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from ..service import Service
from ..stanza import Stanza
from ..storage.api import Write

EPHEMERAL_NS: Final = "urn:xmpp:ephemeral:0"
EPHEMERAL_TAG: Final = f"{EPHEMERAL_NS}|ephemeral"


class Expiry(Protocol):
    """Deletes messages from archives when their time is over."""

    def timed(self, owner: str, id: int, stanza: Stanza) -> Sequence[Write]:
        """What is to be committed with entry `id` of an owner's archive, so that it disappears in time.

        A plain call, for stanzas that hold EPHEMERAL_TAG.
        """
        ...


EXPIRY = Service[Expiry]("expiry")
