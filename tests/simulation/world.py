"""Time, chance, and what goes wrong. One seed is one world."""

from __future__ import annotations

import heapq
import logging
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any, NoReturn

from tests.simulation.database import Database
from tests.simulation.documents import Wire
from tests.simulation.mail import Post
from xmppd.storage.journal import backend, deletions, incarnation, sendings
from xmppd.storage.journal.process import is_gone, this_process

HOUR = 100.0
"""Seconds of a simulation that stand for the hour after which nothing is carried out any more: else a seed would spend
its time on 3,600 beats."""
MINUTE = 2.0


class Failed(AssertionError):
    """Something was not as promised."""


@dataclass
class Weather:
    """How often what goes wrong. `latency`, `timeout`: seconds; the others: shares of statements."""

    latency: float = 0.002
    slow: float = 0.0
    lost: float = 0.0
    half: float = 0.0
    """Of those done in steps that are not done to the end."""
    twice: float = 0.0
    timeout: float = 1.0


@dataclass
class World:
    seed: int
    tracing: bool = False
    hour: float = HOUR
    time: float = 0.0
    lag: float = 0.0
    """Seconds, at most, until the majority has what the primary has."""
    splits: bool = False
    """Statements over several documents are done in parts."""
    late: int = 0
    weather: Weather = field(default_factory=Weather)
    post: Post = field(default_factory=Post)
    parked: float = sendings.AFTER
    """Seconds after which what nobody hears is put where it may stay."""
    crowd: int = sendings.MOST
    """Sendings that may wait for so long."""
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.failure: Failed | None = None
        self._heap: list[tuple[float, int, Callable[[Any], object], Any]] = []
        self._numbers = count()
        self.database = Database(self)
        self.wire = Wire(self.database)

    def at(self, delay: float, call: Callable[[Any], object], what: Any = None) -> None:
        """Call it with `what` in so many seconds."""
        heapq.heappush(self._heap, (self.time + delay, next(self._numbers), call, what))

    def run(self, until: float, enough: Callable[[], object] | None = None) -> bool:
        """Let time pass until then, or until it is enough. Whether it was."""
        heap, pop = self._heap, heapq.heappop
        while heap and heap[0][0] <= until:
            self.time, _, call, what = pop(heap)
            call(what)
            if self.failure is not None:
                raise self.failure
            if enough is not None and enough():
                return True
        self.time = max(self.time, until)
        return False

    def say(self, line: str) -> None:
        if self.tracing:
            self.lines.append(f"{self.time:10.4f}  {line}")

    def found(self, what: str) -> Failed:
        """The run ends with that."""
        self.say(f"BROKEN: {what}")
        if self.failure is None:
            self.failure = Failed(f"seed {self.seed}, at {self.time:.4f} s: {what}")
        return self.failure

    def problem(self, what: str) -> NoReturn:
        """Raises Failed. The run ends even if that is caught."""
        raise self.found(what)

    # ---- what the whole database does

    def fail_over(self, forgets: int, seconds: float) -> None:
        self.say(f"-- a new primary, which has forgotten {forgets} changes for {seconds:.2f} s")
        self.database.fail_over(forgets)
        self.wire.cut_all()
        self.at(seconds, lambda _: self.database.caught_up())


class _Complaints(logging.Handler):
    """Exceptions that the code has caught and logged as its own mistakes."""

    def __init__(self, world: World) -> None:
        super().__init__(logging.DEBUG if world.tracing else logging.ERROR)
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        self._world.say(f"log: {record.getMessage()}")
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, Failed):
            raise error
        if error is not None:
            self._world.problem(f"{record.getMessage()}: {error!r}")


@contextmanager
def scaled(world: World) -> Iterator[None]:
    """An hour is as long as in this world, a process is one of it, and what is logged is in the trace."""
    log = logging.getLogger("xmppd.storage")
    before = (log.level, log.propagate, deletions.KEPT, deletions.SAMPLE, backend.SAMPLE)
    sent = (sendings.AFTER, sendings.MOST)
    sendings.AFTER, sendings.MOST = world.parked, world.crowd
    scale = world.hour / deletions.LATEST
    deletions.KEPT, deletions.SAMPLE, backend.SAMPLE = world.hour + 15, deletions.SAMPLE * scale, backend.SAMPLE * scale
    incarnation.this_process, incarnation.is_gone = _this_process, _is_gone
    handler = _Complaints(world)
    log.addHandler(handler)
    log.propagate = False
    log.setLevel(logging.DEBUG if world.tracing else logging.ERROR)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.level, log.propagate, deletions.KEPT, deletions.SAMPLE, backend.SAMPLE = before
        log.setLevel(before[0])
        sendings.AFTER, sendings.MOST = sent
        incarnation.this_process, incarnation.is_gone = this_process, is_gone


def _process() -> Any:
    import asyncio

    return asyncio.get_running_loop().process  # type: ignore[attr-defined]


def _this_process() -> dict[str, Any]:
    return {"pid": _process().number, "host": _process().machine}


def _is_gone(process: dict[str, Any]) -> bool:
    """Seen from the same machine."""
    me = _process()
    return process["host"] == me.machine and (process["pid"] == me.number or me.servers[process["pid"]].dead)
