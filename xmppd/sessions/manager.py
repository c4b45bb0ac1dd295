"""Sessions come and go: resource binding (RFC 6120 section 7), detaching and resuming, the end."""

from __future__ import annotations

import logging
from secrets import token_urlsafe
from typing import TYPE_CHECKING

from ..contracts.core import Server
from ..contracts.parts import ClientStreamHandle
from ..contracts.sessions import SESSION_BOUND, SESSION_ENDED, SESSION_RESTORED, SESSION_RESUMED, STREAM_LOST
from ..errors import BadRequest, MalformedJid, ResourceConstraint, ServiceUnavailable
from ..stanza import parse_stanza
from .availability import vanish
from .session import Session

if TYPE_CHECKING:
    from ..memory.budget import Pool
    from .account import Account

log = logging.getLogger("xmppd.sessions")
UNREAD = 60.0
"""Seconds: who has not read for so long has not read at all."""


class SessionManager:
    """Makes and ends the sessions of all hosts."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.detached: dict[Session, float] = {}
        """Until when (monotonic) a detached session waits for its client."""

    def bind(self, account: Account, wanted: str, stream: ClientStreamHandle) -> Session:
        """A new session. A bound resource of that name is ended with <conflict/>: the newer stream is the one
        whose client is there (section 7.7.2.2). Raises BadRequest, ResourceConstraint."""
        resource = wanted or token_urlsafe(9)
        try:
            jid = account.jid.with_resource(resource)
        except MalformedJid:
            raise BadRequest("not a resource") from None
        former = account.sessions.get(jid.resource)
        if former is not None:
            self.end(former, "conflict", "replaced by a new stream")
        if len(account.sessions) >= self.server.limits.sessions:
            oldest = min(
                (session for session in account.sessions.values() if session in self.detached),
                key=self.detached.__getitem__,
                default=None,
            )
            if oldest is None:
                raise ResourceConstraint("too many sessions", ("urn:xmpp:errors", "resource-limit-exceeded"))
            self.end(oldest)
        session = Session(account, jid)
        session.stream = stream
        account.add(session)
        self.server.storage.pin(account.bare)
        account.host.tell(SESSION_BOUND, session)
        return session

    def detach(self, session: Session) -> None:
        """The connection is lost: the session waits for its client if that may resume it, else it ends."""
        session.stream = None
        session.channel.paused = False
        session.host.tell(STREAM_LOST, session)
        if session.resumable <= 0 or session.ended:
            self.end(session)
            return
        self.detached[session] = self.server.clock.monotonic() + session.resumable

    def attach(self, session: Session, stream: ClientStreamHandle) -> None:
        """A new stream takes a session over; a stream that still holds it is closed with <conflict/>."""
        former = session.stream
        session.stream = None
        if former is not None:
            former.end("conflict", "resumed on another stream")
        self.detached.pop(session, None)
        session.stream = stream

    def resumed(self, session: Session) -> None:
        self.server.counts.resumed += 1
        session.host.tell(SESSION_RESUMED, session)

    def leave(self, session: Session) -> None:
        """The process ends, the session does not: nobody is told."""
        session.ended = True
        self.detached.pop(session, None)
        if session.account.sessions.get(session.resource) is session:
            session.account.remove(session)
        self.server.storage.unpin(session.account.bare)

    def restore(self, session: Session, seconds: float) -> None:
        """A session that outlived the process waits `seconds` more for its client."""
        session.account.add(session)
        self.server.storage.pin(session.account.bare)
        self.detached[session] = self.server.clock.monotonic() + seconds
        session.host.tell(SESSION_RESTORED, session)

    def end(self, session: Session, condition: str = "", text: str = "") -> None:
        """End a session for good: tell who saw it, requeue what it had not acknowledged."""
        if session.ended:
            return
        account = session.account
        if session.stream is not None and condition not in ("", "conflict"):
            account.host.tell(STREAM_LOST, session)
        vanish(session)
        session.ended = True
        self.server.counts.delivered += session.delivered
        self.detached.pop(session, None)
        if account.sessions.get(session.resource) is session:
            account.remove(session)
        self.server.storage.unpin(account.bare)
        stream, session.stream = session.stream, None
        if stream is not None:
            if condition:
                stream.end(condition, text)
            else:
                stream.close()
        self._requeue(session)
        account.host.tell(SESSION_ENDED, session)
        session.channel.share.close()

    def _requeue(self, session: Session) -> None:
        """Requeue what it did not acknowledge: for the sessions that have not got it, else in the log (XEP-0198 section
        4)."""
        account, channel = session.account, session.channel
        account.cursor.unmark_in_flight(channel.pending())
        for other in account.available():
            if other.receives_messages:
                other.channel.catch_up()
        if channel.queue is None:
            return
        for data, log_id, _ in channel.queue.items:
            if not log_id and data.startswith(b"<iq"):
                stanza = parse_stanza(data)
                if not stanza.answers and stanza.sender is not None and stanza.sender.local:
                    session.host.deliver(stanza.error(ServiceUnavailable()))

    def sweep(self) -> None:
        """End the detached sessions whose time is over."""
        now = self.server.clock.monotonic()
        for session in [session for session, until in self.detached.items() if until <= now]:
            self.end(session)

    def make_room(self, pool: Pool) -> None:
        """More waits in memory than the process may hold, or one account: the sessions that hold most and whose clients
        have not read for the longest time end, of the accounts that hold most, until a quarter is free. What is in a
        log is pending as before; the others' clients start afresh."""
        memory = self.server.memory
        whole = pool is memory
        pool.pressed = False
        limit, enough = (memory.limit, memory.spill) if whole else (memory.account_limit, memory.account_spill)
        if pool.used <= limit:
            return
        if whole:
            self.server.counts.memory_full += 1
        pools = [pool]
        if whole:
            accounts = [account for host in self.server.router.routes.hosts() for account in host.accounts.values()]
            pools = [account.pool for account in accounts if account is not None and account.pool.used]
        holding = [each for some in pools for each in some.sessions.values() if each.channel.share.used]
        holding.sort(key=_weight, reverse=True)
        what = "clients" if whole or not holding else holding[0].account.bare
        log.warning("%d bytes wait for %s, %d may: the sessions that hold most end", pool.used, what, limit)
        for session in holding:
            if pool.used <= enough:
                break
            session.host.cursor_writer.overflow(session)


def _weight(session: Session) -> tuple[int, float, int]:
    """Who goes first. Bytes times seconds: of two that hold alike, a client that has only begun to lag stays."""
    used = session.channel.share.used
    return session.account.pool.used, used * min(unread_seconds(session), UNREAD), used


def unread_seconds(session: Session) -> float:
    """For how long the client has taken nothing of what waits for it, and for how long it is silent, together."""
    channel, stream, now = session.channel, session.stream, session.host.clock.monotonic()
    unread = now - channel.last_progress
    if channel.queue:
        unread = min(unread, max(0.0, (channel.now() - channel.queue.items[0][2]) / 1_000_000))
    return unread + (now - stream.last_read if stream is not None else unread)
