"""XEP-0430: Inbox. The conversations of an account, the last one first, with what is unread in each.

They are counted while messages pass and never made by searching the archive; see docs/explanation/inbox.md.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from xmppd.config import option
from xmppd.contracts.archive import ARCHIVE, STORED_TYPES
from xmppd.contracts.inbox import INBOX
from xmppd.contracts.moving import MOVED_IN, MovedIn
from xmppd.contracts.pubsub import NODE_CHANGED, Change, NodeChanged
from xmppd.contracts.routing import ARRIVED, MESSAGE_RULES, SENT, Event
from xmppd.contracts.store_check import CHECK_ACCOUNT, AccountCheck
from xmppd.errors import ServiceUnavailable, StorageUnavailable
from xmppd.plugin import (
    JID,
    Element,
    Inbound,
    Kind,
    Outbound,
    Plugin,
    Request,
    Stanza,
    To,
    Xep,
    iq,
    on,
)
from xmppd.storage.api import Entry, Flags, Range, Write
from xmppd.xml import quoted

from .archive_lookup import ArchiveLookup, conversation_of
from .check import InboxCheck
from .counting import UnreadCounter
from .markers import MARKER_TAGS, MDS_NODE, displayed_item, marked
from .model import LONGEST_ID, Activity, ActivityKind
from .query import NS, Query, cut, entry_message, fin

log = logging.getLogger("xmppd.inbox")

MESSAGES = (Kind.MESSAGE,)
HIDDEN = int(Flags.HIDDEN)


@dataclass(frozen=True)
class Config:
    page: int = option(250, "Conversations of a page, at most.", low=1, high=1000)
    conversations: int = option(2000, "Conversations that are stored for an account.", low=10, high=100_000)


class Conversations(Plugin[Config]):
    """Implements `contracts.inbox.Inbox`."""

    xeps = (
        Xep(430, "0.2.0", "without rooms (but for what is said to one alone) and without marks set by hand"),
        Xep(490, "1.0.1", "what a client publishes there counts for the chat list of all"),
    )
    account_features = (NS,)
    uses = (ARCHIVE, MESSAGE_RULES)
    provides = (INBOX,)

    def setup(self) -> None:
        self.archive = ArchiveLookup(self.host, self.classify)
        self.counter = UnreadCounter(self.host, self.archive)

        self.rules = self.host.service(MESSAGE_RULES)

    async def stop(self) -> None:
        try:
            await self.counter.store.flush()
        except StorageUnavailable:
            log.warning("the inbox of the last second will be counted again from the archive: the store is away")

    # ---- contracts.inbox.Inbox

    async def unread(self, owner: str) -> int:
        account = await self.host.open_account(JID.parse(owner))
        return (await self.counter.count(account)).unread if account is not None else 0

    # ---- activities

    def classify(self, stanza: Stanza, incoming: bool) -> tuple[ActivityKind, str]:
        """The kind of an archived message, and its text for `Activity`."""
        if not incoming and not MARKER_TAGS.isdisjoint(stanza.tags):
            return ActivityKind.MARKER, marked(stanza)[:LONGEST_ID]
        if not self.rules.policy(stanza).unread:
            return ActivityKind.OTHER, ""
        return (ActivityKind.RECEIVED, stanza.id[:LONGEST_ID]) if incoming else (ActivityKind.SENT, "")

    @on(ARRIVED, kinds=MESSAGES, types=STORED_TYPES)
    def arrived(self, event: Inbound) -> None:
        entry = event.entry
        if entry is not None and not entry.flags & HIDDEN:
            self._record(event, entry, entry.peer != event.owner.bare)

    @on(SENT, kinds=MESSAGES, types=STORED_TYPES)
    def sent(self, event: Outbound) -> None:
        stanza, entry = event.stanza, event.entry
        if entry is not None:
            self._record(event, entry, incoming=False)
        elif stanza.to is not None and not MARKER_TAGS.isdisjoint(stanza.tags):
            peer = conversation_of(self.host, stanza, stanza.to.bare, stanza.to.resource)
            self.counter.record(event.owner, peer, Activity(ActivityKind.MARKER, 0, marked(stanza)[:LONGEST_ID]))

    def _record(self, event: Event, entry: Entry, incoming: bool) -> None:
        stanza = event.stanza
        kind, text = self.classify(stanza, incoming)
        peer = conversation_of(self.host, stanza, entry.peer, entry.resource)
        self.counter.record(event.owner, peer, Activity(kind, entry.id, text))

    @on(NODE_CHANGED)
    def displayed(self, event: NodeChanged) -> None:
        """XEP-0490: a device has published what was displayed."""
        if event.node != MDS_NODE or event.change is not Change.PUBLISH:
            return
        account = self.host.account(event.owner)
        if account is None:
            return
        for item in event.items:
            until = displayed_item(event.owner, item.payload)
            if until:
                self.counter.record(account, item.id, Activity(ActivityKind.READ, until))

    @on(MOVED_IN)
    async def moved_in(self, event: MovedIn) -> Iterable[Write]:
        """The chat list of what came from another server: what some device has had there is read."""
        if not event.messages:
            return ()
        owner = event.owner.bare
        read = await self.host.delivered_until(owner)
        return await self.counter.count_moved(owner, read, self.config.conversations)

    @on(CHECK_ACCOUNT)
    async def check(self, account: AccountCheck) -> None:
        """For `xmppd store check`."""
        await InboxCheck(self.counter.store, self.archive).check(account)

    # ---- the query

    @iq("get", NS, "inbox", To.SELF)
    async def query(self, request: Request) -> Element:
        """Section 3.1: the entries as messages, the last conversation first, then the sums."""
        session, account = request.session, request.account
        if session is None:
            raise ServiceUnavailable()
        query = Query.read(request.payload)
        await self.counter.count(account)
        found = list((await self.counter.conversations(account, self.config.conversations)).items())
        matching = [(peer, each) for peer, each in found if query.matches(each)]
        matching.sort(key=lambda pair: -pair[1].last)
        shown = matching[cut(matching, query.page, min(self.config.page, self.host.server.limits.queue // 2))]
        bodies: dict[int, bytes] = {}
        if query.messages and shown:
            wanted = Range(ids=tuple(sorted(each.last for _, each in shown)), without=Flags.HIDDEN)
            entries = await self.archive.log.page(account.bare, wanted, len(shown))
            bodies = {entry.id: entry.body for entry in entries}
        start = f"<message to='{quoted(session.jid.full)}' from='{quoted(account.bare)}'>"
        query_id = quoted(request.stanza.id)
        for peer, each in shown:
            session.channel.send(entry_message(start, peer, each, bodies.get(each.last), query_id), 0)
        return fin(found, shown, len(matching))
