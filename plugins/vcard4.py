"""XEP-0292: vCard4, as an item that contacts are notified of and over IQ, the same as the vcard-temp of the account."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from xmppd.config import Size, option
from xmppd.contracts.moving import MOVED_IN, MovedIn
from xmppd.contracts.pubsub import NODE_CHANGED, PUBSUB, Change, NodeChanged
from xmppd.contracts.vcard import CARD_CHANGED, VCARDS, CardChanged
from xmppd.errors import NotAcceptable, ServiceUnavailable, StanzaError
from xmppd.plugin import JID, E, Element, Plugin, Request, To, Xep, iq, on
from xmppd.storage.api import Write
from xmppd.xml import alone, children, find, name_of, parse, text_of, to_bytes

NS: Final = "urn:ietf:params:xml:ns:vcard-4.0"
OLD: Final = "vcard-temp"
NODE: Final = "urn:xmpp:vcard4"
CURRENT: Final = "current"
OPTIONS: Final = {"access_model": "open"}
TEXTS: Final = {"fn": "FN", "nickname": "NICKNAME", "bday": "BDAY", "title": "TITLE", "role": "ROLE", "note": "DESC"}
"""What both have as one text, by its name in vCard4 and in vcard-temp."""


@dataclass(frozen=True)
class Config:
    size: Size = option(Size("64 KiB"), "Bytes of one card.", low=1024, high=1 << 24)


class VCard4(Plugin[Config]):
    xeps = (Xep(292, "0.12.0", "what both cards know is the same on both"),)
    features = (NS,)
    account_features = (NS,)
    uses = (PUBSUB, VCARDS)

    async def start(self) -> None:
        self.pubsub, self.cards = self.host.service(PUBSUB), self.host.service(VCARDS)

    @iq("get", NS, "vcard", To.ACCOUNT)
    async def get(self, request: Request) -> Element:
        """Section 3.1: for everybody, as the older card."""
        item = await self.pubsub.item(request.account.jid, NODE, CURRENT)
        if item is not None:
            return parse(item.payload)
        card = await self.cards.read_card(request.account.jid)
        if card is not None:
            return _new_form(card, None)
        if request.is_own:
            return E("vcard", NS)
        raise ServiceUnavailable()

    @iq("set", NS, "vcard", To.SELF)
    async def set(self, request: Request) -> None:
        if len(to_bytes(alone(request.payload))) > self.config.size:
            raise NotAcceptable(f"at most {self.config.size}")
        owner = request.account.jid
        await self.pubsub.publish(owner, NODE, CURRENT, alone(request.payload), OPTIONS)
        await self._to_old(owner, request.payload)

    @on(NODE_CHANGED)
    async def published(self, event: NodeChanged) -> None:
        if event.node == NODE and event.change is Change.PUBLISH and event.session is not None:
            await self._to_old(JID.parse(event.owner), parse(event.items[-1].payload))

    async def _to_old(self, owner: JID, card: Element) -> None:
        async with self.host.locks.hold(f"avatar {owner.bare}"):  # whoever writes the card
            old = await self.cards.read_card(owner)
            try:
                await self.cards.write_card(owner, _old_form(card, old))
            except StanzaError:
                return  # too large together with its photo: the new card is there

    @on(MOVED_IN)
    async def moved_in(self, event: MovedIn) -> Iterable[Write]:
        """Prosody keeps the new form only."""
        pubsub, cards = self.host.service(PUBSUB), self.host.service(VCARDS)
        old, item = await cards.read_card(event.owner), await pubsub.stored(event.owner, NODE)
        if item is None or (old is not None and _shared(old)):
            return ()
        try:
            return (cards.card_write(event.owner, _old_form(parse(item.payload), old)),)
        except StanzaError:
            return ()  # too large together with its photo: the new card is there

    @on(CARD_CHANGED)
    async def stored(self, event: CardChanged) -> None:
        item = await self.pubsub.item(event.owner, NODE, CURRENT)
        card = _new_form(event.card, parse(item.payload) if item is not None else None)
        if item is None or to_bytes(alone(parse(item.payload))) != to_bytes(alone(card)):
            await self.pubsub.publish(event.owner, NODE, CURRENT, card, OPTIONS)


def _shared(card: Element) -> dict[str, list[str]]:
    """What both forms have, by names of vCard4; of either form."""
    found: dict[str, list[str]] = {}
    if name_of(card)[0] == NS:
        for each in card:
            name = name_of(each)[1]
            if name in TEXTS or name in ("url", "email", "tel"):
                found.setdefault(name, []).append("".join(map(str, each.itertext())).strip())
        return found
    names = {old: new for new, old in TEXTS.items()}
    for each in card:
        name = name_of(each)[1]
        if name in names or name == "URL":
            found.setdefault(names.get(name, "url"), []).append(text_of(each).strip())
        elif name == "EMAIL":
            found.setdefault("email", []).append(text_of(find(each, OLD, "USERID")).strip())
        elif name == "TEL":
            found.setdefault("tel", []).append(text_of(find(each, OLD, "NUMBER")).strip())
    return {name: [text for text in texts if text] for name, texts in found.items()}


def _rest(card: Element | None, ns: str, names: Iterable[str]) -> list[Element]:
    """What only this form has."""
    shared = set(names)
    return [alone(each) for each in children(card, ns) if name_of(each)[1] not in shared] if card is not None else []


def _new_form(card: Element, present: Element | None) -> Element:
    made = E("vcard", NS)
    for name, texts in _shared(card).items():
        kind = "uri" if name in ("url", "tel") else "date" if name == "bday" else "text"
        made.extend(E(name, NS, {}, E(kind, NS, {}, text)) for text in texts)
    made.extend(_rest(present, NS, (*TEXTS, "url", "email", "tel")))
    return made


def _old_form(card: Element, present: Element | None) -> Element:
    made = E("vCard", OLD)
    for name, texts in _shared(card).items():
        for text in texts:
            if name == "email":
                made.append(E("EMAIL", OLD, {}, E("USERID", OLD, {}, text)))
            elif name == "tel":
                made.append(E("TEL", OLD, {}, E("NUMBER", OLD, {}, text.removeprefix("tel:"))))
            else:
                made.append(E(TEXTS.get(name, "URL"), OLD, {}, text))
    made.extend(_rest(present, OLD, (*TEXTS.values(), "URL", "EMAIL", "TEL")))
    return made
