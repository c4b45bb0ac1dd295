"""Says hello to people the first time they come online."""

from __future__ import annotations

from dataclasses import dataclass

from xmppd.config import option
from xmppd.contracts.sessions import AVAILABLE
from xmppd.plugin import E, Plugin, Session, on
from xmppd.stanza import message
from xmppd.xml import CLIENT_NS


@dataclass(frozen=True)
class Config:
    text: str = option("Welcome!", "What is said.", low=1, high=1000)


@dataclass(frozen=True, slots=True)
class Greeted:
    """`at`: when, in seconds since 1970 UTC."""

    at: float


class Greeter(Plugin[Config]):
    standard = False

    def setup(self) -> None:
        self.greeted = self.host.storage.map("greeted", Greeted, cached=True)

    @on(AVAILABLE)
    def arrives(self, session: Session) -> None:
        if not self.greeted.get(session.account.bare):
            self.spawn(self.greet(session), "greet")

    async def greet(self, session: Session) -> None:
        account = session.account
        async with self.host.locks.hold(account.bare):
            if self.greeted.get(account.bare):
                return
            record = Greeted(self.host.clock.now())
            await self.host.storage.commit([self.greeted.put(account.bare, "", record)])
        body = E("body", CLIENT_NS, {}, self.config.text)
        self.host.deliver(message("normal", body, to=account.jid, sender=self.host.jid))
