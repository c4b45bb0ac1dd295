"""The accounts of a host that are in memory."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Any, Final

from ..contracts.accounts import ACCOUNT_MAP, StoredAccount
from ..contracts.archive import LOG
from ..contracts.core import Host
from ..contracts.sessions import ACCOUNT_LOADED
from ..delivery.cursor_writer import CursorWriter
from ..jid import JID
from .account import Account

BOUND: Final = 20_000
"""So many accounts are in memory, and those in use beside them."""


class AccountCache:
    """Loads accounts, each once, and drops those that nobody uses when there are too many."""

    def __init__(self, host: Host, cursor_writer: CursorWriter) -> None:
        self._host = host
        self._storage = host.storage
        self._cursors = cursor_writer.cursors
        self.accounts: OrderedDict[str, Account | None] = host.owned(
            OrderedDict(), stays=self._stays, leaving=self._leaves
        )
        """By bare JID; None: there is no such account."""
        self._loading: dict[str, asyncio.Future[Account | None]] = {}
        self.stored = host.storage.map(ACCOUNT_MAP, StoredAccount, cached=True)

    def get(self, bare: str) -> Account | None:
        """An account that is in memory."""
        return self.accounts.get(bare)

    def ready(self, bare: str) -> bool:
        """Whether `get` knows of an account whether it exists."""
        return bare in self.accounts and self._storage.loaded(bare)

    async def load(self, jid: JID) -> Account | None:
        """An account with its working set; None if there is none. Raises StorageUnavailable."""
        bare = jid.bare
        if bare in self.accounts and self._storage.loaded(bare):
            return self.accounts[bare]
        loading = self._loading.get(bare)
        if loading is None:
            loading = self._loading[bare] = asyncio.ensure_future(self._load(jid.to_bare()))
            loading.add_done_callback(lambda _: self._loading.pop(bare, None))
        return await asyncio.shield(loading)

    async def _load(self, jid: JID) -> Account | None:
        bare = jid.bare
        await self._storage.load(bare)
        stored = self.stored.get(bare).get("")
        if stored is None:
            self._add(bare, None)
            return None
        known = self.accounts.get(bare)
        if known is not None:
            return known
        last_id = await self._storage.log(LOG).last_id(bare)
        cursor = self._cursors.get(bare).get("")
        if cursor is not None:  # the entry of the highest id may be deleted, and the clock may have been set back
            last_id = max(last_id, cursor.last)
        account = Account(self._host, jid, last_id, stored)
        account.cursor.restore(cursor, last_id)
        await self._host.tell_and_wait(ACCOUNT_LOADED, account)
        self._add(bare, account)
        return account

    def _add(self, bare: str, account: Account | None) -> None:
        accounts = self.accounts
        accounts[bare] = account
        accounts.move_to_end(bare)
        if len(accounts) > BOUND:
            for _ in range(BOUND // 10):
                oldest = next(iter(accounts))
                if self._is_in_use(oldest):
                    accounts.move_to_end(oldest)  # so that those behind it are looked at the next time
                else:
                    del accounts[oldest]

    def _is_in_use(self, bare: str) -> bool:
        account = self.accounts[bare]
        return account is not None and (self._stays(bare) or account.last_id > account.released)

    def _stays(self, bare: str) -> bool:
        account = self.accounts[bare]
        return account is not None and bool(account.sessions or account.cursor.dirty)

    def _leaves(self, bare: str) -> None:
        """It was made or deleted, or leaves: who has it in hand writes nothing for it any more."""
        account = self.accounts[bare]
        if account is not None:
            account.alive = False

    def loading(self, bare: str) -> bool:
        """Whether an account is being loaded."""
        return bare in self._loading

    def session_of(self, jid: JID) -> Any:
        """The local session of a full JID, or None."""
        account = self.accounts.get(jid.bare)
        return account.sessions.get(jid.resource) if account is not None else None
