"""Accounts are made, changed and deleted here, for a running server and for the command line alike."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from secrets import token_hex
from typing import TYPE_CHECKING

from ..clock import Clock
from ..contracts.accounts import (
    ACCOUNT_CREATED,
    ACCOUNT_MAP,
    ADMINISTRATOR,
    CREDENTIALS_CHANGE,
    RESERVED_ADDRESSES,
    TAKEN,
    CredentialsChange,
    StoredAccount,
)
from ..errors import BadRequest, Conflict, ItemNotFound, LocalError, NotAcceptable, StorageUnavailable
from ..jid import JID
from ..protocol.sasl import HASHES, Credentials, ScramKeys
from ..sessions.availability import vanish
from ..storage.api import OwnerDelete, Storage, Write
from .removal import NameReserved, Names, Remover

if TYPE_CHECKING:
    from ..hosts.host import Host
    from ..sessions.manager import SessionManager
    from ..sessions.session import Session

log = logging.getLogger("xmppd.admin")
PAGE = 1000


class AccountExists(Conflict):
    """There is one of that name."""


class NoSuchAccount(ItemNotFound):
    """There is none of that name."""


class BadPassword(NotAcceptable, ValueError):
    """Empty, too long, or with characters that no client can send."""


@dataclass(frozen=True, slots=True)
class Unfinished:
    """Of an owner that moves in some is here, and not all. `first`: see `contracts.moving.Intake`. That stays until all
    is here, however often the import is broken off: else it would pass over a room's password, or that an account is
    disabled."""

    first: bool = False


class Accounts:
    """All accounts of a store. `hosts` and `binder` only where a server runs: then sessions and caches follow.

    All methods raise BadRequest for what is no account's address, and StorageUnavailable. Errors are those of a
    stanza, their text for people, so a plugin may let them pass.
    """

    def __init__(
        self,
        storage: Storage,
        clock: Clock,
        hosts: Mapping[str, Host] | None = None,
        session_manager: SessionManager | None = None,
    ) -> None:
        self.storage = storage
        self.clock = clock
        self.hosts: Mapping[str, Host] = hosts or {}
        self.session_manager = session_manager
        self.stored = storage.map(ACCOUNT_MAP, StoredAccount, cached=True)
        self.moving_in = storage.map("moving-in", Unfinished)
        self.names = Names(storage, clock)
        self.remover: Remover | None = (
            Remover(session_manager.server, self.names) if session_manager is not None else None
        )
        """None: no server runs, so what is marked here is done at its next start."""
        self._one = asyncio.Lock()
        """Look, then write: two may not create the same account."""

    async def exists(self, jid: JID) -> bool:
        return await self.stored.read(_bare(jid), "") is not None

    def reserved(self) -> set[str]:
        """Bare JIDs that have rights by the configuration, whether there are such accounts or not: who registers must
        not get them by taking the name."""
        found: set[str] = set()
        for host in self.hosts.values():
            found |= host.admins
            found.update(jid.bare for jid in host.gather(RESERVED_ADDRESSES, host.jid))
        return found

    async def create(
        self,
        jid: JID,
        password: str | None,
        stranger: bool = False,
        writes: Sequence[Write] = (),
        disabled: str = "",
    ) -> None:
        """`password`: None for an account that a source lets in. `stranger`: who asks has no authority here, and
        is told nothing but that the name is taken. `writes`: what is committed with the account, behind it. `disabled`:
        why nobody signs in to it yet, "" if somebody may.

        Raises AccountExists, BadPassword; NameReserved, if it is no stranger.
        """
        bare = _bare(jid)
        credentials = await _credentials(password) if password is not None else Credentials(None, None)
        async with self._one:
            if await self.exists(jid):
                raise AccountExists(TAKEN if stranger else "there is such an account already")
            if stranger and bare in self.reserved():
                raise AccountExists(TAKEN)
            try:
                await self.names.check(jid)
            except NameReserved:
                if stranger:
                    raise AccountExists(TAKEN) from None
                raise
            # Whatever an address of that name left behind is not the new owner's.
            record = StoredAccount(credentials, self.clock.now(), token_hex(8))
            if disabled:
                record = record.changed(True, disabled)
            await self.storage.commit([OwnerDelete(bare), self.stored.put(bare, "", record), *writes])
        host = self.hosts.get(jid.domain)
        if host is not None:
            host.forget(bare)
            await host.tell_and_wait(ACCOUNT_CREATED, jid.to_bare())
        log.info("account %s created", bare)

    async def set_password(self, jid: JID, password: str, keep: Session | None = None, end_others: bool = True) -> None:
        """Sessions but `keep` end, resumable ones too: they were opened with what is no longer the password. Tokens end
        with them, but for those of the client of `keep`. `end_others`: False: the owner wants all that to stay.

        Raises NoSuchAccount, BadPassword.
        """
        bare = _bare(jid)
        credentials = await _credentials(password)
        async with self._one:
            stored = await self.stored.read(bare, "")
            if stored is None:
                raise NoSuchAccount("there is no such account")
            generation = stored.credentials.generation + end_others
            credentials = replace(credentials, disabled=stored.credentials.disabled, generation=generation)
            writes = self._changes(jid, generation, keep) if end_others else ()
            await self.storage.commit([self.stored.put(bare, "", replace(stored, credentials=credentials)), *writes])
        if end_others:
            self._end_sessions(jid, keep, "the password was changed")
        log.info("the password of %s was changed", bare)

    async def add_missing_keys(self, jid: JID, password: str, credentials: Credentials) -> None:
        """Make what an account lacks of its password, which fits `credentials`. If the store does not answer, only the
        log tells: it will be done another time."""
        missing = [hash for hash in HASHES if credentials.get(hash) is None]
        try:
            made = await asyncio.to_thread(lambda: [ScramKeys.derive(password, hash) for hash in missing])
            await self.add_keys(jid, made, credentials)
        except (ValueError, StorageUnavailable) as error:
            log.warning("%s has no keys for %s (%s)", jid, ", ".join(missing), error)

    async def add_keys(self, jid: JID, keys: Sequence[ScramKeys], credentials: Credentials) -> None:
        """Add keys for hashes to an account, if `credentials` (for which they are made) are still those that hold.
        Raises StorageUnavailable."""
        bare = _bare(jid)
        async with self._one:
            stored = await self.stored.read(bare, "")
            if stored is None or any(stored.credentials.get(hash) != credentials.get(hash) for hash in HASHES):
                return  # another password by now
            by_hash = {f"scram_{each.hash.lower().replace('-', '_')}": each for each in keys}
            changed = replace(stored.credentials, **by_hash)  # type: ignore[arg-type]
            await self.storage.commit([self.stored.put(bare, "", replace(stored, credentials=changed))])
        log.info("%s can sign in by %s, too", bare, ", ".join(f"SCRAM-{each.hash}" for each in keys))

    async def set_disabled(
        self,
        jid: JID,
        disabled: bool,
        keep: Session | None = None,
        writes: Sequence[Write] = (),
        reason: str = ADMINISTRATOR,
    ) -> None:
        """A disabled account keeps what it has and gets messages; nobody signs in to it. Its sessions end, but for
        `keep`, and all tokens. `writes`: what is committed with it. `reason`: that comes, or is there no more; the
        account is enabled when none is left (`StoredAccount.changed`).

        Raises NoSuchAccount.
        """
        bare = _bare(jid)
        async with self._one:
            stored = await self.stored.read(bare, "")
            if stored is None:
                raise NoSuchAccount("there is no such account")
            after = stored.changed(disabled, reason)
            await self.storage.commit([self.stored.put(bare, "", after), *writes])
        if disabled:
            self._end_sessions(jid, keep, "the account was disabled")
        if disabled or not after.credentials.disabled:
            log.info("account %s %s", bare, f"disabled ({reason})" if disabled else "enabled again")
        else:
            log.info("account %s stays disabled (%s)", bare, ", ".join(after.disabled_by))

    async def is_disabled(self, jid: JID, reason: str = "") -> bool:
        """`reason`: for that one, among others perhaps. Raises NoSuchAccount."""
        stored = await self.stored.read(_bare(jid), "")
        if stored is None:
            raise NoSuchAccount("there is no such account")
        return stored.disabled_for(reason) if reason else stored.credentials.disabled

    async def delete(self, jid: JID, keep: Session | None = None) -> None:
        """Begin to remove an account: when this returns it cannot be signed in to, its name cannot be taken, and all
        the rest will be done (see `removal`). Sessions end; `keep` (it asked) is only made unavailable: its caller
        ends it.

        Raises NoSuchAccount.
        """
        bare, host = _bare(jid), self.hosts.get(jid.domain)
        async with self._one:
            if not await self.exists(jid):
                raise NoSuchAccount("there is no such account")
            if host is not None:
                self._end_sessions(jid, keep, "the account was removed")
                if keep is not None:
                    vanish(keep)
                host.forget(bare)
                host.accounts[bare] = None  # from here on nobody can write to what is being deleted
            try:
                await self.storage.commit([self.names.mark(jid), self.stored.delete(bare, "")])
            finally:
                if host is not None:
                    host.forget(bare)
        log.info("account %s is being removed", bare)
        if self.remover is not None:
            self.remover.add(bare)

    async def deleted(self, jid: JID, within: float) -> bool:
        """Wait, at most `within` seconds, for the end of a removal; whether it has come."""
        return self.remover is not None and await self.remover.done(jid.bare, within)

    async def release(self, jid: JID) -> None:
        """Give the name of a removed account free. Raises ItemNotFound, NameReserved."""
        _bare(jid)
        async with self._one:
            await self.names.release(jid)
        log.info("the name %s is free", jid.bare)

    async def list(self, domain: str, after: str = "") -> list[str]:
        """At most PAGE bare JIDs of a domain's accounts, in order, beginning behind `after`."""
        return await self.stored.owners(domain, after, PAGE)

    # ---- a running server

    def _changes(self, jid: JID, generation: int, keep: Session | None) -> Sequence[Write]:
        host = self.hosts.get(jid.domain)
        return host.gather(CREDENTIALS_CHANGE, CredentialsChange(jid, generation, keep)) if host is not None else ()

    def _end_sessions(self, jid: JID, keep: Session | None, text: str) -> None:
        if self.session_manager is not None:
            for stream in self.session_manager.server.streams:
                stream.revoke(jid.bare)  # who is about to sign in has shown what holds no more
        host = self.hosts.get(jid.domain)
        account = host.account(jid.bare) if host is not None else None
        if host is None or account is None:
            return
        if self.session_manager is None:
            raise LocalError("hosts without a binder")
        for session in list(account.sessions.values()):
            if session is not keep:
                self.session_manager.end(session, "not-authorized", text)
        for stream in list(self.session_manager.server.streams):
            if stream.account is account and stream.session is None:
                stream.end("not-authorized", text)  # signed in and not bound yet


def _bare(jid: JID) -> str:
    if not jid.local or jid.resource:
        raise BadRequest("an account is name@domain")
    return jid.bare


async def _credentials(password: str) -> Credentials:
    """Hashing takes milliseconds: beside the loop."""
    if not password:
        raise BadPassword("an empty password is no password")
    try:
        return await asyncio.to_thread(Credentials.from_password, password)
    except ValueError as error:
        raise BadPassword(str(error)) from None
