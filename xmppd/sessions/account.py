"""A local account while it is in memory: its sessions, the ids of its log, its delivery."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..clock import microseconds
from ..contracts.core import Host
from ..delivery.cursor import DeliveryCursor
from ..jid import JID
from ..memory.budget import Pool

if TYPE_CHECKING:
    from ..contracts.accounts import StoredAccount
    from ..protocol.token_bucket import TokenBucket
    from .session import Session


class Account:
    """Loaded by `Host.open_account`; stays in memory while a session is bound, else as long as there is room."""

    __slots__ = (
        "alive",
        "bare",
        "bucket",
        "created_at",
        "cursor",
        "host",
        "incarnation",
        "jid",
        "last_id",
        "last_id_at_load",
        "pool",
        "released",
        "sessions",
    )

    def __init__(self, host: Host, jid: JID, last_id: int, stored: StoredAccount) -> None:
        self.host = host
        self.jid = jid
        self.bare = jid.bare
        self.created_at = int(stored.created * 1_000_000)
        """When it was made, in microseconds since 1970 UTC. What is older and bears its name was said or made by
        somebody who had the name before."""
        self.incarnation = stored.incarnation
        """See contracts.accounts.StoredAccount."""
        self.sessions: dict[str, Session] = {}
        """Bound sessions by resource, attached or detached."""
        self.last_id = last_id
        """The last id that was given."""
        self.last_id_at_load = last_id
        """The last id that was given before the account came into memory."""
        self.released = last_id
        """Up to this id the log is committed and released. What lies behind it is still on its way: it is not shown to
        anyone who reads the log, and comes to who is there at its release."""
        self.alive = True
        """False once it is deleted, or has left for another home."""
        self.cursor = DeliveryCursor(self)
        self.pool = Pool(self.sessions)
        """Bytes that wait for its sessions."""
        self.bucket: TokenBucket | None = None
        """What its connections have sent (streams.rate_limits)."""

    def add(self, session: Session) -> None:
        """A session is bound."""
        self.sessions[session.resource] = session

    def remove(self, session: Session) -> None:
        """A session has ended."""
        del self.sessions[session.resource]

    def next_id(self) -> int:
        """An id for the owner's log: microseconds, strictly rising even if the clock is set back."""
        now = microseconds(self.host.clock)
        self.last_id = now if now > self.last_id else self.last_id + 1
        return self.last_id

    def available(self) -> list[Session]:
        """Sessions that have sent available presence."""
        return [session for session in self.sessions.values() if session.presence is not None]

    def __repr__(self) -> str:
        return f"<account {self.bare} {len(self.sessions)} sessions>"
