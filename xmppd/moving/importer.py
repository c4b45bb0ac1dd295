"""Takes what a source has into the store: accounts are made here, their parts by who knows them
(`contracts.moving.Portable`). Nobody else may use the store meanwhile.

May be run again with the same source, also after it was broken off: what is there already is passed over.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from secrets import token_hex
from typing import Any, Final

from ..admin.accounts import Accounts, Unfinished
from ..admin.removal import NameReserved
from ..cache import Cache
from ..clock import microseconds
from ..contracts.accounts import StoredAccount
from ..contracts.archive import LOG
from ..contracts.moving import MOVED_IN, PORTABLE, MovedIn, OwnerKind, Portable
from ..delivery.cursor import CursorRecord
from ..errors import MalformedJid, StanzaError, StorageUnavailable
from ..hosts.host import Host
from ..jid import JID
from ..protocol.sasl import Credentials, ScramKeys
from ..storage.api import NOT_HIDDEN, DataError, OwnerDelete, Write
from ..xml import Element, tag_of
from .addresses import Renamed
from .delivered import moved_cursor
from .events import Begin, Event, Part, Problem
from .own_parts import SCRAM_TAG, own_parts, read_keys, with_keys
from .report import Report

LOOK_AFTER: Final = 1.0
"""Seconds after which it is looked whether the store still answers."""
SPELLED: Final = 100_000
SPELLED_BYTES: Final = 16 << 20
HAD_PASSWORD: Final = "its password cannot be carried: set one (`xmppd user passwd`)"
WHAT: Final = {OwnerKind.ACCOUNT: "accounts", OwnerKind.ROOM: "rooms", OwnerKind.HOST: "services"}


class Existing(enum.Enum):
    """What becomes of an account, or a room, that is there already."""

    MERGE = "merge"
    """It gets what it lacks; what it has stays, its password too."""
    REPLACE = "replace"
    """What comes takes the place of what it has; what does not come stays."""
    SKIP = "skip"
    """Nothing of it is taken."""


class OwnerIntake:
    """`contracts.moving.Intake` of one owner. `resumed`: an import before was broken off in the middle of it."""

    def __init__(self, importer: Importer, begin: Begin, jid: JID, host: Host, first: bool, resumed: bool) -> None:
        self.kind = begin.kind
        self.jid = jid
        self.host = host
        self.first = first
        self.resumed = resumed
        self.marked = resumed
        self.replace = importer.existing is Existing.REPLACE
        self.now = importer.now
        self.next_id = importer.next_id
        self.refused = False
        self.taken = 0
        self.messages = resumed
        self.waiting: set[int] = set()
        self.archived: set[int] = set()
        self._report = importer.report

    def took(self, what: str, number: int = 1) -> None:
        if number:
            self.taken += number
            self._report.took[self.host.domain, what] += number

    def kept(self, what: str, number: int = 1) -> None:
        if number:
            self._report.kept[self.host.domain, what] += number

    def lost(self, why: str) -> None:
        self._report.lose(why, self.jid.bare)

    def note(self, what: str) -> None:
        self._report.note(what, self.jid.bare)

    def refuse(self, why: str) -> None:
        self.refused = True
        self.lost(why)

    def deliver(self, ids: Collection[int], archived: Collection[int] = ()) -> None:
        self.waiting.update(ids)
        self.archived.update(archived)
        self.messages = self.messages or bool(ids) or bool(archived)


class Importer:
    """`accounts`: of a server whose plugins are set up and not started, over an open store. `progress`: is told what is
    being taken."""

    def __init__(
        self,
        hosts: Mapping[str, Host],
        accounts: Accounts,
        report: Report,
        renamed: Renamed,
        existing: Existing = Existing.MERGE,
        progress: Callable[[str], None] = lambda what: None,
    ) -> None:
        self.report = report
        self.existing = existing
        self._hosts = hosts
        self._accounts = accounts
        self._storage = accounts.storage
        self._unfinished = accounts.moving_in
        self._renamed = renamed
        self._progress = progress
        self.now = microseconds(accounts.clock)
        self._last_id = self.now
        self._takers: dict[str, dict[tuple[OwnerKind, str], list[Portable]]] = {}
        self._spelled: Cache[str, str] = Cache(SPELLED, SPELLED_BYTES)
        """How owners were written: of two that are one here, the second must not get into what the first has."""
        self._intake: OwnerIntake | None = None
        self._keys: list[ScramKeys] = []
        self._password: str | None = None
        self._made = False
        """The account that is being taken is there."""

    def next_id(self, above: int = 0) -> int:
        self._last_id = max(self._last_id, above) + 1
        return self._last_id

    async def run(self, events: Iterator[Event]) -> None:
        """Raises StorageUnavailable."""
        for event in events:
            if isinstance(event, Problem):
                self.report.problem(event.where, event.what)
            elif isinstance(event, Begin):
                await self._end()
                await self._begin(event)
            elif self._intake is not None and not self._intake.refused:
                await self._part(self._intake, event)
            await asyncio.sleep(0)
        await self._end()

    # ---- an owner

    async def _begin(self, begin: Begin) -> None:
        self._intake, self._keys, self._password, self._made = None, [], begin.password, False
        self._progress(begin.text)
        try:
            domain = self._renamed.domain(begin.domain)
            jid = JID.of(begin.local, domain) if begin.local else JID.parse(domain)
        except MalformedJid as error:
            self.report.problem(begin.text[:200], f"no address: {error}")
            return
        if begin.local and self._spelled.get(jid.bare) not in (None, begin.local):
            self.report.lose("another spelling of an address that came before; two are not put together", begin.text)
            return
        self._spelled.put(jid.bare, begin.local)
        host = self._hosts.get(domain)
        if host is None or not self._has_place(host, begin.kind):
            self.report.lose(
                f"{WHAT[begin.kind]} of {domain}: this server has no such host; add it to the configuration, "
                f"or name another one with --host {domain}=…"
                if host is None
                else f"{WHAT[begin.kind]} of {domain}: it is a host of type {host.type!r}",
                jid.bare,
            )
            return
        there = begin.kind is OwnerKind.ACCOUNT and await self._accounts.exists(jid)
        unfinished = await self._unfinished.read(jid.bare, "")
        if there and self.existing is Existing.SKIP and unfinished is None:
            self.report.kept[domain, "accounts"] += 1
            return
        if begin.kind is OwnerKind.ACCOUNT and not there:
            try:
                await self._accounts.names.check(jid)
            except NameReserved as error:
                self.report.lose(str(error), jid.bare)
                return
        first = not there if begin.kind is OwnerKind.ACCOUNT else await self._is_new(begin.kind, jid, host)
        first = first or (unfinished is not None and unfinished.first)
        if begin.kind is OwnerKind.ROOM and not first and self.existing is Existing.SKIP:
            self.report.kept[domain, "rooms"] += 1
            return
        self._intake = OwnerIntake(self, begin, jid, host, first, unfinished is not None)
        self._made = there

    def _has_place(self, host: Host, kind: OwnerKind) -> bool:
        if kind is OwnerKind.ACCOUNT:
            return host.has_accounts
        return any(each.kind is kind for each in host.gather(PORTABLE, host.jid))

    async def _is_new(self, kind: OwnerKind, jid: JID, host: Host) -> bool:
        """Whether nothing of it is there."""
        if kind is not OwnerKind.ROOM:
            return False
        for portable in host.gather(PORTABLE, host.jid):
            if portable.kind is kind:
                async for _ in portable.give(jid):
                    return False
        return True

    async def _end(self) -> None:
        intake = self._intake
        if intake is None:
            return
        if intake.kind is OwnerKind.ACCOUNT and not self._made:
            await self._make(intake)
        if intake.kind is not OwnerKind.HOST:  # that is made by the configuration
            found = self.report.took if intake.first and not intake.refused else self.report.kept
            found[intake.host.domain, WHAT[intake.kind]] += not intake.refused
        if intake.kind is OwnerKind.ACCOUNT and not self.report.dry and self._made:
            await self._follow(intake)
        if intake.marked and not self.report.dry:
            await self._written([self._unfinished.delete(intake.jid.bare, "")])
        self._intake = None

    async def _follow(self, intake: OwnerIntake) -> None:
        if intake.first and intake.messages:
            stored = await self._accounts.stored.read(intake.jid.bare, "")
            lowest, _ = await self._storage.log(LOG).ends(intake.jid.bare, replace(NOT_HIDDEN))
            if stored is not None and 0 < lowest < stored.created * 1_000_000:  # it is older than what it has said
                made = replace(stored, created=lowest / 1_000_000)
                await self._commit(intake, [self._accounts.stored.put(intake.jid.bare, "", made)])
        event = MovedIn(intake.jid, intake, intake.messages)
        for _, handler in intake.host.handlers(MOVED_IN):
            given: Any = handler(event)
            await self._commit(intake, list(await given))

    # ---- the account

    async def _make(self, intake: OwnerIntake) -> None:
        """When its keys are known: at its first other part."""
        self._made = True
        credentials = Credentials(None, None)
        for keys in self._keys:
            credentials = with_keys(credentials, keys)
        if self._password is not None:
            try:
                credentials = await asyncio.to_thread(Credentials.from_password, self._password)
            except ValueError as error:
                intake.lost(f"its password: {error}")
        if credentials == Credentials(None, None):
            intake.note(HAD_PASSWORD)
        record = StoredAccount(credentials, self.now / 1_000_000, token_hex(8))
        bare = intake.jid.bare
        cursor = intake.host.cursor_writer.cursors.put(bare, "", CursorRecord(self.now))
        await self._commit(intake, [OwnerDelete(bare), self._accounts.stored.put(bare, "", record), cursor])

    async def _credentials(self, intake: OwnerIntake, element: Element) -> None:
        try:
            self._keys.append(read_keys(element))
        except ValueError as error:
            intake.lost(str(error))

    async def _replace_password(self, intake: OwnerIntake) -> None:
        """Of an account that is there, if what comes counts more."""
        password, self._password = self._password, None
        stored = await self._accounts.stored.read(intake.jid.bare, "")
        if password is None or stored is None:
            return
        try:
            made = await asyncio.to_thread(Credentials.from_password, password)
        except ValueError as error:
            intake.lost(f"its password: {error}")
            return
        old = stored.credentials
        made = replace(made, disabled=old.disabled, generation=old.generation + 1)
        await self._commit(intake, [self._accounts.stored.put(intake.jid.bare, "", replace(stored, credentials=made))])

    # ---- its parts

    async def _part(self, intake: OwnerIntake, part: Part) -> None:
        element = part.element
        tag = tag_of(element)
        if intake.kind is OwnerKind.ACCOUNT:
            if tag == SCRAM_TAG and not self._made:
                await self._credentials(intake, element)
                return
            if tag == SCRAM_TAG and intake.resumed and not intake.replace:
                return  # it was made with them
            if not self._made:
                await self._make(intake)
            if intake.replace and not intake.first and self._password is not None:
                await self._replace_password(intake)
        self._renamed.change(element)
        takers = self._takers_of(intake.host).get((intake.kind, tag), ())
        if not takers:
            intake.lost(f"<{tag.rpartition('|')[2]}/> of {tag.rpartition('|')[0]!r}: nobody here knows it")
        for taker in takers:
            await self._take(intake, taker, element, tag)

    async def _take(self, intake: OwnerIntake, taker: Portable, element: Element, tag: str) -> None:
        try:
            writes = await taker.take(intake.jid, element, intake)
        except StanzaError as error:
            intake.lost(f"<{tag.rpartition('|')[2]}/>: {error.text or error.condition}")
            return
        except (MalformedJid, ValueError) as error:
            intake.lost(f"<{tag.rpartition('|')[2]}/>: {error}")
            return
        await self._commit(intake, list(writes))

    async def _commit(self, intake: OwnerIntake, writes: list[Write]) -> None:
        waiting, archived = intake.waiting, intake.archived
        intake.waiting, intake.archived = set(), set()
        if self.report.dry:
            return
        if waiting or archived:
            cursors, bare = intake.host.cursor_writer.cursors, intake.jid.bare
            before = await cursors.read(bare, "") or CursorRecord()
            after = await moved_cursor(before, intake.host.cursor_writer.log, bare, waiting, archived)
            if after != before:
                writes.append(cursors.put(bare, "", after))
        if not writes:
            return
        if not intake.marked and intake.kind is not OwnerKind.HOST:
            intake.marked = True
            writes.append(self._unfinished.put(intake.jid.bare, "", Unfinished(intake.first)))
        try:
            await self._written(writes)
        except DataError as error:
            intake.lost(f"something that cannot be stored: {error}")

    async def _written(self, writes: Sequence[Write]) -> None:
        """The store tries a batch again and again, which helps a server; here somebody waits, who can make room on the
        disk. Raises StorageUnavailable, DataError."""
        commit = asyncio.ensure_future(self._storage.commit(writes))
        try:
            while not (await asyncio.wait((commit,), timeout=LOOK_AFTER))[0]:
                if not self._storage.available:
                    raise StorageUnavailable("it takes nothing more (is the disk full?)")
            await commit
        finally:
            commit.cancel()

    def _takers_of(self, host: Host) -> dict[tuple[OwnerKind, str], list[Portable]]:
        found = self._takers.get(host.domain)
        if found is None:
            found = self._takers[host.domain] = {}
            for portable in portables(host):
                for tag in portable.tags:
                    found.setdefault((portable.kind, tag), []).append(portable)
        return found


def portables(host: Host) -> Sequence[Portable]:
    """All that a host gives and takes, in order."""
    core = own_parts(host.stored_accounts) if host.has_accounts else ()
    return (*core, *host.gather(PORTABLE, host.jid))
