"""Sessions outlive their process: stored at a graceful stop, there again at the next start
(docs/explanation/delivery.md).

Nobody who sees such a session is told of either; its client resumes it as if only the connection had been lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from ..contracts.core import Host, Server
from ..delivery.snapshot import ChannelSnapshot, snapshot
from ..delivery.snapshot import restore as restore_channel
from ..errors import MalformedJid
from ..jid import JID
from ..plugin import SessionKey
from ..stanza import parse_stanza
from ..storage.api import DataError
from .session import Session

log = logging.getLogger("xmppd.sessions")
AT_ONCE = 200
AT_ONCE_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class SessionSnapshot:
    """A session by (account, resource). `until`: seconds since 1970 UTC when it ends if nobody resumes it."""

    until: float
    resumable: float
    received: int
    priority: int
    presence: str
    channel: ChannelSnapshot
    values: dict[str, Any]


class SessionSnapshots:
    def __init__(self, server: Server) -> None:
        self.server = server
        self.stored = server.storage.map("session", SessionSnapshot)

    # ---- at the stop

    async def store(self) -> None:
        """Store all detached sessions; they end here without a word. Raises StorageUnavailable."""
        server = self.server
        sessions = list(server.session_manager.detached)
        for session in sessions:
            await server.router.until_idle(session.lane)
        for some in _chunks(sessions):
            stored = await asyncio.gather(*map(self._store, some), return_exceptions=True)  # in one batch
            for error in stored:
                if error is not None:
                    raise error
        if sessions:
            log.info("%d sessions wait for their clients", len(sessions))

    async def _store(self, session: Session) -> None:
        """Each is a decision of its account's home. One that the store refuses ends like any other: what it did not
        acknowledge is in the log."""
        try:
            await self.server.storage.commit(
                [self.stored.put(session.account.bare, session.resource, self._record(session))]
            )
        except DataError:
            log.exception("%r cannot be stored", session)
            return
        self.server.session_manager.leave(session)

    def _record(self, session: Session) -> SessionSnapshot:
        remaining = self.server.session_manager.detached[session] - self.server.clock.monotonic()
        presence = session.presence
        keys = {name: SessionKey.known.get(name) for name in session.values or {}}
        values = {
            name: msgspec.to_builtins(session[key]) for name, key in keys.items() if key is not None and key.durable
        }
        return SessionSnapshot(
            until=session.host.clock.now() + remaining,
            resumable=session.resumable,
            received=session.received,
            priority=session.priority,
            presence=presence.data.decode() if presence is not None else "",
            channel=snapshot(session.channel),
            values=values,
        )

    # ---- at the start

    async def restore(self, host: Host) -> None:
        """Bring back the sessions of a host. Raises StorageUnavailable."""
        after, count = "", 0
        while owners := await self.stored.owners(host.domain, after):
            for owner in owners:
                count += await self._restore_account(host, owner)
            after = owners[-1]
        if count:
            log.info("%d sessions of %s wait for their clients", count, host.domain)

    async def _restore_account(self, host: Host, owner: str) -> int:
        found = await self.stored.read_all(owner)
        account = await host.open_account(JID.of(owner.rpartition("@")[0], host.domain))
        count = 0
        for resource, record in found.items():
            remaining = min(record.until - host.clock.now(), float(record.resumable))  # the clock may have been set
            if account is None or remaining <= 0 or resource in account.sessions:
                continue
            try:
                session = Session(account, account.jid.with_resource(resource))
                _fill(session, record)
            except (MalformedJid, ValueError, msgspec.ValidationError):
                log.exception("a stored session of %s cannot be read: its client signs in anew", owner)
                continue
            self.server.session_manager.restore(session, remaining)
            count += 1
        # From here on a crash ends them; what a client then needs to know is in the counts of XEP-0198.
        await self.server.storage.commit([self.stored.clear(owner)])
        return count


def _fill(session: Session, record: SessionSnapshot) -> None:
    """Raises ValueError, msgspec.ValidationError."""
    session.received = session.handled = record.received
    session.resumable = record.resumable
    session.priority = record.priority
    session.presence = parse_stanza(record.presence.encode()) if record.presence else None
    for name, value in record.values.items():
        key = SessionKey.known.get(name)
        if key is not None:
            session[key] = key.read(value)
    restore_channel(session.channel, record.channel)


def _chunks(sessions: list[Session]) -> Iterable[list[Session]]:
    """So many that their records fit into memory at once."""
    some: list[Session] = []
    size = 0
    for session in sessions:
        some.append(session)
        size += session.channel.share.used
        if len(some) >= AT_ONCE or size >= AT_ONCE_BYTES:
            yield some
            some, size = [], 0
    if some:
        yield some
