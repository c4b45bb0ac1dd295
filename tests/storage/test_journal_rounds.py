"""Rounds: what is planned, how much at a time, and what happens when one of their steps goes wrong."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import pytest

from tests.storage.clocks import LoopClock
from tests.storage.test_journal import B, backend, db, ids, killed, write
from tests.storage.test_mongodb import A, entry
from xmppd.storage.api import LogAppend, LogDelete, LogTrim, MapClear, MapDelete, MapPut, OwnerDelete
from xmppd.storage.journal import rounds
from xmppd.storage.journal.deletions import Deletions
from xmppd.storage.journal.rounds import Committed, plan, portions
from xmppd.storage.journal.statements import (
    ROOM,
    DeleteEntries,
    ForgetEntries,
    ForgetRecords,
    InsertEntries,
    PutRecords,
    TrimEntries,
)

__all__ = ["db"]
MANY = 20_000


def batch(n: int, *writes: Any, size: int = 0) -> Committed:
    return Committed(ROOM + n, ROOM + n, n, writes, size)


def rows(made: rounds.Round, kind: type[Any], gone: bool) -> list[Any]:
    return [row for each in made.statements if isinstance(each, kind) for row in each.rows if row.gone is gone]


# ---- planned


def test_many_deletions_in_one_round_take_no_longer_than_as_many_writes() -> None:
    """The loop waits for it: of 20,000 each, every pair was looked at."""
    writes: list[Any] = []
    for n in range(MANY):
        writes += LogAppend("log", A, entry(n)), LogTrim("log", A, n - 100), MapPut("m", A, str(n), 1)
        writes += MapClear("other", A), OwnerDelete(B)
    writes += [MapClear("m", A), LogTrim("log", A, 0)] * MANY
    began = time.process_time()
    made = plan([batch(1, *writes)], 0)
    assert time.process_time() - began < 5
    assert [row.entry.id for row in rows(made, InsertEntries, False)] == list(range(MANY - 101, MANY))
    assert len(rows(made, InsertEntries, True)) == MANY - 101
    assert len(rows(made, PutRecords, True)) == MANY
    assert len(made.statements) < 20 and len(made.later) < 20


def test_a_trim_that_reaches_further_is_not_replaced_by_one_that_does_not() -> None:
    made = plan([batch(1, LogTrim("log", A, 9)), batch(2, LogTrim("log", A, 5)), batch(3, LogTrim("log", A, 7))], 0)
    trims = {(each.version - ROOM, each.before) for each in made.statements if isinstance(each, TrimEntries)}
    assert trims == {(1, 9), (2, 5), (3, 7)}
    made = plan([batch(1, LogTrim("log", A, 5)), batch(2, LogTrim("log", A, 9), LogTrim("log", B, 1))], 0)
    trims = {(each.version - ROOM, each.before) for each in made.statements if isinstance(each, TrimEntries)}
    assert trims == {(2, 9), (2, 1)}
    assert sorted(each.before for each in made.later if isinstance(each, ForgetEntries)) == [1, 9]


def test_what_is_deleted_and_written_again_in_a_round() -> None:
    made = plan(
        [
            batch(1, LogAppend("log", A, entry(1)), LogAppend("log", A, entry(2)), MapPut("m", A, "k", 1)),
            batch(2, LogDelete("log", A, (1,)), MapClear("m", A), MapPut("m", A, "k", 2), LogTrim("log", A, 2)),
            batch(3, OwnerDelete(A), LogAppend("log", A, entry(3)), MapPut("m", A, "j", 3), MapDelete("m", A, "x")),
        ],
        0,
    )
    assert [row.entry.id for row in rows(made, InsertEntries, False)] == [3]
    assert sorted(row.entry.id for row in rows(made, InsertEntries, True)) == [1, 2]
    assert [(row.key, row.version - ROOM) for row in rows(made, PutRecords, False)] == [("j", 3)]
    assert {(row.key, row.upsert) for row in rows(made, PutRecords, True)} == {("k", True), ("x", False)}


def test_a_deletion_of_many_ids_fits_in_documents() -> None:
    made = plan([batch(1, LogDelete("log", A, tuple(range(25_000))))], 0)
    for kind in (DeleteEntries, ForgetEntries):
        found: Sequence[Any] = [each for each in (*made.statements, *made.later) if isinstance(each, kind)]
        assert [len(each.ids) for each in found] == [10_000, 10_000, 5_000]


def test_a_round_takes_so_much() -> None:
    """What waits after an outage is not one statement that takes longer than anybody waits for its answer."""
    writes = [MapPut("m", A, str(n), 1) for n in range(1_500)]
    made = list(portions([*(batch(n, *writes) for n in range(5)), batch(5, size=9 << 20), batch(6)]))
    assert [[each.n for each in portion] for portion in made] == [[0, 1], [2, 3], [4], [5], [6]]
    assert list(portions([])) == []


# ---- written down


@pytest.mark.mongodb
async def test_a_round_that_deletes_more_than_a_document_can_name(mongodb_database: str, db: Any) -> None:
    """Records with long names: no deletion of one is large."""
    store = backend(mongodb_database)
    await store.open()
    deletions = Deletions(store.documents, LoopClock(), 1)
    await deletions.note([ForgetRecords(ROOM, A, "m", f"{n}@{'x' * 100_000}") for n in range(180)])
    notes = [len(each["later"]) async for each in db["deleted"].find()]
    assert sum(notes) > 18_000_000 and max(notes) < 400_000
    await store.close()


@pytest.mark.mongodb
async def test_a_note_whose_number_is_taken_gets_another(mongodb_database: str, db: Any) -> None:
    store = backend(mongodb_database)
    await store.open()
    await db["deleted"].insert_one({"_id": ROOM + 1, "later": b"\x90"})
    deletions = Deletions(store.documents, LoopClock(), 1)
    await deletions.note([ForgetEntries("log", A, (1,))])
    assert [each["_id"] - ROOM async for each in db["deleted"].find().sort("_id", 1)] == [1, 2]
    await store.close()


# ---- steps that go wrong


@pytest.mark.mongodb
async def test_a_mistake_stops_nothing_for_ever(mongodb_database: str, caplog: pytest.LogCaptureFixture) -> None:
    """It is told at once, and tried again, with or without another commit."""
    store = backend(mongodb_database)
    await store.open()
    whole, mistakes = store.documents.run, 3

    async def mistaken(statement: Any) -> Any:
        nonlocal mistakes
        mistakes -= 1
        if mistakes >= 0:
            raise AttributeError("nobody has thought of this")
        return await whole(statement)

    store.documents.run = mistaken  # type: ignore[method-assign]
    await write(store, LogAppend("log", A, entry(1)))
    assert await asyncio.wait_for(ids(store, A), 5) == [1]
    said = [each for each in caplog.records if each.levelname == "CRITICAL"]
    assert len(said) == 1 and said[0].exc_info and "nobody has thought of this" in (said[0].exc_text or caplog.text)
    await store.close()


@pytest.mark.mongodb
async def test_a_mistake_does_not_hold_up_the_end(mongodb_database: str) -> None:
    store = backend(mongodb_database)
    await store.open()

    async def mistaken(statement: Any) -> Any:
        raise AttributeError("nobody has thought of this")

    store.documents.run = mistaken  # type: ignore[method-assign]
    await write(store, LogAppend("log", A, entry(1)))
    await asyncio.wait_for(store.close(), 5)
    second = backend(mongodb_database)
    await second.open()
    assert await ids(second, A) == [1]
    await killed(second)
