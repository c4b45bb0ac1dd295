"""A journal is sealed: whoever writes to it finds the place of its next batch taken, and knows that it was replaced.

A number that was taken must stay taken, or whoever takes it must look again: the home deletes batches that are applied,
so a seal that was inserted far behind what has been written meanwhile stops nothing. That is why the journal is read
again behind the seals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from xmppd.storage.api import Heard
from xmppd.storage.journal.batch import decode
from xmppd.storage.journal.rounds import Committed
from xmppd.storage.journal.statements import ROOM, Documents

SEALS = 32
"""So many numbers behind the last batch are sealed at once: the journal may go on while they are inserted."""
PAGE = 64


async def last_batch(documents: Documents, incarnation: int) -> dict[str, Any] | None:
    """The batch of the highest number, or its stub; None: there is none yet."""
    low, high = incarnation * ROOM, incarnation * ROOM + ROOM - 1
    while True:
        found = await documents.find("journal", low, high, PAGE, backwards=True)
        for each in found:
            if "seal" not in each:
                return each
        if len(found) < PAGE:
            return None
        high = found[-1]["_id"] - 1


async def insert_seals(documents: Documents, incarnation: int, behind: int, by: int) -> None:
    """Take the numbers behind n = `behind` of a journal, as incarnation `by`."""
    base = incarnation * ROOM + behind
    await documents.insert_where_free("journal", [{"_id": base + i, "seal": by} for i in range(1, SEALS + 1)])


@dataclass(frozen=True)
class Sealed:
    """A journal to which nothing is added any more. `batches`: what may not be applied, in order; `seal`: n of its
    lowest seal, the last batch is the one before it."""

    incarnation: int
    batches: list[dict[str, Any]]
    seal: int


async def seal(documents: Documents, incarnation: int, by: int) -> Sealed:
    """Seal the journal of an incarnation, however often that takes. Raises StorageUnavailable."""
    while True:
        last = await last_batch(documents, incarnation)
        await insert_seals(documents, incarnation, last["_id"] % ROOM if last is not None else 0, by)
        sealed = await look_again(documents, incarnation, last)
        if sealed is not None:
            return sealed


async def look_again(documents: Documents, incarnation: int, last: dict[str, Any] | None) -> Sealed | None:
    """With the batches from the `low` of the last one on, if every number is there up to a seal and no batch above it;
    None: it is not sealed."""
    base = incarnation * ROOM
    low = last["low"] if last is not None else 1
    rows = await _read(documents, base + low, base + ROOM - 1)
    seals = [row["_id"] - base for row in rows if "seal" in row]
    batches = [row for row in rows if "seal" not in row]
    newest = batches[-1] if batches else None
    if last is not None and newest is None:
        return None
    if newest is not None:
        low = max(low, newest["low"])
        batches = [row for row in batches if row["_id"] - base >= low]
    seals = [n for n in seals if n >= low]
    if not seals:
        return None
    lowest = seals[0]
    numbers = [row["_id"] - base for row in batches]
    return Sealed(incarnation, batches, lowest) if numbers == list(range(low, lowest)) else None


async def _read(documents: Documents, low: int, high: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    while True:
        found = await documents.find("journal", low, high, PAGE)
        rows += found
        if len(found) < PAGE:
            return rows
        low = found[-1]["_id"] + 1


def committed(documents: Sequence[dict[str, Any]], epoch: int) -> list[Committed]:
    """The batches of a sealed journal as they are applied. `epoch`: that of the table that named its incarnation. What
    is heard in them may lie in `sendings`. Raises StoreError."""
    batches: list[Committed] = []
    for each in documents:
        number, writes, size = each["_id"], decode(each), len(each.get("batch") or b"")
        parked = [write.source for write in writes if type(write) is Heard]
        batches.append(Committed(number, epoch * ROOM + number % ROOM, number % ROOM, writes, size, parked))
    return batches


async def tidy(documents: Documents, sealed: Sealed) -> None:
    """Of a journal that is sealed, applied and given over, its last batch stays as a stub, and its lowest seal: the
    place of what its former writer tries next is taken for good. Which that is was read when it was sealed: what is
    read now may be an older state."""
    base, last = sealed.incarnation * ROOM, sealed.seal - 1
    if last:
        await documents.set("journal", base + last, {"low": last, "stub": True, "batch": None})
        await documents.remove("journal", base, base + last - 1)
    await documents.remove("journal", base + sealed.seal + 1, base + ROOM - 1)
