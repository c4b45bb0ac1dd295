"""Reads a user's archive for the inbox: which entry a marker names, and how many messages are unread behind one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from msgspec import structs

from xmppd.contracts.archive import LOG
from xmppd.contracts.rooms import ROOMS
from xmppd.plugin import Host, Kind, Stanza
from xmppd.stanza import look_at
from xmppd.storage.api import Entry, Flags, Range

from .model import LONGEST_ID, Activity, ActivityKind, Conversation

PAGE = 100
MOST = 1000
"""Unread messages that are read at most to count, or to find a marked one."""
ROOM_MARK = "http://jabber.org/protocol/muc#user|x"

Classify = Callable[[Stanza, bool], "tuple[ActivityKind, str]"]
"""The kind of an archived stanza (True: it is incoming) and its text for `Activity`."""


class ArchiveLookup:
    """All its coroutines raise StorageUnavailable."""

    def __init__(self, host: Host, classify: Classify) -> None:
        self.host = host
        self.log = host.storage.log(LOG)
        self._classify = classify

    async def find_marked(self, owner: str, peer: str, after: int, id: str) -> int:
        """The incoming entry behind `after` whose stanza has that id, 0 if there is none."""
        before: int | None = None
        for _ in range(MOST // PAGE):
            page = await self._page(
                owner, peer, Range(after=after, before=before, flags=Flags.INCOMING), backwards=True
            )
            for entry in reversed(page):
                if stanza_of(entry).id[:LONGEST_ID] == id:
                    return entry.id
            if len(page) < PAGE:
                break
            before = page[0].id
        return 0

    async def count_unread(self, owner: str, peer: str, old: Conversation) -> Conversation:
        """The conversation with the unread count that the archive tells."""
        after, unread = old.read, 0
        last, mark = old.last, old.mark
        while unread < MOST:
            page = await self._page(owner, peer, Range(after=after, flags=Flags.INCOMING), backwards=False)
            for entry in page:
                kind, text = self._classify(stanza_of(entry), True)
                if kind is ActivityKind.RECEIVED:
                    unread += 1
                    if entry.id >= last:
                        last, mark = entry.id, text
            if len(page) < PAGE:
                break
            after = page[-1].id
        return structs.replace(old, unread=unread, last=last, newest=max(old.newest, last), mark=mark)

    async def _page(self, owner: str, peer: str, range: Range, backwards: bool) -> list[Entry]:
        bare, _, resource = peer.partition("/")
        wanted = replace(range, peer=bare, resource=resource or None, without=Flags.HIDDEN)
        return await self.log.page(owner, wanted, PAGE, backwards)

    async def activities(self, owner: str, after: int, until: int) -> list[tuple[str, Activity]]:
        """Peer and activity of the first entries behind `after`, up to `until`; empty: there are no more."""
        page = await self.log.page(owner, Range(after=after, high=until, without=Flags.HIDDEN), PAGE)
        return [self.activity(owner, entry) for entry in page]

    def activity(self, owner: str, entry: Entry) -> tuple[str, Activity]:
        stanza = stanza_of(entry)
        incoming = bool(entry.flags & Flags.INCOMING) and entry.peer != owner
        kind, text = self._classify(stanza, incoming)
        return conversation_of(self.host, stanza, entry.peer, entry.resource), Activity(kind, entry.id, text)


def conversation_of(host: Host, stanza: Stanza, peer: str, resource: str) -> str:
    """The conversation that a message belongs to: the bare address, in rooms the occupant's (private messages)."""
    if not resource or stanza.type != "chat":
        return peer
    if ROOM_MARK not in stanza.tags and host.router.routes.service(peer.partition("@")[2], ROOMS) is None:
        return peer
    return f"{peer}/{resource}"


def stanza_of(entry: Entry) -> Stanza:
    """To be looked at only; an empty message if the body is none."""
    try:
        return look_at(entry.body)
    except ValueError:
        return Stanza(Kind.MESSAGE)
