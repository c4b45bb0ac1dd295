"""What has gone wrong between this server and others: counted by reason, and told of each pair of domains in words."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

from ..cache import Cache
from ..clock import Clock

OUT: Final = "out"
"""On streams that this server opens."""
IN: Final = "in"
"""On those of others."""
KEPT: Final = 1000
KEPT_SIZE: Final = 256 << 10
"""Bytes. For each direction, since anybody can make failures under any name from outside."""
LONGEST: Final = 500
"""Characters of a text."""


@dataclass(frozen=True, slots=True)
class Failure:
    """`at`: seconds since 1970 UTC. `text`: for the administrator."""

    at: float
    text: str


class Failures:
    """`counts`: by direction and reason."""

    def __init__(self, clock: Clock) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self._clock = clock
        self._last: dict[str, Cache[tuple[str, str], Failure]] = {
            direction: Cache(KEPT, KEPT_SIZE) for direction in (OUT, IN)
        }

    def count(self, direction: str, reason: str) -> None:
        self.counts[direction, reason] += 1

    def tell(self, direction: str, local: str, remote: str, text: str) -> None:
        """The last one of a pair of domains counts."""
        self._last[direction].put((local, remote), Failure(self._clock.now(), text[:LONGEST]))

    def last(self, direction: str, local: str, remote: str) -> Failure | None:
        return self._last[direction].get((local, remote))

    def pairs(self) -> set[tuple[str, str]]:
        """Of which something is known: our domain and theirs."""
        return {pair for cache in self._last.values() for pair in cache}
