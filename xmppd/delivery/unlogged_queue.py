"""What is in no log and waits for room behind what is: in order, of each sender the last presence only."""

from __future__ import annotations

from ..contracts.core import Session
from ..contracts.messages import Idle
from ..contracts.routing import MESSAGE_RULES
from ..memory.budget import Share
from ..stanza import Kind, Stanza, parse_stanza

Item = tuple[bytes, int, int]
"""A stanza, when it was accepted (microseconds since 1970 UTC), and the log id of the entry of which it is a carbon, 0
for none."""


class UnloggedQueue:
    """Stanzas of one session as bytes, oldest first. `size`: bytes in all; `log_ids`: entries of which carbons wait."""

    __slots__ = ("_items", "_serial", "_session", "_share", "log_ids", "size")

    def __init__(self, session: Session, share: Share) -> None:
        self._items: dict[str | int, Item] = {}
        self._serial = 0
        self._session = session
        self._share = share
        self.size = 0
        self.log_ids = set[int]()

    def __len__(self) -> int:
        return len(self._items)

    def put(self, data: bytes, stanza: Stanza | None, at: int, log_id: int = 0) -> None:
        """Add a stanza as far as there is room (`limits.queue`, `limits.queue_size`).

        With too much, chat states are dropped, and anything else ends the session: its client must know that it has
        missed something.
        """
        host = self._session.host
        limits = host.server.limits
        if len(self) < limits.queue and self.size < limits.queue_size:
            self.add(data, stanza, at, log_id)
        elif self._may_drop(stanza or parse_stanza(data)):
            host.server.counts.dropped += 1
        elif len(self) == limits.queue and _sender(stanza) in self._items and self.size < limits.queue_size:
            self.add(data, stanza, at)
        else:
            host.cursor_writer.overflow(self._session)

    def add(self, data: bytes, stanza: Stanza | None, at: int, log_id: int = 0) -> None:
        """At the end. An earlier presence of the same sender goes: the last one says how it is (RFC 6121 section 4)."""
        key = _sender(stanza)
        if not key:
            self._serial += 1
            self._items[self._serial] = data, at, log_id
            if log_id:
                self.log_ids.add(log_id)
                self._session.account.cursor.mark_in_flight(log_id)  # no other device need be sent the entry
        else:
            former = self._items.pop(key, None)
            if former is not None:
                self.size -= len(former[0])
                self._share.give(len(former[0]))
            self._items[key] = data, at, 0
        self.size += len(data)
        self._share.take(len(data))

    def all(self) -> list[Item]:
        return list(self._items.values())

    def empty(self) -> list[Item]:
        """Take all out."""
        items = self.all()
        self._share.give(self.size)
        self._items, self.size, self.log_ids = {}, 0, set()
        return items

    def _may_drop(self, stanza: Stanza) -> bool:
        """It is of the moment only: a later one of the same sender would take its place (XEP-0085)."""
        rules = self._session.host.find(MESSAGE_RULES)
        return stanza.kind is Kind.MESSAGE and rules is not None and rules.policy(stanza).idle is Idle.LATEST


def _sender(stanza: Stanza | None) -> str:
    """The sender of a presence that says how it is; "" for anything else."""
    if stanza is None or stanza.kind is not Kind.PRESENCE or stanza.type not in ("", "unavailable"):
        return ""
    return stanza.sender.full if stanza.sender is not None else ""
