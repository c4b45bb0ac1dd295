"""People whom an OpenID Connect issuer knows: a source of identity (contracts.identity) that checks tokens."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Iterable
from importlib import import_module

from xmppd.contracts.identity import AUTHENTICATORS, Authenticator, Identity, SourceUnavailable
from xmppd.plugin import JID, Plugin, on

from .issuer import Issuer
from .options import Config

__all__ = ["Config", "Oidc"]
log = logging.getLogger("xmppd.identity")


class Oidc(Plugin[Config]):
    standard = False

    source = "oidc"
    checks_passwords = False
    checks_tokens = True

    def setup(self) -> None:
        self.issuer = Issuer(self.config, self.host)

    def reconfigured(self) -> None:
        self.issuer = Issuer(self.config, self.host)

    async def start(self) -> None:
        await self.in_thread(import_module, "joserfc.jwt")  # takes a tenth of a second
        if self.config.tokens == "keys":
            self.spawn(self._prepare(), "keys")

    async def _prepare(self) -> None:
        """So that the first one does not wait, and an operator hears of mistakes."""
        try:
            await self.issuer.keys.refresh()
        except SourceUnavailable as error:
            log.warning("oidc: nobody can sign in at %s for now: %s", self.host.domain, error)

    @property
    def exclusive(self) -> bool:
        return not self.config.local_passwords

    @property
    def creates_accounts(self) -> bool:
        return self.config.create

    @property
    def good_for(self) -> float:
        return float(self.config.sign_in_again)

    @property
    def discovery(self) -> str:
        return self.config.discovery

    @property
    def scope(self) -> str:
        return self.config.scope

    @on(AUTHENTICATORS)
    def authenticators(self, host: JID) -> Iterable[Authenticator]:
        return (self,)

    async def check_password(self, username: str, password: str) -> Identity | None:
        return None

    def check_token(self, token: str) -> Awaitable[Identity | None]:
        return self.issuer.check(token)

    async def knows(self, username: str, subject: str) -> bool | None:
        return None
