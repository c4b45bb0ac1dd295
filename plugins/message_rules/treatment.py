"""From the kinds that a message holds to what becomes of it.

- *Worth*: of all its kinds the most. Then the hints (XEP-0334): `no-store` keeps nothing, `no-permanent-store` what it
  is worth, at most for delivery, `store` archives; of store and no-permanent-store the more careful one counts.
  Only messages of type chat and normal are kept.
- *Carbons* (XEP-0280 section 6.1): type chat; type normal, if one of its kinds is copied; an error, if it answers for a
  bare address or holds what is copied; an invitation always; what is said between two in a room as sent only, since
  the room tells every device; never groupchat, headline, or what says <private/> or `no-copy`.
- *Push*, *unread* and *idle*: of its leading kind, the first row of the table that it matches. Only what is archived,
  or said in a room, counts as unread. What is kept goes out at once: it is in the log, in its place in the order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from xmppd.contracts.archive import KEPT_TYPES, Worth
from xmppd.contracts.messages import Idle, Push, Treatment
from xmppd.stanza import Shape, Stanza

from .kinds import EMPTY, HINTS_NS, MUC_USER_NS, ROOM_MARK, TABLE, UNKNOWN, Row

NO_STORE: Final = f"{HINTS_NS}|no-store"
NO_PERMANENT_STORE: Final = f"{HINTS_NS}|no-permanent-store"
STORE: Final = f"{HINTS_NS}|store"
PRIVATE: Final = frozenset(("urn:xmpp:carbons:2|private", f"{HINTS_NS}|no-copy"))
"""XEP-0280 section 9, XEP-0334 section 4.3."""
REMEMBERED: Final = 2000
"""So many shapes of stanzas are remembered."""

_RANK: Final = {row.kind: rank for rank, row in enumerate(TABLE)}


def _by_tag() -> dict[str, dict[str, Row]]:
    found: dict[str, dict[str, Row]] = {}
    for row in TABLE:
        for type in row.types:
            for name in row.tags:
                found.setdefault(type, {})[name] = row
    return found


_ROWS: Final = _by_tag()


# ---- what names alone do not tell

INVITES, FROM_BARE = 1, 2
Look = Callable[[Stanza], int]
"""Gives the facts that are so."""


def _invites(stanza: Stanza) -> int:
    room = stanza.child(MUC_USER_NS, "x")
    return INVITES if room is not None and room.find(f"{{{MUC_USER_NS}}}invite") is not None else 0


def _from_bare(stanza: Stanza) -> int:
    """The error does not carry what it answers. From a bare address it answers what all devices have seen."""
    return FROM_BARE if stanza.sender is not None and not stanza.sender.resource else 0


_LOOKS: Final[dict[int, Look]] = {INVITES: _invites, FROM_BARE: _from_bare}


class Choice:
    """A treatment that takes a look inside: for each combination of facts one."""

    __slots__ = ("look", "treatments")

    def __init__(self, type: str, tags: tuple[str, ...], looks: int) -> None:
        chosen = [look for fact, look in _LOOKS.items() if fact & looks]
        self.look: Look = chosen[0] if len(chosen) == 1 else lambda stanza: sum(look(stanza) for look in chosen)
        self.treatments = {facts: decide(type, tags, facts) for facts in range(4) if not facts & ~looks}


class Treatments:
    """Remembers what it has decided by the shape of the stanza; what needs a look inside takes it each time."""

    def __init__(self) -> None:
        self._known: dict[Shape, Treatment | Choice] = {}

    def treatment(self, stanza: Stanza) -> Treatment:
        shape = stanza.shape
        found = self._known.get(shape) or self._learn(shape)
        return found if type(found) is Treatment else found.treatments[found.look(stanza)]  # type: ignore[union-attr]

    def _learn(self, shape: Shape) -> Treatment | Choice:
        type, tags = shape.type, shape.tags
        looks = 0
        if ROOM_MARK in tags:
            looks |= INVITES
        if type == "error":
            looks |= FROM_BARE
        found = Choice(type, tags, looks) if looks else decide(type, tags, 0)
        if shape.known:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[shape] = found
        return found


# ---- the decision


def decide(type: str, tags: tuple[str, ...], facts: int) -> Treatment:
    """`facts`: what a look inside has told."""
    rows = _ROWS[type]
    kinds = [rows.get(name, UNKNOWN) for name in tags] or [EMPTY]
    leading = min(kinds, key=lambda row: _RANK[row.kind])
    worth = _worth(type, tags, max(row.worth for row in kinds))
    copied = any(row.copied for row in kinds)
    sent, received = _copied(type, tags, copied, facts)
    told = type in ("chat", "normal", "groupchat")
    counts = worth is Worth.ARCHIVE or (type == "groupchat" and NO_STORE not in tags and NO_PERMANENT_STORE not in tags)
    idle = leading.idle
    if worth is not Worth.NOTHING:
        idle = Idle.NOW
    elif type == "headline" and idle is Idle.NOW and leading.kind != "attention":
        idle = Idle.LATER
    elif type == "error":
        idle = Idle.NOW
    return Treatment(
        worth, sent, received, leading.push if told else Push.NEVER, leading.unread and told and counts, idle
    )


def _worth(type: str, tags: tuple[str, ...], unasked: Worth) -> Worth:
    if type not in KEPT_TYPES or NO_STORE in tags:
        return Worth.NOTHING
    wanted = Worth.ARCHIVE if STORE in tags else unasked
    return min(wanted, Worth.DELIVERY) if NO_PERMANENT_STORE in tags else wanted


def _copied(type: str, tags: tuple[str, ...], copied: bool, facts: int) -> tuple[bool, bool]:
    """Sent, received."""
    if type in ("groupchat", "headline") or not PRIVATE.isdisjoint(tags):
        return False, False
    if facts & INVITES:
        return True, True
    if type == "error":
        return False, ROOM_MARK not in tags and (copied or bool(facts & FROM_BARE))
    sent = type == "chat" or copied
    return sent, sent and ROOM_MARK not in tags
