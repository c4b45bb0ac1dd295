"""XEP-0402: PEP Native Bookmarks, the same for clients that know only older forms of them (section 5).

The items of `urn:xmpp:bookmarks:1` are the truth. Private storage (XEP-0048 and 0049) is read from them and written to
them; the PEP node `storage:bookmarks` (XEP-0048 version 1.1, 0411) holds one item that follows them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final

from xmppd.contracts.moving import PORTABLE, Intake, OwnerKind, Portable
from xmppd.contracts.private import CONVERTED
from xmppd.contracts.pubsub import NODE_CHANGED, PUBSUB, Change, NodeChanged
from xmppd.errors import MalformedJid, NotAcceptable
from xmppd.plugin import JID, E, Element, NoConfig, Plugin, Xep, on
from xmppd.storage.api import Write
from xmppd.xml import alone, children, find, name_of, parse, text_of, to_bytes

PUBSUB_TAG: Final = "http://jabber.org/protocol/pubsub|pubsub"
NODE: Final = "urn:xmpp:bookmarks:1"
OLD: Final = "storage:bookmarks"
CURRENT: Final = "current"
OPTIONS: Final = {"access_model": "whitelist", "max_items": "max", "send_last_published_item": "never"}
OLD_OPTIONS: Final = {"access_model": "whitelist"}
MOST: Final = 500


class Bookmarks(Plugin[NoConfig]):
    """Implements `contracts.private.Converted`."""

    xeps = (
        Xep(48, "1.2", "conferences; web pages are kept in the old form only"),
        Xep(402, "1.2.0"),
        Xep(411, "1.1.0"),
    )
    account_features = (f"{NODE}#compat", f"{NODE}#compat-pep", "urn:xmpp:bookmarks-conversion:0")
    uses = (PUBSUB,)
    provides = (CONVERTED,)
    tag = f"{OLD}|storage"

    async def start(self) -> None:
        self.pubsub = self.host.service(PUBSUB)

    # ---- private storage

    async def read_private(self, owner: JID) -> Element:
        old = await self.pubsub.item(owner, OLD, CURRENT)
        pages = [each for each in parse(old.payload) if name_of(each)[1] == "url"] if old is not None else []
        return await self._old_form(owner, pages)

    async def write_private(self, owner: JID, given: Element) -> None:
        """Raises NotAcceptable."""
        if len(_conferences(given)) > MOST:
            raise NotAcceptable("too many bookmarks")
        async with self._lock(owner):
            await self.pubsub.publish(owner, OLD, CURRENT, alone(given), OLD_OPTIONS)
            await self._update_items(owner, given)

    # ---- moving in

    @on(PORTABLE)
    def portable(self, domain: JID) -> Iterable[Portable]:
        """Beside what nodes take: of the node of the old form the new ones are made."""
        yield Portable(OwnerKind.ACCOUNT, (PUBSUB_TAG,), _nothing, self._take_old_node)

    async def take_private(self, owner: JID, given: Element, intake: Intake) -> Sequence[Write]:
        found = list(_conferences(given).items())
        for _ in found[MOST:]:
            intake.lost("a bookmark: there are too many")
        new = [(id, _new(old, None)) for id, old in found[:MOST]]
        pubsub = self.host.service(PUBSUB)
        return await pubsub.moved_in(owner, NODE, new, OPTIONS, intake) if new else ()

    async def _take_old_node(self, owner: JID, pubsub: Element, intake: Intake) -> Sequence[Write]:
        writes: list[Write] = []
        for items in children(pubsub):
            for item in children(items) if items.get("node") == OLD else ():
                for storage in children(item, OLD, "storage"):
                    writes += await self.take_private(owner, storage, intake)
        return writes

    # ---- the form that is stored

    def _lock(self, owner: JID) -> AbstractAsyncContextManager[None]:
        """Only one form at a time is made from the other."""
        return self.host.locks.hold(f"bookmarks {owner.bare}")

    # ---- both nodes

    @on(NODE_CHANGED)
    async def changed(self, event: NodeChanged) -> None:
        owner = JID.parse(event.owner)
        if event.node == OLD and event.change is Change.PUBLISH and event.session is not None:
            async with self._lock(owner):
                await self._update_items(owner, parse(event.items[-1].payload))
        elif event.node == NODE:
            async with self._lock(owner):
                await self._update_old_form(owner)

    async def _update_old_form(self, owner: JID) -> None:
        """Makes the old form from the items, if they differ."""
        old = await self.pubsub.item(owner, OLD, CURRENT)
        before = parse(old.payload) if old is not None else E("storage", OLD)
        pages = [each for each in before if name_of(each)[1] == "url"]
        now = await self._old_form(owner, pages)
        if _conferences(now) != _conferences(before):
            await self.pubsub.publish(owner, OLD, CURRENT, now, OLD_OPTIONS)

    async def _old_form(self, owner: JID, pages: list[Element]) -> Element:
        storage = E("storage", OLD, {}, *map(alone, pages))
        for item in await self.pubsub.items(owner, NODE):
            storage.append(_old(item.id, parse(item.payload)))
        return storage

    async def _update_items(self, owner: JID, storage: Element) -> None:
        """Makes the items from the old form. What only the new form has (extensions) stays."""
        wanted = dict(list(_conferences(storage).items())[:MOST])
        present = {item.id: parse(item.payload) for item in await self.pubsub.items(owner, NODE)}
        removed = tuple(id for id in present if id not in wanted)
        for id, old in wanted.items():
            new = _new(old, present.get(id))
            if id not in present or to_bytes(alone(present[id])) != to_bytes(new):
                await self.pubsub.publish(owner, NODE, id, new, OPTIONS)
        if removed:
            await self.pubsub.retract(owner, NODE, removed)


async def _nothing(owner: JID) -> AsyncIterator[Element]:
    """The items go out with their nodes."""
    nothing: tuple[Element, ...] = ()
    for each in nothing:
        yield each


Old = tuple[str, bool, str, str]
"""Name, autojoin, nick, password."""


def _conferences(storage: Element) -> dict[str, Old]:
    """By bare JID of the room; what is no address is left out."""
    found: dict[str, Old] = {}
    for each in children(storage, OLD, "conference"):
        try:
            jid = JID.parse(str(each.get("jid", ""))).bare
        except MalformedJid:
            continue
        joins = str(each.get("autojoin", "")).strip() in ("1", "true")
        nick, password = (text_of(find(each, OLD, name)) for name in ("nick", "password"))
        found[jid] = (str(each.get("name", "")), joins, nick, password)
    return found


def _old(id: str, new: Element) -> Element:
    attributes = {"jid": id}
    if new.get("name"):
        attributes["name"] = str(new.get("name"))
    if str(new.get("autojoin", "")) in ("1", "true"):
        attributes["autojoin"] = "true"
    parts = [
        E(name, OLD, {}, text_of(found))
        for name in ("nick", "password")
        if (found := find(new, NODE, name)) is not None and text_of(found)
    ]
    return E("conference", OLD, attributes, *parts)


def _new(old: Old, present: Element | None) -> Element:
    name, joins, nick, password = old
    attributes = {"name": name} if name else {}
    if joins:
        attributes["autojoin"] = "true"
    made = E("conference", NODE, attributes)
    if nick:
        made.append(E("nick", NODE, {}, nick))
    if password:
        made.append(E("password", NODE, {}, password))
    for each in present if present is not None else ():
        if name_of(each)[1] not in ("nick", "password"):
            made.append(alone(each))
    return alone(made)
