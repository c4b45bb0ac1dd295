"""XEP-0480: SASL Upgrade Tasks, and SCRAM-SHA-512 where every account has the keys for it.

Keys for all hashes are made with each new password. An account from before that gets those that it lacks when its
password is seen (PLAIN), or when its client computes them (XEP-0480 section 3). Clients take the strongest mechanism
that they see, and never again a weaker one; so it is offered to everybody on a host or to nobody, and only once no
account lacks the keys. That is never taken back.
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
    ITERATIONS,
    MECHANISMS,
    SCRAM_SHA_512,
    Credentials,
    Mechanism,
    SaslFailure,
    ScramKeys,
)
from xmppd.contracts.identity import AUTHENTICATORS
from xmppd.contracts.sign_in import SIGN_IN_TASKS, TASK_OFFERS, SignIn, SignInTask, TaskOffer
from xmppd.contracts.stream_features import FeatureAsk
from xmppd.errors import StorageUnavailable
from xmppd.plugin import Account, E, Element, NoConfig, Plugin, Xep, on
from xmppd.xml import children, find, tag_of, text_of

log = logging.getLogger("xmppd.sasl_upgrade")
NS: Final = "urn:xmpp:sasl:upgrade:0"
SCRAM_NS: Final = "urn:xmpp:scram-upgrade:0"
HASH: Final = "SHA-512"
TASK: Final = f"UPGR-SCRAM-{HASH}"
OCTETS: Final = 64
"""Of a SaltedPassword."""
LOOK_AGAIN: Final = 3600.0
PAGE: Final = 200


@dataclass(frozen=True, slots=True)
class AllHaveKeys:
    """`since`: seconds since 1970 UTC."""

    since: float


class Lacking(Result, frozen=True):
    """`accounts`: so many have no keys for SCRAM-SHA-512; `offered`: whether it is offered."""

    accounts: int
    offered: bool

    def text(self) -> str:
        if self.offered:
            return f"SCRAM-{HASH} is offered: all accounts have the keys."
        return f"SCRAM-{HASH} is not offered: {self.accounts} accounts have no keys for it."


class Task:
    """The client computes the SaltedPassword (section 3)."""

    name = TASK

    def __init__(self, plugin: SaslUpgrade, account: Account, credentials: Credentials) -> None:
        """`credentials`: what has been proven."""
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
        if len(salted) != OCTETS:
            raise SaslFailure("malformed-request", "not a salted password")
        return self._store(ScramKeys.from_salted(salted, HASH, self.salt, ITERATIONS))

    async def _store(self, keys: ScramKeys) -> None:
        try:
            await self.plugin.host.server.accounts.add_keys(self.account.jid, [keys], self.credentials)
        except StorageUnavailable as error:
            log.warning("%s got no keys for SCRAM-%s (%s)", self.account.bare, HASH, error)


def lacks(credentials: Credentials) -> bool:
    """Whether there is a password, and no keys of it for this hash. (Whom a source outside knows has no password.)"""
    return credentials.get(HASH) is None and (credentials.scram_sha_256 or credentials.scram_sha_1) is not None


class SaslUpgrade(Plugin[NoConfig]):
    xeps = (Xep(480, "0.2.0", "to SCRAM-SHA-512"),)

    def setup(self) -> None:
        self.complete = False
        """Every account of the host has the keys."""
        self._mark = self.host.storage.map("scram-sha-512", AllHaveKeys)
        """Owner: the domain; key: ""."""

    async def start(self) -> None:
        self.complete = await self._mark.read(self.host.domain, "") is not None
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
            if lacking:
                log.info("SCRAM-%s is not offered: %d accounts of %s lack it", HASH, lacking, self.host.domain)
                return
            await self.host.storage.commit([self._mark.put(self.host.domain, "", AllHaveKeys(self.host.clock.now()))])
            self.complete = True
        except StorageUnavailable as error:
            log.info("whether all accounts of %s have the keys is not known (%s)", self.host.domain, error)

    async def lacking(self) -> int:
        """How many accounts have no keys. Reads them all. Raises StorageUnavailable."""
        count, place = 0, ("", "")
        while page := await self.host.stored_accounts.scan(self.host.domain, place, PAGE):
            place = page[-1][:2]
            count += sum(each is not None and lacks(each.credentials) for _, _, each in page)
        return count

    @operation("sign-in.upgrades", "Count the accounts that keep SCRAM-SHA-512 from being offered.")
    async def count(self) -> Lacking:
        return Lacking(await self.lacking(), self.complete)

    @on(MECHANISMS)
    def mechanisms(self, ask: FeatureAsk) -> Iterable[Mechanism]:
        sources = self.host.gather(AUTHENTICATORS, self.host.jid)
        return SCRAM_SHA_512 if self.complete and not any(each.exclusive for each in sources) else ()

    @on(TASK_OFFERS)
    def offer(self, ask: FeatureAsk) -> Iterable[TaskOffer]:
        """Section 2.1; the same for every account."""
        return () if self.complete else (OFFER,)

    @on(SIGN_IN_TASKS)
    def task(self, sign_in: SignIn) -> Iterable[SignInTask]:
        """Section 2.2. An account that has the keys keeps them."""
        account = sign_in.account
        asked = any(tag_of(each) == f"{NS}|upgrade" and text_of(each) == TASK for each in children(sign_in.request))
        if not asked or account is None or not sign_in.mechanism.startswith("SCRAM-"):
            return ()  # for PLAIN there is nothing to ask; others have not shown that they know the password
        credentials = self.host.stored_accounts.get(account.bare)[""].credentials
        return (Task(self, account, credentials),) if lacks(credentials) else ()


OFFER: Final = TaskOffer(f"<upgrade xmlns='{NS}'>{TASK}</upgrade>".encode())
