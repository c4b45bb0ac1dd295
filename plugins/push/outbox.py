"""The queue of notifications: stored, sent when due, retried, there again after a restart."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Container, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from xmppd.errors import StorageUnavailable
from xmppd.plugin import Host
from xmppd.storage.api import Write

from .model import Job, merged

if TYPE_CHECKING:
    from xmppd.clock import Timer

FIRST_PAUSE: Final = 10.0
LONGEST_PAUSE: Final = 3600.0
"""No job waits longer, whatever a clock that was set says."""
SHORTEST: Final = 0.001
"""Timers fire up to so much too early; no shorter one is set."""
Key = tuple[str, str]
"""The account's bare JID and the device's key."""


class Outbox:
    """At most one job for a device: what comes while one waits is merged into it; what comes while one is being
    sent waits behind it. `send` starts to deliver a job and calls `done` or `retry`.

    A job says by the wall clock when it is due, for the next process. In this one it waits by the monotonic clock, and
    has a timer as long as it waits.
    """

    log = logging.getLogger("xmppd.push")

    def __init__(self, host: Host, send: Callable[[str, str, Job], Awaitable[None]]) -> None:
        self.host = host
        self.send = send
        self.jobs = host.storage.map("push-outbox", Job)
        self.waiting: dict[Key, Job] = host.owned({}, pairs=True)
        self.sending: dict[Key, Job] = host.owned({}, pairs=True, stays=lambda device: True)
        self._due: dict[Key, float] = host.owned({}, pairs=True)
        """When what waits is due, by the monotonic clock."""
        self._timers: dict[Key, tuple[float, Timer]] = host.owned(
            {}, pairs=True, leaving=lambda device: self._timers[device][1].cancel()
        )
        """With the time for which it was set."""
        self._soon = host.storage.write_behind(delay=0)

    async def read(self, among: Container[str] | None) -> None:
        """Jobs of the last process, or of the owners' last home. Raises StorageUnavailable."""
        after = ""
        while owners := await self.jobs.owners(self.host.domain, after):
            for owner in owners if among is None else [each for each in owners if each in among]:
                for key, job in (await self.jobs.read_all(owner)).items():
                    self._schedule(owner, key, job)
            after = owners[-1]

    def add(self, owner: str, key: str, job: Job) -> None:
        """Stored with what else comes in this turn of the event loop."""
        before = self.waiting.get((owner, key))
        job = merged(before, job)
        if job == before:
            return  # stored, or about to be
        self._enqueue((owner, key), job)
        self._soon.note((owner, key), _JobNote(self, (owner, key)))

    def write_after_jobs(self, write: Write) -> None:
        """Commits a write in the batch of the jobs that were added before, or in a later one."""
        note = _WriteNote(write)
        self._soon.note(note, note)

    def draft(self, owner: str, key: str, job: Job) -> Write:
        """For the batch of the message itself: if the process ends before `add`, the next one finds the job."""
        return self.jobs.put(owner, key, merged(self.waiting.get((owner, key)), job))

    def withdraw(self, owner: str, keys: Iterable[str]) -> None:
        """Deletes drafts that are not to be sent after all."""
        unused = [key for key in keys if (owner, key) not in self.waiting and (owner, key) not in self.sending]
        if unused:
            self.host.background.spawn(self._delete(owner, unused), "push")

    async def _delete(self, owner: str, keys: list[str]) -> None:
        try:
            await self.host.storage.commit([self.jobs.delete(owner, key) for key in keys])
        except StorageUnavailable:
            self.log.warning("%s may be woken once too often: the store is away", owner)

    # ---- when it is due

    def _enqueue(self, device: Key, job: Job) -> None:
        """It waits from here on, merged with a job of the device that waits already."""
        wait = min(max(0.0, job.due - self.host.clock.now()), LONGEST_PAUSE)
        due = self.host.clock.monotonic() + wait
        self.waiting[device] = merged(self.waiting.get(device), job)
        self._due[device] = min(due, self._due.get(device, due))

    def _schedule(self, owner: str, key: str, job: Job) -> None:
        self._enqueue((owner, key), job)
        self.arm((owner, key))

    def arm(self, device: Key) -> None:
        """See to it that what waits is sent when it is due, and not before what is being sent has ended."""
        if device not in self.waiting or device in self.sending:
            return
        due = self._due[device]
        left = due - self.host.clock.monotonic()
        if left <= 0:
            job = self._dequeue(device)
            assert job is not None
            self.sending[device] = job
            self.host.background.spawn(self._send(*device, job), "push")
            return
        armed = self._timers.get(device)
        if armed is not None and armed[0] <= due:
            return  # it looks again
        if armed is not None:
            armed[1].cancel()
        timer = self.host.clock.call_later(max(left, SHORTEST), lambda: self._fired(device))
        self._timers[device] = (due, timer)

    def _fired(self, device: Key) -> None:
        self._timers.pop(device, None)
        self.arm(device)

    def _dequeue(self, device: Key) -> Job | None:
        """The job of a device that waits, which is no longer waiting; None: there is none."""
        self._due.pop(device, None)
        armed = self._timers.pop(device, None)
        if armed is not None:
            armed[1].cancel()
        return self.waiting.pop(device, None)

    async def _send(self, owner: str, key: str, job: Job) -> None:
        try:
            try:
                await self.send(owner, key, job)
            except StorageUnavailable:
                raise
            except Exception:  # a device for which nothing may be sent any more is worse than a notification too many
                self.log.exception("a notification for %s failed", owner)
                await self.retry(owner, key, job)
        except StorageUnavailable:
            self.postpone(owner, key, job)

    # ---- how it went

    async def done(self, owner: str, key: str, job: Job | None = None) -> None:
        """Raises StorageUnavailable."""
        self.sending.pop((owner, key), None)
        if (owner, key) in self.waiting:
            self.arm((owner, key))
        else:
            await self.host.storage.commit([self.jobs.delete(owner, key)])

    async def retry(self, owner: str, key: str, job: Job) -> None:
        """Later, with what came meanwhile. Raises StorageUnavailable."""
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2**job.attempts)
        self.sending.pop((owner, key), None)
        newer = self._dequeue((owner, key))
        job = replace(merged(job, newer) if newer is not None else job, attempts=job.attempts + 1)
        job = replace(job, due=self.host.clock.now() + pause)
        self._schedule(owner, key, job)
        await self.host.storage.commit([self.jobs.put(owner, key, job)])

    def postpone(self, owner: str, key: str, job: Job) -> None:
        """Retries when the store may be back; this attempt does not count."""
        self.sending.pop((owner, key), None)
        self._schedule(owner, key, replace(job, due=self.host.clock.now() + FIRST_PAUSE))

    def cancel(self, owner: str, key: str) -> Write:
        """Drops the job of a device that was removed."""
        self._dequeue((owner, key))
        self.sending.pop((owner, key), None)
        return self.jobs.delete(owner, key)


class _JobNote:
    """A `Note` of the store: the job of a device, if it still waits. Once it is stored, its time runs."""

    __slots__ = ("device", "outbox")

    def __init__(self, outbox: Outbox, device: Key) -> None:
        self.outbox, self.device = outbox, device

    def writes(self) -> list[Write]:
        job = self.outbox.waiting.get(self.device)
        return [self.outbox.jobs.put(*self.device, job)] if job is not None else []

    def stored(self) -> None:
        self.outbox.arm(self.device)

    def failed(self, again: bool) -> None:
        """It is sent all the same: only an end of the process would forget it."""
        self.outbox.arm(self.device)


class _WriteNote:
    """A `Note` of the store: a write."""

    __slots__ = ("write",)

    def __init__(self, write: Write) -> None:
        self.write = write

    def writes(self) -> list[Write]:
        return [self.write]

    def stored(self) -> None: ...
    def failed(self, again: bool) -> None: ...
