"""Whose numbers are these? Answered for who has a number himself, within limits, and only of who allows it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from xmppd.contracts.blocking import BLOCKLIST
from xmppd.errors import Forbidden, MalformedJid, NotAllowed, PolicyViolation, ResourceConstraint
from xmppd.plugin import JID, Host

from .attachments import AttachmentBook
from .numbers import Hasher
from .options import DAY, Config

TOO_MANY: Final = "too many numbers for one day: try again later"


@dataclass(frozen=True, slots=True)
class Asked:
    """Numbers that an account has looked up within the day that began at `since`, seconds since 1970 UTC."""

    since: float
    count: int


class LookUp:
    """`config` is replaced when the configuration is read again."""

    def __init__(self, host: Host, config: Config, book: AttachmentBook) -> None:
        self.host = host
        self.config = config
        self.book = book
        self._asked = host.storage.map("phone-asked", Asked)
        """Owner: the bare JID."""

    async def left(self, bare: str) -> int:
        """How many numbers an account may look up today. Raises StorageUnavailable."""
        return max(0, self.config.lookups - self._today(await self._asked.read(bare, "")).count)

    def _today(self, asked: Asked | None) -> Asked:
        now = self.host.clock.now()
        return asked if asked is not None and 0 <= now - asked.since < DAY else Asked(now, 0)

    async def check(self, bare: str) -> None:
        """Whether an account may look up anything. Raises NotAllowed, Forbidden, StorageUnavailable."""
        if not self.config.lookups:
            raise NotAllowed("numbers are not looked up on this server")
        if self.config.lookup_needs_number and await self.book.of_account(bare) is None:
            raise Forbidden("who looks up numbers must have proven his own")

    async def find(self, bare: str, hashes: Sequence[str], hasher: Hasher) -> list[tuple[str, str]]:
        """The pairs of (what was sent, bare JID) that are found. `hashes`: as clients send them. They count before they
        are looked at. Raises PolicyViolation for too many in one look-up, ResourceConstraint for too many in one day,
        NotAllowed, Forbidden, StorageUnavailable."""
        if len(hashes) > self.config.batch:
            raise PolicyViolation(f"at most {self.config.batch} numbers at once")
        await self.check(bare)
        async with self.host.locks.hold(f"phone look-up {bare}"):
            asked = self._today(await self._asked.read(bare, ""))
            if asked.count + len(hashes) > self.config.lookups:
                raise ResourceConstraint(TOO_MANY)
            counted = replace(asked, count=asked.count + len(hashes))
            await self.host.storage.commit([self._asked.put(bare, "", counted)])
        found = []
        for each in unique(hashes):
            account = await self.book.shown(hasher.stored(each), self._since)
            if account and account != bare and not await self._is_blocked(account, bare):
                found.append((each, account))
        return found

    @property
    def _since(self) -> float:
        return self.host.clock.now() - float(self.config.valid) if self.config.valid else float("-inf")

    async def _is_blocked(self, account: str, asker: str) -> bool:
        """Whom an account blocks does not find it."""
        blocklist = self.host.find(BLOCKLIST)
        if blocklist is None:
            return False
        try:
            owner, other = JID.parse(account), JID.parse(asker)
        except MalformedJid:
            return True
        if await self.host.open_account(owner) is None:
            return True
        return blocklist.blocks(account, other)


def unique(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))
