"""The look at all client streams, one timer for all: late sign-ins, silent clients, idle parsers, detached sessions."""

from __future__ import annotations

import logging
from functools import partial
from secrets import token_urlsafe
from typing import TYPE_CHECKING, Final

from ..clock import Timer
from ..errors import StreamError
from ..net.address import network
from ..stanza import iq
from ..streams.client import ClientStream
from ..streams.negotiation import State
from ..xml import E

if TYPE_CHECKING:
    from .runtime import RunningServer

log = logging.getLogger("xmppd.server")

SWEEP: Final = 2.0
"""Seconds between two looks."""
REST_AFTER: Final = 10.0
"""Seconds without input after which a stream gives its parser back."""


PATIENT: Final = 2000
"""So many strangers may wait for a person at once, some 60 KiB each: to ask for a form costs them little."""


class IdleSweep:
    """Looks at every client stream of a server each `SWEEP` seconds."""

    def __init__(self, server: RunningServer) -> None:
        self.server = server
        self._timer: Timer | None = None
        self.patient = PATIENT

    def start(self) -> None:
        clock = self.server.clock
        self._timer = clock.call_later(SWEEP, partial(self._sweep, clock.monotonic() + SWEEP))

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _sweep(self, due: float) -> None:
        self.start()
        server = self.server
        now = server.clock.monotonic()
        server.counts.lag.observe(max(0.0, now - due))
        patient: list[ClientStream] = []
        for stream in list(server.streams):
            try:
                self._look_at(stream, now, patient)
            except Exception:
                log.exception("sweeping a stream failed")
                stream.link.abort()
        for stream in superfluous(patient, self.patient):
            stream.fail(StreamError("connection-timeout"))
        server.components.sweep(now)
        server.session_manager.sweep()
        server.trimmer.look(now)

    def _look_at(self, stream: ClientStream, now: float, patient: list[ClientStream]) -> None:
        """`patient`: takes those that may still be there only since they wait for a person."""
        limits = self.server.limits
        if stream.unsent_charged:
            stream.charge_unsent()
        idle = now - stream.link.last_read
        if stream.state is not State.BOUND:
            if stream.link.securing:
                return
            age = now - stream.born
            most = limits.registration_time if stream.waits_for_person else limits.sign_in_time
            if age > most or (not stream.opened and age > limits.header_time):
                stream.fail(StreamError("connection-timeout"))
            elif age > limits.sign_in_time:
                patient.append(stream)
            return
        if idle < REST_AFTER or stream.over_rate:  # what it sends meanwhile is not read, so it is not silent
            return
        stream.parser.rest()
        if stream.parser.pending and idle > limits.ping_after:
            stream.fail(StreamError("connection-timeout"))
        elif stream.pinged and idle > limits.ping_after + limits.ping_timeout:
            stream.fail(StreamError("connection-timeout"))
        elif not stream.pinged and idle > limits.ping_after:
            _ping(stream)


def superfluous(streams: list[ClientStream], most: int) -> list[ClientStream]:
    """Which of them must end so that `most` are left: of the addresses that have most of them those that are there for
    longest, so that who comes alone is not shut out by a crowd."""
    if len(streams) <= most:
        return []
    number: dict[str, int] = {}
    ranked: list[tuple[int, int, ClientStream]] = []
    for at, stream in enumerate(sorted(streams, key=lambda stream: stream.born, reverse=True)):
        place = network(stream.peer)
        rank = number[place] = number.get(place, 0) + 1
        ranked.append((rank, at, stream))
    return [stream for _, _, stream in sorted(ranked, key=lambda each: each[:2])[most:]]


def _ping(stream: ClientStream) -> None:
    """XEP-0199 section 4.1, or <r/> where the client counts stanzas (XEP-0198 section 4)."""
    session = stream.session
    if session is None:
        return
    stream.pinged = True
    if session.channel.queue is not None:
        session.nonza(b"<r xmlns='urn:xmpp:sm:3'/>")
    else:
        ping = E("ping", "urn:xmpp:ping")
        session.send(iq("get", token_urlsafe(6), ping, to=session.jid, sender=session.host.jid))
