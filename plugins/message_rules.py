"""RFC 6121 section 8.5: which sessions of an account get a message."""

from __future__ import annotations

import enum
from typing import Final

from xmppd.contracts.archive import ARCHIVE
from xmppd.contracts.messages import Idle, Push, Treatment
from xmppd.contracts.routing import MESSAGE_RULES
from xmppd.errors import ServiceUnavailable
from xmppd.plugin import Inbound, NoConfig, Plugin, Session, Stanza, Xep


class Address(enum.IntEnum):
    """What the `to` of a message names."""

    BARE = 0
    PRESENT = 1
    """A full JID of a bound session, available or not."""
    ABSENT = 2
    """A full JID that no session has."""


class Rule(enum.Enum):
    ADDRESSED = enum.auto()
    """The addressed session, whatever its priority."""
    ALL = enum.auto()
    """All available sessions of non-negative priority; if there are none it is kept, or the sender is told."""
    ALL_OR_NOBODY = enum.auto()
    """The same, and silence if there are none."""
    NOBODY = enum.auto()
    REFUSED = enum.auto()
    """Nobody, and the sender is told."""


RULES: Final = {
    # section 8.5.2.1.1 leaves the choice of "most available" or all, and of the priority: it is all
    ("normal", Address.BARE): Rule.ALL,
    ("chat", Address.BARE): Rule.ALL,
    ("groupchat", Address.BARE): Rule.REFUSED,
    ("headline", Address.BARE): Rule.ALL_OR_NOBODY,
    ("error", Address.BARE): Rule.NOBODY,
    # section 8.5.3.1
    ("normal", Address.PRESENT): Rule.ADDRESSED,
    ("chat", Address.PRESENT): Rule.ADDRESSED,
    ("groupchat", Address.PRESENT): Rule.ADDRESSED,
    ("headline", Address.PRESENT): Rule.ADDRESSED,
    ("error", Address.PRESENT): Rule.ADDRESSED,
    # section 8.5.3.2.1; "normal" goes the way of "chat" (many clients say no type), so it is not lost
    ("normal", Address.ABSENT): Rule.ALL,
    ("chat", Address.ABSENT): Rule.ALL,
    ("groupchat", Address.ABSENT): Rule.REFUSED,
    ("headline", Address.ABSENT): Rule.NOBODY,
    ("error", Address.ABSENT): Rule.NOBODY,
}


class MessageRulesPlugin(Plugin[NoConfig]):
    """Implements `contracts.routing.MessageRules`."""

    xeps = (Xep(160, "1.0.1", "with the archive as the offline store"),)
    provides = (MESSAGE_RULES,)

    def treatment(self, stanza: Stanza) -> Treatment:
        """INTERIM: the branch `rules` brings the table."""
        archive = self.host.service(ARCHIVE)
        tags = stanza.tags
        talk = stanza.type in ("chat", "normal", "groupchat")
        said = talk and any(tag.endswith(("|body", "|encrypted")) for tag in tags)
        call = any(tag == "urn:xmpp:jingle-message:0|propose" for tag in tags)
        changed = any("message-correct" in tag or "message-retract" in tag for tag in tags)
        push = Push.URGENT if call else Push.QUIET if changed else Push.ALERT if said else Push.NEVER
        states = bool(tags) and all("chatstates" in tag or tag.endswith("|thread") for tag in tags)
        idle = Idle.LATEST if states or "http://jabber.org/protocol/pubsub#event|event" in tags else Idle.NOW
        if stanza.type == "groupchat":
            idle = Idle.LATER
        return Treatment(archive.worth(stanza), said, said, push, said and not changed, idle)

    def targets(self, event: Inbound) -> list[Session]:
        """Raises ServiceUnavailable where section 8.5 asks for it and the message is not kept."""
        stanza, sessions = event.stanza, event.owner.sessions
        resource = stanza.to.resource if stanza.to is not None else ""
        address = Address.BARE if not resource else Address.PRESENT if resource in sessions else Address.ABSENT
        rule = RULES[stanza.type, address]
        if rule is Rule.ADDRESSED:
            return [sessions[resource]]
        if rule is Rule.ALL or rule is Rule.ALL_OR_NOBODY:
            found = [each for each in sessions.values() if each.presence is not None and each.priority >= 0]
            if found or event.stamp or rule is Rule.ALL_OR_NOBODY:
                return found
        elif rule is Rule.NOBODY:
            return []
        raise ServiceUnavailable()
