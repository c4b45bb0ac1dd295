"""How often something may be done from one IP address."""

from __future__ import annotations

from collections import deque
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Final

from xmppd.cache import BESIDE, Cache
from xmppd.errors import ResourceConstraint

if TYPE_CHECKING:
    from xmppd.clock import Clock

COUNTED_ADDRESSES: Final = 10_000
COUNTED_BYTES: Final = 8 << 20


class AddressLimit:
    """At most `limit` counts of one address within `interval` seconds."""

    def __init__(self, clock: Clock, limit: int, interval: float) -> None:
        self.clock = clock
        self.limit = limit
        self.interval = interval
        self._times: Cache[str, deque[float]] = Cache(COUNTED_ADDRESSES, COUNTED_BYTES, _weight)

    def check(self, address: str) -> None:
        """Raises ResourceConstraint when the limit is reached."""
        times, now = self._times.get(network(address)), self.clock.monotonic()
        while times and times[0] <= now - self.interval:
            times.popleft()
        if times and len(times) >= self.limit:
            raise ResourceConstraint("too many from your address: try again later")

    def count(self, address: str) -> None:
        """Raises ResourceConstraint when the limit is reached."""
        self.check(address)
        key = network(address)
        times = self._times.get(key) or deque()
        times.append(self.clock.monotonic())
        self._times.put(key, times)

    def uncount(self, address: str) -> None:
        """The last count was of what has not come about."""
        if times := self._times.get(network(address)):
            times.pop()


def _weight(address: str, times: deque[float]) -> int:
    return BESIDE + len(address) + 700 + 32 * len(times)


def network(address: str) -> str:
    """What counts as one address: one IPv4 address, one IPv6 /64."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return str(ip_network((parsed, 64), strict=False)) if parsed.version == 6 else str(parsed)
