"""The items of nodes: entries of a log, oldest first. The node is the entry's peer, the item's id its resource."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from xmppd.cache import Cache
from xmppd.clock import microseconds
from xmppd.contracts.pubsub import Published
from xmppd.plugin import JID, Host
from xmppd.storage.api import Entry, Range, Write
from xmppd.xml import quoted

from .model import Node, Settings

LOG = "pubsub"
MICROSECONDS = 1_000_000
CACHED_ITEMS: Final = 100
"""The entries of a node are remembered if they are no more …"""
NODES: Final = 10_000
NODES_BYTES: Final = 16 << 20
"""… of so many nodes, and so many bytes, so that a publication need not read the store."""
MANY: Final[dict[str, tuple[int, ...]]] = {}
"""Stands for a node of more entries."""


class Items:
    """Whoever changes an owner's items holds the owner's lock."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.log = host.storage.log(LOG)
        self._last: Cache[str, int] = host.owned(Cache(10_000, 4 << 20))
        self._known: Cache[tuple[str, str], dict[str, tuple[int, ...]]] = host.owned(
            Cache(NODES, NODES_BYTES), pairs=True
        )

    async def next_id(self, owner: str) -> int:
        """Above all ids that the owner's log has had since the server runs, and not below the time."""
        last = self._last.get(owner)
        if last is None:
            last = await self.log.last_id(owner)
        new = max(last + 1, microseconds(self.host.clock))
        self._last.put(owner, new)
        return new

    def _range(self, name: str, settings: Settings, **more: object) -> Range:
        """What is not expired (section 16.4.4, pubsub#item_expire)."""
        return Range(peer=_peer(name), low=self.oldest(settings), **more)  # type: ignore[arg-type]

    def oldest(self, settings: Settings) -> int | None:
        """Items that were published before this time are expired; None: none are."""
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

    async def replaced(self, owner: str, name: str, id: str) -> list[int]:
        """The entries of an item, expired or not."""
        known = await self._contents(owner, name)
        if known is not None:
            return list(known.get(id, ()))
        return [entry.id for entry in await self.log.page(owner, Range(peer=_peer(name), resource=id), 100)]

    async def surplus(self, owner: str, name: str, most: int, removed: Sequence[int] = ()) -> list[int]:
        """The oldest entries that must go so that `most` are left, beside those that are removed anyway."""
        known = await self._contents(owner, name)
        if known is not None:
            others = [entry for entries in known.values() for entry in entries if entry not in removed]
            return others[: max(0, len(others) - most)]
        over = await self.log.count(owner, Range(peer=_peer(name))) - len(removed) - most
        if over <= 0:
            return []
        oldest = await self.log.page(owner, Range(peer=_peer(name)), over + len(removed))
        return [entry.id for entry in oldest if entry.id not in removed][:over]

    async def _contents(self, owner: str, name: str) -> dict[str, tuple[int, ...]] | None:
        """The entries of each item of a node, the oldest first, once it was asked for; None: there are too many."""
        key = (owner, name)
        known = self._known.get(key)
        if known is None:
            known = {}
            page = await self.log.page(owner, Range(peer=_peer(name)), CACHED_ITEMS + 1)
            for entry in page[:CACHED_ITEMS]:
                known[entry.resource] = (*known.get(entry.resource, ()), entry.id)
            if len(page) > CACHED_ITEMS:
                known = MANY
            self._known.put(key, known)
        return None if known is MANY else known

    async def all_entries(self, owner: str, name: str) -> list[int]:
        ids: list[int] = []
        while found := await self.log.page(owner, Range(peer=_peer(name), after=ids[-1] if ids else None), 500):
            ids += [entry.id for entry in found]
        return ids

    async def expired(self, owner: str, name: str, node: Node, personal: bool) -> list[int]:
        oldest = self.oldest(Settings(node.options, personal))
        if oldest is None:
            return []
        return [entry.id for entry in await self.log.page(owner, Range(peer=_peer(name), before=oldest), 1000)]

    async def change(
        self,
        owner: str,
        name: str,
        removed: Sequence[int] = (),
        new: Published | None = None,
        writes: Sequence[Write] = (),
    ) -> None:
        """Commits: entries are removed, an item is added, with other writes. The caller holds the owner's lock.

        Raises StorageUnavailable."""
        changes = list(writes)
        if removed:
            changes.append(self.log.delete(owner, tuple(removed)))
        if new is not None:
            body = b"%s\n%s" % (new.publisher.full.encode(), new.payload)
            changes.append(self.log.append(owner, Entry(new.at, _peer(name), new.id, 0, body)))
        known = self._known.pop((owner, name))  # not to be believed if the commit fails
        if changes:
            await self.host.storage.commit(changes)
        if known is MANY and new is not None:
            self._known.put((owner, name), MANY)
        if known is None or known is MANY:
            return
        for item in [item for item, entries in known.items() if not set(removed).isdisjoint(entries)]:
            left = tuple(entry for entry in known.pop(item) if entry not in removed)
            if left:
                known[item] = left
        if new is not None:
            known[new.id] = (new.at,)  # what it replaces is among `removed`
        if len(known) <= CACHED_ITEMS:
            self._known.put((owner, name), known)


def _peer(name: str) -> str:
    return name


def published(entry: Entry) -> Published:
    publisher, _, payload = entry.body.partition(b"\n")
    return Published(entry.resource, payload, JID.parse(publisher.decode()), entry.id)


def shown(item: Published, payload: bool = True, publisher: bool = False) -> bytes:
    """<item/> (sections 6.5 and 7.1.2), in its parent's namespace. `publisher`: named, by the bare JID, since who
    reads need not know from where."""
    start = f"<item id='{quoted(item.id)}'"
    if publisher:
        start += f" publisher='{quoted(item.publisher.bare)}'"
    if payload and item.payload:
        return b"%s>%s</item>" % (start.encode(), item.payload)
    return f"{start}/>".encode()
