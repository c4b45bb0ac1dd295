"""Looks at a whole store that no server uses: are entries, records, counts and cursors what they must be?

The store itself first (its file, if it can look at that), then who owns what, then every record, then each account and
each host with what its plugins know of them (`contracts.store_check`). It reads page by page, and changes nothing.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any, Final, TypeVar

from msgspec import Struct

from ..cache import Cache
from ..clock import microseconds
from ..contracts.accounts import ACCOUNT_MAP
from ..contracts.store_check import (
    CHECK_ACCOUNT,
    CHECK_STORE,
    EVERYTHING,
    OWNED,
    AccountCheck,
    OwnedPlace,
    in_log,
    in_map,
)
from ..delivery.cursor_check import CursorChecker
from ..errors import MalformedJid, StorageUnavailable
from ..hosts.handlers import Handler
from ..hosts.host import Host
from ..jid import JID
from ..sessions.snapshot_check import check_snapshots
from ..stanza import look_at
from ..storage.api import NOT_SENT, Entry, Log, Map, Range, Send
from ..storage.backend import Verifiable
from ..storage.codec import LOWEST
from ..storage.listed import ListedStore
from .server import Server

T = TypeVar("T")
FUTURE: Final = 2 * 86_400 * 1_000_000
"""Microseconds: a clock that was set back leaves ids that are later than now, but hardly by more than this."""
PAGE: Final = 100
OWNERS: Final = 1000
KNOWN: Final = 100_000
KNOWN_BYTES: Final = 16 << 20
"""So many names are remembered as those of accounts, or not."""


class Finding(Struct, frozen=True):
    """`level`: "problem", "note" (the server puts it right by itself), or "unread" (it could not be read)."""

    level: str
    owner: str
    where: str
    what: str

    def text(self) -> str:
        return f"{self.owner or '-'}: {self.where}: {self.what}"


class StoreChecker:
    """`server`: with its plugins set up and nothing started, over `store`. `report` is told of each finding, `progress`
    of what is being looked at. `owner`: look at this one only. `beside`: see StoreCheck."""

    def __init__(
        self,
        server: Server,
        store: ListedStore,
        report: Callable[[Finding], None],
        progress: Callable[[str], None] = lambda what: None,
        owner: str = "",
        beside: bool = True,
    ) -> None:
        self.server = server
        self.store = store
        self.owner = owner
        self.beside = beside
        self.now = microseconds(server.clock)
        self.counts: Counter[str] = Counter()
        """What was looked at ("accounts", "records", "entries"), and the findings by level."""
        self._report = report
        self._progress = progress
        self._homes = {host.domain for host in server.hosts.values() if host.has_accounts}
        self._accounts: Cache[str, bool] = Cache(KNOWN, KNOWN_BYTES)
        self._removals = server.accounts.names.removals

    def find(self, level: str, owner: str, where: str, what: str) -> None:
        self.counts[level] += 1
        self._report(Finding(level, owner, where, what))

    def problem(self, owner: str, where: str, what: str) -> None:
        self.find("problem", owner, where, what)

    async def run(self) -> None:
        """What cannot be read is a finding; the rest is looked at all the same."""
        if not self.owner and isinstance(self.store.backend, Verifiable):
            self._progress("the store")
            await self._try("the store", self._verify(self.store.backend))
            self._progress("the owners")
            await self._try("the owners", self._places(self.store.backend))
        for map in sorted(self.store.records):
            self._progress(f"map {map}")
            await self._try(f"map {map}", self._records(map))
        self._progress("what is sent and not heard")
        for domain in self.server.hosts:
            await self._try(f"what owners at {domain} have sent", self._sendings(domain))
        for host in self.server.hosts.values():
            view = HostCheck(self, host)
            if host.has_accounts:
                await self._try(f"the accounts of {host.domain}", self._accounts_of(host, view))
            self._progress(host.domain)
            await self._ask(host.handlers(CHECK_STORE), view, host.domain)

    async def _try(self, what: str, work: Awaitable[object], owner: str = "") -> None:
        """What fails over what it reads has found something, too."""
        try:
            await work
        except StorageUnavailable as error:
            self.find("unread", owner, what, f"cannot be read: {error}")
        except Exception as error:
            self.problem(owner, what, f"the check fails over what is stored: {error!r}")

    async def _ask(self, handlers: tuple[Handler, ...], event: Any, owner: str) -> None:
        """Call the handlers of a hook."""
        for name, handler in handlers:
            await self._try(name, _called(handler, event), owner)

    # ---- the store as a whole

    async def _verify(self, backend: Verifiable) -> None:
        async for flaw in backend.verify():
            self.problem(flaw.owner, flaw.where, flaw.what)

    async def _places(self, backend: Verifiable) -> None:
        """Who owns what. What no plugin of this configuration knows is left alone: it may be there again tomorrow."""
        elsewhere: Counter[str] = Counter()
        unknown: Counter[str] = Counter()
        async for owner, name in backend.places():
            domain = owner.rpartition("@")[2]
            if name not in self.store.records and name not in self.store.logs:
                unknown[name] += 1
            elif not await self._is_owner(owner, name):
                if domain in self.server.hosts:
                    self._ownerless(owner, name)
                else:
                    elsewhere[domain] += 1
        for domain, number in sorted(elsewhere.items()):
            self.find(
                "note", domain, "the whole domain", f"is no host of this server, and {number} places hold something"
            )
        for name, number in sorted(unknown.items()):
            self.find("note", "", name, f"is known to no plugin that runs here; {number} owners have something there")

    def _ownerless(self, owner: str, name: str) -> None:
        self.problem(owner, name, "it is there, and its owner is not")

    async def _is_owner(self, owner: str, name: str) -> bool:
        if owner in self.server.hosts or await self.has_account(owner):
            return True
        place = OwnedPlace(owner, name)
        for host in self.server.hosts.values():
            owned: list[bool] = await host.collect(OWNED, place)
            if any(owned):
                return True
        return name == self.server.accounts.names.quarantines.name

    async def has_account(self, bare: str) -> bool:
        known = self._accounts.get(bare)
        if known is None:
            known = await self._has_account(bare)
            self._accounts.put(bare, known)
        return known

    async def _has_account(self, bare: str) -> bool:
        domain = bare.rpartition("@")[2]
        if domain not in self._homes or domain == bare:
            return False
        for map, owner, key in ((ACCOUNT_MAP, bare, ""), (self._removals.name, domain, bare)):
            if await self.store.backend.read(map, owner, key) is not None:
                return True
        return False

    # ---- records

    async def _records(self, map: str) -> None:
        """Every record can be read, and belongs to somebody."""
        listed = isinstance(self.store.backend, Verifiable) and not self.owner  # then `_places` has asked
        before = ""
        for host in self.server.hosts.values():
            async for owner, key, _ in self.records(map, host.domain, tell=True):
                self.counts["records"] += 1
                if map == ACCOUNT_MAP and key:
                    self.problem(owner, in_map(map, key), "an account has one record, and this is another one")
                if not listed and owner != before and not await self._is_owner(owner, map):
                    self._ownerless(owner, map)
                before = owner

    async def records(self, map: str, domain: str, tell: bool = False) -> AsyncIterator[tuple[str, str, Any]]:
        """`tell`: of those that cannot be read."""

        def broken(owner: str, key: str, why: str) -> None:
            if tell:
                self.problem(owner, in_map(map, key), f"the record cannot be read: {why}")

        if not self.owner:
            found = self.store.all_of(map, domain, broken)
        elif self.owner.rpartition("@")[2] == domain:
            found = self.store.of_owner(map, self.owner, broken)
        else:
            return
        async for each in found:
            yield each

    # ---- sendings

    async def _sendings(self, domain: str) -> None:
        """Every one can be sent again."""
        after = NOT_SENT
        while page := await self.store.unheard(domain, after, PAGE):
            for sending in page:
                if self.owner in ("", sending.owner):
                    self.counts["sendings"] += 1
                    self._sending(sending)
            after = page[-1].source

    def _sending(self, sending: Send) -> None:
        where = f"sending {sending.source[0]}:{sending.source[1]}"
        for whose, address in (("sender", sending.owner), ("recipient", sending.to)):
            if not _is_bare(address):
                self.problem(sending.owner, where, f"its {whose}, {address!r}, is no address of an owner")
        try:
            look_at(sending.data)
        except ValueError as error:
            self.problem(sending.owner, where, f"it is no stanza, so nobody can hear it: {error}")

    # ---- accounts

    async def _accounts_of(self, host: Host, view: HostCheck) -> None:
        cursors = CursorChecker(host, view)
        after = ""
        while bares := await self._bares(host, after):
            for bare in bares:
                self.counts["accounts"] += 1
                await self._try("cursor", cursors.check(bare), bare)
                await self._ask(host.handlers(CHECK_ACCOUNT), AccountCheck(bare, view), bare)
            self._progress(f"{host.domain}: {self.counts['accounts']:,} accounts, {self.counts['entries']:,} messages")
            after = bares[-1]
        await check_snapshots(self.server.snapshots.stored, view)

    async def _bares(self, host: Host, after: str) -> list[str]:
        if not self.owner:
            return await host.stored_accounts.owners(host.domain, after, OWNERS)
        there = self.owner.endswith(f"@{host.domain}") and await self.has_account(self.owner)
        return [self.owner] if there and not after else []


def _is_bare(address: str) -> bool:
    try:
        return JID.parse(address).bare == address
    except MalformedJid:
        return False


async def _called(handler: Callable[[Any], Any], event: Any) -> None:
    work = handler(event)
    if inspect.isawaitable(work):
        await work


class HostCheck:
    """`contracts.store_check.StoreCheck` of one host."""

    def __init__(self, checker: StoreChecker, host: Host) -> None:
        self._checker = checker
        self._domain = host.domain
        self.now = checker.now
        self.beside = checker.beside
        self.problem = checker.problem
        self.has_account = checker.has_account

    def note(self, owner: str, where: str, what: str) -> None:
        self._checker.find("note", owner, where, what)

    def concerns(self, owner: str) -> bool:
        return self._checker.owner in ("", owner)

    def is_future(self, id: int) -> bool:
        return id > self.now + FUTURE

    async def records(self, map: Map[T], domain: str = "") -> AsyncIterator[tuple[str, str, T]]:
        """Those of the host are looked at already; of another domain, those that cannot be read are told of."""
        async for each in self._checker.records(map.name, domain or self._domain, tell=bool(domain)):
            yield each

    async def entries(self, log: Log, owner: str, range: Range = EVERYTHING) -> AsyncIterator[Entry]:
        backend, wanted, last = self._checker.store.backend, range, LOWEST - 1
        while page := await backend.page(log.name, owner, wanted, PAGE, False):
            if range is EVERYTHING:
                self._checker.counts["entries"] += len(page)
            for entry in page:
                if entry.id <= last:
                    self.problem(owner, in_log(log.name, entry.id), "the entries are not in order")
                    return  # nothing that is read here can be relied on
                last = entry.id
                yield entry
            wanted = replace(range, after=page[-1].id)
