"""Which number belongs to which account: one number each, and each number to one account.

Two records say it, and both must: that of the number names the account, that of the account holds the number's hash. So
what an account has left behind is worth nothing, and the next owner of its name has no number.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from functools import partial

from xmppd.errors import ItemNotFound, MalformedJid, StorageUnavailable
from xmppd.plugin import JID, E, Host
from xmppd.stanza import message
from xmppd.storage.api import Write

from .codes import SHOWN

log = logging.getLogger("xmppd.phone")
MOVED = (
    "The phone number of this account now belongs to another account of {domain}: somebody has proven there that he "
    "has it. This account stays as it is, without a number. If you still have the number, prove it again."
)


@dataclass(frozen=True, slots=True)
class Attachment:
    """Of a number. `account`: its bare JID. `since`: when it was proven, seconds since 1970 UTC. `discoverable`: who
    knows the number may learn whose it is."""

    account: str
    since: float
    discoverable: bool = False


@dataclass(frozen=True, slots=True)
class AttachedNumber:
    """Of an account: the hash of its number."""

    number: str


Commit = Callable[[Sequence[Write]], object]


class AttachmentBook:
    def __init__(self, host: Host) -> None:
        self.host = host
        self.numbers = host.storage.map("phone-number", Attachment)
        """Owner: the domain; key: the number's hash."""
        self.accounts = host.storage.map("phone-account", AttachedNumber)
        """Owner: the bare JID. What deletes the account deletes it."""

    def alone(self, bare: str) -> AbstractAsyncContextManager[None]:
        """One change of an account's number at a time."""
        return self.host.locks.hold(f"phone account {bare}")

    async def of_account(self, bare: str) -> tuple[str, Attachment] | None:
        """The number's hash, and what is said of it. Raises StorageUnavailable."""
        own = await self.accounts.read(bare, "")
        found = await self.numbers.read(self.host.domain, own.number) if own is not None else None
        return (own.number, found) if own is not None and found is not None and found.account == bare else None

    async def of_number(self, stored: str) -> Attachment | None:
        """Raises StorageUnavailable."""
        found = await self.numbers.read(self.host.domain, stored)
        return found if found is not None and await self._holds(found.account, stored) else None

    async def shown(self, stored: str, since: float) -> str:
        """The account of a number that may be told of it, "" for none; proven after `since`. One look into the store
        for every number that nobody may be told of, taken or not. Raises StorageUnavailable."""
        found = await self.numbers.read(self.host.domain, stored)
        if found is None or not found.discoverable or found.since <= since:
            return ""
        return found.account if await self._holds(found.account, stored) else ""

    async def _holds(self, bare: str, stored: str) -> bool:
        own = await self.accounts.read(bare, "")
        return own is not None and own.number == stored

    async def attach(self, stored: str, bare: str, discoverable: bool) -> tuple[list[Write], Callable[[], None]]:
        """What makes the number that of an account and of no other one, and what to call behind the commit. The caller
        holds the locks of both. Raises StorageUnavailable."""
        domain = self.host.domain
        writes: list[Write] = []
        before, own = await self.numbers.read(domain, stored), await self.accounts.read(bare, "")
        if own is not None and own.number != stored:
            writes.append(self.numbers.update(domain, own.number, partial(_unless_of, bare)))
        loser = before.account if before is not None and before.account != bare else ""
        if loser and not await self._holds(loser, stored):
            loser = ""
        record = Attachment(bare, self.host.clock.now(), discoverable)
        writes += [self.numbers.put(domain, stored, record), self.accounts.put(bare, "", AttachedNumber(stored))]

        def behind() -> None:
            log.info("number %s belongs to %s", stored[:SHOWN], bare)
            if loser:
                log.info("number %s does not belong to %s any more", stored[:SHOWN], loser)
                self.host.background.spawn(self._lose(loser, stored), f"{loser} loses its number")
                self._tell(loser)

        return writes, behind

    async def _lose(self, bare: str, stored: str) -> None:
        """The account's own record goes, too. Until then it is worth nothing, as the number is another's."""
        try:
            await self.host.storage.commit([self.accounts.update(bare, "", partial(_unless_number, stored))])
        except StorageUnavailable as error:
            log.warning("%s is still said to have a number that is another's (%s)", bare, error)

    def _tell(self, bare: str) -> None:
        try:
            to = JID.parse(bare)
        except MalformedJid:
            return
        body = E("body", "jabber:client", {}, MOVED.format(domain=self.host.domain))
        self.host.deliver(message("normal", body, to=to, sender=self.host.jid))

    async def show(self, bare: str, discoverable: bool) -> None:
        """Whether who knows the number may find the account. Raises ItemNotFound: it has no number."""
        async with self.alone(bare):
            found = await self.of_account(bare)
            if found is None:
                raise ItemNotFound("no number is attached to this account")
            write = self.numbers.update(self.host.domain, found[0], partial(_shown, bare, discoverable))
            await self.host.storage.commit([write])

    async def detach(self, bare: str) -> None:
        """Raises ItemNotFound: it has no number; StorageUnavailable."""
        async with self.alone(bare):
            if await self.of_account(bare) is None:
                raise ItemNotFound("no number is attached to this account")
            await self.forget(bare)
        log.info("%s has no number any more", bare)

    async def forget(self, bare: str) -> None:
        """An account is removed, or wants its number forgotten. Can be repeated. Raises StorageUnavailable."""
        own = await self.accounts.read(bare, "")
        if own is not None:
            number = self.numbers.update(self.host.domain, own.number, partial(_unless_of, bare))
            await self.host.storage.commit(
                [number, self.accounts.update(bare, "", partial(_unless_number, own.number))]
            )


def _unless_of(bare: str, record: Attachment | None) -> Attachment | None:
    return None if record is None or record.account == bare else record


def _unless_number(stored: str, record: AttachedNumber | None) -> AttachedNumber | None:
    return None if record is None or record.number == stored else record


def _shown(bare: str, discoverable: bool, record: Attachment | None) -> Attachment | None:
    return replace(record, discoverable=discoverable) if record is not None and record.account == bare else record
