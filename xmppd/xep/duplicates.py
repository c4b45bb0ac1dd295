"""Recognises the messages that a client sends again after a broken stream, among those that are stored
(docs/explanation/delivery.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import pairwise
from typing import Final

from ..jid import JID
from ..stanza import Stanza, parse_stanza
from ..storage.api import Entry, Log, Range
from ..xml import name_of, to_bytes
from .elements import DELAY_NS, SID_NS
from .mam import within
from .stored_message import StoredMessage

LONG_ID: Final = 16
"""An id of so many characters is not met twice by chance; a shorter one may be a counter that began anew. An origin-id
must be unique, whatever its length (XEP-0359 section 3)."""
PAGE: Final = 500
SHORT_ID_TIME: Final = 3_600_000_000
"""Microseconds that a shorter id is looked for."""
PAUSE: Final = 60_000_000
"""Microseconds."""
ADDED: Final = frozenset(
    (
        DELAY_NS,
        SID_NS,
        "http://jabber.org/protocol/chatstates",
        "urn:xmpp:occupant-id:0",
        "http://jabber.org/protocol/muc#user",
    )
)
"""Namespaces of what a client adds or leaves out when it sends again, and of what a room adds to its messages."""
DELAY: Final = f"{DELAY_NS}|delay"

Key = tuple[str, str, str, str]
"""Bare `to`, type, "origin" or "id", the id."""


SIZE: Final = 4 << 20
"""Bytes of the messages that are looked at."""


async def latest(log: Log, owner: str, wanted: Range, least: int, span: int, most: int) -> list[Entry]:
    """The last `least` entries of a range, and all that came within `span` microseconds before the newest, at most
    `most` and of `SIZE` bytes; rising. A pause counts as `PAUSE` at most, so that a clock that was set forward hides
    nothing."""
    page = await log.page(owner, wanted, least, backwards=True)
    found = within(page, SIZE, True)
    more = len(found) == least
    room = SIZE - sum(len(entry.body) for entry in found)
    left = span - sum(min(PAUSE, later.id - earlier.id) for earlier, later in pairwise(found))
    while more and len(found) < most and left > 0:
        size = min(PAGE, most - len(found))
        page = await log.page(owner, replace(wanted, before=found[0].id), size, backwards=True)
        more = len(page) == size
        young: list[Entry] = []
        later = found[0].id
        for entry in reversed(page):
            left -= min(PAUSE, later - entry.id)
            room -= len(entry.body)
            if left < 0 or room < 0:
                left = 0
                break
            later = entry.id
            young.append(entry)
        found = young[::-1] + found
    return found


class RecentMessages:
    """The last stored messages of a sender, each of which may be sent again once."""

    __slots__ = ("_entries", "_unacknowledged", "size")

    def __init__(
        self, entries: Iterable[Entry], unacknowledged: Callable[[Entry], bool] | None = None, unique_only: bool = False
    ) -> None:
        """`unacknowledged`: whether the client that has sent an entry got no acknowledgement of it. `unique_only`: no
        stream is known to have broken lately, so a short id counts for nothing."""
        self._entries = {
            key: entry for entry in entries for key in keys_of_entry(entry) if not unique_only or identifies(key)
        }
        self._unacknowledged = unacknowledged
        self.size = sum(len(entry.body) + 400 for entry in self._entries.values())
        """Roughly the bytes in memory."""

    def __bool__(self) -> bool:
        return bool(self._entries)

    def may_have(self, stanza: Stanza, peer: str = "") -> bool:
        """Whether `pop_original` has something to look at."""
        return any(key in self._entries for key in keys_of_stanza(stanza, peer))

    def pop_original(self, stanza: Stanza, now: float, peer: str = "") -> Entry | None:
        """Removes and returns the entry that a stanza repeats; None: the stanza is new. `now`: seconds since 1970 UTC.
        `peer`: the other party, a bare JID; "": whom it is for.

        An id that is long enough says so alone. A shorter one may be that of a new message, which must not be
        swallowed: so the content must be the same, and there must be a reason to send it again: an origin-id, a stamp
        of the time when it was sent first, or that its client got no acknowledgement of the first one.
        """
        for key in keys_of_stanza(stanza, peer):
            entry = self._entries.get(key)
            if entry is not None and (len(key[3]) >= LONG_ID or self._is_resend(key, entry, stanza, now)):
                for other in keys_of_entry(entry):
                    self._entries.pop(other, None)
                return entry
        return None

    def _is_resend(self, key: Key, entry: Entry, stanza: Stanza, now: float) -> bool:
        unsure = self._unacknowledged is not None and self._unacknowledged(entry)
        return (identifies(key) or DELAY in stanza.tags or unsure) and _same(stanza, entry, now)


def identifies(key: Key) -> bool:
    """The id is that of one message and of no other."""
    return key[2] == "origin" or len(key[3]) >= LONG_ID


def is_from(entry: Entry, full: str) -> bool:
    """Whether a stored message came from this full JID."""
    return StoredMessage(entry.body).sender == full


def _same(stanza: Stanza, entry: Entry, now: float) -> bool:
    """Bots count their ids from 1 after a restart: a short id is believed with the same content only."""
    if now * 1_000_000 - entry.id > SHORT_ID_TIME:
        return False
    return payload(stanza) == payload(parse_stanza(entry.body))


def keys_of_entry(entry: Entry) -> list[Key]:
    """What a stored message can be recognised by."""
    message = StoredMessage(entry.body)
    keys = ((entry.peer, message.type, "origin", message.origin_id), (entry.peer, message.type, "id", message.id))
    return [key for key in keys if key[3]]


def keys_of_stanza(stanza: Stanza, peer: str = "") -> list[Key]:
    """What a message can be recognised by. `peer`: the other party, a bare JID; "": whom it is for."""
    to: JID | None = stanza.to
    place = (peer or (to.bare if to is not None else ""), stanza.type)
    keys: list[Key] = []
    if f"{SID_NS}|origin-id" in stanza.tags:
        element = stanza.child(SID_NS, "origin-id")
        keys.append((*place, "origin", element.get("id", "") if element is not None else ""))
    keys.append((*place, "id", stanza.id))
    return [key for key in keys if key[3]]


def payload(stanza: Stanza) -> list[bytes]:
    """The children that make its content."""
    return sorted(to_bytes(child) for child in stanza.xml if name_of(child)[0] not in ADDED)
