"""XEP-0054: vcard-temp."""

from __future__ import annotations

from dataclasses import dataclass

from xmppd.config import Size, option
from xmppd.contracts.vcard import CARD_CHANGED, VCARDS, CardChanged
from xmppd.errors import Forbidden, NotAcceptable, ServiceUnavailable
from xmppd.plugin import JID, E, Element, Plugin, Request, To, Xep, iq
from xmppd.xml import alone, parse, to_bytes

NS = "vcard-temp"


@dataclass(frozen=True)
class Config:
    size: Size = option(Size("128 KiB"), "Bytes of one card, its photo included.", low=1024, high=1 << 24)


@dataclass(frozen=True, slots=True)
class Card:
    """The <vCard/> as UTF-8 XML that stands alone."""

    xml: str


class VCard(Plugin[Config]):
    """Implements `contracts.vcard.VCards`."""

    provides = (VCARDS,)
    xeps = (Xep(54, "1.3.0"),)
    features = (NS,)
    account_features = (NS,)

    def setup(self) -> None:
        self.cards = self.host.storage.map("vcard", Card)

    @iq("get", NS, "vCard", To.ACCOUNT)
    async def get(self, request: Request) -> Element:
        """Cards are for everybody to read (section 6). Without a card a stranger hears what is said of an account
        that does not exist (section 3.3)."""
        card = await self.cards.read(request.account.bare, "")
        if card is not None:
            return parse(card.xml.encode())
        if request.is_own:
            return E("vCard", NS)  # section 3.1 allows both; an empty card is what clients expect
        raise ServiceUnavailable()

    @iq("set", NS, "vCard", To.ACCOUNT, To.ABSENT)
    async def set_of_another(self, request: Request) -> None:
        """Section 3.2; also where there is no such account, so that nothing is told (ADR 0007)."""
        raise Forbidden("only its owner changes a card")

    @iq("set", NS, "vCard", To.SELF)
    async def set(self, request: Request) -> None:
        owner = request.account.jid
        await self.write_card(owner, request.payload)
        await self.host.tell_and_wait(CARD_CHANGED, CardChanged(owner, alone(request.payload)))

    # ---- contracts.vcard.VCards

    async def read_card(self, owner: JID) -> Element | None:
        card = await self.cards.read(owner.bare, "")
        return parse(card.xml.encode()) if card is not None else None

    async def write_card(self, owner: JID, card: Element) -> None:
        data = to_bytes(alone(card))
        if len(data) > self.config.size:
            raise NotAcceptable(f"at most {self.config.size}")
        await self.host.storage.commit([self.cards.put(owner.bare, "", Card(data.decode()))])
