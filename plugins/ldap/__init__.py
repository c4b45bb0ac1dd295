"""People whom a directory knows (LDAP, RFC 4510): a source of identity (contracts.identity) that checks passwords."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, TypeVar

from xmppd.contracts.identity import AUTHENTICATORS, Authenticator, Identity, SourceUnavailable
from xmppd.plugin import JID, Plugin, on

from .directory import Directory
from .options import Config

__all__ = ["Config", "Ldap"]

T = TypeVar("T")
REST: Final = 2.0
"""Seconds for which a directory that did not answer is not asked: who waits in line hears of it at once."""


class Ldap(Plugin[Config]):
    standard = False

    source = "ldap"
    checks_passwords = True
    checks_tokens = False
    exclusive = True
    discovery = ""
    scope = ""

    def setup(self) -> None:
        self.directory = Directory(self.config)
        self._workers = self.host.background.workers(self.config.threads, apart=True)
        self._away_until = 0.0
        self._why = ""

    def reconfigured(self) -> None:
        self._workers.close()
        self.directory.close()
        self.directory = Directory(self.config)
        self._workers = self.host.background.workers(self.config.threads, apart=True)
        self._away_until = 0.0

    async def stop(self) -> None:
        self._workers.close()
        self.directory.close()

    @property
    def creates_accounts(self) -> bool:
        return self.config.create

    @property
    def good_for(self) -> float:
        return float(self.config.sign_in_again)

    @on(AUTHENTICATORS)
    def authenticators(self, host: JID) -> Iterable[Authenticator]:
        return (self,)

    async def check_password(self, username: str, password: str) -> Identity | None:
        return await self._ask(lambda: self.directory.check(username, password))

    async def check_token(self, token: str) -> Identity | None:
        return None

    async def knows(self, username: str, subject: str) -> bool | None:
        return await self._ask(lambda: self.directory.knows(username, subject))

    async def _ask(self, work: Callable[[], T]) -> T:
        try:
            return await self._workers.run(lambda: self._unless_away(work))
        except SourceUnavailable as error:
            now = self.host.clock.monotonic()
            if now >= self._away_until:
                self._away_until, self._why = now + REST, str(error)
            raise
        except RuntimeError:  # who waited for a thread of those that have ended
            raise SourceUnavailable("its options have changed") from None

    def _unless_away(self, work: Callable[[], T]) -> T:
        """In a thread, when the turn has come."""
        if self.host.clock.monotonic() < self._away_until:
            raise SourceUnavailable(self._why)
        return work()
