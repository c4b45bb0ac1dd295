"""How often something may be done within a time: by whatever key, or from one IP address."""

from __future__ import annotations

from collections import deque
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Final

from xmppd.cache import BESIDE, Cache
from xmppd.errors import ResourceConstraint

if TYPE_CHECKING:
    from xmppd.clock import Clock

COUNTED_KEYS: Final = 10_000
COUNTED_BYTES: Final = 8 << 20


class WindowLimit:
    """At most `limit` counts of one key within `interval` seconds. In memory, and bounded: of too many keys the one
    that was counted longest ago is forgotten. `refusal`: what is said beyond the limit."""

    def __init__(self, clock: Clock, limit: int, interval: float, refusal: str = "too many: try again later") -> None:
        self.clock = clock
        self.limit = limit
        self.interval = interval
        self.refusal = refusal
        self.times: Cache[str, deque[float]] = Cache(COUNTED_KEYS, COUNTED_BYTES, _weight)
        """By key: the times (monotonic) of the counts."""

    def key(self, text: str) -> str:
        """What counts as one."""
        return text

    def check(self, text: str) -> None:
        """Raises ResourceConstraint when the limit is reached."""
        times, now = self.times.get(self.key(text)), self.clock.monotonic()
        while times and times[0] <= now - self.interval:
            times.popleft()
        if times and len(times) >= self.limit:
            raise ResourceConstraint(self.refusal)

    def count(self, text: str) -> None:
        """Raises ResourceConstraint when the limit is reached."""
        self.check(text)
        key = self.key(text)
        times = self.times.get(key) or deque()
        times.append(self.clock.monotonic())
        self.times.put(key, times)

    def uncount(self, text: str) -> None:
        """The last count was of what has not come about."""
        if times := self.times.get(self.key(text)):
            times.pop()


class AddressLimit(WindowLimit):
    """The same by IP address."""

    def __init__(self, clock: Clock, limit: int, interval: float) -> None:
        super().__init__(clock, limit, interval, "too many from your address: try again later")

    def key(self, text: str) -> str:
        return network(text)


def _weight(key: str, times: deque[float]) -> int:
    return BESIDE + len(key) + 700 + 32 * len(times)


def network(address: str) -> str:
    """What counts as one address: one IPv4 address, one IPv6 /64. Text that is no address stays as it is."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return str(ip_network((parsed, 64), strict=False)) if parsed.version == 6 else str(parsed)
