"""XEP-0480: SASL Upgrade Tasks, and SCRAM-SHA-512 where every account has the keys for it.

Accounts that came from another server may have keys for SCRAM-SHA-1 only. As long as a host has such an
account, SCRAM-SHA-256 is not offered there either, nor SCRAM-SHA-512, whatever was before.

Keys for all hashes are made with each new password. An account from before that gets those that it lacks when its
password is seen (PLAIN), or when its client computes them (XEP-0480 section 3). Clients take the strongest mechanism
that they see, and never again a weaker one; so it is offered to everybody on a host or to nobody, and only once no
account lacks the keys. That is taken back
only for accounts that move in without the keys (`contracts.moving`).
"""

from __future__ import annotations

import logging
from base64 import b64decode, b64encode
from binascii import Error
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass
from secrets import token_bytes
from typing import Final

from xmppd.contracts.admin import Result, operation
from xmppd.contracts.authentication import (
    HASHES,
    ITERATIONS,
    MECHANISMS,
    SCRAM_SHA_512,
    WITHHELD,
    Credentials,
    Mechanism,
    SaslFailure,
    ScramKeys,
)
from xmppd.contracts.identity import AUTHENTICATORS
from xmppd.contracts.moving import MOVED_IN, MovedIn
from xmppd.contracts.sign_in import SIGN_IN_TASKS, TASK_OFFERS, SignIn, SignInTask, TaskOffer
from xmppd.contracts.store_check import CHECK_STORE, StoreCheck, in_map
from xmppd.contracts.stream_features import FeatureAsk
from xmppd.errors import StorageUnavailable
from xmppd.plugin import Account, E, Element, NoConfig, Plugin, Xep, on
from xmppd.storage.api import Write
from xmppd.xml import find, text_of

log = logging.getLogger("xmppd.sasl_upgrade")
NS: Final = "urn:xmpp:sasl:upgrade:0"
SCRAM_NS: Final = "urn:xmpp:scram-upgrade:0"
HASH: Final = "SHA-512"
USUAL: Final = "SHA-256"
OCTETS: Final = {HASH: 64, USUAL: 32}
"""Of a SaltedPassword, by hash; the stronger one first."""
LOOK_AGAIN: Final = 3600.0
PAGE: Final = 200


@dataclass(frozen=True, slots=True)
class AllHaveKeys:
    """`since`: seconds since 1970 UTC."""

    since: float


@dataclass(frozen=True, slots=True)
class SomeLackKeys:
    """Accounts have moved in that have no keys for SCRAM-SHA-256. `since`: seconds since 1970 UTC."""

    since: float


class Lacking(Result, frozen=True):
    """`accounts`: so many have no keys for SCRAM-SHA-512; `offered`: whether it is offered. `weak`: so many have
    keys for SCRAM-SHA-1 only, so SCRAM-SHA-256 is not offered."""

    accounts: int
    offered: bool
    weak: int = 0

    def text(self) -> str:
        if self.weak:
            return f"SCRAM-{USUAL} is not offered: {self.weak} accounts have keys for SCRAM-SHA-1 only."
        if self.offered:
            return f"SCRAM-{HASH} is offered: all accounts have the keys."
        return f"SCRAM-{HASH} is not offered: {self.accounts} accounts have no keys for it."


class Task:
    """The client computes the SaltedPassword (section 3)."""

    proves = False

    def __init__(self, plugin: SaslUpgrade, account: Account, credentials: Credentials, hash: str) -> None:
        """`credentials`: what has been proven."""
        self.name = task_of(hash)
        self.hash = hash
        self.plugin = plugin
        self.account = account
        self.credentials = credentials
        self.salt = b""

    def received(self, data: Element) -> Element | Awaitable[Element | None] | None:
        if not self.salt:
            self.salt = token_bytes(16)
            return E("salt", SCRAM_NS, {"iterations": str(ITERATIONS)}, b64encode(self.salt).decode())
        try:
            salted = b64decode("".join(text_of(find(data, SCRAM_NS, "hash")).split()), validate=True)
        except (Error, ValueError):
            raise SaslFailure("incorrect-encoding", "not base64") from None
        if len(salted) != OCTETS[self.hash]:
            raise SaslFailure("malformed-request", "not a salted password")
        return self._store(ScramKeys.from_salted(salted, self.hash, self.salt, ITERATIONS))

    async def _store(self, keys: ScramKeys) -> None:
        try:
            await self.plugin.host.server.accounts.add_keys(self.account.jid, [keys], self.credentials)
        except StorageUnavailable as error:
            log.warning("%s got no keys for SCRAM-%s (%s)", self.account.bare, self.hash, error)


def task_of(hash: str) -> str:
    """The name of the task that makes keys for a hash (section 3)."""
    return f"UPGR-SCRAM-{hash}"


def lacks(credentials: Credentials, hash: str = HASH) -> bool:
    """Whether there is a password, and no keys of it for this hash. (Whom a source outside knows has no password.)"""
    return credentials.get(hash) is None and any(credentials.get(each) is not None for each in HASHES)


class SaslUpgrade(Plugin[NoConfig]):
    xeps = (Xep(480, "0.2.0", "to SCRAM-SHA-512"),)

    def setup(self) -> None:
        self.complete = False
        """Every account of the host has the keys."""
        self.weak = False
        """Some have none for SCRAM-SHA-256."""
        self._weak_mark = self.host.storage.map("scram-sha-256-lacking", SomeLackKeys)
        self._mark = self.host.storage.map("scram-sha-512", AllHaveKeys)
        """Owner: the domain; key: ""."""

    async def start(self) -> None:
        self.complete = await self._mark.read(self.host.domain, "") is not None
        self.weak = await self._weak_mark.read(self.host.domain, "") is not None
        if self.complete:
            return
        if len(await self.host.stored_accounts.scan(self.host.domain, limit=PAGE)) < PAGE:
            await self._look()
        else:
            self.spawn(self._look(), "keys")
        self.every(LOOK_AGAIN, self._look, "keys")

    async def _look(self) -> None:
        """Whether it can be offered now."""
        if self.complete:
            return
        try:
            lacking = await self.lacking()
            if self.weak and (not lacking or not await self.lacking(USUAL)):
                await self.host.storage.commit([self._weak_mark.delete(self.host.domain, "")])
                self.weak = False
            if lacking:
                log.info("SCRAM-%s is not offered: %d accounts of %s lack it", HASH, lacking, self.host.domain)
                return
            await self.host.storage.commit([self._mark.put(self.host.domain, "", AllHaveKeys(self.host.clock.now()))])
            self.complete = True
        except StorageUnavailable as error:
            log.info("whether all accounts of %s have the keys is not known (%s)", self.host.domain, error)

    @on(MOVED_IN)
    async def moved_in(self, event: MovedIn) -> Iterable[Write]:
        """What it lacks the keys for is not offered when the server starts, or who moved in would be locked out."""
        stored = await self.host.stored_accounts.read(event.owner.bare, "")
        domain = self.host.domain
        if stored is None or not lacks(stored.credentials):
            return ()
        writes: list[Write] = [self._mark.delete(domain, "")]
        if lacks(stored.credentials, USUAL):
            writes.append(self._weak_mark.put(domain, "", SomeLackKeys(self.host.clock.now())))
            event.intake.note(
                f"has keys for SCRAM-SHA-1 only: {domain} does not offer stronger mechanisms while it has such accounts"
            )
        return writes

    async def lacking(self, hash: str = HASH) -> int:
        """How many accounts have no keys. Reads them all. Raises StorageUnavailable."""
        count, place = 0, ("", "")
        while page := await self.host.stored_accounts.scan(self.host.domain, place, PAGE):
            place = page[-1][:2]
            count += sum(each is not None and lacks(each.credentials, hash) for _, _, each in page)
        return count

    @on(CHECK_STORE)
    async def check(self, store: StoreCheck) -> None:
        """For `xmppd store check`: nobody lacks the keys of what is offered to all."""
        if await self._mark.read_stored(self.host.domain, "") is None:
            return
        async for bare, key, account in store.records(self.host.stored_accounts):
            if lacks(account.credentials):
                what = f"it lacks the keys for SCRAM-{HASH}, which is offered to everybody here"
                store.problem(bare, in_map(self.host.stored_accounts.name, key), what)

    @operation("sign-in.upgrades", "Count the accounts that keep SCRAM-SHA-512 from being offered.")
    async def count(self) -> Lacking:
        return Lacking(await self.lacking(), self.complete, await self.lacking(USUAL) if self.weak else 0)

    @on(MECHANISMS)
    def mechanisms(self, ask: FeatureAsk) -> Iterable[Mechanism]:
        sources = self.host.gather(AUTHENTICATORS, self.host.jid)
        return SCRAM_SHA_512 if self.complete and not any(each.exclusive for each in sources) else ()

    @on(WITHHELD)
    def withheld(self, ask: FeatureAsk) -> Iterable[str]:
        return (f"SCRAM-{USUAL}", f"SCRAM-{USUAL}-PLUS") if self.weak else ()

    @on(TASK_OFFERS)
    def offer(self, ask: FeatureAsk) -> Iterable[TaskOffer]:
        """Section 2.1; the same for every account."""
        return () if self.complete else (*OFFERS, *(WEAK_OFFERS if self.weak else ()))

    @on(SIGN_IN_TASKS)
    def task(self, sign_in: SignIn) -> Iterable[SignInTask]:
        """Section 2.2. An account that has the keys keeps them."""
        account = sign_in.account
        asked = {each.text for each in sign_in.request.children() if each.tag == f"{NS}|upgrade"}
        if not asked or account is None or not sign_in.mechanism.startswith("SCRAM-"):
            return ()  # for PLAIN there is nothing to ask; others have not shown that they know the password
        credentials = self.host.stored_accounts.get(account.bare)[""].credentials
        wanted = (hash for hash in OCTETS if task_of(hash) in asked and lacks(credentials, hash))
        return tuple(Task(self, account, credentials, hash) for hash in wanted)


def _offer(hash: str) -> TaskOffer:
    return TaskOffer(f"<upgrade xmlns='{NS}'>{task_of(hash)}</upgrade>".encode())


OFFERS: Final = (_offer(HASH),)
WEAK_OFFERS: Final = (_offer(USUAL),)
