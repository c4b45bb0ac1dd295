"""XEP-0198: Stream Management. The counters and queues are the core's (sessions, delivery); this is the protocol."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass
from functools import partial
from secrets import token_urlsafe

from xmppd.cache import Cache
from xmppd.config import option
from xmppd.contracts.authentication import NegotiatingStream
from xmppd.contracts.owners import OWNERS_LEAVING
from xmppd.contracts.resends import RESENDS
from xmppd.contracts.sessions import (
    BIND_FEATURES,
    RESUMPTIONS,
    SESSION_ENDED,
    SESSION_RESTORED,
    STREAM_ENDING,
    InlineFeature,
    InlineResumption,
    Resumption,
)
from xmppd.contracts.stream_features import FEATURES, FeatureAsk
from xmppd.errors import STANZAS_NS, StreamError
from xmppd.plugin import Account, E, Nonza, Plugin, Session, SessionKey, Written, Xep, nonza, on
from xmppd.protocol.ack_queue import WRAP, HandledTooHigh
from xmppd.storage.api import Write
from xmppd.xep import numbers
from xmppd.xml import quoted, written

NS = "urn:xmpp:sm:3"
FEATURE = written(E("sm", NS))
ENDED_KEPT = 10_000
ENDED_BYTES = 4 << 20
ENDED_ENTRY = 300
"""Bytes that one is taken to need beside its texts."""
DAY = 86_400.0
SWEEP = 6 * 3600.0
"""Seconds between two looks for counts of sessions that crashes ended."""


@dataclass(frozen=True)
class Config:
    location: str = option("", "Where clients should resume: `host:port` of this server (section 5).", high=300)


@dataclass(frozen=True, slots=True)
class Enabled:
    """`id`: the SM-ID, "" if the session cannot be resumed. `base`: stanzas received before <enable/>."""

    id: str
    base: int


@dataclass(frozen=True, slots=True)
class Count:
    """What a crash leaves of a session: `h` of its stanzas that are on disk; `at`: seconds since 1970 UTC."""

    h: int
    at: float


@dataclass(frozen=True, slots=True)
class Sent:
    """The other direction: `stamps`, the log ids (0 for none) of the stanzas behind the first `acknowledged` ones that
    the client was sent. `hidden`: those of them that are to be deleted once it has them."""

    acknowledged: int
    stamps: tuple[int, ...]
    hidden: tuple[int, ...]
    at: float


class _Counter:
    """Writes a session's `h` into the batches that hold its stanzas, so that it is exact after a crash; and what the
    client was sent, so that its own `h` says what it has."""

    __slots__ = ("base", "id", "owner", "plugin", "written")

    def __init__(self, plugin: StreamManagement, owner: str, enabled: Enabled, written: bool = False) -> None:
        """`written`: the store may have something of the session."""
        self.plugin = plugin
        self.owner = owner
        self.id = enabled.id
        self.base = enabled.base
        self.written = written

    def counted(self, count: int) -> Write:
        self.written = True
        return self.plugin.counts.put(self.owner, self.id, Count(count - self.base, self.plugin.host.clock.now()))

    def trace(self, session: Session) -> Write:
        self.written = True
        acknowledged, stamps = session.channel.sent_log_ids()
        hidden_stamps = tuple(filter(session.account.cursor.transient.__contains__, stamps))
        sent = Sent(acknowledged, stamps, hidden_stamps, self.plugin.host.clock.now())
        return self.plugin.sent.put(self.owner, self.id, sent)

    def follow(self, session: Session) -> None:
        """From now on."""
        session.counter = self
        session.channel.trace = partial(self.trace, session)


ENABLED = SessionKey["Enabled | None"]("stream-management", None, durable=True, record=Enabled)
FOLLOWED = SessionKey[bool]("stream-management-follow", False)


class StreamManagement(Plugin[Config]):
    xeps = (Xep(198, "1.6.1"),)

    def setup(self) -> None:
        self.ended: Cache[tuple[str, str], int | Session] = self.host.owned(
            Cache(ENDED_KEPT, ENDED_BYTES, lambda key, _: ENDED_ENTRY + len(key[0]) + len(key[1])),
            pairs=True,
            stays=lambda key: not isinstance(self.ended.get(key), int),
        )
        """By account and SM-ID: how many stanzas of an ended session were handled; the session while it counts."""
        self.counts = self.host.storage.map("stream-count", Count)
        """By account and SM-ID; of sessions that a crash may end."""
        self.sent = self.host.storage.map("stream-sent", Sent)
        """The same, of the other direction."""

    async def start(self) -> None:
        self.every(SWEEP, self.sweep, "sweep")

    @on(FEATURES)
    def feature(self, ask: FeatureAsk) -> Iterable[Written]:
        """Section 2. Not to who has it: some clients would ask again."""
        return (FEATURE,) if ask.signed_in and (ask.session is None or ask.session[ENABLED] is None) else ()

    @on(BIND_FEATURES)
    def inline(self, ask: FeatureAsk) -> Iterable[InlineFeature]:
        return (InlineFeature(NS, "enable", self.enable),)

    @on(RESUMPTIONS)
    def inline_resumption(self, ask: FeatureAsk) -> Iterable[InlineResumption]:
        return (InlineResumption(FEATURE, NS, "resume", self.resume),)

    # ---- enabling (section 3)

    @nonza(NS, "enable")
    def enable(self, session: Session, nonza: Nonza) -> Written:
        if session[ENABLED] is not None:
            return failed("unexpected-request")
        seconds = self.host.server.limits.resume_time
        if "max" in nonza.attributes:
            wanted = unsigned(nonza.attributes["max"])
            if wanted is None:
                return failed("bad-request")
            seconds = min(seconds, float(wanted))
        if nonza.attributes.get("resume") not in ("true", "1"):
            seconds = 0.0
        id = token_urlsafe(24) if seconds > 0 else ""
        enabled = session[ENABLED] = Enabled(id, session.received)
        if id:
            _Counter(self, session.account.bare, enabled).follow(session)
        session.resumable = seconds
        more = f" id='{id}' resume='true' max='{int(seconds)}'" if id else ""
        if id and self.config.location:
            more += f" location='{quoted(self.config.location)}'"
        session.note_acknowledgement()  # what came before is not counted, so nobody can say that it was not told
        # What goes out behind the answer is counted: both in one turn.
        session.channel.enable_acknowledgements()
        return Written(f"{NS}|enabled", f"<enabled xmlns='{NS}'{more}/>".encode())

    @nonza(NS, "enable", state="stranger")
    @nonza(NS, "resume", state="stranger")
    @nonza(NS, "r", state="stranger")
    @nonza(NS, "a", state="stranger")
    @nonza(NS, "enable", state="signed-in")
    @nonza(NS, "r", state="signed-in")
    @nonza(NS, "a", state="signed-in")
    def too_early(self, stream: NegotiatingStream, nonza: Nonza) -> Written:
        """Before sign-in or binding (section 3); the stream goes on."""
        return failed("unexpected-request")

    # ---- acknowledgements (section 4)

    @nonza(NS, "r")
    def asked(self, session: Session, nonza: Nonza) -> Written | None:
        """Answered at once with what is durable; more follows when what waits has been committed."""
        if session[ENABLED] is None:
            return failed("unexpected-request")
        session.nonza(acknowledgement(session))
        if not session.lane.idle and not session[FOLLOWED]:
            _FollowUp(self, session).wait()
        return None

    @nonza(NS, "a")
    def acknowledged(self, session: Session, nonza: Nonza) -> Written | None:
        if session[ENABLED] is None:
            return failed("unexpected-request")
        h = unsigned(nonza.attributes.get("h", ""))
        if h is None:
            raise StreamError("bad-format", "h is a number from 0 to 4294967295")
        try:
            session.channel.acknowledge(h)
        except HandledTooHigh as error:
            raise too_high(h, error.sent) from None
        return None

    @on(STREAM_ENDING)
    def last_word(self, session: Session) -> None:
        """All that was committed to the end."""
        if session[ENABLED] is not None:
            session.nonza(acknowledgement(session))

    # ---- resumption (section 5)

    @nonza(NS, "resume")
    def too_late(self, session: Session, nonza: Nonza) -> Written:
        return failed("unexpected-request")

    @nonza(NS, "resume", state="signed-in")
    async def resume_and_answer(self, stream: NegotiatingStream, nonza: Nonza) -> None:
        resumption = await self.resume(stream, nonza)
        if resumption is not None:
            stream.write(resumption.answer.data)
            resumption.go_on()

    async def resume(self, stream: NegotiatingStream, nonza: Nonza) -> Resumption | None:
        """See `InlineResumption`. Raises StreamError for an `h` that is too high."""
        account = stream.account
        id, h = nonza.attributes.get("previd", ""), unsigned(nonza.attributes.get("h", ""))
        if not id or h is None:
            return Resumption(failed("bad-request"))
        session = _find(account, id)
        if session is None:
            count = await self._handled(account, id)
            if (account.bare, id) not in self.ended:
                await self._take_over(account, id, h)
            return self._gone(account, count)
        await self._stop_former(session)
        if stream.closed:
            return None  # the session goes on waiting for its client
        try:
            goes_on = not session.ended and session.channel.resume(h)
        except HandledTooHigh as error:
            raise too_high(h, error.sent) from None
        if not goes_on:  # a client that had acknowledged more than it remembers would miss something: it begins anew
            return self._gone(account, accounted(session))
        self.host.server.session_manager.attach(session, stream)
        stream.bound(session)
        answer = f"<resumed xmlns='{NS}' previd='{quoted(id)}' h='{handled(session)}'/>".encode()
        return Resumption(Written(f"{NS}|resumed", answer), session, partial(self._carry_on, session))

    def _gone(self, account: Account, h: int | None) -> Resumption:
        """The session has ended. A client that gets the count knows what was stored: all that it sends now is new."""
        resends = self.host.find(RESENDS)
        if h is not None and resends is not None:
            resends.all_acknowledged(account.bare)
        return Resumption(failed("item-not-found", h))

    async def _stop_former(self, session: Session) -> None:
        """Nothing more is taken from a stream that still holds the session; what was taken finds its end, so that
        `h` is exact. Another resumption may win meanwhile: then its stream is the former one."""
        while True:
            former = session.stream
            if former is not None:
                session.stream = None
                former.end("conflict", "resumed on another stream")
                self.host.server.session_manager.detach(session)
            if session.ended or session.handled >= session.received:
                return
            await session.all_settled()

    def _carry_on(self, session: Session) -> None:
        """Behind <resumed/>."""
        session.channel.send_again()
        self.host.server.session_manager.resumed(session)
        session.channel.go_on()

    @on(SESSION_RESTORED)
    def restored(self, session: Session) -> None:
        """It outlived a restart."""
        enabled = session[ENABLED]
        if enabled is not None and enabled.id:
            _Counter(self, session.account.bare, enabled, written=True).follow(session)

    # ---- sessions that ended

    @on(SESSION_ENDED)
    def remember(self, session: Session) -> None:
        """A client that comes too late can still learn what was handled (section 5)."""
        enabled = session[ENABLED]
        if enabled is None or not enabled.id:
            return
        counter, session.counter, session.channel.trace = session.counter, None, None
        settled = session.handled >= session.received
        if isinstance(counter, _Counter) and (counter.written or not settled):
            self.spawn(self._forget(session.account.bare, [enabled.id]), "forget")
        key = (session.account.bare, enabled.id)
        self.ended.put(key, accounted(session) if settled else session)
        if not settled:
            self.spawn(self._count(key, session), "count")

    @on(OWNERS_LEAVING)
    async def leaving(self, owners: Container[str]) -> None:
        """The next home can tell what was handled, as this one could. Raises StorageUnavailable."""
        now = self.host.clock.now()
        await self.host.storage.commit_each(
            [
                [self.counts.put(owner, id, Count(count, now))]
                for (owner, id), count in self.ended.items()
                if owner in owners and isinstance(count, int)
            ]
        )

    async def sweep(self) -> None:
        """Deletes counts that crashes left behind, of sessions that nobody can come back for."""
        old = self.host.clock.now() - max(self.host.server.limits.resume_time, DAY)
        for map in (self.counts, self.sent):
            place = ("", "")
            while page := await map.scan(self.host.domain, place):
                place = page[-1][:2]
                left: dict[str, list[str]] = {}
                for owner, id, count in page:
                    if count is None or (count.at < old and not self._is_live(owner, id)):
                        left.setdefault(owner, []).append(id)
                for owner, ids in left.items():
                    await self._forget(owner, ids)

    def _is_live(self, owner: str, id: str) -> bool:
        account = self.host.account(owner)
        sessions = account.sessions.values() if account is not None else ()
        return any((enabled := session[ENABLED]) is not None and enabled.id == id for session in sessions)

    async def _forget(self, owner: str, ids: list[str]) -> None:
        if ids:
            writes: list[Write] = [self.counts.delete(owner, id) for id in ids]
            await self.host.storage.commit([*writes, *(self.sent.delete(owner, id) for id in ids)])

    async def _take_over(self, account: Account, id: str, h: int) -> None:
        """The server was killed, and the client had `h` stanzas of the session (section 5: `h` of <resume/>): what it
        has of the account's log is not sent again."""
        sent = await self.sent.read(account.bare, id)
        if sent is None:
            return
        count = (h - sent.acknowledged) % WRAP
        if count >= WRAP // 2:
            return  # less than it had acknowledged
        has = {stamp for stamp in sent.stamps[:count] if stamp}
        cursor = account.cursor
        cursor.transient |= has.intersection(sent.hidden)
        cursor.acknowledge(sorted(has))

    async def _count(self, key: tuple[str, str], session: Session) -> None:
        await session.all_settled()
        if key in self.ended:
            self.ended.put(key, accounted(session))

    async def _handled(self, account: Account, id: str) -> int | None:
        """What an ended session of this account has handled. None: not known, or not this account's."""
        found = self.ended.get((account.bare, id))
        if found is None:
            stored = await self.counts.read(account.bare, id)  # the server was killed meanwhile
            return stored.h % WRAP if stored is not None else None
        if isinstance(found, int):
            return found
        await found.all_settled()
        return accounted(found)


class _FollowUp:
    """The <a/> that follows once what waits for its commit is released. A `Release` of the store."""

    __slots__ = ("plugin", "said", "session")

    def __init__(self, plugin: StreamManagement, session: Session) -> None:
        self.plugin = plugin
        self.session = session
        self.said = -1

    def wait(self) -> None:
        """Behind what the lane has now."""
        self.said = self.session.handled
        tail = self.session.lane.tail
        assert tail is not None
        self.session[FOLLOWED] = True
        self.plugin.host.storage.follow(tail, self)

    def committed(self) -> None:
        session = self.session
        session[FOLLOWED] = False
        if session.ended or session.handled == self.said:
            return  # what is left waits for more than a commit: the client will ask again
        session.nonza(acknowledgement(session))
        if session.handled < session.received and not session.lane.idle:
            self.wait()  # more came meanwhile

    def failed(self, error: Exception) -> None:
        """What failed was answered with an error, so it counts, too."""
        self.committed()


def unsigned(text: str) -> int | None:
    """An xs:unsignedInt without sign, space or other scripts' digits (section 13); None for anything else."""
    number = numbers.unsigned(text, WRAP)
    return number if number is not None and number < WRAP else None


def handled(session: Session) -> int:
    """The `h` that a session's client is told now: settled since <enable/>, modulo 2^32."""
    enabled = session[ENABLED]
    assert enabled is not None
    session.note_acknowledgement()
    return max(0, session.handled - enabled.base) % WRAP


def accounted(session: Session) -> int:
    """The `h` for a client whose session is gone (section 5): what it need not send again."""
    enabled = session[ENABLED]
    assert enabled is not None
    return max(0, session.accounted(session.handled) - enabled.base) % WRAP


def acknowledgement(session: Session) -> bytes:
    return f"<a xmlns='{NS}' h='{handled(session)}'/>".encode()


def failed(condition: str, h: int | None = None) -> Written:
    """Section 6."""
    count = f" h='{h}'" if h is not None else ""
    data = f"<failed xmlns='{NS}'{count}><{condition} xmlns='{STANZAS_NS}'/></failed>".encode()
    return Written(f"{NS}|failed", data)


def too_high(h: int, sent: int) -> StreamError:
    extra = (NS, "handled-count-too-high", {"h": str(h), "send-count": str(sent)})
    return StreamError("undefined-condition", f"You acknowledged {h} stanzas, but I only sent you {sent}.", extra)


def _find(account: Account, id: str) -> Session | None:
    """Only among the account's own: another's id is as unknown as any other."""
    sessions = account.sessions.values()
    return next((each for each in sessions if (enabled := each[ENABLED]) is not None and enabled.id == id), None)
