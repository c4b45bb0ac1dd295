"""The store in one SQLite file: nothing to install, on disk before anyone hears of it.

WAL with `synchronous=FULL`: a commit returns when it is synced. One thread writes and one reads, each with a
connection of its own, so that a long archive page does not hold up a commit.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any, TypeVar

from xmppd.errors import StorageUnavailable
from xmppd.storage.api import AbsoluteWrite, Entry, Range, Send, Source, StoreError
from xmppd.storage.backend import Direct, Done, Flaw, Row
from xmppd.storage.sqlite_check import Inspector, chunk
from xmppd.storage.sqlite_read import Reader
from xmppd.storage.sqlite_schema import prepare, translate
from xmppd.storage.sqlite_write import Writer

R = TypeVar("R")

log = logging.getLogger("xmppd.storage")

Job = tuple[Sequence[AbsoluteWrite], Done]


class SqliteBackend(Direct):
    """`backend.Backend` over the file `path`. One process at a time: a lock file beside it sees to that."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock: int | None = None
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._readers: ThreadPoolExecutor | None = None
        self._reader = Reader(path)

    # --- open and close ---

    async def open(self) -> None:
        """Lock, create or upgrade the file, start the threads. Raises StoreError."""
        self._loop = asyncio.get_running_loop()
        self._readers = ThreadPoolExecutor(1, thread_name_prefix="sqlite-read")
        try:
            await self._loop.run_in_executor(self._readers, self._prepare)
        except BaseException:
            self._readers.shutdown()
            self._readers = None
            self._unlock()
            raise
        self._thread = threading.Thread(target=self._write_jobs, name="sqlite-write", daemon=True)
        self._thread.start()

    def _prepare(self) -> None:
        try:
            os.makedirs(os.path.dirname(self.path) or ".", exist_ok=True)
            self._lock = os.open(self.path + ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(f"{self.path} is in use by another process") from None
        except OSError as error:
            raise StoreError(f"{self.path} cannot be opened: {error.strerror or error}") from error
        prepare(self.path)

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def close(self) -> None:
        """End the threads (a commit under way is finished) and the connections."""
        loop = asyncio.get_running_loop()
        thread, self._thread = self._thread, None
        readers, self._readers = self._readers, None
        if readers is not None:
            await loop.run_in_executor(readers, self._reader.close)
            readers.shutdown()
        if thread is not None:
            self._jobs.put(None)
            await loop.run_in_executor(None, thread.join)
        self._unlock()

    # --- commits ---

    def commit(self, writes: Sequence[AbsoluteWrite], done: Done) -> None:
        if self._thread is None:
            raise StorageUnavailable("the store is not open")
        self._jobs.put((writes, done))

    def _write_jobs(self) -> None:
        """The writer thread."""
        loop = self._loop
        assert loop is not None
        writer = Writer(self.path)
        while (job := self._jobs.get()) is not None:
            writes, done = job
            error = self._attempt(writer, writes)
            try:
                loop.call_soon_threadsafe(done, error)
            except RuntimeError:  # the loop was closed without us: there is nobody left to tell
                log.error("%s: the event loop ended before a commit did", self.path)
                break
        try:
            writer.close()
        except Exception:
            log.exception("%s could not be closed; its log is read back at the next start", self.path)

    def _attempt(self, writer: Writer, writes: Sequence[AbsoluteWrite]) -> Exception | None:
        """One commit: None, or StorageUnavailable, DataError, or an error of our own making."""
        try:
            writer.write(writes)
        except Exception as failure:  # the thread must live; the error goes to the loop
            error = translate(failure, self.path)
            if isinstance(error, StorageUnavailable):
                self._start_over(writer)
            return error
        return None

    def _start_over(self, writer: Writer) -> None:
        """After an I/O error nothing that is remembered can be trusted: the next attempt reads it back."""
        try:
            writer.close()
        except sqlite3.Error as error:
            log.warning("%s: closing after an error failed: %s", self.path, error)

    # --- reads ---

    async def _read(self, function: Callable[..., R], *args: Any) -> R:
        if self._readers is None or self._loop is None:
            raise StorageUnavailable("the store is not open")
        return await self._loop.run_in_executor(self._readers, self._reading, function, args)

    def _reading(self, function: Callable[..., R], args: tuple[Any, ...]) -> R:
        try:
            return function(*args)
        except Exception as failure:
            error = translate(failure, self.path)
            if isinstance(error, StorageUnavailable):
                self._reader.close()
            raise error from failure

    async def load(self, owner: str, maps: Sequence[str]) -> list[Row[Any]]:
        return await self._read(self._reader.load, owner, maps)

    async def read(self, map: str, owner: str, key: str) -> Any | None:
        return await self._read(self._reader.read, map, owner, key)

    async def owners(self, map: str, domain: str, after: str, limit: int) -> list[str]:
        return await self._read(self._reader.owners, map, domain, after, limit)

    async def scan(self, map: str, domain: str, after: tuple[str, str], limit: int) -> list[tuple[str, Row[Any]]]:
        return await self._read(self._reader.scan, map, domain, after, limit)

    async def page(self, log: str, owner: str, range: Range, limit: int, backwards: bool) -> list[Entry]:
        return await self._read(self._reader.page, log, owner, range, limit, backwards)

    async def ends(self, log: str, owner: str, range: Range) -> tuple[int, int]:
        return await self._read(self._reader.ends, log, owner, range)

    async def count(self, log: str, owner: str, range: Range, limit: int | None) -> int:
        return await self._read(self._reader.count, log, owner, range, limit)

    async def last_id(self, log: str, owner: str) -> int:
        return await self._read(self._reader.last_id, log, owner)

    async def unheard(self, domain: str, after: Source, limit: int) -> list[Send]:
        return await self._read(self._reader.unheard, domain, after, limit)

    async def was_heard(self, owner: str, log: str, source: Source) -> bool:
        return await self._read(self._reader.was_heard, owner, log, source)

    # --- backend.Verifiable ---

    def verify(self) -> AsyncIterator[Flaw]:
        return self._inspected(Inspector.flaws)

    def places(self) -> AsyncIterator[tuple[str, str]]:
        return self._inspected(Inspector.places)

    async def _inspected(self, look: Callable[[Inspector], Iterator[R]]) -> AsyncIterator[R]:
        inspector = await self._read(Inspector, self.path)
        try:
            found = look(inspector)
            while some := await self._read(chunk, found):
                for each in some:
                    yield each
        finally:
            await self._read(inspector.close)
