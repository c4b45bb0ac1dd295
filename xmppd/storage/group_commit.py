"""Group commit: writes that come together share a batch; one is in flight, none is abandoned, nothing reordered."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any

from xmppd.cache import content
from xmppd.clock import Clock, Timer
from xmppd.errors import LocalError, StorageUnavailable
from xmppd.observe.metrics import StoreCounts
from xmppd.storage.api import (
    NOBODY,
    NOT_SENT,
    Batch,
    DataError,
    Heard,
    Item,
    LogAppend,
    LogDelete,
    LogReplace,
    MapDelete,
    MapPut,
    MapUpdate,
    Release,
    Rider,
    Send,
    Write,
)
from xmppd.storage.backend import Backend

log = logging.getLogger("xmppd.storage")

FIRST_RETRY, LAST_RETRY = 0.1, 2.0
"""Seconds between attempts: doubled from the first to the last."""
ROW_BYTES = 200
"""What a write is taken to weigh beside the body of a log entry."""


@dataclass(frozen=True)
class Limits:
    """Bounds of the queue in front of a backend.

    `rows`, `size` (bytes): of one batch; `queue_rows`, `queue_size`: of all that is not decided;
    `behind`: seconds that the oldest commit may wait to be applied before senders are paused;
    `commit_timeout`: seconds that a commit may hang or fail before new writes are refused; `linger`: seconds that a
    small batch waits for company (each commit costs the same, however little it holds).
    """

    rows: int = 2_000
    size: int = 4 << 20
    queue_rows: int = 64_000
    queue_size: int = 64 << 20
    commit_timeout: float = 10.0
    behind: float = 3.0
    linger: float = 0.0


SMALL = 64
"""Writes from which on a batch need not wait for company."""
RIDING = 8
"""So many writes that can wait go along with any batch, and one more for each `SHARE` that it holds."""
SHARE = 16
FULL_RIDE = 128
"""So many of them go along with a batch that was asked for: to write and to note them takes the loop some 1 ms, for
which messages wait. The next batch takes more."""
NO_BOUND = 1 << 62


def _ignored(why: str) -> None:
    """Nobody is told."""


def weight(write: Write) -> int:
    """What a write is taken to need in memory, bytes."""
    if isinstance(write, (LogAppend, LogReplace)):
        return len(write.entry.body) + ROW_BYTES
    if isinstance(write, MapPut):
        return ROW_BYTES + len(write.key) + content(write.value)
    if isinstance(write, (MapDelete, MapUpdate)):
        return ROW_BYTES + len(write.key)
    if isinstance(write, Send):
        return ROW_BYTES + len(write.to) + len(write.data)
    if isinstance(write, Heard):
        return ROW_BYTES + len(write.sender)
    return ROW_BYTES + 8 * len(write.ids) if isinstance(write, LogDelete) else ROW_BYTES


def _not_sent(writes: Sequence[Write]) -> None:
    """They are refused: no attempt to commit them counts."""
    for write in writes:
        if type(write) is Send:
            write.source = NOT_SENT


class GroupCommit:
    """The write side of a store (docs/explanation/delivery.md)."""

    def __init__(self, backend: Backend, clock: Clock, limits: Limits) -> None:
        self.available = True
        self.congested = False
        self.backend = backend
        self.clock = clock
        self.limits = limits
        self.counts = StoreCounts()
        self._rows, self._size = limits.rows, limits.size
        self._open: Batch | None = None
        self._waiting: deque[Batch] = deque()
        self._in_flight: Batch | None = None
        self._parts: list[tuple[int, int]] = []
        self._end = 0
        """Items of the batch in flight when it was submitted: what follows it bears nothing."""
        self._turn_asked = False
        self._since = 0.0
        self._submitted = 0.0
        self._writing = (0, 0)
        """Rows of the commit under way, and how many of them are log entries."""
        self._outage: float | None = None
        self._delay = FIRST_RETRY
        self._retry_timer: Timer | None = None
        self._watch_timer: Timer | None = None
        self._uncongested_callbacks: list[Callable[[], object]] = []
        self._number = 0
        self._riders: list[Rider] = []
        self._closing = False
        self._over = False
        self.on_over: Callable[[str], object] = _ignored
        """Called once, when another process has taken the store: from then on nothing is released or refused."""
        backend.over = self._taken
        backend.backlog_changed = self._update_load
        self._idle: asyncio.Future[None] | None = None

    # --- joining: the hot path ---

    def join(self, writes: Sequence[Write], release: Release) -> Batch:
        """Add writes, and what to release after them, to the open batch. Raises StorageUnavailable."""
        batch = self._open
        if batch is None or batch.rows >= self._rows or batch.size >= self._size:
            batch = self._begin()
        size = 0
        for write in writes:
            if type(write) is LogAppend:
                size += len(write.entry.body) + ROW_BYTES
            else:
                size += weight(write)
                if type(write) is MapUpdate:
                    batch.updates = True
        if batch.updates:
            self._joins(writes)
        batch.items.append((writes, release))
        batch.rows += len(writes) or 1
        batch.size += size
        return batch

    def add_rider(self, rider: Rider) -> None:
        """Ask it whenever a batch is sealed whether it has something for it."""
        self._riders.append(rider)

    def send_riders(self, release: Release) -> Batch:
        """Have a batch for what the riders have, as much of it as may go along. Raises StorageUnavailable."""
        batch = self.join((), release)
        batch.full_ride = True
        return batch

    def follow(self, batch: Batch, release: Release) -> None:
        """Release behind all that is in `batch`. Raises LocalError when it is done."""
        if batch.done:
            raise LocalError("the batch is done: nothing can follow it")
        batch.items.append(((), release))
        batch.rows += 1

    def on_uncongested(self, callback: Callable[[], object]) -> None:
        """Call `callback` once when the store is not congested."""
        if self.congested:
            self._uncongested_callbacks.append(callback)
        else:
            self.clock.call_soon(callback)

    def _begin(self) -> Batch:
        """A new open batch, or StorageUnavailable when the store is down, closing, or too much waits."""
        if (self._closing or not self.available) and not self._over:
            raise StorageUnavailable("the store is closing" if self._closing else "the store does not answer")
        rows, size = self.queued()
        if (rows >= self.limits.queue_rows or size >= self.limits.queue_size) and not self._over:
            raise StorageUnavailable("too much waits for the store")
        if rows * 2 >= self.limits.queue_rows or size * 2 >= self.limits.queue_size or self._is_behind():
            self.congested = True
        self._number += 1
        batch = self._open = Batch(self._number)
        self._waiting.append(batch)
        if self._in_flight is None and not self._turn_asked:
            self._ask_turn()
        return batch

    def _is_behind(self) -> bool:
        """A database that is slow to carry out what is committed: readers wait for it, so nobody must hurry it on."""
        return self.backend.behind > self.limits.behind

    def _ask_turn(self) -> None:
        self._turn_asked = True
        if self.limits.linger:
            self.clock.call_later(self.limits.linger, self._turn)
        else:
            self.clock.call_soon(self._turn)

    def queued(self) -> tuple[int, int]:
        """Rows and bytes of all that is not decided, or is committed and not applied."""
        batches = list(self._waiting)
        if self._in_flight is not None:
            batches.append(self._in_flight)
        rows, size = self.backend.backlog
        return rows + sum(batch.rows for batch in batches), size + sum(batch.size for batch in batches)

    # --- one batch in flight ---

    def _turn(self) -> None:
        self._turn_asked = False
        self._start_next()

    def _start_next(self) -> None:
        """Submit the oldest waiting batch if none is in flight."""
        if self._in_flight is not None or not self._waiting or self._over:
            return
        batch = self._in_flight = self._waiting.popleft()
        if batch is self._open:
            self._open = None
        if self._riders:
            self._take_riders(batch)
        self._end = len(batch.items)
        self._parts = [(0, self._end)]
        self._since = self.clock.monotonic()
        if self._watch_timer is None:
            self._watch_timer = self.clock.call_later(self.limits.commit_timeout, self._watch)
        self._submit()

    def _take_riders(self, batch: Batch) -> None:
        """What can wait goes along with what is committed anyway; with a batch of releases only if it was asked for."""
        if not batch.full_ride and not any(writes for writes, _ in batch.items):
            return
        if batch.full_ride:
            room = NO_BOUND if self._closing else min(FULL_RIDE, self._rows)
        else:
            room = RIDING + batch.rows // SHARE
        for rider in self._riders:
            item = rider.ride(room)
            if item is not None:
                room -= len(item[0])
                batch.items.append(item)
                if room <= 0:
                    return

    def _submit(self) -> None:
        """Hand the leftmost undecided part of the batch to the backend."""
        self._retry_timer = None
        batch = self._in_flight
        assert batch is not None
        start, end = self._parts[-1]
        if batch.resolved is not None:  # again, as it was
            self._hand_over(chain.from_iterable(batch.resolved))
        elif batch.updates and start < end:
            self._resolve(batch, batch.items[start:end])
        else:
            self._hand_over(chain.from_iterable(writes for writes, _ in batch.items[start:end]))

    def _joins(self, writes: Sequence[Write]) -> None:
        """They join a batch that holds updates. The store keeps what updates make of records."""

    def _resolve(self, batch: Batch, items: Sequence[Item]) -> None:
        """Put absolute writes in the place of updates, in `batch.resolved`, and hand those over."""
        raise LocalError("only a store with maps can resolve updates")

    def _updated(self, items: Sequence[Item], batch: Batch) -> None:
        """Items of a batch with updates are decided; `batch.resolved`, if they are in."""

    def _hand_over(self, part: Iterable[Any]) -> None:
        """The absolute writes of the leftmost part, and the counts behind the last one, to the backend."""
        batch = self._in_flight
        assert batch is not None
        start, end = self._parts[-1]
        writes = list(part)
        if end == self._end and (writes or batch.sure or start == end):
            writes.extend(counter.counted(count) for counter, count in batch.counts.items())
        if not writes and not batch.sure:
            self._settle(None)
            return
        self._submitted = self.clock.monotonic()
        self._writing = (len(writes), sum(type(write) is LogAppend for write in writes))
        try:
            self.backend.commit(writes, self._decided)
        except Exception as error:
            log.exception("the backend could not start a commit")
            self._decided(error)

    def _taken(self, why: str) -> None:
        """Another process decides now. What waits here is its own business: nobody is told anything about it."""
        self._over, self.congested = True, True
        for timer in (self._retry_timer, self._watch_timer):
            if timer is not None:
                timer.cancel()
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)
        self.on_over(why)

    def _decided(self, error: Exception | None) -> None:
        """The backend's answer to the part in flight."""
        if self._over:
            return
        if self._outage is not None and not isinstance(error, StorageUnavailable):
            self._recovered()
        if error is None:
            self._count()
            self._settle(None)
        elif isinstance(error, StorageUnavailable):
            self._try_later(error)
        else:
            self._split(error)

    def _count(self) -> None:
        counts = self.counts
        rows, entries = self._writing
        counts.commits += 1
        counts.rows += rows
        counts.entries += entries
        counts.seconds.observe(self.clock.monotonic() - self._submitted)

    def _settle(self, failure: Exception | None) -> None:
        """The leftmost part is decided: caches first, then the next commit (the disk works), releases."""
        batch = self._in_flight
        assert batch is not None
        start, end = self._parts.pop()
        items = batch.items
        if failure is None:
            for writes in batch.resolved if batch.resolved is not None else [each for each, _ in items[start:end]]:
                self._apply(writes)
        if batch.updates:
            if failure is not None:
                batch.resolved = None
            self._updated(items[start:end], batch)
            batch.resolved = None
        self._since = self.clock.monotonic()
        if self._parts:
            self._release(batch, start, end, failure)
            self._submit()
            return
        self._in_flight = None
        if self._waiting and not self._lingers() and any(writes for writes, _ in self._waiting[0].items):
            self._start_next()
        self._release(batch, start, end, failure)
        self._release_followers(batch, end)
        if self._lingers():
            if not self._turn_asked:
                self._ask_turn()
        else:
            self._start_next()  # one without writes is decided at once, so not before these releases
        self._update_load()

    def _lingers(self) -> bool:
        """What waits is so little that it waits for more."""
        return bool(self.limits.linger) and len(self._waiting) == 1 and self._waiting[0].rows < SMALL

    def _apply(self, writes: Sequence[Any]) -> None:
        """Committed writes, before anything is released: the store brings its memory up to date here."""

    def _release(self, batch: Batch, start: int, end: int, failure: Exception | None) -> None:
        for writes, release in batch.items[start:end]:
            try:
                if failure is not None and writes:
                    _not_sent(writes)
                    release.failed(failure)
                else:
                    release.committed()
            except Exception:
                log.exception("a release failed; the next one runs")

    def _release_followers(self, batch: Batch, index: int) -> None:
        """What followed the batch after it was submitted, and what follows while this runs."""
        while index < len(batch.items):
            end = len(batch.items)
            self._release(batch, index, end, None)
            index = end
        batch.close()

    def _update_load(self) -> None:
        """Tells who waits for an idle store, or for congestion to end, when that is so."""
        if self._idle is not None and self._in_flight is None and not self._waiting and not self._idle.done():
            self._idle.set_result(None)
        if not self.congested or self._over:
            return
        rows, size = self.queued()
        if rows * 4 < self.limits.queue_rows and size * 4 < self.limits.queue_size and not self._is_behind():
            self.congested = False
            callbacks, self._uncongested_callbacks = self._uncongested_callbacks, []
            for callback in callbacks:
                try:
                    callback()
                except Exception:
                    log.exception("a callback after congestion failed; the next one runs")

    # --- errors ---

    def _split(self, error: Exception) -> None:
        """Halve the part until the item that the store refuses is alone; it fails, the others commit."""
        batch = self._in_flight
        assert batch is not None
        start, end = self._parts[-1]
        bearing = [index for index in range(start, end) if batch.items[index][0]]
        if len(bearing) > 1:
            middle = bearing[len(bearing) // 2]
            self._parts[-1:] = [(middle, end), (start, middle)]
            batch.resolved = None
            self._submit()
            return
        if not bearing:
            self._refused_without_items(error, counts=start == end)
            return
        if batch.sure and end - start > 1:  # what asks for proof is not proved by a refusal
            places = (start, bearing[0], bearing[0] + 1, end)
            self._parts[-1:] = [each for each in reversed(list(pairwise(places))) if each[0] < each[1]]
            batch.resolved = None
            self._submit()
            return
        if end == self._end and batch.counts:
            self._parts.insert(0, (end, end))  # they are committed without it
        self.counts.refused += 1
        culprit = batch.items[bearing[0]][0]
        what = ", ".join(sorted({f"{type(w).__name__} of {w.owner}" for w in culprit}))
        log.error("the store refuses %s: %r", what, error, exc_info=None if isinstance(error, DataError) else error)
        self._settle(error)

    def _refused_without_items(self, error: Exception, counts: bool) -> None:
        """A commit of nothing that anybody has written."""
        if counts:
            log.error("the store refuses counts: %r", error)
            self._settle(None)
        else:
            self._try_later(StorageUnavailable(str(error)))

    def _try_later(self, error: StorageUnavailable) -> None:
        self.counts.failed += 1
        if self._closing and self._idle is None:
            return
        if self._outage is None:
            self._outage = self._since
            log.warning("the store fails (%s): the batch is tried again until it is in", error)
        self._retry_timer = self.clock.call_later(self._delay, self._submit)
        self._delay = min(LAST_RETRY, self._delay * 2)

    def _watch(self) -> None:
        """Runs every `commit_timeout` seconds while there is work: is the part in flight as old?"""
        self._watch_timer = None
        if self._in_flight is None:
            return
        left = self._since + self.limits.commit_timeout - self.clock.monotonic()
        if left > 0.001:
            self._watch_timer = self.clock.call_later(left, self._watch)
        else:
            self._give_up()

    def _give_up(self) -> None:
        """The outage lasts: refuse what is not submitted. The part in flight goes on being tried."""
        if self._outage is None:
            self._outage = self._since
        self.available = False
        waiting, self._open = list(self._waiting), None
        self._waiting.clear()
        refused = sum(len(batch.items) for batch in waiting)
        self.counts.refused += refused
        log.error(
            "the store has not answered for %.0f s: writes are refused (%d failed, one batch still tried)",
            self.clock.monotonic() - self._outage,
            refused,
        )
        error = StorageUnavailable("the store does not answer")
        for batch in waiting:
            self._refuse(batch, error)
        self._update_load()

    def _refuse(self, batch: Batch, error: StorageUnavailable) -> None:
        if batch.updates:
            self._updated(batch.items, batch)
        for _, release in batch.items:
            try:
                release.failed(error)
            except Exception:
                log.exception("a release failed; the next one runs")
        batch.close()

    def _recovered(self) -> None:
        assert self._outage is not None
        log.warning("the store works again after %.1f s", self.clock.monotonic() - self._outage)
        self._outage, self._delay = None, FIRST_RETRY
        self.available = True
        if self._watch_timer is None:
            self._watch_timer = self.clock.call_later(self.limits.commit_timeout, self._watch)

    @property
    def outage(self) -> float:
        """Seconds since commits began to fail; 0: they do not."""
        return self.clock.monotonic() - self._outage if self._outage is not None else 0.0

    # --- the end ---

    @property
    def busy(self) -> bool:
        """Whether anything is not decided yet."""
        return self._in_flight is not None or bool(self._waiting)

    async def drain(self, within: float) -> None:
        """Refuse new writes, wait at most `within` seconds for all batches, then stop trying.

        What is undecided then is neither released nor failed: nobody may be told what is not known.
        """
        if self._over:
            return
        if self._riders and self.available and not self._closing:
            with suppress(StorageUnavailable):
                self.send_riders(NOBODY)  # what was noted, and nobody has stored
        self._closing, self._open = True, None
        if self._in_flight is not None or self._waiting:
            self._idle = asyncio.get_running_loop().create_future()
            timer = self.clock.call_later(within, self._out_of_time)
            await self._idle
            timer.cancel()
        for pending in (self._retry_timer, self._watch_timer):
            if pending is not None:
                pending.cancel()
        self._retry_timer = self._watch_timer = None

    def _out_of_time(self) -> None:
        left = sum(len(batch.items) for batch in self._waiting) + (len(self._in_flight.items) if self._in_flight else 0)
        log.error("the store closes with %d items not decided: they were not acknowledged", left)
        idle, self._idle = self._idle, None
        self._waiting.clear()
        if idle is not None and not idle.done():
            idle.set_result(None)
