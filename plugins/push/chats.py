"""XEP-0492: which chats wake a device. The settings are in the account's bookmarks (XEP-0402)."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

from xmppd.cache import Cache
from xmppd.contracts.pubsub import PUBSUB, NodeChanged
from xmppd.contracts.rooms import ROOMS
from xmppd.contracts.sessions import DIRECTED
from xmppd.plugin import JID, Account, Element, Host, Stanza
from xmppd.xml import children, find, name_of, parse, text_of

BOOKMARKS: Final = "urn:xmpp:bookmarks:1"
NOTIFY: Final = ("urn:xmpp:notification-settings:1", "urn:xmpp:notification-settings:0")
REFERENCE_NS: Final = "urn:xmpp:reference:0"
REPLY_NS: Final = "urn:xmpp:reply:0"
CACHED_ACCOUNTS: Final = 10_000
CACHED_BYTES: Final = 16 << 20
LONGEST_NICK: Final = 1023
"""Of a resourcepart (RFC 7622 section 3.4); a longer one is nobody's."""


class When(enum.Enum):
    ALWAYS = "always"
    ON_MENTION = "on-mention"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Chat:
    """What a bookmark says. `when` None: nothing was chosen."""

    when: When | None = None
    joins: bool = False
    nick: str = ""

    @classmethod
    def read(cls, bookmark: Element) -> Self:
        joins = str(bookmark.get("autojoin", "")) in ("true", "1")
        nick = text_of(find(bookmark, BOOKMARKS, "nick")).strip()
        return cls(chosen_in(bookmark), joins, nick if len(nick) <= LONGEST_NICK else "")


UNKNOWN: Final = Chat()


class ChatSettings:
    """What each account has chosen for its chats; read when first asked for, and anew when it changes."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self._known: Cache[str, dict[str, Chat]] = host.owned(Cache(CACHED_ACCOUNTS, CACHED_BYTES))
        self._reading: dict[str, object] = host.owned({})

    def ready(self, owner: str) -> bool:
        """`wakes` can tell; else `load` first."""
        return owner in self._known or self.host.find(PUBSUB) is None

    async def load(self, owner: str) -> None:
        """Raises StorageUnavailable."""
        pubsub = self.host.find(PUBSUB)
        if pubsub is None or owner in self._known:
            return
        mark = self._reading[owner] = object()
        items = await pubsub.items(JID.parse(owner), BOOKMARKS)
        found = {item.id: Chat.read(parse(item.payload)) for item in items if item.payload}
        if self._reading.get(owner) is mark:  # otherwise they have changed meanwhile: the next message reads them again
            del self._reading[owner]
            self._known.put(owner, found)

    def changed(self, event: NodeChanged) -> None:
        if event.node == BOOKMARKS:
            self._known.pop(event.owner)
            self._reading.pop(event.owner, None)

    def joins(self, owner: str, room: str) -> bool:
        """The account wants to be in the room whenever it can: its bookmark says so (XEP-0402 section 2)."""
        chat = (self._known.get(owner) or {}).get(room)
        return chat is not None and chat.joins

    def wakes(self, account: Account, stanza: Stanza, known: Iterable[str] = ()) -> bool:
        """Whether a message to the account may wake its devices. `known`: nicks that it has in the room besides those
        of its sessions: one that is reserved for it, those that it had."""
        sender = stanza.sender
        if sender is None:
            return True
        peer, group = sender.bare, stanza.type == "groupchat"
        chat = (self._known.get(account.bare) or {}).get(peer, UNKNOWN)
        nicks = own_nicks(account, peer) if group else set()
        if group and sender.resource in nicks:
            return False  # said by another device of the same person
        when = chat.when or self._unchosen(peer, group)
        if when is When.ON_MENTION:
            return mentions(stanza, account.bare, peer, nicks | {*known, chat.nick})
        return when is When.ALWAYS

    def _unchosen(self, peer: str, group: bool) -> When:
        """Section 3: always for direct chats and private groups, on mention for public ones. Of rooms elsewhere nobody
        knows; a message too many is better than one too few."""
        if not group:
            return When.ALWAYS
        rooms = self.host.router.routes.service(peer.rpartition("@")[2], ROOMS)
        return When.ALWAYS if rooms is None or rooms.is_private_group(peer) else When.ON_MENTION


def chosen_in(bookmark: Element) -> When | None:
    """The setting for a phone (section 3: the most specific element counts)."""
    extensions = find(bookmark, BOOKMARKS, "extensions")
    if extensions is None:
        return None
    best: tuple[int, When | None] = (-1, None)
    for ns in NOTIFY:
        for notify in children(extensions, ns, "notify"):
            for each in notify:
                category, type = each.get("identity-category"), each.get("identity-type")
                if name_of(each)[0] != ns or category not in (None, "client") or type not in (None, "phone"):
                    continue
                rank = (category is not None) + (type is not None)
                if rank > best[0] and name_of(each)[1] in {when.value for when in When}:
                    best = (rank, When(name_of(each)[1]))
    return best[1]


def own_nicks(account: Account, room: str) -> set[str]:
    """By what its sessions have entered a room."""
    found = {address for session in account.sessions.values() for address in session[DIRECTED]}
    return {address.partition("/")[2] for address in found if address.partition("/")[0] == room}


def mentions(stanza: Stanza, owner: str, room: str, nicks: set[str]) -> bool:
    """A reference (XEP-0372), a reply to what the person has said (XEP-0461), or the nick as a word."""
    tags, nicks = stanza.tags, {nick for nick in nicks if nick}
    if f"{REFERENCE_NS}|reference" in tags:
        uris = {f"xmpp:{owner}", *(f"xmpp:{room}/{nick}" for nick in nicks)}
        if any(each.get("uri") in uris for each in children(stanza.xml, REFERENCE_NS, "reference")):
            return True
    if f"{REPLY_NS}|reply" in tags:
        reply = stanza.child(REPLY_NS, "reply")
        if reply is not None and str(reply.get("to", "")) in {owner, *(f"{room}/{nick}" for nick in nicks)}:
            return True
    body = text_of(stanza.child("jabber:client", "body"))
    return any(re.search(rf"(?<!\w){re.escape(nick)}(?!\w)", body, re.IGNORECASE) for nick in nicks)
