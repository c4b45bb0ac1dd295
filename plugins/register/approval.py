"""Accounts that strangers have made, and that wait for an administrator."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from xmppd.contracts.registration import Create
from xmppd.contracts.store_check import StoreCheck, in_map
from xmppd.errors import ItemNotFound, ResourceConstraint
from xmppd.plugin import JID, E, Host
from xmppd.stanza import message

log = logging.getLogger("xmppd.register")
WAITS: Final = "waits for an administrator"
"""Why nobody signs in to an account that waits."""
TOLD_AGAIN: Final = 3600.0
"""Seconds for which administrators are not told of another one."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """`since`: seconds since 1970 UTC. `reason`: what the stranger has said."""

    since: float
    reason: str = ""


class ApprovalQueue:
    """An account that waits is a disabled one with a record here."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self._waiting = host.storage.map("registration-waiting", Waiting)
        """Owner: the domain; key: the bare JID."""
        self._told = float("-inf")

    async def add(self, jid: JID, reason: str, most: int, create: Create) -> None:
        """Have an account made that waits, if there are fewer than `most`: `create` commits it with what it is given.
        Raises ResourceConstraint, StorageUnavailable, and what `create` raises."""
        async with self.host.locks.hold(f"waiting {self.host.domain}"):
            if len(await self.all()) >= most:
                raise ResourceConstraint("too many new accounts wait for an administrator: try again another day")
            await create([self._waiting.put(self.host.domain, jid.bare, Waiting(self.host.clock.now(), reason))])
        self._tell(jid)

    async def all(self) -> Mapping[str, Waiting]:
        """By bare JID. Raises StorageUnavailable."""
        return await self._waiting.read_all(self.host.domain)

    def _tell(self, jid: JID) -> None:
        """Tell the administrators, but not of each."""
        now = self.host.clock.monotonic()
        if now - self._told < TOLD_AGAIN:
            return
        self._told = now
        text = f"{jid} wants an account, and waits for you: see `xmppd op registration.list`, or the ad-hoc commands."
        for admin in self.host.admins:
            body = E("body", "jabber:client", {}, text)
            self.host.deliver(message("normal", body, to=JID.parse(admin), sender=self.host.jid))

    async def approve(self, jid: JID) -> None:
        """Raises ItemNotFound, StorageUnavailable."""
        await self._check(jid)
        await self.host.server.accounts.set_disabled(jid, False, reason=WAITS)
        await self._remove((jid.bare,))

    async def reject(self, jid: JID) -> None:
        """The account goes. Raises ItemNotFound, StorageUnavailable."""
        await self._check(jid)
        await self.host.server.accounts.delete(jid)
        await self._remove((jid.bare,))

    async def waiting(self) -> Mapping[str, Waiting]:
        """Those that wait still, by bare JID. Raises StorageUnavailable."""
        found = {}
        for bare, each in (await self.all()).items():
            with suppress(ItemNotFound):
                await self._check(JID.parse(bare))
                found[bare] = each
        return found

    async def forget(self, accounts: Collection[str]) -> None:
        """Accounts that are removed. Raises StorageUnavailable."""
        await self._remove((await self.all()).keys() & set(accounts))

    async def expire(self, before: float) -> None:
        """Reject those that have waited since `before`. Raises StorageUnavailable."""
        for bare, each in (await self.all()).items():
            if each.since <= before:
                with suppress(ItemNotFound):
                    await self.reject(JID.parse(bare))
                    log.info("%s has waited too long for an administrator", bare)

    async def check(self, store: StoreCheck) -> None:
        """For `xmppd store check`. Raises StorageUnavailable."""
        async for owner, bare, _ in store.records(self._waiting):
            if not await store.has_account(bare):
                store.problem(owner, in_map(self._waiting.name, bare), "there is no such account, so it waits for ever")

    async def _check(self, jid: JID) -> None:
        """That it waits. One that an administrator has enabled in another way does not: it is in use. Raises
        ItemNotFound, StorageUnavailable."""
        if jid.bare in await self.all():
            with suppress(ItemNotFound):
                if await self.host.server.accounts.is_disabled(jid, WAITS):
                    return
            await self._remove((jid.bare,))
        raise ItemNotFound(f"{jid} does not wait")

    async def _remove(self, accounts: Collection[str]) -> None:
        if accounts:
            await self.host.storage.commit([self._waiting.delete(self.host.domain, bare) for bare in accounts])
