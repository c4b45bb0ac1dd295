"""Lines that are on a stream: what is written, and what the other server says of it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from ..contracts.core import Host
from ..jid import JID
from ..stanza import iq
from ..xep.elements import LATE
from ..xml import E
from .remote_bounds import Bounds
from .remote_line import PAUSES, Line, Load

if TYPE_CHECKING:
    from .runtime import StreamServer

log = logging.getLogger("xmppd.streams")

PING_TIME: Final = 60.0
"""Seconds for the answer to a ping. Then what was written counts as delivered: a server that cannot reach us answers
nobody, and sending it again would give it everything twice."""
AT_ONCE: Final = LATE / 1_000_000
"""Seconds after which a message that goes out says when it was said."""
ASK_AGAIN: Final = 1.0
"""Seconds between an answer that has brought nothing and the next question."""


class Writing:
    def __init__(self, server: StreamServer, bounds: Bounds) -> None:
        self._server = server
        self._clock = server.clock
        self._bounds = bounds

    def write(self, line: Line) -> None:
        """As much as the stream takes."""
        load = line.load
        assert load is not None
        carrier, now = load.carrier, self._clock.monotonic()
        while line.waiting and not carrier.slow and not carrier.closed and not (line.careful and line.written):
            item = line.waiting.popleft()
            carrier.write(item.data if now - item.at < AT_ONCE else item.late)
            carrier.used = now
            if carrier.managed or item.handover.patient:
                if not line.written:
                    line.since = now
                line.written.append(item)
                if carrier.managed:
                    load.order.append(line)
                else:
                    line.uncounted += 1
            else:
                line.since = now
                self._bounds.remove(line.remote, item)
                tell(item.handover.delivered)
                if line.load is not load:
                    return
        self._ask(line)

    def room(self, load: Load) -> None:
        """The stream takes more: each line has its turn to be the first."""
        load.lines.rotate(-1)
        for line in list(load.lines):
            if line.load is load:
                self.write(line)

    # ---- whether they have it

    def _ask(self, line: Line) -> None:
        """One question at a time: of the stream if XEP-0198 counts what was written, else of the line."""
        load = line.load
        if load is None or load.carrier.closed or load.carrier.slow or not line.written:
            return  # a stream that is slow asks when there is room
        if not line.uncounted:
            if not load.asked:
                load.asked = True
                load.carrier.request()
        elif not line.asked:
            line.asked = True
            self._ping(line, load)

    def _ping(self, line: Line, load: Load) -> None:
        line.pinged = line.uncounted
        host = self._host(line.local)
        if host is None:  # a component's stanzas: nobody keeps them
            self._answered(line, load)
            return
        to = JID.parse(line.remote)
        id = host.expect(to, lambda answer: self._answered(line, load), PING_TIME)
        load.carrier.write(iq("get", id, E("ping", "urn:xmpp:ping"), to=to, sender=host.jid).data)
        if load.carrier.managed:
            load.order.append(None)

    def _host(self, domain: str) -> Host | None:
        return next((host for host in self._server.router.routes.hosts() if host.domain == domain), None)

    def _answered(self, line: Line, load: Load) -> None:
        """The ping was, or will never be."""
        if line.load is load:
            line.asked = False
            self._have(line, min(line.pinged, line.uncounted))
            self._ask(line)

    def acknowledged(self, load: Load, count: int) -> None:
        """XEP-0198: they have so many stanzas of a stream."""
        before = load.count
        found = load.acknowledged(count)
        if found is None:
            load.carrier.too_high(count, (before + len(load.order)) & 0xFFFFFFFF)
            return
        if count == before:
            if load.asked and load.timer is None:  # nothing new: not at once again
                load.timer = self._clock.call_later(ASK_AGAIN, partial(self._ask_again, load))
            return
        load.rest()
        load.asked = False
        for line, number in found.items():
            if line.load is load:  # what was written before XEP-0198 was on lies before it
                self._have(line, line.uncounted + number)
        self._ask_all(load)

    def _ask_again(self, load: Load) -> None:
        load.timer = None
        load.asked = False
        self._ask_all(load)

    def _ask_all(self, load: Load) -> None:
        for line in list(load.lines):
            if line.load is load:
                self._ask(line)

    def _have(self, line: Line, count: int) -> None:
        """They have the first ones of what was written."""
        if not count:
            return
        line.since = self._clock.monotonic()
        line.fruitful, line.fruitless, line.pause, line.said = True, 0, PAUSES[0], ""
        line.careful = max(0, line.careful - count)
        line.uncounted = max(0, line.uncounted - count)
        delivered = [line.written.popleft() for _ in range(count)]
        for item in delivered:
            self._bounds.remove(line.remote, item)
        for item in delivered:
            tell(item.handover.delivered)
        if line.load is not None:
            self.write(line)


def tell(call: Callable[[], None]) -> None:
    """Who is told may do anything."""
    try:
        call()
    except Exception:
        log.exception("what became of a stanza for another server could not be told")
