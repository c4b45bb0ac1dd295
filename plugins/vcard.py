"""XEP-0054: vcard-temp."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass

from xmppd.config import Size, option
from xmppd.contracts.moving import PORTABLE, Intake, OwnerKind, Portable
from xmppd.contracts.store_check import CHECK_STORE, StoreCheck, in_map
from xmppd.contracts.vcard import CARD_CHANGED, VCARDS, CardChanged
from xmppd.errors import Forbidden, NotAcceptable, ServiceUnavailable
from xmppd.plugin import JID, E, Element, Plugin, Request, To, Xep, iq, on
from xmppd.storage.api import Write
from xmppd.xml import alone, find, parse, to_bytes

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

    @on(CHECK_STORE)
    async def check(self, store: StoreCheck) -> None:
        """For `xmppd store check`."""
        async for owner, key, card in store.records(self.cards):
            try:
                parse(card.xml.encode())
            except ValueError as error:
                store.problem(owner, in_map(self.cards.name, key), f"it is no XML: {error}")

    # ---- moving in and out

    @on(PORTABLE)
    def portable(self, domain: JID) -> Iterable[Portable]:
        yield Portable(OwnerKind.ACCOUNT, (f"{NS}|vCard",), self._give, self._take)

    async def _give(self, owner: JID) -> AsyncIterator[Element]:
        card = await self.read_card(owner)
        if card is not None:
            yield card

    async def _take(self, owner: JID, given: Element, intake: Intake) -> Sequence[Write]:
        card = alone(given)
        if not len(card):
            return ()
        if not intake.replace and await self.cards.read(owner.bare, "") is not None:
            intake.kept("cards")
            return ()
        photo = find(card, NS, "PHOTO")
        if len(to_bytes(card)) > self.config.size and photo is not None:
            card.remove(photo)
            intake.lost(f"the picture of the card: a card has at most {self.config.size} (vcard.size)")
        data = to_bytes(card)
        if len(data) > self.config.size:
            intake.lost(f"the card: it has at most {self.config.size} (vcard.size)")
            return ()
        intake.took("cards")
        return [self.cards.put(owner.bare, "", Card(data.decode()))]

    # ---- contracts.vcard.VCards

    async def read_card(self, owner: JID) -> Element | None:
        card = await self.cards.read(owner.bare, "")
        return parse(card.xml.encode()) if card is not None else None

    async def write_card(self, owner: JID, card: Element) -> None:
        await self.host.storage.commit([self.card_write(owner, card)])

    def card_write(self, owner: JID, card: Element) -> Write:
        data = to_bytes(alone(card))
        if len(data) > self.config.size:
            raise NotAcceptable(f"at most {self.config.size}")
        return self.cards.put(owner.bare, "", Card(data.decode()))
