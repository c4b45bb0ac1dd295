"""Words between two owners that outlive a crash (`routing.outbox`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..jid import JID
from ..stanza import Stanza
from ..storage.api import Write


class Words(Protocol):
    """What one owner has to say to another, beside what it decides."""

    def writes(self) -> Sequence[Write]:
        """To be committed with the decision; called when the batch is joined."""
        ...

    def send(self) -> None:
        """Send them: the decision is committed."""
        ...


class Outbox(Protocol):
    """Of all owners here."""

    @property
    def busy(self) -> bool:
        """Something is on its way, and will be decided in a moment."""
        ...

    def keep(self, sender: JID, to: JID, stanzas: Sequence[Stanza]) -> Words:
        """Stanzas from one bare JID to another that must arrive, in order with all that was kept before. Raises
        ResourceConstraint: too much of the sender waits to be heard."""
        ...
