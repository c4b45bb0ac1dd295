"""IQs that handlers answer (`@iq` in `xmppd.plugin`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from ..jid import JID
from ..stanza import Stanza
from ..xml import Element, Written
from .core import Account, Session
from .order import Lane
from .routes import Origin

LATER: Final = Written("", b"")
"""A handler returns it that sends the answer itself when it has one (`stanza.result`, `Host.deliver`); what its sender
sends meanwhile is not held up."""


@dataclass(frozen=True, slots=True)
class Request:
    """An IQ get or set to be answered.

    `owner`: the account that is asked, None when the host is. `origin`: who has sent it.
    """

    stanza: Stanza
    payload: Element
    sender: JID
    owner: Account | None
    origin: Origin
    behind: list[Callable[[], object]] = field(default_factory=list)
    """What `then` has noted."""

    def then(self, action: Callable[[], object]) -> None:
        """Run `action` behind the result: what a request causes is seen after its answer. Not after an error."""
        self.behind.append(action)

    @property
    def session(self) -> Session | None:
        """The sender's local session."""
        session: Session | None = self.origin.session
        return session

    @property
    def lane(self) -> Lane:
        """The order of what the sender sends."""
        return self.origin.lane

    @property
    def account(self) -> Account:
        """The owner, where there must be one (To.SELF, To.ACCOUNT)."""
        assert self.owner is not None
        return self.owner

    @property
    def is_own(self) -> bool:
        """The sender asks for its own account."""
        return self.owner is not None and self.owner.bare == self.sender.bare
