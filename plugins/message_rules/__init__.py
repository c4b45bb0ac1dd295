"""RFC 6121 section 8.5: which sessions of an account get a message; and what becomes of it by its kind (`kinds.py`)."""

from __future__ import annotations

import enum
from typing import Final

from xmppd.contracts.routing import MESSAGE_RULES
from xmppd.errors import ServiceUnavailable
from xmppd.plugin import Inbound, NoConfig, Plugin, Session, Xep

from .policy import MessagePolicies


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
    """All available sessions of non-negative priority; if there are none it is stored, or the sender gets an error."""
    ALL_OR_NOBODY = enum.auto()
    """The same, and silence if there are none."""
    NOBODY = enum.auto()
    REFUSED = enum.auto()
    """Nobody, and the sender gets an error."""


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

    def setup(self) -> None:
        self.policy = MessagePolicies().policy

    def targets(self, event: Inbound) -> list[Session]:
        """Raises ServiceUnavailable where section 8.5 asks for it and the message is not stored."""
        stanza, sessions = event.stanza, event.owner.sessions
        resource = stanza.to.resource if stanza.to is not None else ""
        address = Address.BARE if not resource else Address.PRESENT if resource in sessions else Address.ABSENT
        rule = RULES[stanza.type, address]
        if rule is Rule.ADDRESSED:
            return [sessions[resource]]
        if rule is Rule.ALL or rule is Rule.ALL_OR_NOBODY:
            found = [each for each in sessions.values() if each.presence is not None and each.priority >= 0]
            if found or event.log_id or rule is Rule.ALL_OR_NOBODY:
                return found
        elif rule is Rule.NOBODY:
            return []
        raise ServiceUnavailable()
