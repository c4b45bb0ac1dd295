"""How many messages each account has got."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from xmppd.contracts.admin import AccountJid, Argument, Note, operation
from xmppd.contracts.routing import INBOUND
from xmppd.plugin import E, Element, Inbound, Kind, NoConfig, Plugin, Request, Stage, To, iq, on

NS = "urn:example:tally"


@dataclass(frozen=True, slots=True)
class Tally:
    messages: int = 0


class Counting(Plugin[NoConfig]):
    standard = False

    def setup(self) -> None:
        self.tallies = self.host.storage.map("tally", Tally, cached=True)

    @on(INBOUND, Stage.ARCHIVE, kinds=(Kind.MESSAGE,), types=("chat",))
    def count(self, event: Inbound) -> None:
        event.update(self.tallies, "", one_more)

    @iq("get", NS, "tally", To.SELF)
    async def tell(self, request: Request) -> Element:
        tally = self.tallies.get(request.account.bare).get("", Tally())
        return E("tally", NS, {"messages": str(tally.messages)})

    @operation("tally.reset", "Count the messages of an account from zero.")
    async def reset(self, jid: Annotated[AccountJid, Argument("The account, as name@domain.")]) -> Note:
        await self.host.storage.commit([self.tallies.delete(jid.bare, "")])
        return Note(f"{jid} begins at zero.")


def one_more(old: Tally | None) -> Tally:
    return Tally(1 if old is None else old.messages + 1)
