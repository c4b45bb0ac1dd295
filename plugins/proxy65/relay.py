"""Two connections that asked for the same name become one stream, with the backpressure of the slower side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from xmppd.contracts.link import Link

from .socks import REFUSED, Handshake, SocksError, failure, success

if TYPE_CHECKING:
    from xmppd.clock import Clock

    from .options import Config

MOST_WAITING: Final = 2000
"""Connections that wait for their stream; of more the oldest end."""


class Relay:
    """All streams of one proxy."""

    def __init__(self, clock: Clock, config: Callable[[], Config]) -> None:
        self.clock = clock
        self._config = config
        self.halves: dict[Half, None] = {}
        """All connections, the oldest first."""
        self._waiting: dict[str, list[Half]] = {}
        self._streams: Counter[str] = Counter()

    @property
    def config(self) -> Config:
        return self._config()

    def streams_of(self, user: str) -> int:
        """`user`: the bare JID of who has activated them."""
        return self._streams[user]

    # ---- the connections' side

    def arrived(self, half: Half) -> None:
        self.halves[half] = None
        if len(self.halves) - 2 * self._streams.total() > MOST_WAITING:
            oldest = next((each for each in self.halves if each.other is None), None)
            if oldest is not None:
                oldest.abort()

    def asks(self, half: Half) -> bool:
        """It has said its name. False: two are there already."""
        waiting = self._waiting.setdefault(half.name, [])
        if len(waiting) >= 2:
            return False
        waiting.append(half)
        return True

    def half_closed(self, half: Half) -> None:
        self.halves.pop(half, None)
        waiting = self._waiting.get(half.name)
        if waiting is not None and half in waiting:
            waiting.remove(half)
            if not waiting:
                del self._waiting[half.name]
        if half.user:
            self._streams[half.user] -= 1
            if self._streams[half.user] <= 0:
                del self._streams[half.user]

    # ---- the proxy's side

    def activate(self, name: str, user: str) -> bool:
        """Join the two that wait under `name`; False if they are not there."""
        waiting = self._waiting.get(name)
        if waiting is None or len(waiting) != 2:
            return False
        del self._waiting[name]
        one, other = waiting
        one.user = user  # one of the two counts for the user
        self._streams[user] += 1
        one.join(other)
        other.join(one)
        return True

    def sweep(self) -> None:
        """End what waits too long, and what is silent."""
        now, config = self.clock.monotonic(), self.config
        for half in list(self.halves):
            if half.other is None:
                if half.since + config.waiting <= now:
                    half.abort()
            elif max(half.since, half.other.since) + config.silence <= now:
                half.abort()


class Half:
    """One connection to the proxy (`contracts.link.Receiver`)."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.name = ""
        self.user = ""
        self.other: Half | None = None
        self.since = relay.clock.monotonic()
        """When it came, or its last byte did."""
        self._link: Link
        self._handshake: Handshake | None = Handshake()
        self._early = b""
        """What came before the stream was activated."""
        self._allowed = 0.0
        """Bytes that may pass now; below 0 it waits."""
        self._counted = self.since
        self._full = self._waits = False
        """The other side's connection is full; the rate is used up."""

    def connected(self, link: Link) -> None:
        self._link = link
        self.relay.arrived(self)

    def secured(self) -> None:
        """There is no TLS here: what passes is the clients' to encrypt."""

    def data_received(self, data: bytes) -> None:
        if self.other is not None:
            self._pass_on(data)
        elif self._handshake is not None:
            self._shake(self._handshake, data)

    def _shake(self, handshake: Handshake, data: bytes) -> None:
        try:
            answer = handshake.feed(data)
        except SocksError as error:
            self._refuse(error.answer)
            return
        self._link.write(answer)
        if not handshake.name:
            return
        self.name, self._early, self._handshake = handshake.name, handshake.rest, None
        if not self.relay.asks(self):
            self.name = ""
            self._refuse(failure(REFUSED))
            return
        self._link.write(success(self.name))
        self._link.pause_reading()  # until it is activated: nothing is kept in memory

    def _refuse(self, answer: bytes) -> None:
        self._handshake = None
        self._link.write(answer)
        self._link.close()

    def join(self, other: Half) -> None:
        self.other = other
        self.since = self._counted = self.relay.clock.monotonic()
        early, self._early = self._early, b""
        if early:
            self._pass_on(early)
        self._link.resume_reading()

    def _pass_on(self, data: bytes) -> None:
        other, rate = self.other, self.relay.config.rate
        assert other is not None
        now = self.since = self.relay.clock.monotonic()
        other._link.write(data)
        if not rate:
            return
        self._allowed = min(float(rate), self._allowed + (now - self._counted) * rate) - len(data)
        self._counted = now
        if self._allowed < 0 and not self._waits:
            self._waits = True
            self._link.pause_reading()
            self.relay.clock.call_later(-self._allowed / rate, self._go_on)

    def _go_on(self) -> None:
        self._waits = False
        if not self._full:
            self._link.resume_reading()

    def pause_writing(self) -> None:
        """This side reads slowly: the other one is not read."""
        if self.other is not None:
            self.other._full = True
            self.other._link.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None:
            self.other._full = False
            if not self.other._waits:
                self.other._link.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self.relay.half_closed(self)
        other = self.other
        if other is not None:
            # What is still on its way to the other side arrives first.
            other._link.on_drained(other._link.close)

    def abort(self) -> None:
        self._link.abort()
