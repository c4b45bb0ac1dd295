"""Figures: CPU time and memory of another process, and what becomes of several rounds."""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Self

_WHOLE_PROCESS = 2
"""CPUCLOCK_SCHED: what clock_getcpuclockid(3) puts into the low bits of a process's clock on Linux."""


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads of a process, those that ended included, to the nanosecond.

    Raises OSError when there is no such process.
    """
    return time.clock_gettime((~pid << 3) | _WHOLE_PROCESS)


def loop_seconds(pid: int) -> float:
    """The same of its first thread alone: where the event loop runs (proc(5), schedstat)."""
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0]) / 1e9


@dataclass(frozen=True, slots=True)
class Memory:
    """KiB. `resident`: Rss; `private`: pages that belong to the process alone (Private_Dirty)."""

    resident: int
    private: int

    @classmethod
    def of(cls, pid: int) -> Self:
        """Raises OSError."""
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
        sizes = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
        return cls(sizes["Rss"], sizes["Private_Dirty"])


@dataclass(slots=True)
class Figure:
    """One measured quantity of one server. `values`: one for each round, in `unit`."""

    case: str
    name: str
    unit: str
    values: list[float] = field(default_factory=list)
    target: float | None = None
    """At most so much, for our own server."""
    loop: float | None = None
    """Of the median: how much of it the first thread spent."""

    @property
    def value(self) -> float:
        return median(self.values)

    @property
    def least(self) -> float:
        return min(self.values)

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "median": self.value, "min": self.least}


def percentile(values: list[float], percent: float) -> float:
    """Nearest rank; 0.0 of nothing."""
    ordered = sorted(values)
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def yardstick() -> float:
    """CPU milliseconds that a fixed piece of work takes here and now; more, when others use the machine."""
    best = float("inf")
    for _ in range(3):
        began, total = time.process_time(), 0
        for number in range(1_000_000):
            total += number
        best = min(best, (time.process_time() - began) * 1e3)
    return best


def machine() -> dict[str, Any]:
    """Where the figures come from."""
    cpu = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    return {
        "cpu": cpu,
        "cores": os.cpu_count() or 1,
        "system": " ".join((os.uname().sysname, os.uname().release)),
        "load": round(os.getloadavg()[0], 2),
    }
