"""What waits for other servers, and goes to them in order.

For each pair of a domain of ours and another one there is a line. What is handed over is written to a stream, and
counts as delivered when the other server says that it has it: by XEP-0198, or, where it does not know that, by an
answer to a ping (XEP-0199) that was sent behind. What a stream takes along is sent again on the next one if the store
keeps it, and fails otherwise.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from functools import partial
from random import uniform
from typing import TYPE_CHECKING, Final

from ..contracts.core import Host
from ..contracts.remote import Handover
from ..errors import (
    NotAllowed,
    RemoteServerNotFound,
    RemoteServerTimeout,
    ResourceConstraint,
    StanzaError,
    StreamError,
)
from ..jid import JID
from ..net.dns import NoSuchDomain
from ..protocol.framing import SERVER_STREAM, rest_in
from ..stanza import iq
from ..xml import E
from .remote_failures import OUT, Failures
from .server_out import OutgoingServerStream, Refused

if TYPE_CHECKING:
    from ..background import Background
    from ..clock import Timer
    from ..config import FederationConfig
    from .runtime import StreamServer

log = logging.getLogger("xmppd.streams")

PAUSES: Final = (2.0, 60.0)
"""Seconds between two attempts, at first and at most; each pause is some 1.7 times the one before."""
RECENT: Final = 3.0
"""After a failed attempt nobody tries again for so many seconds."""
STANZAS: Final = 20_000
"""So many stanzas may wait for one other domain."""
BESIDE: Final = 600
"""Bytes that a waiting stanza needs beside its own."""
LINE: Final = 8 << 10
"""Bytes of a line, and of the attempt to connect it."""
PING_TIME: Final = 60.0
"""Seconds for the answer to a ping. Then what was written counts as delivered: a server that cannot reach us answers
nobody, and sending it again would give it everything twice."""
SILENCE: Final = 2 * PING_TIME
"""Seconds without a word about what was written; then the stream ends."""
ASK_AGAIN: Final = 1.0
"""Seconds between an answer that has brought nothing and the next question."""
CAREFUL: Final = 2
"""So many streams end without a word about what was written; then it goes one by one, to find what ends them."""
TRIES: Final = 5
"""So many streams end with a stanza that goes alone; then it is that stanza, and fails."""


class _Item:
    """A stanza that is handed over. `at`: when, monotonic seconds. `before`: the one before it in its line. The bytes
    of what goes to many are there once, and count for the first of them."""

    __slots__ = ("at", "handover", "rest", "size", "start", "tries")

    def __init__(self, handover: Handover, at: float, before: _Item | None) -> None:
        self.handover = handover
        self.start = handover.stanza.start
        self.rest = rest_in(handover.stanza, SERVER_STREAM.namespace)
        self.at = at
        self.tries = 0
        self.size = len(self.start) + BESIDE
        if before is None or before.rest is not self.rest:
            self.size += 3 * len(self.rest)

    @property
    def data(self) -> bytes:
        return self.start + self.rest


class Line:
    """From a domain of ours to another. `waiting`: not written yet; `written`: on `stream`, and nobody has said that it
    is there."""

    __slots__ = ("asked", "careful", "connecting", "count", "failed_at", "fruitful", "fruitless", "local", "pause",
                 "pinged", "remote", "said", "since", "stream", "timer", "used", "waiting", "written")  # fmt: skip

    def __init__(self, local: str, remote: str) -> None:
        self.local = local
        self.remote = remote
        self.waiting: deque[_Item] = deque()
        self.written: deque[_Item] = deque()
        self.stream: OutgoingServerStream | None = None
        self.connecting = False
        self.timer: Timer | None = None
        """Until the next attempt, or the next question."""
        self.pause = PAUSES[0]
        self.failed_at = float("-inf")
        self.count = 0
        """XEP-0198: stanzas acknowledged on this stream."""
        self.asked = False
        """It was asked, by <r/> or a ping, and has not answered."""
        self.pinged = 0
        """So many of `written` lie before the ping."""
        self.fruitful = False
        """They have something of this stream."""
        self.fruitless = 0
        """So many streams in a row have ended without a word about what was written."""
        self.careful = 0
        """So many stanzas go one by one."""
        self.used = 0.0
        self.since = 0.0
        """When it last got on."""
        self.said = ""
        """What the log has said last about it."""

    @property
    def size(self) -> int:
        """Bytes of what waits and is written."""
        return sum(item.size for item in (*self.waiting, *self.written))

    @property
    def last(self) -> _Item | None:
        """Of what waits and is written."""
        return (self.waiting or self.written or (None,))[-1]

    @property
    def attempt(self) -> bool:
        """Somebody connects, or waits until it is time to."""
        return self.connecting or (self.stream is None and self.timer is not None)

    @property
    def empty(self) -> bool:
        return not self.waiting and not self.written


class RemoteLines:
    """All lines. `connect`: opens a stream from a domain of ours to another; it raises NoSuchDomain, OSError, Refused.
    `say`: writes a line of the log."""

    def __init__(
        self,
        server: StreamServer,
        background: Background,
        config: FederationConfig,
        connect: Callable[[str, str], Awaitable[OutgoingServerStream]],
        failures: Failures,
        say: Callable[..., None],
    ) -> None:
        self.server = server
        self.config = config
        self.size = 0
        """Bytes of all."""
        self.kept = 0
        """Of the stanzas that wait, those that the store keeps."""
        self.stopping = False
        self._clock = server.clock
        self._background = background
        self._connect = connect
        self._failures = failures
        self._say = say
        self._lines: dict[tuple[str, str], Line] = {}
        self._sizes: Counter[str] = Counter()
        """Bytes that wait, by their domain."""
        self._counts: Counter[str] = Counter()

    @property
    def all(self) -> list[Line]:
        return list(self._lines.values())

    @property
    def waiting(self) -> int:
        """Stanzas that wait."""
        return sum(self._counts.values())

    def configure(self, config: FederationConfig) -> None:
        """What waits for a domain to which nothing may go any more fails; whether others can be reached now is tried at
        once."""
        self.config = config
        for line in list(self._lines.values()):
            if config.reaches(line.remote):
                if line.attempt and not line.connecting:
                    self._begin(line)
                continue
            stream, line.stream = line.stream, None
            if stream is not None:
                stream.close()
            line.waiting.extendleft(reversed(line.written))
            line.written.clear()
            self._fail(line, line.waiting, NotAllowed(f"this server does not talk to {line.remote}"))
            self._forget(line)

    # ---- what is handed over

    def send(self, local: str, remote: str, handover: Handover) -> None:
        """See contracts.remote."""
        line = self._lines.get((local, remote))
        item = _Item(handover, self._clock.monotonic(), line.last if line is not None else None)
        refusal = self._refusal(remote, line, item)
        if refusal is not None:
            self._clock.call_soon(partial(_tell, partial(handover.failed, refusal)))
            return
        if line is None:
            line = self._lines[local, remote] = Line(local, remote)
            self.size += LINE
        self.size += item.size
        self.kept += handover.patient
        self._sizes[remote] += item.size
        self._counts[remote] += 1
        line.waiting.append(item)
        if line.stream is not None:
            self._write(line)
        elif not line.connecting and (line.timer is None or not handover.patient):
            self._begin(line)

    def _refusal(self, remote: str, line: Line | None, item: _Item) -> StanzaError | None:
        """Why a stanza is not taken."""
        config = self.config
        if not config.reaches(remote):
            return NotAllowed(f"this server does not talk to {remote}")
        if not item.handover.patient and (line is None or line.stream is None):
            if self.stopping:
                return RemoteServerTimeout("this server stops")
            if line is not None and item.at - line.failed_at <= RECENT:
                return _timeout(remote)
        size = item.size + (LINE if line is None else 0)
        full = self._counts[remote] > 0 and self._sizes[remote] + size > config.queue
        full = full or (bool(self._counts) and self.size + size > config.queues)
        if full or self._counts[remote] >= STANZAS:
            return ResourceConstraint(f"too much waits for {remote}")
        return None

    def _uncount(self, line: Line, item: _Item) -> None:
        self.size -= item.size
        self.kept -= item.handover.patient
        self._sizes[line.remote] -= item.size
        self._counts[line.remote] -= 1
        if not self._counts[line.remote]:
            del self._counts[line.remote], self._sizes[line.remote]

    def _fail(self, line: Line, items: deque[_Item], error: StanzaError) -> None:
        """In order. Who is told may hand over more."""
        failed = list(items)
        items.clear()
        for item in failed:
            self._uncount(line, item)
        for item in failed:
            _tell(partial(item.handover.failed, error))

    def _fail_some(self, line: Line) -> None:
        """After an attempt: what does not wait for another one, and what has waited long enough."""
        before = self._clock.monotonic() - self.config.wait
        left: deque[_Item] = deque()
        failed: deque[_Item] = deque()
        for item in line.waiting:
            (left if item.handover.patient and item.at > before else failed).append(item)
        line.waiting = left
        self._fail(line, failed, _timeout(line.remote))

    def _forget(self, line: Line) -> None:
        if line.stream is None and not line.connecting and line.empty:
            _cancel(line)
            if self._lines.pop((line.local, line.remote), None) is not None:
                self.size -= LINE

    # ---- on a stream

    def _write(self, line: Line) -> None:
        """As much as the stream takes."""
        stream = line.stream
        assert stream is not None
        now = self._clock.monotonic()
        while line.waiting and not stream.slow and not stream.closed and not (line.careful and line.written):
            item = line.waiting.popleft()
            stream.write(item.data)
            line.used = now
            if stream.managed or item.handover.patient:
                if not line.written:
                    line.since = now
                line.written.append(item)
            else:
                line.since = now
                self._uncount(line, item)
                _tell(item.handover.delivered)
        self._ask(line)

    def _ask(self, line: Line) -> None:
        """Whether they have what was written; one question at a time."""
        stream = line.stream
        if stream is None or stream.closed or not line.written or line.asked:
            return
        line.asked = True
        if stream.managed:
            stream.request()
            return
        host = self._host(line.local)
        if host is None:  # a component's stanzas: nobody keeps them
            self._have(line, len(line.written))
            return
        line.pinged = len(line.written)
        to = JID.parse(line.remote)
        id = host.expect(to, lambda answer: self._answered(line, stream), PING_TIME)
        stream.write(iq("get", id, E("ping", "urn:xmpp:ping"), to=to, sender=host.jid).data)

    def _host(self, domain: str) -> Host | None:
        return next((host for host in self.server.router.routes.hosts() if host.domain == domain), None)

    def _answered(self, line: Line, stream: OutgoingServerStream) -> None:
        """The ping was, or will never be."""
        if line.stream is stream:
            self._have(line, line.pinged)

    def _acknowledged(self, line: Line, stream: OutgoingServerStream, count: int) -> None:
        """XEP-0198: they have so many stanzas of this stream."""
        if line.stream is not stream:
            return
        new = (count - line.count) & 0xFFFFFFFF
        if new > len(line.written):
            stream.too_high(count, (line.count + len(line.written)) & 0xFFFFFFFF)
            return
        line.count = count
        self._have(line, new)

    def _have(self, line: Line, count: int) -> None:
        """They have the first ones of what was written."""
        if not count:
            if line.asked and line.timer is None:  # nothing new: not at once again
                line.timer = self._clock.call_later(ASK_AGAIN, partial(self._ask_again, line))
            return
        _cancel(line)
        line.asked = False
        line.since = self._clock.monotonic()
        line.fruitful, line.fruitless, line.pause, line.said = True, 0, PAUSES[0], ""
        line.careful = max(0, line.careful - count)
        delivered = [line.written.popleft() for _ in range(count)]
        for item in delivered:
            self._uncount(line, item)
        for item in delivered:
            _tell(item.handover.delivered)
        if line.stream is not None:
            self._write(line)

    def _ask_again(self, line: Line) -> None:
        line.timer = None
        line.asked = False
        self._ask(line)

    def _ended(self, line: Line, stream: OutgoingServerStream, why: str) -> None:
        """What was not confirmed is sent again, before what waits; or fails."""
        if line.stream is not stream:
            return
        line.stream = None
        _cancel(line)
        self._say("the stream from %s to %s has ended: %s", line.local, line.remote, why)
        written, line.written = line.written, deque()
        again: deque[_Item] = deque()
        failed: deque[_Item] = deque()
        if len(written) == 1:
            written[0].tries += 1
        if written and not line.fruitful:
            line.fruitless += 1
            line.failed_at = self._clock.monotonic()
            if line.fruitless >= CAREFUL:
                line.careful = max(line.careful, len(written))
        for item in written:
            (again if item.handover.patient and item.tries < TRIES else failed).append(item)
        line.waiting.extendleft(reversed(again))
        self._fail(line, failed, _timeout(line.remote))
        if line.fruitless:
            self._fail_some(line)
        self._go_on(line, bool(line.fruitless))

    # ---- connecting

    def _go_on(self, line: Line, pause: bool) -> None:
        """Nothing carries the line now. `pause`: it did not go well."""
        if line.stream is not None or line.connecting or line.timer is not None:
            return
        if not line.waiting:
            self._forget(line)
        elif not self.stopping and pause:
            oldest = line.waiting[0].at + self.config.wait
            left = max(0.1, min(line.pause * uniform(0.7, 1.3), oldest - self._clock.monotonic()))
            line.pause = min(line.pause * 1.7, PAUSES[1])
            line.timer = self._clock.call_later(left, partial(self._begin, line))
        elif not self.stopping:
            self._begin(line)

    def _begin(self, line: Line) -> None:
        _cancel(line)
        if not self.stopping:
            line.connecting = True
            self._background.spawn(self._attempt(line), f"connect to {line.remote}")

    async def _attempt(self, line: Line) -> None:
        """One attempt to get a stream."""
        stream = None
        try:
            stream = await self._connect(line.local, line.remote)
        except NoSuchDomain as error:
            self._note(line, str(error))
            self._fail(line, line.waiting, RemoteServerNotFound(f"there is no server of {line.remote}"))
        except (OSError, Refused) as error:
            self._note(line, str(error) or type(error).__name__)
            self._fail_some(line)
        except Exception as error:
            log.exception("to connect to %s failed", line.remote)
            self._note(line, type(error).__name__)
            self._fail_some(line)
        finally:
            line.connecting = False
        if stream is not None:
            self._take(line, stream)
        else:
            self._go_on(line, True)

    def _take(self, line: Line, stream: OutgoingServerStream) -> None:
        """The line has a stream."""
        line.stream, line.count, line.asked, line.pinged, line.fruitful = stream, 0, False, 0, False
        line.used = line.since = self._clock.monotonic()
        stream.on_acknowledged = partial(self._acknowledged, line, stream)
        stream.on_room = partial(self._room, line, stream)
        stream.on_end = partial(self._ended, line, stream)
        if self.stopping or not self.config.reaches(line.remote):
            line.stream = None
            stream.close()
            self._forget(line)
        elif stream.closed:
            line.fruitless += 1
            line.failed_at = self._clock.monotonic()
            self._ended(line, stream, "closed at once")
        else:
            self._write(line)

    def _room(self, line: Line, stream: OutgoingServerStream) -> None:
        if line.stream is stream:
            self._write(line)

    def _note(self, line: Line, text: str) -> None:
        """For the administrator, when it is something new."""
        self._failures.tell(OUT, line.local, line.remote, text)
        line.failed_at = self._clock.monotonic()
        if text != line.said:
            line.said = text
            self._say("%s cannot be reached for %s: %s", line.remote, line.local, text, level=logging.WARNING)

    # ---- time

    def sweep(self, now: float) -> None:
        """Streams that nothing uses end, and those whose other server does not read, or does not say what it has."""
        for line in list(self._lines.values()):
            stream = line.stream
            if stream is None or stream.closed:
                continue
            if not line.empty:
                if now - line.since > SILENCE:
                    stream.fail(StreamError("connection-timeout"))
            elif now - line.used > self.config.idle_time:
                line.stream = None
                stream.close()
                self._forget(line)

    async def close(self, within: float) -> None:
        """Give other servers a moment to say what they have. What is not confirmed stays in the store."""
        self.stopping = True
        end = asyncio.get_running_loop().time() + within
        while any(line.written and line.stream is not None for line in self._lines.values()):
            if asyncio.get_running_loop().time() > end:
                break
            await asyncio.sleep(0.01)
        for line in self._lines.values():
            _cancel(line)
            if line.stream is not None and line.written:
                line.stream.link.abort()  # a goodbye would say that nothing is sent again
            line.stream = None


def _cancel(line: Line) -> None:
    if line.timer is not None:
        line.timer.cancel()
        line.timer = None


def _tell(call: Callable[[], None]) -> None:
    try:
        call()
    except Exception:
        log.exception("what became of a stanza for another server could not be told")


def _timeout(remote: str) -> RemoteServerTimeout:
    return RemoteServerTimeout(f"the server of {remote} cannot be reached now")
