"""Codes that prove a number: made, limited, sent, tried, used once.

Each code costs money, and somebody whom nobody asked may get it: so they are counted by number, by block of numbers, by
who asks, and in all. What is stored is a hash by the server's key.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from secrets import choice, token_hex
from typing import Final, TypeVar

from xmppd.contracts.phone import CodeMessage, CodeNotSent, CodeSender
from xmppd.errors import NotAcceptable, ResourceConstraint, ServiceUnavailable
from xmppd.plugin import Host
from xmppd.storage.api import Map, Write
from xmppd.window_limit import AddressLimit, WindowLimit

from .numbers import BLOCK, Hasher
from .options import DAY, Config

log = logging.getLogger("xmppd.phone")
T = TypeVar("T")
HOUR: Final = 3600.0
WRONG: Final = "the code is wrong, or not good any more: ask for another one"
"""Whatever is wrong with it, and whether there is one."""
LATER: Final = "no further code can be sent to this number now: try again later"
FULL: Final = "too many codes are asked for: try again later"
FAILED: Final = "the code could not be sent: try again later"
REFUSED: Final = "no code can be sent to this number"
SHOWN: Final = 8
"""Characters of a number's hash in the log."""
_SPACES: Final = dict.fromkeys(map(ord, " -\u00a0\t"))


@dataclass(frozen=True, slots=True)
class PendingCode:
    """A code that was sent. `number`, `code`: hashes; `until`: seconds since 1970 UTC; `left`: tries."""

    number: str
    code: str
    until: float
    left: int


@dataclass(frozen=True, slots=True)
class SentTo:
    """When codes went to a number, seconds since 1970 UTC; those of the last day."""

    times: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class SentInAll:
    """Codes in the hour that began at `since`, seconds since 1970 UTC."""

    since: float
    count: int


@dataclass(frozen=True, slots=True)
class Claim:
    """Who wants to prove which number. `owner`, `key`: of the record that holds the code. `stored`: the number's hash.
    `purpose`: for what alone the code is good."""

    owner: str
    key: str
    stored: str
    purpose: str


class CodeBook:
    """Of one host. `config` is replaced when the configuration is read again."""

    def __init__(self, host: Host, config: Config, hasher: Callable[[], Hasher]) -> None:
        self.host = host
        self._hasher = hasher
        self._codes = host.storage.map("phone-code", PendingCode)
        """Of strangers: owner the domain, key the number's hash. Of an account: owner its bare JID, key ""."""
        self._sent = host.storage.map("phone-sent", SentTo)
        """Owner: the domain; key: the number's hash."""
        self._in_all = host.storage.map("phone-sent-in-all", SentInAll)
        """Owner: the domain."""
        self._askers = AddressLimit(host.clock, config.per_address, DAY)
        self._blocks = WindowLimit(host.clock, config.per_block, HOUR, LATER)
        self.reconfigured(config)

    def reconfigured(self, config: Config) -> None:
        self.config = config
        self._askers.limit, self._blocks.limit = config.per_address, config.per_block

    # ---- for whom

    def of_stranger(self, number: str) -> Claim:
        stored = self._hasher().number(number)
        return Claim(self.host.domain, stored, stored, "register")

    def of_account(self, bare: str, number: str) -> Claim:
        return Claim(bare, "", self._hasher().number(number), f"attach {bare}")

    # ---- sending one

    async def send(self, claim: Claim, number: str, asker: str, sender: CodeSender) -> None:
        """Send a code, whether the number belongs to an account or not. `asker`: IP address or bare JID. Raises
        ResourceConstraint, ServiceUnavailable (the sender does not work), NotAcceptable (it refuses the number),
        StorageUnavailable."""
        self._askers.count(asker)
        block = number[:-BLOCK]
        self._blocks.count(block)
        code = "".join(choice("0123456789") for _ in range(self.config.code_length))
        try:
            at, pending = await self._reserve(claim, code)
        except BaseException:
            self._blocks.uncount(block)  # else who asks again and again shuts out a number's neighbours
            raise
        text = self.config.text.format(code=code, domain=self.host.domain)
        try:
            await sender.send(CodeMessage(number, text, code, token_hex(16)))
        except BaseException as error:
            await self._not_sent(claim, at, pending)
            if not isinstance(error, CodeNotSent):
                raise
            log.warning("a code for number %s was not sent: %s", claim.stored[:SHOWN], error)
            if error.refused:
                raise NotAcceptable(REFUSED) from None
            self._askers.uncount(asker)  # who meets a sender that is down is not shut out for a day
            self._blocks.uncount(block)
            raise ServiceUnavailable(FAILED, type="wait") from None
        log.info("a code for number %s was sent, asked for by %s", claim.stored[:SHOWN], asker)

    async def _reserve(self, claim: Claim, code: str) -> tuple[float, PendingCode]:
        """Count it before it is sent: a crash must not make one free. Raises ResourceConstraint."""
        domain, now = self.host.domain, self.host.clock.now()
        async with self.host.locks.hold(f"phone codes {domain}", self._lock(claim.stored)):
            in_all = await self._in_all.read(domain, "")
            if in_all is None or not 0 <= now - in_all.since < HOUR:
                in_all = SentInAll(now, 0)
            if in_all.count >= self.config.per_hour:
                log.warning("no more codes are sent: %d within an hour (option per_hour)", in_all.count)
                raise ResourceConstraint(FULL)
            times = self._recent(await self._sent.read(domain, claim.stored), now)
            if len(times) >= self.config.per_number or (times and now - times[-1] < float(self.config.pause)):
                raise ResourceConstraint(LATER)
            hashed = self._hasher().code(claim.stored, claim.purpose, code)
            until = now + float(self.config.code_time)
            pending = PendingCode(claim.stored, hashed, until, self.config.attempts)
            writes: list[Write] = [
                self._in_all.put(domain, "", replace(in_all, count=in_all.count + 1)),
                self._sent.put(domain, claim.stored, SentTo((*times, now))),
                self._codes.put(claim.owner, claim.key, pending),
            ]
            await self.host.storage.commit(writes)
        return now, pending

    async def _not_sent(self, claim: Claim, at: float, pending: PendingCode) -> None:
        """The number may have another one. In all it counts: who knows what has become of it."""
        async with self.host.locks.hold(self._lock(claim.stored)):
            sent = await self._sent.read(self.host.domain, claim.stored)
            times = tuple(each for each in sent.times if each != at) if sent is not None else ()
            writes: list[Write] = [self._sent.put(self.host.domain, claim.stored, SentTo(times))]
            if await self._codes.read(claim.owner, claim.key) == pending:
                writes.append(self._codes.delete(claim.owner, claim.key))
            await self.host.storage.commit(writes)

    def _recent(self, sent: SentTo | None, now: float) -> tuple[float, ...]:
        """What is later than now was counted before the clock was set back."""
        return tuple(each for each in sent.times if now - DAY < each <= now) if sent is not None else ()

    # ---- trying one

    async def use(self, claim: Claim, given: str, done: Callable[[Sequence[Write]], Awaitable[None]]) -> None:
        """Call `done` with what ends the code, if it is the right one. Raises NotAcceptable, the same for all that are
        not; StorageUnavailable, and what `done` raises: then the code is still good."""
        given = given.translate(_SPACES)
        async with self.host.locks.hold(self._lock(claim.stored)):
            pending = await self._codes.read(claim.owner, claim.key)
            hashed = self._hasher().code(claim.stored, claim.purpose, given[: self.config.code_length + 1])
            end = self._codes.delete(claim.owner, claim.key)
            other = pending is not None and pending.number != claim.stored  # the account's code for another number
            if pending is None or other or pending.until <= self.host.clock.now():
                # A commit takes the time that a wrong one takes.
                keep = [self._codes.put(claim.owner, claim.key, pending)] if pending is not None and other else [end]
                await self.host.storage.commit(keep)
                raise NotAcceptable(WRONG)
            if not hmac.compare_digest(pending.code, hashed):
                left = replace(pending, left=pending.left - 1)
                await self.host.storage.commit(
                    [self._codes.put(claim.owner, claim.key, left) if left.left > 0 else end]
                )
                raise NotAcceptable(WRONG)
            await done([end])

    def _lock(self, stored: str) -> str:
        return f"phone {self.host.domain} {stored}"

    # ---- looking after

    async def sent_in_hour(self) -> int:
        """Raises StorageUnavailable."""
        found = await self._in_all.read(self.host.domain, "")
        return found.count if found is not None and 0 <= self.host.clock.now() - found.since < HOUR else 0

    async def sweep(self) -> None:
        """What has no meaning any more leaves the store. Raises StorageUnavailable."""
        now = self.host.clock.now()
        await self._sweep(self._codes, lambda code: code.until <= now)
        await self._sweep(self._sent, lambda sent: not self._recent(sent, now))

    async def _sweep(self, records: Map[T], over: Callable[[T], bool]) -> None:
        place = ("", "")
        while page := await records.scan(self.host.domain, place):
            place = page[-1][:2]
            for owner, key, record in page:
                if record is not None and over(record):
                    # Looked at again where it is decided: a code may have been sent meanwhile.
                    await self.host.storage.commit([records.update(owner, key, partial(_unless, over))])


def _unless(over: Callable[[T], bool], record: T | None) -> T | None:
    return None if record is None or over(record) else record
