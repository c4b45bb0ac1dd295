"""XEP-0430 section 3: the query for the inbox, its page, and the messages that answer it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from xmppd.errors import BadRequest, ItemNotFound
from xmppd.plugin import E, Element
from xmppd.stanza import embedded
from xmppd.xep import rsm
from xmppd.xep.elements import DELAY_NS, stamp
from xmppd.xep.mam import FORWARD_NS, MAM_NS
from xmppd.xep.numbers import log_id
from xmppd.xml import quoted

from .model import Conversation

NS = "urn:xmpp:inbox:1"
Listed = list[tuple[str, Conversation]]
"""Conversations with their peers."""


@dataclass(frozen=True, slots=True)
class Query:
    unread_only: bool
    messages: bool
    page: rsm.Asked

    @classmethod
    def read(cls, payload: Element) -> Self:
        """Raises BadRequest."""
        unread_only = _flag(payload, "unread-only", False)
        return cls(unread_only, _flag(payload, "messages", True), rsm.read(payload))

    def matches(self, conversation: Conversation) -> bool:
        return bool(conversation.last) and bool(conversation.unread or not self.unread_only)


def _flag(payload: Element, name: str, default: bool) -> bool:
    text = payload.get(name)
    if text is None:
        return default
    if text not in ("true", "false", "1", "0"):
        raise BadRequest(f"{name} is a boolean")
    return text in ("true", "1")


def cut(listed: Listed, asked: rsm.Asked, most: int) -> slice:
    """The page. The id of an item is that of its last message, so a page goes on where the former one ended, even when
    the conversation at the seam has moved to the top meanwhile. Raises ItemNotFound."""
    low, high = 0, len(listed)
    if asked.after is not None:
        after = _number(asked.after)
        low = next((index for index, (_, each) in enumerate(listed) if each.last < after), high)
    if asked.before:
        before = _number(asked.before)
        high = next((index for index, (_, each) in enumerate(listed) if each.last <= before), high)
    if asked.index is not None:
        low = max(low, min(asked.index, high))
    size = min(most, most if asked.max is None else asked.max, max(high - low, 0))
    return slice(high - size, high) if asked.backwards else slice(low, low + size)


def _number(text: str) -> int:
    found = log_id(text)
    if found is None:
        raise ItemNotFound("no such conversation")
    return found


def entry_message(start: str, peer: str, each: Conversation, body: bytes | None, query: str) -> bytes:
    """A message with <entry/>, and the last message as the archive gives it (XEP-0313 section 4.2). `start`: the
    message's start tag; `query`: the id of the query, escaped."""
    entry = f"{start}<entry xmlns='{NS}' unread='{each.unread}' jid='{quoted(peer)}' id='{each.newest}'/>"
    if body is None:
        return f"{entry}</message>".encode()
    opening = (
        f"{entry}<result xmlns='{MAM_NS}' queryid='{query}' id='{each.last}'><forwarded xmlns='{FORWARD_NS}'>"
        f"<delay xmlns='{DELAY_NS}' stamp='{stamp(each.last)}'/>"
    )
    return b"%b%b</forwarded></result></message>" % (opening.encode(), embedded(body))


def fin(conversations: Listed, shown: Listed, matching: int) -> Element:
    """The result of the query: the sums of all conversations and the place of the page. `matching`: how many the query
    has asked for."""
    first, last = (str(shown[0][1].last), str(shown[-1][1].last)) if shown else ("", "")
    counts = [each.unread for _, each in conversations if each.last]
    attributes = {
        "total": str(len(counts)),
        "unread": str(sum(count > 0 for count in counts)),
        "all-unread": str(sum(counts)),
    }
    return E("fin", NS, attributes, rsm.answer(first, last, matching))
