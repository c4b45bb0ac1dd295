"""XEP-0431: Full Text Search in MAM, over every store (docs/howto/search.md).

The words of an archive are indexed when its owner first searches, and up to the newest message at each search: who
never searches costs nothing. An index is a file of its own that can be deleted at any time.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from xmppd.config import option
from xmppd.contracts.accounts import ACCOUNTS_REMOVED
from xmppd.contracts.archive import LOG
from xmppd.contracts.search import FULLTEXT_NS, SEARCH
from xmppd.errors import BadRequest, InternalServerError
from xmppd.plugin import Plugin, Xep, on
from xmppd.storage.api import Flags, Log, Range

from .index import Index, words

PAGE: Final = 500
OPEN: Final = 50
"""Indexes that are open at once."""
FOUND: Final = 1000
"""The most messages that one query finds; paging goes on from there."""
LONGEST: Final = 1000
SWEEP: Final = 86_400.0


@dataclass(frozen=True)
class Config:
    folder: Path | None = option(None, "Where the indexes are; null: `search` in the folder `var`.")


class FullTextSearch(Plugin[Config]):
    """Implements `contracts.search.Search`."""

    xeps = (Xep(431, "0.2.0", "beginnings of words, all of them; what is encrypted end to end cannot be found"),)
    account_features = (FULLTEXT_NS,)
    serves = ("accounts", "rooms")
    provides = (SEARCH,)

    def setup(self) -> None:
        self.log = self.host.storage.log(LOG)
        self.open: OrderedDict[str, Index] = self.host.owned(
            OrderedDict(), leaving=lambda owner: self.open[owner].close()
        )
        config = self.host.server.config
        self.in_memory = config.storage.startswith("memory:") and self.config.folder is None
        self.folder = (self.config.folder or config.var / "search") / self.host.domain.strip("[]").replace(":", "_")

    async def start(self) -> None:
        self.every(SWEEP, self.sweep, "sweep")

    async def stop(self) -> None:
        for index in self.open.values():
            index.close()
        self.open.clear()

    # ---- contracts.search.Search

    async def ids(self, log: Log, owner: str, text: str, wanted: Range, backwards: bool) -> tuple[int, ...]:
        if len(text) > LONGEST:
            raise BadRequest(f"at most {LONGEST} characters are searched for")
        asked = words(text)
        if not asked:
            return ()
        async with self.host.locks.hold(f"search {owner}"):
            try:
                return await self._find(log, owner, asked, wanted, backwards)
            except sqlite3.DatabaseError:
                self._drop(owner)  # damaged; it holds nothing that the archive does not
            try:
                return await self._find(log, owner, asked, wanted, backwards)
            except sqlite3.DatabaseError as error:
                raise InternalServerError(f"the index cannot be written: {error}") from error

    async def _find(self, log: Log, owner: str, asked: list[str], wanted: Range, backwards: bool) -> tuple[int, ...]:
        async with self._opened(owner) as index:
            await self._update(index, log, owner, wanted.high)
            return await self.in_thread(index.find, asked, wanted, FOUND, backwards)

    async def _update(self, index: Index, log: Log, owner: str, until: int | None) -> None:
        """Read what has come since. One archive at a time on this server: it is work for the processor."""
        last = await log.last_id(owner)
        until = last if until is None else min(until, last)
        if index.until >= until:
            return
        async with self.host.locks.hold("search: indexing"):
            while index.until < until:
                wanted = Range(after=index.until, high=until, without=int(Flags.HIDDEN))
                entries = await log.page(owner, wanted, PAGE)
                reached = entries[-1].id if len(entries) == PAGE else until
                await self.in_thread(index.add, entries, reached)

    # ---- files

    def _path(self, owner: str) -> Path:
        return self.folder / f"{hashlib.sha256(owner.encode()).hexdigest()[:40]}.db"

    @asynccontextmanager
    async def _opened(self, owner: str) -> AsyncIterator[Index]:
        """The index; the caller holds the owner's lock. It stays open as long as it is in use, and some time longer."""
        index = self.open.pop(owner, None)
        if index is None:
            index = await self.in_thread(Index, None if self.in_memory else self._path(owner), owner)
        try:
            yield index
        except BaseException:
            index.close()
            raise
        self.open[owner] = index
        while len(self.open) > OPEN and not self.in_memory:
            self.open.popitem(last=False)[1].close()

    def _drop(self, owner: str) -> None:
        index = self.open.pop(owner, None)
        if index is not None:
            index.close()
        self._path(owner).unlink(missing_ok=True)

    @on(ACCOUNTS_REMOVED)
    async def removed(self, names: frozenset[str]) -> None:
        for bare in names:
            async with self.host.locks.hold(f"search {bare}"):
                self._drop(bare)

    async def sweep(self) -> None:
        """Deletes the indexes of archives that no longer exist (rooms) or whose messages have mostly been deleted."""
        for path in sorted(await self.in_thread(lambda: list(self.folder.glob("*.db")))):
            owner = await self.in_thread(Index.owner_of, path)
            if owner is None:
                path.unlink(missing_ok=True)
                continue
            async with self.host.locks.hold(f"search {owner}"):
                left = await self.log.count(owner, Range(without=int(Flags.HIDDEN)))
                async with self._opened(owner) as index:
                    stale = index.count > 2 * left
                if stale:
                    self._drop(owner)
