"""Makes the policy of a message (storage, carbons, push, unread, client state) from the kinds of payload it holds.

- *Retention*: the longest of all its kinds. Then the hints (XEP-0334): `no-store` stores nothing, `no-permanent-store`
  at most until it is delivered, `store` archives; of `store` and `no-permanent-store` the shorter one counts.
  Only messages of type chat and normal are stored.
- *Carbons* (XEP-0280 section 6.1): type chat; type normal, if one of its kinds is copied; an error, if it answers for a
  bare address or holds what is copied; an invitation always; what is said between two in a room as sent only, since
  the room tells every device; never groupchat, headline, or what says <private/> or `no-copy`.
- *Push*, *unread* and *idle*: of its leading kind, the first row of the table that it matches. Only what is archived,
  or said in a room, counts as unread. A stored message is never delayed for an inactive client: it has its place in the
  log, and so in the order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from xmppd.contracts.archive import STORED_TYPES, Retention
from xmppd.contracts.messages import Idle, MessagePolicy, Push
from xmppd.stanza import Shape, Stanza

from .kinds import EMPTY, HINTS_NS, MUC_USER_NS, ROOM_MARK, TABLE, UNKNOWN, Row

NO_STORE: Final = f"{HINTS_NS}|no-store"
NO_PERMANENT_STORE: Final = f"{HINTS_NS}|no-permanent-store"
STORE: Final = f"{HINTS_NS}|store"
PRIVATE: Final = frozenset(("urn:xmpp:carbons:2|private", f"{HINTS_NS}|no-copy"))
"""XEP-0280 section 9, XEP-0334 section 4.3."""
CACHED: Final = 2000
"""Shapes of stanzas whose policy is cached."""

_RANK: Final = {row.kind: rank for rank, row in enumerate(TABLE)}


def _by_tag() -> dict[str, dict[str, Row]]:
    found: dict[str, dict[str, Row]] = {}
    for row in TABLE:
        for type in row.types:
            for name in row.tags:
                found.setdefault(type, {})[name] = row
    return found


_ROWS: Final = _by_tag()


# ---- facts that the names of the children alone do not tell

INVITES, FROM_BARE = 1, 2
Test = Callable[[Stanza], int]
"""Returns the facts that are true of a stanza, as bits."""


def _invites(stanza: Stanza) -> int:
    room = stanza.child(MUC_USER_NS, "x")
    return INVITES if room is not None and room.find(f"{{{MUC_USER_NS}}}invite") is not None else 0


def _from_bare(stanza: Stanza) -> int:
    """The error does not carry what it answers. From a bare address it answers what all devices have seen."""
    return FROM_BARE if stanza.sender is not None and not stanza.sender.resource else 0


_TESTS: Final[dict[int, Test]] = {INVITES: _invites, FROM_BARE: _from_bare}


class ByFacts:
    """The policies of a shape for which the contents matter: one for each combination of facts."""

    __slots__ = ("policies", "test")

    def __init__(self, type: str, tags: tuple[str, ...], relevant: int) -> None:
        tests = [test for fact, test in _TESTS.items() if fact & relevant]
        self.test: Test = tests[0] if len(tests) == 1 else lambda stanza: sum(test(stanza) for test in tests)
        self.policies = {facts: decide(type, tags, facts) for facts in range(4) if not facts & ~relevant}


class MessagePolicies:
    """Caches the policy of each shape of stanza; facts about the contents are tested each time."""

    def __init__(self) -> None:
        self._known: dict[Shape, MessagePolicy | ByFacts] = {}

    def policy(self, stanza: Stanza) -> MessagePolicy:
        shape = stanza.shape
        found = self._known.get(shape) or self._learn(shape)
        return found if type(found) is MessagePolicy else found.policies[found.test(stanza)]  # type: ignore[union-attr]

    def _learn(self, shape: Shape) -> MessagePolicy | ByFacts:
        type, tags = shape.type, shape.tags
        relevant = 0
        if ROOM_MARK in tags:
            relevant |= INVITES
        if type == "error":
            relevant |= FROM_BARE
        found = ByFacts(type, tags, relevant) if relevant else decide(type, tags, 0)
        if shape.known:
            if len(self._known) >= CACHED:
                self._known.clear()
            self._known[shape] = found
        return found


# ---- the decision


def decide(type: str, tags: tuple[str, ...], facts: int) -> MessagePolicy:
    """`facts`: those that are true of the contents."""
    rows = _ROWS[type]
    kinds = [rows.get(name, UNKNOWN) for name in tags] or [EMPTY]
    leading = min(kinds, key=lambda row: _RANK[row.kind])
    retention = _retention(type, tags, max(row.retention for row in kinds))
    sent, received = _carbons(type, tags, any(row.copied for row in kinds), facts)
    addressed_to_people = type in ("chat", "normal", "groupchat")
    counts = retention is Retention.ARCHIVE or (
        type == "groupchat" and NO_STORE not in tags and NO_PERMANENT_STORE not in tags
    )
    idle = leading.idle
    if retention is not Retention.NONE:
        idle = Idle.NOW
    elif type == "headline" and idle is Idle.NOW and leading.kind != "attention":
        idle = Idle.LATER
    elif type == "error":
        idle = Idle.NOW
    return MessagePolicy(
        retention,
        sent,
        received,
        leading.push if addressed_to_people else Push.NEVER,
        leading.unread and addressed_to_people and counts,
        idle,
    )


def _retention(type: str, tags: tuple[str, ...], of_kinds: Retention) -> Retention:
    if type not in STORED_TYPES or NO_STORE in tags:
        return Retention.NONE
    wanted = Retention.ARCHIVE if STORE in tags else of_kinds
    return min(wanted, Retention.OFFLINE) if NO_PERMANENT_STORE in tags else wanted


def _carbons(type: str, tags: tuple[str, ...], copied: bool, facts: int) -> tuple[bool, bool]:
    """Whether the sender's and the recipient's other devices get a copy."""
    if type in ("groupchat", "headline") or not PRIVATE.isdisjoint(tags):
        return False, False
    if facts & INVITES:
        return True, True
    if type == "error":
        return False, ROOM_MARK not in tags and (copied or bool(facts & FROM_BARE))
    sent = type == "chat" or copied
    return sent, sent and ROOM_MARK not in tags
