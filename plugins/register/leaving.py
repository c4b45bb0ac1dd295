"""Accounts whose owners have asked for their removal, and may still come back.

At first nobody can sign in (REST): other devices of the owner would do so by themselves at once, and take the removal
back. From then on who signs in has the account back, until its time is over and it is removed.
"""

from __future__ import annotations

import logging
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from xmppd.errors import ItemNotFound, StorageUnavailable
from xmppd.plugin import JID, Account, E, Host, Session
from xmppd.stanza import message

log = logging.getLogger("xmppd.register")
LEAVES: Final = "is to be removed"
"""Why nobody signs in while the owner's other devices give up."""
REST: Final = 600.0
"""Seconds. Clients that are refused ask a person what to do, and try no more."""


@dataclass(frozen=True, slots=True)
class Leaving:
    """`until`: when it is removed; `rest`: until when nobody can sign in, 0 when that is over. Seconds since 1970
    UTC."""

    until: float
    rest: float


class LeavingAccounts:
    """Each belongs to the account: what deletes that deletes it, too."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self._leaving = host.storage.map("account-leaving", Leaving, cached=True)

    async def begin(self, session: Session, grace: float) -> None:
        """The owner wants the account removed after `grace` seconds; the sessions but that one end. Raises StanzaError,
        StorageUnavailable."""
        account, now = session.account, self.host.clock.now()
        record = Leaving(now + grace, now + min(REST, grace))
        async with self._alone(account.bare):
            writes = [self._leaving.put(account.bare, "", record)]
            await self.host.server.accounts.set_disabled(account.jid, True, session, writes, LEAVES)
        log.info("%s is to be removed at %s", account.bare, _shown(record.until))

    async def returned(self, account: Account) -> None:
        """Somebody has signed in. Raises StorageUnavailable."""
        if not self._leaving.get(account.bare):
            return
        async with self._alone(account.bare):
            record = self._leaving.get(account.bare).get("")
            if record is None:
                return
            await self.host.storage.commit([self._leaving.delete(account.bare, "")])
        log.info("%s is not removed: its owner has signed in", account.bare)
        text = f"Your account was to be removed on {_shown(record.until)}. Since you have signed in, it stays."
        body = E("body", "jabber:client", {}, text)
        self.host.deliver(message("normal", body, to=account.jid, sender=self.host.jid))

    async def sweep(self) -> None:
        """Let owners sign in again whose rest is over, and remove the accounts whose time is."""
        try:
            place = ("", "")
            while page := await self._leaving.scan(self.host.domain, place):
                place = page[-1][:2]
                for bare, _, record in page:
                    if record is not None:
                        await self._look_at(JID.parse(bare), record)
        except StorageUnavailable as error:
            log.warning("accounts that are to be removed stay for now (%s)", error)

    async def _look_at(self, jid: JID, record: Leaving) -> None:
        """Raises StorageUnavailable."""
        now, accounts = self.host.clock.now(), self.host.server.accounts
        if now < record.until and not (record.rest and now >= record.rest):
            return
        async with self._alone(jid.bare):
            if await self._leaving.read_stored(jid.bare, "") != record:
                return  # its owner was quicker
            try:
                if now >= record.until:
                    await accounts.delete(jid)
                else:
                    writes = [self._leaving.put(jid.bare, "", replace(record, rest=0.0))]
                    await accounts.set_disabled(jid, False, None, writes, LEAVES)
            except ItemNotFound:
                await self.host.storage.commit([self._leaving.delete(jid.bare, "")])

    def _alone(self, bare: str) -> AbstractAsyncContextManager[None]:
        return self.host.locks.hold(f"leaving {bare}")


def _shown(seconds: float) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%d %B %Y, %H:%M UTC")
