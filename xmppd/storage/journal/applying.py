"""What is committed is applied in rounds, in the order of the numbers, and reads wait for what they could miss."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from xmppd.clock import Clock, pause
from xmppd.errors import StorageUnavailable
from xmppd.storage.api import DataError, Send
from xmppd.storage.journal.deletions import Deletions
from xmppd.storage.journal.home import Home
from xmppd.storage.journal.over import Over
from xmppd.storage.journal.rounds import Committed, plan, portions
from xmppd.storage.journal.sendings import statements
from xmppd.storage.journal.statements import Documents, InsertSendings, Refused

R = TypeVar("R")

log = logging.getLogger("xmppd.storage")

FIRST_RETRY, LAST_RETRY = 0.1, 2.0
"""Seconds between attempts: doubled from the first to the last."""
READ_WITHIN = 10.0
"""Seconds that a read waits for what it could miss."""


class Applier:
    """Applies the batches of one incarnation. `changed` is called whenever less waits than before; `home`: asked
    before each statement."""

    def __init__(self, documents: Documents, clock: Clock, deletions: Deletions, home: Home) -> None:
        self._documents = documents
        self._clock = clock
        self._deletions = deletions
        self._home = home
        self.over: Callable[[str], object] = _nobody
        """Called when another process has taken the store: what is left is its business."""
        self._queue: deque[Committed] = deque()
        self._since: deque[float] = deque()
        """When each of them was committed."""
        self._touched: dict[str, int] = {}
        """By owner the last batch that changes something of it and is not applied."""
        self.last = 0
        """n of the last batch that was committed."""
        self.done = 0
        """All batches up to this n are applied."""
        self._rows = self._size = 0
        self._task: asyncio.Task[None] | None = None
        self._readers: list[asyncio.Future[None]] = []
        self._failing = False
        self.changed: Callable[[], object] = _nothing

    def add(self, batch: Committed) -> None:
        """The next batch is committed."""
        self.last = batch.n
        self._queue.append(batch)
        self._since.append(self._clock.monotonic())
        self._rows += len(batch.writes)
        self._size += batch.size
        for write in batch.writes:
            self._touched[write.owner] = batch.n
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="apply the journal")

    @property
    def low(self) -> int:
        """The lowest n that is not applied."""
        return self.done + 1

    @property
    def behind(self) -> float:
        """Seconds since the oldest of them was committed."""
        return self._clock.monotonic() - self._since[0] if self._since else 0.0

    @property
    def backlog(self) -> tuple[int, int]:
        """Rows and bytes that are committed and not applied."""
        return self._rows, self._size

    async def _run(self) -> None:
        try:
            while self._queue:
                batches = next(portions(self._queue))
                await self.apply(batches)
                for _ in batches:
                    self._queue.popleft()
                    self._since.popleft()
                self._applied(batches)
        except Over as over:
            self.over(str(over))
        finally:
            self._task = None

    def _applied(self, batches: Sequence[Committed]) -> None:
        self.done = batches[-1].n
        for batch in batches:
            self._rows -= len(batch.writes)
            self._size -= batch.size
            for write in batch.writes:
                if self._touched.get(write.owner, self.last + 1) <= self.done:
                    del self._touched[write.owner]
        readers, self._readers = self._readers, []
        for reader in readers:
            if not reader.done():
                reader.set_result(None)
        self.changed()

    async def apply(self, batches: Sequence[Committed]) -> None:
        """Carry out one round, however long it takes. What the server refuses for good is left out; its batch is kept
        beside. Raises Over."""
        made = plan(batches, self._deletions.young())
        if made.later:
            await self._until_done(lambda: self._deletions.note(made.later))
        refused: list[Refused] = []
        for statement in made.statements:
            refused.extend(await self._until_done(lambda each=statement: self._documents.run(each)) or ())  # type: ignore[misc]
        if refused:
            await self._keep(refused, {batch.version: batch.number for batch in batches})
        self._deletions.applied(batches[-1].version)

    async def park(self, sent: Sequence[Send]) -> None:
        """Put what is not heard into `sendings`, however long it takes. What is heard meanwhile has its place taken
        there, before or behind. Raises Over."""
        for rows in statements(sent):
            insert = InsertSendings(rows)
            refused = await self._until_done(lambda each=insert: self._documents.run(each))  # type: ignore[misc]
            if refused:
                await self._keep(refused, {each.source[0]: each.source[0] for each in rows})

    async def _until_done(self, step: Callable[[], Awaitable[R]]) -> R:
        delay = FIRST_RETRY
        while True:
            try:
                await self._home.check()
                answer = await step()
            except StorageUnavailable as error:
                if not self._failing:
                    self._failing = True
                    log.warning("what is committed cannot be applied (%s): it is tried again until it is", error)
            except Over:
                raise
            except Exception:  # a mistake of ours: the journal keeps what it is about until it is mended
                if not self._failing:
                    self._failing = True
                    log.critical("what is committed cannot be applied: it is tried again until it is", exc_info=True)
            else:
                if self._failing:
                    self._failing = False
                    log.warning("what is committed is being applied again")
                return answer
            await pause(self._clock, delay)
            delay = min(LAST_RETRY, delay * 2)

    async def _keep_batch(self, number: int, why: str) -> None:
        try:
            await self._documents.keep_refused(number, why)
        except DataError as error:
            log.critical("batch %d cannot be kept, either: %s", number, error)

    async def _keep(self, refused: Sequence[Refused], numbers: Mapping[int, int]) -> None:
        """Something that was acknowledged could not be written: the operator has to see it. `numbers`: of the batches,
        by version."""
        for each in refused:
            number = numbers.get(each.version)
            log.critical(
                "the database refuses %s of batch %s, which is committed: it is left out; the batch is kept in the"
                " collection 'refused' (%s)",
                each.what,
                number,
                each.error,
            )
            if number is not None:
                await self._until_done(lambda at=number, why=str(each.error): self._keep_batch(at, why))  # type: ignore[misc]

    # ---- reads

    async def seen(self, owner: str | None) -> None:
        """Wait until a read of this owner (None: of any) sees what is committed now. Raises StorageUnavailable."""
        wanted = self.last if owner is None else self._touched.get(owner)
        if wanted is None or wanted <= self.done:
            return
        late, reader = False, asyncio.get_running_loop().create_future()

        def give_up() -> None:
            nonlocal late
            late = True
            if not reader.done():
                reader.set_result(None)

        timer = self._clock.call_later(READ_WITHIN, give_up)
        try:
            while self.done < wanted:
                if late:
                    raise StorageUnavailable("what is committed is not applied yet")
                if reader.done():
                    reader = asyncio.get_running_loop().create_future()
                self._readers.append(reader)
                await reader
        finally:
            timer.cancel()
            if reader in self._readers:
                self._readers.remove(reader)

    # ---- the end

    async def finish(self) -> None:
        """Wait until all is applied."""
        while self._task is not None:
            await asyncio.shield(self._task)

    async def stop(self) -> None:
        """Leave the rest to the next start."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def _nothing() -> None:
    """Nobody asks."""


def _nobody(why: str) -> None:
    """Nobody is told."""
