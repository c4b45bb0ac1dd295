"""What is deleted stays without content until nothing can bring it back any more: an hour in which its home has run.

A statement that was sent to the database is carried out within an hour or not at all: the one time that safety rests
on. So what a round deletes is written down, and done for good an hour after the round is done, however long that took.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from typing import Any

import msgspec

from xmppd.clock import Clock
from xmppd.storage.journal.statements import (
    ROOM,
    Document,
    Documents,
    ForgetEntries,
    ForgetOwner,
    ForgetRecords,
    ForgetSendings,
    Statement,
)

log = logging.getLogger("xmppd.storage")

LATEST = 3600.0
"""Seconds after which no statement is carried out any more."""
KEPT = LATEST + 60.0
"""Seconds for which places are kept: a former home may have sent some for a moment longer (`home.FRESH`)."""
SAMPLE = 60.0
"""Seconds between two remembered versions, and between two sweeps."""
PAGE = 100
"""Notes that one sweep reads at a time."""
NOTE = 256 << 10
"""Bytes from which on a note is full: a round may delete more than one document can name."""


class Deletions:
    """Those of one incarnation, and of the ones before it. `incarnation`: its number."""

    def __init__(self, documents: Documents, clock: Clock, incarnation: int) -> None:
        self._documents = documents
        self._clock = clock
        self._incarnation = incarnation
        self._began = clock.monotonic()
        self._number = 0
        self._applied = (0, 0)
        """The version up to which all is applied, and the note up to which the rounds are done."""
        self._samples: deque[tuple[float, int, int]] = deque()
        """When (seconds since the begin) that was so."""
        self._young = 0
        self._ripe = 0

    @property
    def _age(self) -> float:
        return self._clock.monotonic() - self._began

    def applied(self, version: int) -> None:
        """All up to this version is applied, and what was noted is done."""
        self._applied = (version, self._number)
        self._sample()

    def _sample(self) -> None:
        age = self._age
        if not self._samples or age - self._samples[-1][0] >= SAMPLE:
            self._samples.append((age, *self._applied))
        while self._samples and self._samples[0][0] <= age - KEPT:
            _, version, self._ripe = self._samples.popleft()
            self._young = version + 1

    def young(self) -> int:
        """From this version on an insert may still come late."""
        return self._young

    async def note(self, statements: Sequence[Statement]) -> None:
        """Write down what is to be done in an hour. Again after a failure: what is noted twice is done twice."""
        rows: list[msgspec.Raw] = []
        size = 0
        for each in statements:
            row = msgspec.msgpack.encode(_row(each))
            rows.append(msgspec.Raw(row))
            size += len(row)
            if size >= NOTE:
                await self._insert(rows)
                rows, size = [], 0
        if rows:
            await self._insert(rows)

    async def _insert(self, rows: Sequence[msgspec.Raw]) -> None:
        later = msgspec.msgpack.encode(rows)
        while True:
            self._number += 1
            number = self._incarnation * ROOM + self._number
            if await self._documents.insert("deleted", {"_id": number, "later": later}):
                return

    async def sweep(self) -> int:
        """Do what was noted an hour ago. How many notes are done. Raises StorageUnavailable."""
        self._sample()
        if self._age < KEPT:
            return 0
        done, mine, after = 0, self._incarnation * ROOM, 0
        while True:
            notes = await self._documents.find("deleted", after, mine + ROOM - 1, PAGE)
            ripe = [each for each in notes if each["_id"] <= mine + self._ripe]
            for each in ripe:
                for statement in _statements(each):
                    await self._documents.run(statement)
                await self._documents.remove("deleted", each["_id"], each["_id"])
                done += 1
            if len(ripe) < PAGE:
                return done
            after = ripe[-1]["_id"] + 1


def _row(statement: Statement) -> tuple[Any, ...]:
    if isinstance(statement, ForgetEntries):
        return ("entries", statement.owner, statement.log, statement.ids, statement.before)
    if isinstance(statement, ForgetRecords):
        return ("records", statement.version, statement.owner, statement.map, statement.key)
    if isinstance(statement, ForgetOwner):
        return ("owner", statement.version, statement.owner)
    if isinstance(statement, ForgetSendings):
        return ("sendings", statement.sources)
    raise TypeError(f"{type(statement).__name__} is nothing to be done later")


def _statements(note: Document) -> list[Statement]:
    """None for a note that is damaged: those behind it are done nevertheless."""
    try:
        return [_statement(row) for row in msgspec.msgpack.decode(bytes(note["later"]))]
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError) as error:
        log.error("what was noted as deleted is damaged, and left out: %r (%s)", note.get("_id"), error)
        return []


def _statement(row: Sequence[Any]) -> Statement:
    kind, *rest = row
    if kind == "entries":
        owner, log, ids, before = rest
        return ForgetEntries(owner, log, tuple(ids), before)
    if kind == "records":
        return ForgetRecords(*rest)
    if kind == "sendings":
        return ForgetSendings(tuple((number, place) for number, place in rest[0]))
    return ForgetOwner(*rest)
