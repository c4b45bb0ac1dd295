"""Counts how often people are thanked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from xmppd.config import option
from xmppd.contracts.admin import AccountJid, Argument, Note, operation
from xmppd.contracts.routing import INBOUND
from xmppd.plugin import Inbound, Kind, Plugin, Stage, on
from xmppd.xml import CLIENT_NS, text_of


@dataclass(frozen=True)
class Config:
    words: tuple[str, ...] = option(("thanks", "thank you"), "What is counted, in small letters.", low=1, high=100)


@dataclass(frozen=True, slots=True)
class Thanked:
    """What is stored for each account."""

    times: int = 0


class Thanks(Plugin[Config]):
    def setup(self) -> None:
        self.thanked = self.host.storage.map("thanked", Thanked)

    @on(INBOUND, Stage.ARCHIVE, kinds=(Kind.MESSAGE,), types=("chat",))
    def count(self, event: Inbound) -> None:
        body = text_of(event.stanza.child(CLIENT_NS, "body")).lower()
        if any(word in body for word in self.config.words):
            event.update(self.thanked, "", once_more)

    @operation("thanks.show", "Show how often somebody was thanked.")
    async def show(self, jid: Annotated[AccountJid, Argument("The account, as name@domain.")]) -> Note:
        thanked = await self.thanked.read(jid.bare, "") or Thanked()
        return Note(f"{jid} was thanked {thanked.times} times.")


def once_more(stored: Thanked | None) -> Thanked:
    return Thanked(1 if stored is None else stored.times + 1)
