"""What is in no log and waits behind what is: in order, of each sender the last presence only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..stanza import Kind, Stanza

if TYPE_CHECKING:
    from ..memory.budget import Share

Item = tuple[bytes, int, int]
"""The same, and the id of the log entry of which it is a copy, 0 for none."""


class UnloggedQueue:
    """Stanzas as bytes, oldest first, with the time when they were accepted. `size`: bytes in all; `stamps`: log
    entries of which copies wait."""

    __slots__ = ("_items", "_serial", "_share", "size", "stamps")

    def __init__(self, share: Share) -> None:
        self._items: dict[str | int, Item] = {}
        self._serial = 0
        self._share = share
        self.size = 0
        self.stamps = set[int]()

    def __len__(self) -> int:
        return len(self._items)

    def add(self, data: bytes, stanza: Stanza | None, at: int, log_id: int = 0) -> None:
        """At the end. An earlier presence of the same sender goes: the last one says how it is (RFC 6121 section 4)."""
        key = _sender(stanza)
        if not key:
            self._serial += 1
            self._items[self._serial] = data, at, log_id
            if log_id:
                self.stamps.add(log_id)
        else:
            former = self._items.pop(key, None)
            if former is not None:
                self.size -= len(former[0])
                self._share.give(len(former[0]))
            self._items[key] = data, at, 0
        self.size += len(data)
        self._share.take(len(data))

    def replaces(self, stanza: Stanza | None) -> bool:
        """Whether it would take the place of an earlier presence."""
        return _sender(stanza) in self._items

    def all(self) -> list[Item]:
        return list(self._items.values())

    def empty(self) -> list[Item]:
        """All, which wait here no more."""
        items = self.all()
        self._share.give(self.size)
        self._items, self.size, self.stamps = {}, 0, set()
        return items


def _sender(stanza: Stanza | None) -> str:
    """The sender of a presence that says how it is; "" for anything else."""
    if stanza is None or stanza.kind is not Kind.PRESENCE or stanza.type not in ("", "unavailable"):
        return ""
    return stanza.sender.full if stanza.sender is not None else ""
