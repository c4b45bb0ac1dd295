"""Which home an owner has: the one that decides for it, gives the ids in its logs and holds its sessions.

An owner is an account, a room or a domain; its slot is a hash of its bare JID, and a table says which home a slot has.
One process has one home, which has all slots, unless the option `homes` says more: then what concerns two owners with
different homes is two decisions, as it will be between processes.
"""

from __future__ import annotations

from typing import Final
from zlib import crc32

SLOTS: Final = 4096
SPREAD: Final = 2_654_435_761
"""2^32 divided by the golden ratio (Knuth, The Art of Computer Programming 6.4: multiplicative hashing)."""


class Homes:
    """The table of slots. `count`: of homes, 1 to 16."""

    def __init__(self, count: int = 1) -> None:
        self.count = count
        self.table = bytes(slot % count for slot in range(SLOTS))

    @property
    def several(self) -> bool:
        return self.count > 1

    def of(self, bare: str) -> int:
        """The home of an owner, by its bare JID."""
        return self.table[slot_of(bare)]


def slot_of(bare: str) -> int:
    """0 to 4,095. CRC alone would give names that differ in one digit slots that differ in the same bits."""
    return (crc32(bare.encode()) * SPREAD >> 20) % SLOTS
