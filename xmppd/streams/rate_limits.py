"""What one peer may cost over time: bytes and stanzas per second, failed sign-ins, passwords checked at once.

Nothing here has a task or a timer per connection. A bucket is one number, the moment at which it is full again: what
was used flows back by the clock alone (the generic cell rate algorithm), so an idle connection costs nothing.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from ..cache import BESIDE, Cache
from ..net.address import network
from ..protocol.token_bucket import Rate, TokenBucket

if TYPE_CHECKING:
    from ..clock import Clock, Timer
    from ..config import LimitsConfig, ShapingLimits, SignInLimits
    from ..contracts.core import Account
    from ..contracts.link import Link

log = logging.getLogger("xmppd.streams")
T = TypeVar("T")

TICK: Final = 0.05
"""Seconds between two looks at the connections that have to wait."""
REMEMBERED: Final = 20_000
"""Entries of each table about sign-ins; the one not used for the longest time goes first."""
REMEMBERED_BYTES: Final = 8 << 20
"""Of each table: strangers choose the names in them."""


# ---- bytes and stanzas per second


class RateLimited(Protocol):
    """A stream whose reading can be held up."""

    link: Link
    bucket: TokenBucket

    def limit_rate(self, wait: bool) -> None:
        """Read no more (True), or go on."""
        ...


def rate_of(config: ShapingLimits) -> Rate:
    """What the configuration lets a connection send."""
    return Rate.of(config.bytes, config.bytes_burst, config.stanzas, config.stanzas_burst)


class RateLimiter:
    """The paces of all connections and accounts, and the connections that have to wait, with one timer for all."""

    def __init__(self, clock: Clock, config: LimitsConfig) -> None:
        self.clock = clock
        self._waiting: list[tuple[float, int, RateLimited]] = []
        self._order = count()
        self._timer: Timer | None = None
        self.configure(config)

    def configure(self, config: LimitsConfig) -> None:
        self._connection = rate_of(config.per_connection)
        self._account = rate_of(config.per_account)
        self.on = not (self._connection.unlimited and self._account.unlimited)

    def use(self, stream: RateLimited, size: int, stanzas: int, account: Account | None = None) -> None:
        """One read of a stream, on which `account` has signed in. Over the limit it is not read until there is room:
        TCP tells the client."""
        now = stream.link.last_read
        wait = stream.bucket.use(self._connection, now, size, stanzas)
        if account is not None:
            bucket = account.bucket
            if bucket is None:
                bucket = account.bucket = TokenBucket()
            more = bucket.use(self._account, now, size, stanzas)
            wait = more if more > wait else wait
        if wait > 0.0:
            self._make_wait(stream, now + wait)

    def use_own(self, stream: RateLimited, rate: Rate, size: int, stanzas: int) -> None:
        """The same for a stream that has a rate of its own."""
        now = stream.link.last_read
        wait = stream.bucket.use(rate, now, size, stanzas)
        if wait > 0.0:
            self._make_wait(stream, now + wait)

    def _make_wait(self, stream: RateLimited, until: float) -> None:
        stream.limit_rate(True)
        heappush(self._waiting, (until, next(self._order), stream))
        if self._timer is None:
            self._timer = self.clock.call_later(TICK, self._tick)

    def _tick(self) -> None:
        waiting, now = self._waiting, self.clock.monotonic()
        self._timer = None
        while waiting and waiting[0][0] <= now:
            heappop(waiting)[2].limit_rate(False)
        if waiting and self._timer is None:
            self._timer = self.clock.call_later(TICK, self._tick)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


# ---- sign-ins


class Failures:
    """Of one address, or of one address for one account."""

    __slots__ = ("last", "number", "until")

    def __init__(self) -> None:
        self.number = 0
        self.last = 0.0
        self.until = 0.0


def _known_size(key: tuple[str, str], _: bool) -> int:
    return BESIDE + len(key[0]) + len(key[1])


class SignInGuard:
    """Slows down who guesses passwords, and nobody else (RFC 6120 section 6.4.5, XEP-0205 section 3).

    Failures count per address (IPv6: /64) and per account and address, never per account alone: otherwise anybody could
    lock anybody out. An account that has signed in from an address is not held up by the failures of others there
    (people behind one NAT). Accounts that do not exist count like others. Methods take an IP address and a bare JID.
    """

    def __init__(self, clock: Clock, config: SignInLimits) -> None:
        self.clock = clock
        self.config = config
        self._addresses: Cache[str, Failures] = Cache(REMEMBERED, REMEMBERED_BYTES)
        self._pairs: Cache[tuple[str, str], Failures] = Cache(REMEMBERED, REMEMBERED_BYTES)
        self._known: Cache[tuple[str, str], bool] = Cache(REMEMBERED, REMEMBERED_BYTES, _known_size)

    def wait(self, address: str, account: str) -> float:
        """Seconds until that account may try from that address again, 0.0 for now."""
        if not self._pairs and not self._addresses:
            return 0.0  # nobody has failed
        now, place = self.clock.monotonic(), network(address)
        pair = self._pairs.get((place, account))
        until = pair.until if pair is not None else 0.0
        if (place, account) not in self._known:
            others = self._addresses.get(place)
            if others is not None and others.until > until:
                until = others.until
        return max(0.0, until - now)

    def failed(self, address: str, account: str) -> None:
        """A sign-in with what is wrong."""
        place = network(address)
        config = self.config
        wait = self._count(self._pairs, (place, account), config.account_failures)
        if wait:
            log.warning("failed sign-ins from %s to one account: it must wait %.0f s there", place, wait)
        wait = self._count(self._addresses, place, config.address_failures)
        if wait:
            log.warning("failed sign-ins from %s: accounts that are new there must wait %.0f s", place, wait)

    def _count(self, table: Cache[T, Failures], key: T, free: int) -> float:
        """Seconds to wait, doubled with each failure beyond the free ones."""
        config, now = self.config, self.clock.monotonic()
        found = table.get(key)
        if found is None or now - found.last > config.forget:
            found = Failures()
        table.put(key, found)
        found.number += 1
        found.last = now
        if not free or found.number < free:
            return 0.0
        wait = min(float(config.longest_wait), config.first_wait * 2.0 ** min(found.number - free, 60))
        found.until = now + wait
        return wait

    def succeeded(self, address: str, account: str) -> None:
        key = (network(address), account)
        self._pairs.pop(key)
        if not self._known.get(key):
            self._known.put(key, True)


class Hashing:
    """Runs what costs a PBKDF2 beside the loop, a few at a time: a storm of sign-ins must leave a processor to those
    who are signed in. The rest wait in the order they came; their number is that of the connections."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(max(1, (os.cpu_count() or 1) // 2))

    async def run(self, work: Callable[[], T]) -> T:
        async with self._free:
            return await asyncio.to_thread(work)
