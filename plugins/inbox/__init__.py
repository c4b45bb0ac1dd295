"""XEP-0430: Inbox. The conversations of an account, the last one first, with what is unread in each.

It is kept while messages pass and never made by searching the archive; see docs/explanation/inbox.md.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from xmppd.config import option
from xmppd.contracts.accounts import ACCOUNT_DELETED
from xmppd.contracts.archive import ARCHIVE, STORED_TYPES
from xmppd.contracts.inbox import INBOX
from xmppd.contracts.pubsub import NODE_CHANGED, Change, NodeChanged
from xmppd.contracts.routing import ARRIVED, MESSAGE_RULES, SENT, Event
from xmppd.errors import BadRequest, ItemNotFound, ServiceUnavailable, StorageUnavailable
from xmppd.plugin import (
    JID,
    E,
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
from xmppd.stanza import embedded
from xmppd.storage.api import Entry, Flags, Range
from xmppd.xep import rsm
from xmppd.xep.elements import DELAY_NS, stamp
from xmppd.xep.mam import FORWARD_NS, MAM_NS
from xmppd.xml import quoted

from .counting import place
from .ledger import Ledger
from .model import LONGEST_ID, Conversation, Step, What
from .reading import MARKER_TAGS, MDS_NODE, displayed_item, marked

log = logging.getLogger("xmppd.inbox")

NS = "urn:xmpp:inbox:1"
MESSAGES = (Kind.MESSAGE,)
HIDDEN = int(Flags.HIDDEN)


@dataclass(frozen=True)
class Config:
    page: int = option(250, "Conversations of a page, at most.", low=1, high=1000)
    conversations: int = option(2000, "Conversations that are remembered for an account.", low=10, high=100_000)


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
        self.ledger = Ledger(self.host, self.classify)

    async def start(self) -> None:
        self.rules = self.host.service(MESSAGE_RULES)

    async def stop(self) -> None:
        try:
            await self.ledger.flush()
        except StorageUnavailable:
            log.warning("the inbox of the last second is counted again from the archive: the store is away")

    # ---- contracts.inbox.Inbox

    async def unread(self, owner: str) -> int:
        account = await self.host.open_account(JID.parse(owner))
        return (await self.ledger.settle(account)).unread if account is not None else 0

    # ---- what happens

    def classify(self, stanza: Stanza, came: bool) -> tuple[What, str]:
        """Of a message in the archive."""
        if not came and not MARKER_TAGS.isdisjoint(stanza.tags):
            return What.DISPLAYED, marked(stanza)[:LONGEST_ID]
        if not self.rules.policy(stanza).unread:
            return What.PASSED, ""
        return (What.CAME, stanza.id[:LONGEST_ID]) if came else (What.WENT, "")

    @on(ARRIVED, kinds=MESSAGES, types=STORED_TYPES)
    def arrived(self, event: Inbound) -> None:
        entry = event.entry
        if entry is not None and not entry.flags & HIDDEN:
            self._note(event, entry, entry.peer != event.owner.bare)

    @on(SENT, kinds=MESSAGES, types=STORED_TYPES)
    def sent(self, event: Outbound) -> None:
        stanza, entry = event.stanza, event.entry
        if entry is not None:
            self._note(event, entry, came=False)
        elif stanza.to is not None and not MARKER_TAGS.isdisjoint(stanza.tags):
            peer = place(self.host, stanza, stanza.to.bare, stanza.to.resource)
            self.ledger.note(event.owner, peer, Step(What.DISPLAYED, 0, marked(stanza)[:LONGEST_ID]))

    def _note(self, event: Event, entry: Entry, came: bool) -> None:
        stanza = event.stanza
        what, text = self.classify(stanza, came)
        peer = place(self.host, stanza, entry.peer, entry.resource)
        self.ledger.note(event.owner, peer, Step(what, entry.id, text))

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
                self.ledger.note(account, item.id, Step(What.READ, until))

    @on(ACCOUNT_DELETED)
    def deleted(self, jid: JID) -> None:
        self.ledger.forget(jid.bare)

    # ---- the question

    @iq("get", NS, "inbox", To.SELF)
    async def query(self, request: Request) -> Element:
        """Section 3.1: the entries as messages, the last conversation first, then the sums."""
        session, account = request.session, request.account
        if session is None:
            raise ServiceUnavailable()
        unread_only = _flag(request.payload, "unread-only", False)
        with_messages = _flag(request.payload, "messages", True)
        asked = rsm.read(request.payload)
        await self.ledger.settle(account)
        found = await self.ledger.listed(account, self.config.conversations)
        listed = [(peer, each) for peer, each in found.items() if each.last and (each.unread or not unread_only)]
        listed.sort(key=lambda pair: -pair[1].last)
        most = min(self.config.page, self.host.server.limits.queue // 2)
        shown = listed[_cut(listed, asked, most)]
        bodies: dict[int, bytes] = {}
        if with_messages and shown:
            wanted = Range(ids=tuple(sorted(each.last for _, each in shown)), without=Flags.HIDDEN)
            entries = await self.ledger.log.page(account.bare, wanted, len(shown))
            bodies = {entry.id: entry.body for entry in entries}
        start = f"<message to='{quoted(session.jid.full)}' from='{quoted(account.bare)}'>"
        query = quoted(request.stanza.id)
        for peer, each in shown:
            session.channel.send(_entry(start, peer, each, bodies.get(each.last), query), 0)
        first, last = (str(shown[0][1].last), str(shown[-1][1].last)) if shown else ("", "")
        sums = [each.unread for each in found.values() if each.last]
        attributes = {
            "total": str(len(sums)),
            "unread": str(sum(count > 0 for count in sums)),
            "all-unread": str(sum(sums)),
        }
        return E("fin", NS, attributes, rsm.answer(first, last, len(listed)))


def _flag(payload: Element, name: str, default: bool) -> bool:
    text = payload.get(name)
    if text is None:
        return default
    if text not in ("true", "false", "1", "0"):
        raise BadRequest(f"{name} is a boolean")
    return text in ("true", "1")


def _cut(listed: list[tuple[str, Conversation]], asked: rsm.Asked, most: int) -> slice:
    """The page. The id of an item is that of its last message, so a page goes on where the former one ended, even when
    the conversation at the seam has moved to the top meanwhile. Raises ItemNotFound."""
    low, high = 0, len(listed)
    if asked.after is not None:
        after = _number(asked.after)
        low = next((place for place, (_, each) in enumerate(listed) if each.last < after), high)
    if asked.before:
        before = _number(asked.before)
        high = next((place for place, (_, each) in enumerate(listed) if each.last <= before), high)
    if asked.index is not None:
        low = max(low, min(asked.index, high))
    size = min(most, most if asked.max is None else asked.max, max(high - low, 0))
    return slice(high - size, high) if asked.backwards else slice(low, low + size)


def _number(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) < 20:
        return int(text)
    raise ItemNotFound("no such conversation")


def _entry(start: str, peer: str, each: Conversation, body: bytes | None, query: str) -> bytes:
    """A message: <entry/>, and the last message as the archive gives it (XEP-0313 section 4.2). `start`: the message's
    start tag; `query`: the id of the question, escaped."""
    entry = f"{start}<entry xmlns='{NS}' unread='{each.unread}' jid='{quoted(peer)}' id='{each.newest}'/>"
    if body is None:
        return f"{entry}</message>".encode()
    opening = (
        f"{entry}<result xmlns='{MAM_NS}' queryid='{query}' id='{each.last}'><forwarded xmlns='{FORWARD_NS}'>"
        f"<delay xmlns='{DELAY_NS}' stamp='{stamp(each.last)}'/>"
    )
    return b"%b%b</forwarded></result></message>" % (opening.encode(), embedded(body))
