"""The items of nodes: entries of a log, oldest first. The node is the entry's peer, the item's id its resource."""

from __future__ import annotations

from collections.abc import Sequence

from xmppd.contracts.pubsub import Published
from xmppd.plugin import JID, E, Element, Host
from xmppd.storage.api import Entry, Range, Write
from xmppd.xml import parse

from .model import Node, Settings

LOG = "pubsub"
MICROSECONDS = 1_000_000


class Items:
    """Who changes an owner's items holds its turn."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.log = host.storage.log(LOG)
        self._last: dict[str, int] = {}

    async def next_id(self, owner: str) -> int:
        """Above all that the owner's log has held since the server runs, and not below the time."""
        last = self._last.get(owner)
        if last is None:
            if len(self._last) > 10_000:
                self._last.clear()
            last = await self.log.last_id(owner)
        new = self._last[owner] = max(last + 1, int(self.host.clock.now() * MICROSECONDS))
        return new

    def _range(self, name: str, settings: Settings, **more: object) -> Range:
        """What is not expired (section 16.4.4, pubsub#item_expire)."""
        return Range(peer=_peer(name), low=self.oldest(settings), **more)  # type: ignore[arg-type]

    def oldest(self, settings: Settings) -> int | None:
        """What was published before that is gone; None: nothing is."""
        seconds = settings.number("item_expire", 1 << 40)
        if seconds >= 1 << 40:
            return None
        return int((self.host.clock.now() - seconds) * MICROSECONDS)

    async def newest(self, owner: str, name: str, settings: Settings, limit: int) -> list[Published]:
        """Oldest first."""
        entries = await self.log.page(owner, self._range(name, settings), limit, backwards=True)
        return [published(entry) for entry in entries]

    async def page(
        self, owner: str, name: str, settings: Settings, after: int | None, before: int | None, limit: int, back: bool
    ) -> list[Entry]:
        wanted = self._range(name, settings, after=after, before=before)
        return await self.log.page(owner, wanted, limit, backwards=back)

    async def count(self, owner: str, name: str, settings: Settings) -> int:
        return await self.log.count(owner, self._range(name, settings))

    async def find(self, owner: str, name: str, settings: Settings, id: str) -> Entry | None:
        found = await self.log.page(owner, self._range(name, settings, resource=id), 1, backwards=True)
        return found[0] if found else None

    async def replaced(self, owner: str, name: str, id: str) -> list[Write]:
        """The writes that take an item away, expired or not."""
        found = await self.log.page(owner, Range(peer=_peer(name), resource=id), 100)
        return [self.log.delete(owner, [entry.id for entry in found])] if found else []

    async def surplus(self, owner: str, name: str, most: int, replaces: str) -> list[Write]:
        """The writes that leave room for one more item of `most`."""
        have = await self.log.count(owner, Range(peer=_peer(name)))
        if have < most:
            return []
        found = await self.log.page(owner, Range(peer=_peer(name)), have - most + 2)
        gone = [entry.id for entry in found if entry.resource != replaces]
        here = len(found) - len(gone)
        return [self.log.delete(owner, gone[: have - most + 1 - here])] if have - most + 1 - here > 0 else []

    async def all_gone(self, owner: str, name: str) -> list[Write]:
        writes: list[Write] = []
        after = None
        while found := await self.log.page(owner, Range(peer=_peer(name), after=after), 500):
            writes.append(self.log.delete(owner, [entry.id for entry in found]))
            after = found[-1].id
        return writes

    def append(self, owner: str, name: str, item: Published) -> Write:
        body = b"%s\n%s" % (item.publisher.full.encode(), item.payload)
        return self.log.append(owner, Entry(item.at, _peer(name), item.id, 0, body))

    async def expired(self, owner: str, name: str, node: Node, personal: bool) -> list[Write]:
        oldest = self.oldest(Settings(node.options, personal))
        if oldest is None:
            return []
        found = await self.log.page(owner, Range(peer=_peer(name), before=oldest), 1000)
        return [self.log.delete(owner, [entry.id for entry in found])] if found else []


def _peer(name: str) -> str:
    return name


def published(entry: Entry) -> Published:
    publisher, _, payload = entry.body.partition(b"\n")
    return Published(entry.resource, payload, JID.parse(publisher.decode()), entry.id)


def shown(ns: str, item: Published, payload: bool = True, publisher: bool = False) -> Element:
    """<item/> (sections 6.5 and 7.1.2)."""
    attributes = {"id": item.id}
    if publisher:
        attributes["publisher"] = item.publisher.full
    inside = parse(item.payload) if payload and item.payload else None
    return E("item", ns, attributes, inside)


def ids_of(entries: Sequence[Entry]) -> list[str]:
    return [entry.resource for entry in entries]
