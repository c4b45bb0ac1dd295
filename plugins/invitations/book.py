"""The invitations of a host: made, shown, used, revoked, forgotten. Implements `contracts.registration.Invitations`.

A token is 160 random bits. The store has its hash, so who reads the store cannot register; and whatever is wrong with a
token, the answer is the same, after the same look into the store.
"""

from __future__ import annotations

import hashlib
from base64 import b32encode
from collections.abc import Collection, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from secrets import token_bytes
from typing import Final

from xmppd.contracts.registration import INVALID, Admission, Create
from xmppd.contracts.store_check import StoreCheck
from xmppd.errors import Conflict, ItemNotFound, ResourceConstraint
from xmppd.plugin import JID, Host
from xmppd.storage.api import Write

NAMES: Final = "invitation-name"
LONGEST_TOKEN: Final = 100
SPARED: Final = 3600.0
"""Seconds for streams that have shown an invitation in time (XEP-0445 section 4)."""
SHOWN: Final = 10
"""Characters of a key that name an invitation in lists."""


@dataclass(frozen=True, slots=True)
class Invitation:
    """`until`: seconds since 1970 UTC. `left`: so many uses. `inviter`: a bare JID, which becomes a contact of whoever
    comes, "" for none. `username`: the only name that can be taken, "" for any. `registers`: it is good for an account,
    not for becoming a contact only. `room`: to which whoever comes is invited, a bare JID or "".
    """

    made: float
    until: float
    left: int = 1
    inviter: str = ""
    username: str = ""
    registers: bool = True
    room: str = ""


@dataclass(frozen=True, slots=True)
class KeptName:
    """A name that is kept for who has the invitation `key`, `until` it expires (seconds since 1970 UTC)."""

    key: str
    until: float


@dataclass(frozen=True, slots=True)
class Newcomer:
    """What an account that an invitation has made does not know yet: its inviter, its room (bare JIDs, "" for none).
    `invited`: when the invitation was made, seconds since 1970 UTC."""

    inviter: str = ""
    room: str = ""
    invited: float = 0.0

    @property
    def promised(self) -> bool:
        """There is anything that it does not know."""
        return bool(self.inviter or self.room)


class InvitationBook:
    """All records of a host belong to its domain, but for what is about one name or one new account."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self._invitations = host.storage.map("invitation", Invitation)
        """Owner: the domain; key: the hash of the token."""
        self._names = host.storage.map(NAMES, KeptName)
        """Owner: the bare JID. The account that is made deletes it, as all that its name left behind."""
        self.newcomers = host.storage.map("invitation-newcomer", Newcomer)
        """Owner: the bare JID of the new account."""

    def _alone(self) -> AbstractAsyncContextManager[None]:
        return self.host.locks.hold(f"invitations {self.host.domain}")

    # ---- making and ending them

    async def make(self, invitation: Invitation, per_inviter: int, in_all: int) -> tuple[str, str]:
        """The token, and the key of the record. `per_inviter`, `in_all`: so many may be open. Raises Conflict when the
        name is kept for somebody else, ResourceConstraint, StorageUnavailable."""
        token = b32encode(token_bytes(20)).decode().lower()
        key = _key(token)
        async with self._alone():
            found = await self.open()
            own = sum(each.inviter == invitation.inviter for each in found.values())
            if len(found) >= in_all or (invitation.inviter and own >= per_inviter):
                raise ResourceConstraint("too many invitations are open")
            writes: list[Write] = [self._invitations.put(self.host.domain, key, invitation)]
            if invitation.username:
                jid = JID.of(invitation.username, self.host.domain)
                if await self.holds(jid, None):
                    raise Conflict("there is an invitation for that name already")
                writes.append(self._names.put(jid.bare, "", KeptName(key, invitation.until)))
            await self.host.storage.commit(writes)
        return token, key

    async def open(self) -> Mapping[str, Invitation]:
        """Those that can be used, by key. Raises StorageUnavailable."""
        now = self.host.clock.now()
        found = await self._invitations.read_all(self.host.domain)
        return {key: each for key, each in found.items() if each.until > now}

    async def find(self, token: str) -> tuple[str, Invitation] | None:
        """What a token is good for now, with its key. Raises StorageUnavailable."""
        key = _key(token[:LONGEST_TOKEN])
        found = await self._invitations.read(self.host.domain, key)
        if found is None or len(token) > LONGEST_TOKEN or found.until <= self.host.clock.now():
            return None
        if found.inviter and await self._is_disabled(found.inviter):
            return None
        return key, found

    async def _is_disabled(self, inviter: str) -> bool:
        """Who may not sign in lets nobody in either. Raises StorageUnavailable."""
        try:
            return await self.host.server.accounts.is_disabled(JID.parse(inviter))
        except ItemNotFound:
            return True

    async def revoke(self, id: str) -> Invitation:
        """`id`: as in lists, or the token. Raises ItemNotFound, StorageUnavailable."""
        async with self._alone():
            found = await self._invitations.read_all(self.host.domain)
            keys = [key for key in found if key[:SHOWN] == id or key == _key(id[:LONGEST_TOKEN])]
            if len(keys) != 1:
                raise ItemNotFound("there is no such invitation")
            await self._delete({keys[0]: found[keys[0]]})
        return found[keys[0]]

    async def forget(self, accounts: Collection[str]) -> None:
        """Accounts are removed: nobody becomes a contact of who gets their names. Raises StorageUnavailable."""
        async with self._alone():
            found = await self._invitations.read_all(self.host.domain)
            await self._delete({key: each for key, each in found.items() if each.inviter in accounts})
        for bare, newcomer in await self.unfinished():
            if newcomer.inviter in accounts:
                await self.host.storage.commit([self.newcomers.put(bare, "", replace(newcomer, inviter=""))])

    async def sweep(self) -> None:
        """Those that have expired leave the store. Raises StorageUnavailable."""
        async with self._alone():
            before = self.host.clock.now() - SPARED
            found = await self._invitations.read_all(self.host.domain)
            await self._delete({key: each for key, each in found.items() if each.until <= before})

    async def _delete(self, invitations: Mapping[str, Invitation]) -> None:
        writes: list[Write] = []
        for key, each in invitations.items():
            writes.append(self._invitations.delete(self.host.domain, key))
            if each.username:
                writes.append(self._names.delete(JID.of(each.username, self.host.domain).bare, ""))
        if writes:
            await self.host.storage.commit(writes)

    async def check(self, store: StoreCheck) -> None:
        """For `xmppd store check`. Raises StorageUnavailable."""
        now = self.host.clock.now()
        async for bare, _, kept in store.records(self._names):
            if kept.until > now and await self._invitations.read_stored(self.host.domain, kept.key) is None:
                store.note(bare, self._names.name, "the name is kept for nobody, until its time is over")

    async def unfinished(self) -> list[tuple[str, Newcomer]]:
        """New accounts that do not know their inviter yet. Raises StorageUnavailable."""
        found: list[tuple[str, Newcomer]] = []
        place = ("", "")
        while page := await self.newcomers.scan(self.host.domain, place):
            found += [(owner, each) for owner, _, each in page if each is not None]
            place = page[-1][:2]
        return found

    # ---- contracts.registration.Invitations

    async def admit(self, token: str) -> Admission:
        found = await self.find(token)
        if found is None or not found[1].registers:
            raise ItemNotFound(INVALID)
        key, invitation = found
        return Admission(key, invitation.username, invitation.inviter)

    async def redeem(self, admission: Admission, jid: JID, create: Create) -> Newcomer:
        """The same; what the new account is to find."""
        async with self._alone():
            invitation = await self._invitations.read(self.host.domain, admission.key)
            if invitation is None:
                raise ItemNotFound(INVALID)
            writes = [self._used(admission.key, invitation)]
            newcomer = Newcomer(invitation.inviter, invitation.room, invitation.made)
            if newcomer.promised:
                writes.append(self.newcomers.put(jid.bare, "", newcomer))
            await create(writes)
        return newcomer

    async def use_for_contact(self, token: str, inviter: str) -> bool:
        """Use an invitation of an account once, for becoming its contact (XEP-0379); whether it was good. Raises
        StorageUnavailable."""
        async with self._alone():
            found = await self.find(token)
            if found is None or found[1].inviter != inviter:
                return False
            await self.host.storage.commit([self._used(*found)])
        return True

    def _used(self, key: str, invitation: Invitation) -> Write:
        if invitation.left <= 1:
            return self._invitations.delete(self.host.domain, key)
        return self._invitations.put(self.host.domain, key, replace(invitation, left=invitation.left - 1))

    async def holds(self, jid: JID, admission: Admission | None) -> bool:
        kept = await self._names.read(jid.bare, "")
        if kept is None or kept.until <= self.host.clock.now():
            # A stream that has shown its invitation in time may take the name also when that has expired since.
            return False
        return admission is None or kept.key != admission.key


def _key(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()[:32]
