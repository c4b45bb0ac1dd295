"""Who may see that an account is online, and when it was last (plugins/privacy.py)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, Protocol

from ..service import Service
from ..stanza import Stanza

People = Literal["everyone", "contacts", "nobody"]


@dataclass(frozen=True, slots=True)
class Audience:
    """`but`: bare JIDs or domains that do not belong to it."""

    people: People = "contacts"
    but: tuple[str, ...] = ()

    def admits(self, viewer: str, contact: bool) -> bool:
        """`viewer`: a bare JID, not the account itself. `contact`: it is subscribed to the account's presence."""
        if self.but and (viewer in self.but or viewer.rpartition("@")[2] in self.but):
            return False
        return self.people == "everyone" or (contact and self.people == "contacts")

    @property
    def all_contacts(self) -> bool:
        return self.people != "nobody" and not self.but


CONTACTS: Final = Audience()
"""What RFC 6121 gives: presence is for those that are subscribed."""


class Privacy(Protocol):
    """Plain calls; the owner (a bare JID of this host) is in memory."""

    def online(self, owner: str) -> Audience:
        """Who gets its presence, by broadcast or probe. What its client sends to an address itself is not asked for."""
        ...

    def last_seen(self, owner: str) -> Audience:
        """Who learns when it was last active: XEP-0012, and the idle times in presence (XEP-0256, XEP-0319)."""
        ...


PRIVACY = Service[Privacy]("privacy")

LAST_NS: Final = "jabber:iq:last"
IDLE_NS: Final = "urn:xmpp:idle:1"
IDLE_TAGS: Final = frozenset((f"{LAST_NS}|query", f"{IDLE_NS}|idle"))


def without_idle_time(presence: Stanza) -> Stanza:
    """The same stanza without since when nobody has touched the device."""
    if IDLE_TAGS.isdisjoint(presence.tags):
        return presence
    return presence.without(IDLE_NS, "idle").without(LAST_NS, "query")
