"""XEP-0398: one avatar for who knows PEP (XEP-0084) and who knows vCards (XEP-0153), and its hash in presence."""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error as Malformed
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha1
from typing import Final

from xmppd.contracts.moving import MOVED_IN, MovedIn
from xmppd.contracts.pubsub import NODE_CHANGED, PUBSUB, Change, NodeChanged
from xmppd.contracts.routing import OUTBOUND
from xmppd.contracts.sessions import SHOWING, Showing
from xmppd.contracts.vcard import CARD_CHANGED, VCARDS, CardChanged
from xmppd.errors import StanzaError
from xmppd.plugin import JID, E, Element, Kind, NoConfig, Outbound, Plugin, Stage, Stanza, Xep, on
from xmppd.storage.api import Write
from xmppd.xml import find, parse, text_of

DATA: Final = "urn:xmpp:avatar:data"
META: Final = "urn:xmpp:avatar:metadata"
VCARD: Final = "vcard-temp"
UPDATE: Final = f"{VCARD}:x:update"
TAG: Final = f"{UPDATE}|x"
SHOWS: Final = b"<x xmlns='vcard-temp:x:update'><photo>%s</photo></x>"
SAYS: Final = b">%s</"
"""As a client writes it, without looking at the whole."""


@dataclass(frozen=True, slots=True)
class Avatar:
    """`hash`: hexadecimal SHA-1 of the picture, "" for a card without one."""

    hash: str


class Avatars(Plugin[NoConfig]):
    xeps = (
        Xep(84, "1.1.4", "the nodes of it"),
        Xep(153, "1.1"),
        Xep(398, "1.0.1"),
    )
    account_features = ("urn:xmpp:pep-vcard-conversion:0",)
    uses = (PUBSUB, VCARDS)

    def setup(self) -> None:
        self.hashes = self.host.storage.map("avatar", Avatar, cached=True)

    async def start(self) -> None:
        self.pubsub, self.cards = self.host.service(PUBSUB), self.host.service(VCARDS)

    # ---- moving in

    @on(MOVED_IN)
    async def moved_in(self, event: MovedIn) -> Iterable[Write]:
        """The picture of the card as nodes, or that of the nodes in the card, and its hash."""
        owner, intake = event.owner, event.intake
        if not intake.replace and await self.hashes.read(owner.bare, "") is not None:
            return ()
        cards, pubsub = self.host.service(VCARDS), self.host.service(PUBSUB)
        card = await cards.read_card(owner)
        photo = find(card, VCARD, "PHOTO") if card is not None else None
        picture = _decoded(text_of(find(photo, VCARD, "BINVAL"))) if photo is not None else b""
        writes: list[Write] = []
        if picture:
            hash = sha1(picture, usedforsecurity=False).hexdigest()
            data, metadata = _as_items(picture, hash, text_of(find(photo, VCARD, "TYPE")) if photo is not None else "")
            writes += await pubsub.moved_in(owner, DATA, [(hash, data)], {}, intake)
            writes += await pubsub.moved_in(owner, META, [(hash, metadata)], {}, intake)
            return [*writes, self.hashes.put(owner.bare, "", Avatar(hash))]
        item, shown = await pubsub.stored(owner, DATA), await pubsub.stored(owner, META)
        info = next((each for each in parse(shown.payload) if not each.get("url")), None) if shown is not None else None
        picture = _decoded(text_of(parse(item.payload))) if item is not None else b""
        hash = sha1(picture, usedforsecurity=False).hexdigest()
        if not picture or info is None or str(info.get("id", "")).lower() != hash:
            return ()
        try:
            writes.append(cards.card_write(owner, _with_photo(card, picture, str(info.get("type", "")))))
        except StanzaError:
            return ()  # too large for a card: those who know PEP have it
        return [*writes, self.hashes.put(owner.bare, "", Avatar(hash))]

    # ---- from PEP to the card (section 3.1)

    @on(NODE_CHANGED)
    async def published(self, event: NodeChanged) -> None:
        if event.node != META or event.session is None:
            return
        owner = JID.parse(event.owner)
        async with self.host.locks.hold(f"avatar {owner.bare}"):
            if event.change is Change.PUBLISH:
                await self._to_card(owner, parse(event.items[-1].payload))
            else:
                await self._to_card(owner, E("metadata", META))

    async def _to_card(self, owner: JID, metadata: Element) -> None:
        """An empty <metadata/>: there is no avatar any more (XEP-0084 section 3.2)."""
        info = next((each for each in metadata if not each.get("url")), None)
        picture = await self._picture(owner, str(info.get("id", ""))) if info is not None else b""
        if info is not None and not picture:
            return  # what is not there, or is another picture than its id says, is shown to nobody
        card = await self.cards.read_card(owner)
        if card is None and info is None:
            return  # it never had a picture, nor a card
        card = _with_photo(card, picture, str(info.get("type", "")) if info is not None else "")
        try:
            await self.cards.write_card(owner, card)
        except StanzaError:
            return  # too large for a card: those who know PEP have it
        await self._store_hash(owner, sha1(picture, usedforsecurity=False).hexdigest() if picture else "")

    async def _picture(self, owner: JID, id: str) -> bytes:
        item = await self.pubsub.item(owner, DATA, id)
        picture = _decoded(text_of(parse(item.payload))) if item is not None else b""
        return picture if sha1(picture, usedforsecurity=False).hexdigest() == id.lower() else b""

    # ---- from the card to PEP (section 3.2)

    @on(CARD_CHANGED)
    async def stored(self, event: CardChanged) -> None:
        owner = event.owner
        async with self.host.locks.hold(f"avatar {owner.bare}"):
            photo = find(event.card, VCARD, "PHOTO")
            picture = _decoded(text_of(find(photo, VCARD, "BINVAL"))) if photo is not None else b""
            known = self.hashes.get(owner.bare).get("")
            hash = sha1(picture, usedforsecurity=False).hexdigest() if picture else ""
            if hash == (known.hash if known is not None else ""):
                return
            kind = text_of(find(photo, VCARD, "TYPE")) if photo is not None else ""
            try:
                await self._to_nodes(owner, picture, hash, kind)
            except StanzaError:
                return  # too large for an item: those who know cards have it
            await self._store_hash(owner, hash)

    async def _to_nodes(self, owner: JID, picture: bytes, hash: str, kind: str) -> None:
        if not picture:
            await self.pubsub.publish(owner, META, "current", E("metadata", META))
            return
        data, metadata = _as_items(picture, hash, kind)
        await self.pubsub.publish(owner, DATA, hash, data)
        await self.pubsub.publish(owner, META, hash, metadata)

    async def _store_hash(self, owner: JID, hash: str) -> None:
        await self.host.storage.commit([self.hashes.put(owner.bare, "", Avatar(hash))])

    # ---- in presence (section 4)

    @on(SHOWING)
    def show(self, event: Showing) -> None:
        """The hash of now, also in a presence that came before the picture did."""
        event.stanza = self._with_hash(event.session.account.bare, event.stanza)

    @on(OUTBOUND, Stage.STAMP, kinds=(Kind.PRESENCE,), types=("",))
    def direct(self, event: Outbound) -> None:
        """In what is sent to somebody, a room for instance, too."""
        if event.stanza.to is not None:
            event.stanza = self._with_hash(event.owner.bare, event.stanza)

    def _with_hash(self, owner: str, stanza: Stanza) -> Stanza:
        """Who says with an empty <photo/> that it has no avatar is left alone; another hash than ours is an old one."""
        known = self.hashes.get(owner).get("")
        if known is None:
            return stanza
        if TAG in stanza.tags:
            if known.hash and SAYS % known.hash.encode() in stanza.inside:
                return stanza
            x = stanza.child(UPDATE, "x")
            photo = find(x, UPDATE, "photo") if x is not None else None
            if photo is not None and text_of(photo).strip() in ("", known.hash):
                return stanza
            stanza = stanza.without(UPDATE, "x")
        return stanza.with_child(SHOWS % known.hash.encode(), TAG)


def _with_photo(card: Element | None, picture: bytes, kind: str) -> Element:
    """A card with another picture, or with none (b"")."""
    card = E("vCard", VCARD) if card is None else card
    old = find(card, VCARD, "PHOTO")
    if old is not None:
        card.remove(old)
    if picture:
        type = E("TYPE", VCARD, {}, kind or "image/png")
        card.append(E("PHOTO", VCARD, {}, type, E("BINVAL", VCARD, {}, b64encode(picture).decode())))
    return card


def _as_items(picture: bytes, hash: str, kind: str) -> tuple[Element, Element]:
    """The payloads of data and metadata (XEP-0084 sections 3.1 and 3.2)."""
    info = E("info", META, {"bytes": str(len(picture)), "id": hash, "type": kind or "image/png"})
    return E("data", DATA, {}, b64encode(picture).decode()), E("metadata", META, {}, info)


def _decoded(text: str) -> bytes:
    try:
        return b64decode("".join(text.split()), validate=True)
    except (Malformed, ValueError):
        return b""
