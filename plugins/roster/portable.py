"""Contact lists that move: <query/> of jabber:iq:roster, and a <presence/> for each request that waits (XEP-0227)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Final, Protocol

from xmppd.contracts.moving import PIECE, Intake, OwnerKind, Portable
from xmppd.contracts.roster import RosterItem
from xmppd.errors import MalformedJid
from xmppd.jid import JID
from xmppd.stanza import embedded, presence
from xmppd.storage.api import Map, Write
from xmppd.xep.moved_messages import stanza_of
from xmppd.xml import CLIENT_NS, E, Element, alone, children, parse, text_of

NS: Final = "jabber:iq:roster"
SUBSCRIPTIONS: Final = ("none", "to", "from", "both")
REQUEST_BYTES: Final = 4096
"""Of what a request that waits says."""


class Bounds(Protocol):
    """The options of the plugin."""

    @property
    def contacts(self) -> int: ...
    @property
    def requests(self) -> int: ...
    @property
    def name_length(self) -> int: ...
    @property
    def groups(self) -> int: ...


class PortableRoster:
    def __init__(
        self,
        items: Map[RosterItem],
        config: Callable[[], Bounds],
        version: Callable[[str], Write],
        shown: Callable[[str, RosterItem], Element],
    ) -> None:
        """`version`: the write that gives the list of an owner another version; `shown`: an item as clients see it."""
        self._items = items
        self._config = config
        self._version = version
        self._shown = shown
        self.parts = (
            Portable(OwnerKind.ACCOUNT, (f"{NS}|query",), self._give, self._take),
            Portable(OwnerKind.ACCOUNT, (f"{CLIENT_NS}|presence",), self._give_requests, self._take_request),
        )

    async def _give(self, owner: JID) -> AsyncIterator[Element]:
        items = await self._items.read_all(owner.bare)
        listed = [(contact, item) for contact, item in sorted(items.items()) if item.listed]
        for start in range(0, len(listed), PIECE):
            yield E("query", NS, {}, *(self._shown(*each) for each in listed[start : start + PIECE]))

    async def _give_requests(self, owner: JID) -> AsyncIterator[Element]:
        for contact, item in sorted((await self._items.read_all(owner.bare)).items()):
            if item.pending_in:
                asked = presence("subscribe", sender=JID.parse(contact)).data
                inside = item.request.encode()
                if inside:
                    asked = asked.removesuffix(b"/>") + b">" + inside + b"</presence>"
                yield alone(parse(embedded(asked)))

    async def _take(self, owner: JID, query: Element, intake: Intake) -> Sequence[Write]:
        known = await self._items.read_all(owner.bare)
        room = self._config().contacts - sum(item.listed for item in known.values())
        writes: list[Write] = []
        for element in children(query, NS, "item"):
            text = str(element.get("jid", ""))
            try:
                contact = JID.parse(text).bare
            except MalformedJid:
                intake.lost(f"the contact {text!r} has no address")
                continue
            old = known.get(contact)
            if old is not None and old.listed and not intake.replace:
                intake.kept("contacts")
                continue
            if (old is None or not old.listed) and room <= 0:
                intake.lost(f"the contact {contact}: the list is full (roster.contacts)")
                continue
            room -= old is None or not old.listed
            known[contact] = item = self._read(element, old or RosterItem())
            writes.append(self._items.put(owner.bare, contact, item))
            intake.took("contacts")
        return [*writes, self._version(owner.bare)] if writes else ()

    def _read(self, element: Element, old: RosterItem) -> RosterItem:
        config, word = self._config(), str(element.get("subscription", ""))
        groups = dict.fromkeys(text_of(each)[: config.name_length] for each in children(element, NS, "group"))
        return replace(
            old,
            name=str(element.get("name") or "")[: config.name_length],
            groups=tuple(group for group in groups if group)[: config.groups],
            subscription=word if word in SUBSCRIPTIONS else "none",
            ask=element.get("ask") == "subscribe",
            approved=str(element.get("approved", "")) in ("1", "true"),
            listed=True,
        )

    async def _take_request(self, owner: JID, element: Element, intake: Intake) -> Sequence[Write]:
        """Raises ValueError, MalformedJid."""
        stanza = stanza_of(element)
        if stanza.type != "subscribe" or stanza.sender is None:
            intake.lost(f"a stored presence of type {stanza.type!r}")
            return ()
        contact = stanza.sender.bare
        known = await self._items.read_all(owner.bare)
        old = known.get(contact)
        if old is not None and (old.sees_us or old.pending_in):
            intake.kept("requests to be a contact")
            return ()
        if old is None and sum(not item.listed for item in known.values()) >= self._config().requests:
            intake.lost(f"the request of {contact} to be a contact: there are too many (roster.requests)")
            return ()
        intake.took("requests to be a contact")
        request = stanza.inside.decode() if len(stanza.inside) <= REQUEST_BYTES else ""
        item = replace(old or RosterItem(listed=False), pending_in=True, request=request)
        return [self._items.put(owner.bare, contact, item)]
