"""The store as a journal over documents."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

from xmppd.clock import Clock, pause
from xmppd.errors import StorageUnavailable
from xmppd.storage.api import AbsoluteWrite, DataError, Entry, Range, Send, Source
from xmppd.storage.backend import Done, Flaw, Row, Verifiable
from xmppd.storage.journal.applying import Applier
from xmppd.storage.journal.batch import FORMAT, decode, encode
from xmppd.storage.journal.deletions import SAMPLE, Deletions
from xmppd.storage.journal.home import Home
from xmppd.storage.journal.incarnation import BEAT, Beat, Incarnation, Takeover, quietly
from xmppd.storage.journal.over import TAKEN, Over
from xmppd.storage.journal.rounds import Committed
from xmppd.storage.journal.sendings import PAGE, Sendings
from xmppd.storage.journal.statements import ROOM, Documents

log = logging.getLogger("xmppd.storage")

LOOK_AGAIN = 0.05
"""Seconds until it is looked again who has taken a number, when that is not with the majority yet."""
REFUSED_AND_IN = "the database has kept a batch of the journal that it had refused"
"""Nobody but the next start, which reads the journal, knows what is stored."""
CLOSE_WITHIN = 1.0
"""Seconds for what is tidied up at the end: a server that is away must not hold it up."""


class _Attempt:
    """A batch under way: it stays what it was first, however often it is tried."""

    __slots__ = ("batch", "document")

    def __init__(self, batch: Committed, document: dict[str, Any]) -> None:
        self.batch = batch
        self.document = document


class JournalBackend:
    """`backend.Backend`: the insert of a batch into the journal is the commit. `insist`: take the store even from a
    process that lives; `version`: of this server, for people who look at the nodes."""

    shared = True

    def __init__(self, documents: Documents, clock: Clock, insist: bool = False, version: str = "") -> None:
        self.documents = documents
        self.over: Callable[[str], object] = _nobody
        """Called once, when another process has taken the store."""
        self.backlog_changed: Callable[[], object] = _nothing
        self._clock = clock
        self._takeover = Takeover(documents, clock, insist, version)
        self._token = os.urandom(9)
        self._attempts = 0
        self._mine: Incarnation | None = None
        self._applier: Applier | None = None
        self._deletions: Deletions | None = None
        self._sendings = Sendings(clock)
        self._beat: Beat | None = None
        self._attempt: _Attempt | None = None
        self._low = 1
        """`low` of the last batch that is committed: what is below it nobody reads any more."""
        self._removed = 1
        self._swept = 0.0
        self._is_over = False
        self._committing: asyncio.Task[None] | None = None
        self._chores: asyncio.Task[None] | None = None

    # --- open and close ---

    async def open(self) -> None:
        """Take the store. Raises StorageUnavailable (try again) or StoreError."""
        try:
            await self.documents.open()
            mine = self._mine = await self._takeover.run()
        except BaseException:
            await self.documents.close()
            raise
        home = Home(self.documents, self._clock, mine.epoch)
        self._attempt, self._is_over = None, False
        self._low = self._removed = 1
        self._deletions = self._takeover.deletions
        self._sendings = Sendings(self._clock)
        self._applier = Applier(self.documents, self._clock, self._deletions, home)
        self._applier.changed = self.backlog_changed
        self._applier.over = self._end
        self._beat = Beat(self.documents, mine, home)
        self._chores = asyncio.get_running_loop().create_task(self._do_chores(), name="journal")

    async def close(self) -> None:
        """Wait a moment for the commit under way and for what is to be applied, then disconnect."""
        mine, self._mine = self._mine, None
        if self._chores is not None:
            self._chores.cancel()
            await asyncio.gather(self._chores, return_exceptions=True)
        if self._committing is not None:
            with suppress(TimeoutError):  # without a majority nobody can say who has its number
                async with asyncio.timeout(CLOSE_WITHIN):
                    await asyncio.gather(self._committing, return_exceptions=True)  # a timeout cancels it
            self._committing = None
        if self._applier is not None and self._beat is not None and mine is not None:
            if not self._is_over:
                with suppress(TimeoutError, StorageUnavailable):  # the next start applies it, too
                    async with asyncio.timeout(CLOSE_WITHIN):
                        await self._applier.finish()
                        await self._beat.end()
            await self._applier.stop()
        await self.documents.close()

    def _end(self, why: str) -> None:
        if not self._is_over:
            self._is_over = True
            log.critical("%s: this one ends, and says nothing more", why)
            self.over(why)

    # --- commits ---

    def commit(self, writes: Sequence[AbsoluteWrite], done: Done) -> None:
        if self._mine is None or self._applier is None:
            raise StorageUnavailable("the store is not open")
        if self._is_over:
            return  # nobody is told anything any more
        if self._attempt is None:
            try:
                self._attempt = self._prepare(writes, self._mine, self._applier)
            except DataError as error:
                self._clock.call_soon(lambda error=error: done(error))  # type: ignore[misc]
                return
        self._committing = asyncio.get_running_loop().create_task(self._commit(self._attempt, done), name="commit")

    def _prepare(self, writes: Sequence[AbsoluteWrite], mine: Incarnation, applier: Applier) -> _Attempt:
        data = encode(writes)
        n = applier.last + 1
        number = mine.number * ROOM + n
        batch = Committed(number, mine.epoch * ROOM + n, n, writes, len(data))
        self._attempts += 1
        token = self._token + self._attempts.to_bytes(6, "big")
        document = {"_id": number, "format": FORMAT, "token": token, "low": self._lowest(mine, applier), "batch": data}
        return _Attempt(batch, document)

    def _lowest(self, mine: Incarnation, applier: Applier) -> int:
        """The lowest n that is not applied, or holds what is not heard."""
        lowest = self._sendings.lowest
        return applier.low if lowest is None else min(applier.low, lowest - mine.number * ROOM)

    async def _commit(self, attempt: _Attempt, done: Done) -> None:
        error: Exception | None = None
        try:
            await self._take_number(attempt)
        except Exception as failure:  # it goes to the store above, which logs it
            error = failure
        if isinstance(error, Over):
            self._end(str(error))
            return
        if error is None:
            self._settle(attempt)
        elif not isinstance(error, StorageUnavailable):
            self._attempt = None  # refused for what it holds: its number is free
        done(error)

    async def _take_number(self, attempt: _Attempt) -> None:
        """Insert a batch. Where its number is taken: by an attempt of ours whose answer was lost, or by somebody who
        takes over? Raises Over.

        Only what a majority has counts: what is not seen is with a primary alone, and a fail-over may take it back, so
        the batch is inserted again."""
        while not await self.documents.insert("journal", attempt.document):
            found = await self.documents.find("journal", attempt.batch.number, attempt.batch.number, 1)
            if found:
                token = bytes(found[0].get("token") or b"")
                if token == attempt.document["token"]:
                    return
                raise Over(REFUSED_AND_IN if token.startswith(self._token) else TAKEN)
            await pause(self._clock, LOOK_AGAIN)

    def _settle(self, attempt: _Attempt) -> None:
        assert self._applier is not None
        self._attempt = None
        self._low = attempt.document["low"]
        self._sendings.committed(attempt.batch)
        self._applier.add(attempt.batch)

    @property
    def behind(self) -> float:
        return self._applier.behind if self._applier is not None else 0.0

    @property
    def backlog(self) -> tuple[int, int]:
        if self._applier is None:
            return 0, 0
        (rows, size), (sent, sent_size) = self._applier.backlog, self._sendings.backlog
        return rows + sent, size + sent_size

    # --- each second ---

    async def _do_chores(self) -> None:
        """What is tidied up may take minutes, in which nobody must take this process for dead."""
        await asyncio.gather(
            self._each_second(self._beating),
            self._each_second(self._remove_applied, self._sweep),
            self._each_second(self._park),
        )

    async def _each_second(self, *steps: Callable[[], Awaitable[None]]) -> None:
        while not self._is_over:
            await pause(self._clock, BEAT)
            for step in steps:
                if not self._is_over:
                    await quietly(step)

    async def _beating(self) -> None:
        assert self._beat is not None
        try:
            await self._beat.beat()
        except Over as over:
            self._end(str(over))

    async def _park(self) -> None:
        """What nobody has heard for a while need not lie in the journal."""
        assert self._applier is not None
        while numbers := self._sendings.due():
            found = await self._find(numbers)
            if found is None:
                return
            sent = [each for document in found for each in decode(document) if type(each) is Send]
            try:
                await self._applier.park(self._sendings.parking(sent))
            except Over as over:
                self._end(str(over))
                return
            self._sendings.parked(numbers)
            self.backlog_changed()

    async def _find(self, numbers: Sequence[int]) -> list[dict[str, Any]] | None:
        """Batches of these numbers, which are in order. None: a new primary does not know all of them yet."""
        found = await self.documents.find("journal", numbers[0], numbers[-1], PAGE)
        wanted = [each for each in found if each["_id"] in numbers]
        return wanted if len(wanted) == len(numbers) else None

    async def _remove_applied(self) -> None:
        """What lies below the `low` of the last batch goes, never that batch itself."""
        assert self._applier is not None and self._mine is not None
        below = min(self._low, self._applier.last)
        if below > self._removed:
            base = self._mine.number * ROOM
            await self.documents.remove("journal", base, base + below - 1)
            self._removed = below

    async def _sweep(self) -> None:
        assert self._deletions is not None
        now = self._clock.monotonic()
        if now - self._swept >= SAMPLE:
            self._swept = now
            await self._deletions.sweep()

    # --- what reads do not show (backend.Verifiable) ---

    async def verify(self) -> AsyncIterator[Flaw]:
        await self._seen(None)
        if isinstance(self.documents, Verifiable):
            async for flaw in self.documents.verify():
                yield flaw

    async def places(self) -> AsyncIterator[tuple[str, str]]:
        await self._seen(None)
        if isinstance(self.documents, Verifiable):
            async for place in self.documents.places():
                yield place

    # --- reads: they see what was committed when they were asked ---

    async def _seen(self, owner: str | None) -> None:
        if self._applier is None or self._mine is None:
            raise StorageUnavailable("the store is not open")
        await self._applier.seen(owner)

    async def load(self, owner: str, maps: Sequence[str]) -> list[Row[Any]]:
        await self._seen(owner)
        return await self.documents.load(owner, maps)

    async def read(self, map: str, owner: str, key: str) -> Any | None:
        await self._seen(owner)
        return await self.documents.read(map, owner, key)

    async def owners(self, map: str, domain: str, after: str, limit: int) -> list[str]:
        await self._seen(None)
        return await self.documents.owners(map, domain, after, limit)

    async def scan(self, map: str, domain: str, after: tuple[str, str], limit: int) -> list[tuple[str, Row[Any]]]:
        await self._seen(None)
        return await self.documents.scan(map, domain, after, limit)

    async def page(self, log: str, owner: str, range: Range, limit: int, backwards: bool) -> list[Entry]:
        await self._seen(owner)
        return await self.documents.page(log, owner, range, limit, backwards)

    async def ends(self, log: str, owner: str, range: Range) -> tuple[int, int]:
        await self._seen(owner)
        return await self.documents.ends(log, owner, range)

    async def count(self, log: str, owner: str, range: Range, limit: int | None) -> int:
        await self._seen(owner)
        return await self.documents.count(log, owner, range, limit)

    async def last_id(self, log: str, owner: str) -> int:
        await self._seen(owner)
        return await self.documents.last_id(log, owner)

    async def unheard(self, domain: str, after: Source, limit: int) -> list[Send]:
        """What the former homes have left, and what was put aside since."""
        await self._seen(None)
        return await self.documents.unheard(domain, after, limit)

    async def was_heard(self, owner: str, log: str, source: Source) -> bool:
        await self._seen(owner)
        return await self.documents.was_heard(owner, log, source)


def _nobody(why: str) -> None:
    """Nobody is told."""


def _nothing() -> None:
    """Nobody asks."""
