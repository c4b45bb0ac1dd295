"""Numbers about the running server: plain attributes, so that counting costs nothing. `exposition` reads them."""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Upper bounds of a histogram's buckets."""


class HookTimes:
    """Time spent in plugins' handlers, from samples."""

    __slots__ = ("seconds",)

    def __init__(self) -> None:
        self.seconds: dict[str, tuple[int, float]] = {}
        """By "plugin.method": samples, seconds in all."""

    def add(self, name: str, seconds: float) -> None:
        count, total = self.seconds.get(name, (0, 0.0))
        self.seconds[name] = (count + 1, total + seconds)


class Histogram:
    """How often something took how long."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(SECONDS) + 1)
        """By bound of `SECONDS`, not cumulative; the last one is beyond all of them."""
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(SECONDS, seconds)] += 1
        self.sum += seconds


class HttpCounts:
    """Of all HTTP listeners of a process."""

    __slots__ = ("answers", "received", "seconds", "sent")

    def __init__(self) -> None:
        self.answers: dict[tuple[str, int], int] = {}
        """By route, such as "GET /icons/{name}", and status class: 2 for 200 to 299."""
        self.seconds: dict[str, Histogram] = {}
        """By route: from a request's header to the end of its answer."""
        self.received = 0
        """Bytes, without those of TLS."""
        self.sent = 0

    def answered(self, route: str, status: int, seconds: float) -> None:
        """A request was answered; "": no route was for it."""
        key = (route, status // 100)
        self.answers[key] = self.answers.get(key, 0) + 1
        if (taken := self.seconds.get(route)) is None:
            taken = self.seconds[route] = Histogram()
        taken.observe(seconds)


class StoreCounts:
    """Of one store. `seconds`: from handing a commit to the backend to its answer, of those that succeeded."""

    __slots__ = ("commits", "entries", "failed", "refused", "rows", "seconds")

    def __init__(self) -> None:
        self.commits = 0
        self.failed = 0
        """Attempts that the backend could not do; each is tried again."""
        self.refused = 0
        """Items whose writes were refused: by the backend for what they hold, or because it did not answer."""
        self.rows = 0
        self.entries = 0
        """Rows that are log entries: messages archived, or transient."""
        self.seconds = Histogram()


class Counts:
    """Of one server process."""

    __slots__ = (
        "delivered",
        "dropped",
        "lag",
        "lagging",
        "memory_full",
        "overflows",
        "received",
        "resumed",
        "sign_ins",
        "sign_ins_failed",
    )

    def __init__(self) -> None:
        self.received = [0, 0, 0]
        """Stanzas from clients, by `Kind`."""
        self.delivered = 0
        """Stanzas to clients, of sessions that have ended; the others have their own count."""
        self.lagging = 0
        """How often a queue was full, so that what came next waits in the log."""
        self.memory_full = 0
        """How often all that the process may hold for clients was used up, so that sessions ended."""
        self.dropped = 0
        """Chat states for which a full queue had no room."""
        self.overflows = 0
        """Sessions that ended because even what cannot be dropped found no room."""
        self.resumed = 0
        self.sign_ins = 0
        self.sign_ins_failed = 0
        self.lag = Histogram()
        """How late the event loop runs a timer."""
