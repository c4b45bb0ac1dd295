"""Steps are counted: what the conversations are after them. Where a step says too little, the log does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from msgspec import structs

from xmppd.contracts.pubsub import PUBSUB
from xmppd.plugin import JID, Host, Kind, Stanza
from xmppd.stanza import look_at
from xmppd.storage.api import Entry, Flags, Range

from .model import LONGEST_ID, NEW, Ask, Conversation, Step, Summary, What, advance
from .reading import MDS_NODE, displayed_item

if TYPE_CHECKING:
    from .ledger import Ledger

PAGE = 100
COUNTED = 1000
"""So far back the log is asked for what is unread."""
MARGIN = 10_000_000
"""Microseconds. An id is given when a message is decided, and seen when it is committed: the stored position stays this
much behind, so that none falls between. What is read again changes nothing."""


class Count:
    """One account's steps, counted."""

    def __init__(self, ledger: Ledger, owner: str, unstored: Mapping[str, Conversation]) -> None:
        """`unstored`: what the store does not have yet."""
        self.ledger = ledger
        self.owner = owner
        self.unstored = unstored
        self.changed: dict[str, Conversation] = {}
        self.before: dict[str, Conversation] = {}
        self.read: dict[str, int] = {}
        self.position = 0

    async def get(self, peer: str) -> Conversation:
        found = self.changed.get(peer)
        if found is not None:
            return found
        found = self.ledger.known.get(self.owner, peer) or self.unstored.get(peer)
        if found is None:
            found = await self.ledger.conversations.read(self.owner, peer) or NEW
        self.before[peer] = found
        return found

    def summary(self, old: Summary) -> Summary:
        before, changed = self.before, self.changed
        unread = sum(each.unread - before[peer].unread for peer, each in changed.items())
        added = sum(not before[peer].newest for peer in changed)
        newest = max((each.newest for each in changed.values()), default=0)
        safe = min(max(newest, self.position), int(self.ledger.host.clock.now() * 1_000_000) - MARGIN)
        return Summary(max(old.position, safe), max(0, old.unread + unread), old.conversations + added)

    # ---- counting

    async def run(self, steps: Mapping[str, Sequence[Step]]) -> None:
        """Raises StorageUnavailable."""
        for peer, each in steps.items():
            for step in each:
                await self.take(peer, step)

    async def take(self, peer: str, step: Step) -> None:
        old = await self.get(peer)
        new, ask = advance(old, step)
        if ask is Ask.FIND:
            id = await self.find(peer, new, step.text)
            if id <= new.read:
                ask = None
            else:
                new, ask = advance(new, Step(What.READ, id))
        if ask is Ask.COUNT:
            new = await self.count(peer, new)
        if not new.newest:
            return  # nothing was said there
        self.changed[peer] = new
        if new.read > old.read and old.unread:
            self.read[peer] = new.read

    async def find(self, peer: str, old: Conversation, text: str) -> int:
        """The entry whose stanza has that id, 0 if it is not among the unread."""
        before: int | None = None
        for _ in range(COUNTED // PAGE):
            page = await self.page(peer, Range(after=old.read, before=before, flags=Flags.INCOMING), backwards=True)
            for entry in reversed(page):
                if read_stanza(entry).id[:LONGEST_ID] == text:
                    return entry.id
            if len(page) < PAGE:
                break
            before = page[0].id
        return 0

    async def count(self, peer: str, old: Conversation) -> Conversation:
        """How many came behind what was read."""
        after, unread = old.read, 0
        last, mark = old.last, old.mark
        while unread < COUNTED:
            page = await self.page(peer, Range(after=after, flags=Flags.INCOMING), backwards=False)
            for entry in page:
                what, text = self.ledger.classify(read_stanza(entry), True)
                if what is What.CAME:
                    unread += 1
                    if entry.id >= last:
                        last, mark = entry.id, text
            if len(page) < PAGE:
                break
            after = page[-1].id
        return structs.replace(old, unread=unread, last=last, newest=max(old.newest, last), mark=mark)

    async def page(self, peer: str, range: Range, backwards: bool) -> list[Entry]:
        bare, _, resource = peer.partition("/")
        wanted = replace(range, peer=bare, resource=resource or None, without=Flags.HIDDEN)
        return await self.ledger.log.page(self.owner, wanted, PAGE, backwards)

    async def catch_up(self, summary: Summary | None, until: int) -> Summary:
        """What this process was not told: read the log from the position on, up to an id. `summary`: what the store
        does not have yet."""
        ledger, owner = self.ledger, self.owner
        summary = summary or await ledger.summaries.read(owner, "") or Summary()
        after = summary.position
        while page := await ledger.log.page(owner, Range(after=after, high=until, without=Flags.HIDDEN), PAGE):
            for entry in page:
                await self.take_entry(entry)
            after = self.position = page[-1].id
        pubsub = ledger.host.find(PUBSUB)
        if pubsub is not None:
            for item in await pubsub.items(JID.parse(owner), MDS_NODE):
                until = displayed_item(owner, item.payload)
                if until:
                    await self.take(item.id, Step(What.READ, until))
        return summary

    async def take_entry(self, entry: Entry) -> None:
        stanza = read_stanza(entry)
        came = bool(entry.flags & Flags.INCOMING) and entry.peer != self.owner
        what, text = self.ledger.classify(stanza, came)
        await self.take(place(self.ledger.host, stanza, entry.peer, entry.resource), Step(what, entry.id, text))


ROOM_MARK = "http://jabber.org/protocol/muc#user|x"


def place(host: Host, stanza: Stanza, peer: str, resource: str) -> str:
    """The conversation that a message belongs to: the bare address, in rooms the occupant's (private messages)."""
    if not resource or stanza.type != "chat":
        return peer
    if ROOM_MARK not in stanza.tags:
        home = host.router.hosts.get(peer.partition("@")[2])
        if home is None or home.type != "rooms":
            return peer
    return f"{peer}/{resource}"


def read_stanza(entry: Entry) -> Stanza:
    try:
        return look_at(entry.body)
    except ValueError:
        return Stanza(Kind.MESSAGE)
