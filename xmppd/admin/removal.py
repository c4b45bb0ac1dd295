"""The end of an account: one durable job, which ends only when nothing names the account any more.

One commit marks the account as being removed: from then on nobody signs in to it and nobody can take its name. Then
every host of the server takes away what gives the name a right (contracts.accounts.ACCOUNTS_REMOVED), each step so that
it can be repeated. The last commit deletes what the account owned, puts the name in quarantine and takes back the mark.
After a crash the job is taken up again at the start, from the first step.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from ..clock import Clock
from ..contracts.accounts import ACCOUNT_DELETED, ACCOUNT_MAP, ACCOUNTS_REMOVED, StoredAccount
from ..contracts.core import Host, Server
from ..errors import Conflict, ItemNotFound, StorageUnavailable
from ..jid import JID
from ..storage.api import OwnerDelete, Storage, Write

log = logging.getLogger("xmppd.admin")
AGAIN: Final = 30.0
"""Seconds until a job is tried again that could not be ended."""
AT_ONCE: Final = 100
"""So many accounts take their way through the hosts together."""
SWEEP: Final = 21_600.0
"""Seconds between looks for quarantines that are over."""


class NameReserved(Conflict):
    """The name cannot be taken now; the text says how it can be."""


@dataclass(frozen=True, slots=True)
class Removal:
    """A job under way. `since`: seconds since 1970 UTC."""

    since: float


@dataclass(frozen=True, slots=True)
class Quarantine:
    """The name of an account that was removed. `until`: seconds since 1970 UTC."""

    until: float


class Names:
    """Names that are free of an account and cannot be taken all the same."""

    def __init__(self, storage: Storage, clock: Clock) -> None:
        self.storage = storage
        self.clock = clock
        self.removals = storage.map("account-removal", Removal)
        """Owner: the domain; key: the bare JID. So the jobs of a domain are found at once, and survive what they do."""
        self.quarantines = storage.map("account-quarantine", Quarantine)
        """Owner: the bare JID."""

    def mark(self, jid: JID) -> Write:
        """The account is being removed from this commit on."""
        return self.removals.put(jid.domain, jid.bare, Removal(self.clock.now()))

    def end(self, bare: str, quarantine: float) -> list[Write]:
        """The last commit of a job. `quarantine`: in seconds."""
        domain = bare.rpartition("@")[2]
        writes: list[Write] = [OwnerDelete(bare)]
        if quarantine > 0:
            writes.append(self.quarantines.put(bare, "", Quarantine(self.clock.now() + quarantine)))
        return [*writes, self.removals.delete(domain, bare)]

    async def check(self, jid: JID) -> None:
        """Raises NameReserved."""
        if await self.removals.read(jid.domain, jid.bare) is not None:
            raise NameReserved(
                "the account of that name is still being removed (which needs the server to run): try again later"
            )
        quarantine = await self.quarantines.read(jid.bare, "")
        if quarantine is not None and quarantine.until > self.clock.now():
            until = datetime.fromtimestamp(quarantine.until, UTC).strftime("%d %B %Y")
            raise NameReserved(
                f"an account of that name was removed, and the name is kept free until {until}; "
                f"`xmppd user release {jid.bare}` gives it free now"
            )

    async def release(self, jid: JID) -> None:
        """Lift the quarantine. Raises ItemNotFound if there is none, NameReserved while it is being removed."""
        if await self.removals.read(jid.domain, jid.bare) is not None:
            raise NameReserved("the account of that name is still being removed: try again later")
        if await self.quarantines.read(jid.bare, "") is None:
            raise ItemNotFound("that name is not in quarantine")
        await self.storage.commit([self.quarantines.delete(jid.bare, "")])


class Remover:
    """Does the jobs of a running server, one batch of accounts after the other."""

    def __init__(self, server: Server, names: Names) -> None:
        self.server = server
        self.names = names
        self.pending: dict[str, asyncio.Event] = {}
        """Bare JIDs, each with what is set at the end."""
        self._accounts = server.storage.map(ACCOUNT_MAP, StoredAccount, cached=True)
        self._ready = False
        self._busy = False
        self._waits = False

    async def open(self) -> None:
        """Before anybody signs in: the jobs that the last process left. Raises StorageUnavailable."""
        for host in self._homes():
            found = await self.names.removals.read_all(host.domain)
            # A database of a version before the journal may have the account still, beside its mark.
            await self.server.storage.commit([self._accounts.delete(bare, "") for bare in found])
            for bare in found:
                host.forget(bare)
                self.pending.setdefault(bare, asyncio.Event())
        if self.pending:
            log.info("%d accounts are still to be removed", len(self.pending))

    def start(self) -> None:
        """All hosts are there."""
        if not self._ready:
            self._ready = True
            self.server.default_host.background.every(SWEEP, self._sweep, "quarantines")
            self._go_on()

    def add(self, bare: str) -> None:
        self.pending.setdefault(bare, asyncio.Event())
        self._go_on()

    async def done(self, bare: str, within: float) -> bool:
        """Wait, at most `within` seconds, until the job is done; whether it is."""
        event = self.pending.get(bare)
        if event is None:
            return True
        try:
            async with asyncio.timeout(within):
                await event.wait()
        except TimeoutError:
            return False
        return True

    def _homes(self) -> list[Host]:
        return [host for host in self.server.router.routes.hosts() if host.has_accounts]

    def _go_on(self) -> None:
        if self._ready and self.pending and not self._busy:
            self._busy = True
            self.server.default_host.background.spawn(self._work(), "remove accounts")

    def _again(self) -> None:
        self._waits = False
        self._go_on()

    async def _work(self) -> None:
        try:
            while self.pending:
                try:
                    complete = await self._remove(frozenset(list(self.pending)[:AT_ONCE]))
                except Exception:
                    log.exception("accounts are not removed yet: tried again")
                    complete = False
                if not complete:
                    if not self._waits:
                        self._waits = True
                        self.server.clock.call_later(AGAIN, self._again)
                    return
        finally:
            self._busy = False

    async def _remove(self, names: frozenset[str]) -> bool:
        """Whether all is done."""
        complete = True
        for host in list(self.server.router.routes.hosts()):
            for error in await host.tell_and_collect_errors(ACCOUNTS_REMOVED, names):
                log.warning("%s still knows accounts that are being removed: tried again (%r)", host.domain, error)
                complete = False
        if not complete:
            return False
        try:
            for bare in sorted(names):
                await self._finish(bare)
        except StorageUnavailable as error:
            log.warning("accounts are not removed yet: tried again (%s)", error)
            return False
        return True

    async def _finish(self, bare: str) -> None:
        jid = JID.of(*bare.rsplit("@", 1))
        home = next((host for host in self._homes() if host.domain == jid.domain), None)
        await self.server.storage.commit(self.names.end(bare, home.quarantine if home is not None else 0.0))
        if home is not None:
            home.forget(bare)
        event = self.pending.pop(bare)
        for host in list(self.server.router.routes.hosts()):
            if host is home or not host.has_accounts:
                await host.tell_and_wait(ACCOUNT_DELETED, jid)
        log.info("account %s is removed", bare)
        event.set()

    async def _sweep(self) -> None:
        """Quarantines that are over leave the store."""
        quarantines, now = self.names.quarantines, self.server.clock.now()
        try:
            for host in self._homes():
                place = ("", "")
                while page := await quarantines.scan(host.domain, place):
                    over = [owner for owner, _, each in page if each is not None and each.until <= now]
                    await self.server.storage.commit([quarantines.delete(owner, "") for owner in over])
                    place = page[-1][:2]
        except StorageUnavailable as error:
            log.warning("quarantines that are over stay in the store for now (%s)", error)
