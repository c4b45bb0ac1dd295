"""The journal on a real server of MongoDB's protocol: one home at a time, batches whole, reads that see them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from bson import Binary, Timestamp, encode
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo.errors import DuplicateKeyError

from tests.mongo_server.relay import relayed
from tests.process.server import ServerProcess, configuration, xmppd
from tests.storage.clocks import LoopClock
from tests.storage.conftest import Recorder
from tests.storage.test_mongodb import A, entry, quick
from xmppd.storage import make_backend, open_storage
from xmppd.storage.api import (
    DataError,
    LogAppend,
    LogDelete,
    LogReplace,
    LogTrim,
    MapDelete,
    MapPut,
    OwnerDelete,
    Range,
    StoreError,
)
from xmppd.storage.group_commit import Limits
from xmppd.storage.journal import incarnation, process
from xmppd.storage.journal.backend import JournalBackend
from xmppd.storage.journal.process import is_gone, this_process
from xmppd.storage.journal.statements import ROOM
from xmppd.storage.store import Store

pytestmark = pytest.mark.mongodb
__all__ = ["quick"]

B = "b@example.org"


@pytest.fixture
async def db(mongodb_database: str) -> AsyncIterator[Any]:
    client: Any = AsyncIOMotorClient(mongodb_database)
    yield client.get_default_database()
    client.close()


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incarnation, "WATCHED", 0.5)
    monkeypatch.setattr(incarnation, "LOOK", 0.05)


def backend(uri: str, take_over: bool = False) -> JournalBackend:
    made = make_backend(uri, LoopClock(), take_over)
    assert isinstance(made, JournalBackend)
    return made


async def write(backend: JournalBackend, *writes: Any) -> None:
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    backend.commit(writes, lambda error: done.set_exception(error) if error else done.set_result(None))
    await done


async def ids(backend: JournalBackend, owner: str) -> list[int]:
    return [each.id for each in await backend.page("log", owner, Range(), 100, False)]


# ---- one home at a time


async def test_another_process_is_refused_while_the_server_lives(
    tmp_path: Path, mongodb_database: str, db: Any
) -> None:
    """A second server, and a command that does not find the first one's control socket."""
    first = ServerProcess(tmp_path, configuration(mongodb_database))
    await first.start()
    try:
        other = tmp_path / "other"
        other.mkdir()
        (other / "xmppd.yaml").write_text(configuration(mongodb_database))
        commands = (["run"], ["user", "add", "romeo@localhost", "-p", "pencil"])
        for outcome in await asyncio.gather(*(xmppd(*each, "--config", "xmppd.yaml", cwd=other) for each in commands)):
            assert outcome.status == 3, outcome.text
            assert f"the database is in use by another server, process {first.pid} on " in outcome.err
        assert await first.operation("ping") == {"note": "pong"}
        await first.crash()
        await first.start()  # at once: the process is seen to be gone
        assert await first.stop() == 0
        last = (await db["nodes"].find().sort("_id", -1).limit(1).to_list(1))[0]
        assert last["ended"]
    finally:
        first.kill()


async def test_one_that_beats_elsewhere_is_refused(brief: None, mongodb_database: str, db: Any) -> None:
    first = backend(mongodb_database)
    await first.open()
    await first.close()
    elsewhere = {"process": {**this_process(), "host": "elsewhere"}, "ended": False}
    await db["nodes"].update_one({"_id": 1}, {"$set": elsewhere})
    alive = True

    async def beat() -> None:
        while alive:
            await db["nodes"].update_one({"_id": 1}, {"$inc": {"beat": 1}})
            await asyncio.sleep(0.05)

    beating = asyncio.create_task(beat())
    second = backend(mongodb_database)
    with pytest.raises(StoreError, match=r"in use by another server, process .* on elsewhere"):
        await second.open()
    alive = False
    await beating  # in order: an update that is cancelled still goes to the server
    await second.open()  # silent for the whole time: taken for dead
    await second.close()


async def test_who_was_taken_over_says_nothing_more(mongodb_database: str, note: Recorder) -> None:
    first = await open_storage(mongodb_database, LoopClock())
    ends: list[str] = []
    first.on_over = ends.append
    archive = first.log("log")
    await first.commit([archive.append(A, entry(1))])
    second = await open_storage(mongodb_database, LoopClock(), take_over=True)
    first.join([archive.append(A, entry(2))], note("2"))
    first.join([archive.append(A, entry(3))], note("3"))
    async with asyncio.timeout(5):
        while not ends:  # noqa: ASYNC110  the database sets no event
            await asyncio.sleep(0.02)
    first.join([archive.append(A, entry(4))], note("4"))  # not refused, either
    await first.close(1)
    assert note.seen == []
    assert ends == ["another server has taken the database"]
    assert [each.id for each in await second.log("log").page(A, Range(), 10)] == [1]
    await second.close()


async def test_an_idle_server_notices_that_it_was_replaced(mongodb_database: str) -> None:
    """It has nothing to commit, and would go on answering from what it remembers."""
    first, second = backend(mongodb_database), backend(mongodb_database, take_over=True)
    over = asyncio.get_running_loop().create_future()
    first.over = over.set_result
    await first.open()
    await second.open()
    async with asyncio.timeout(5):
        assert await over == "another server has taken the database"
    await first.close()
    await second.close()


async def test_two_that_start_at_once(mongodb_database: str) -> None:
    """One has it, the other is refused, or has replaced it; never both."""
    stores = [backend(mongodb_database, take_over=True) for _ in range(3)]
    for _ in range(3):
        await asyncio.gather(*(each.open() for each in stores))
        outcomes = [await asyncio.wait_for(_try(each), 5) for each in stores]
        assert sorted(outcomes) == [False, False, True]
        for each in stores:
            await each.close()
        stores = [backend(mongodb_database, take_over=True) for _ in range(3)]


async def test_a_store_that_is_opened_again_is_another_home(mongodb_database: str, db: Any) -> None:
    """Its numbers begin anew, so what it decides is newer than what it decided before."""
    again = backend(mongodb_database)
    for run in range(3):
        await again.open()
        assert await ids(again, A) == ([run] if run else [])
        for extra in range(4 - run):  # the first run goes further than the next ones
            await write(again, MapPut("m", A, "k", (run, extra)))
        await write(again, LogDelete("log", A, (run,)), LogAppend("log", A, entry(run + 1)))
        assert await ids(again, A) == [run + 1]
        await again.close()
    assert [each["incarnation"] for each in await db["table"].find().sort("_id").to_list(9)] == [1, 2, 3]


async def _try(backend: JournalBackend) -> bool:
    """Whether it commits."""
    result: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    backend.over = lambda _: result.done() or result.set_result(False)
    backend.commit([MapPut("m", A, "k", 1)], lambda error: result.done() or result.set_result(error is None))
    return await result


def test_who_is_gone() -> None:
    mine = this_process()
    assert is_gone(mine)  # an earlier store of this very process
    assert is_gone({**mine, "pid": 2**22 + 1})
    assert is_gone({**mine, "pid": os.getppid(), "started": "1"})  # the number is another process's now
    assert not is_gone({**mine, "host": "elsewhere", "pid": 2**22 + 1})
    assert not is_gone({**mine, "space": "another container", "pid": 2**22 + 1})
    assert not is_gone(None)


def test_one_that_cannot_be_seen_is_not_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """`/proc` of another user, or of another namespace, does not show it."""
    mine = this_process()
    parent = {**mine, "pid": os.getppid(), "started": process._started(os.getppid())}
    assert not is_gone(parent)
    monkeypatch.setattr(process, "_started", lambda pid: mine["started"] if pid == mine["pid"] else "")
    assert not is_gone(parent)
    assert is_gone({**parent, "pid": 2**22 + 1})
    monkeypatch.undo()
    assert not is_gone({**parent, "started": ""})  # it could not see itself
    whole = os.readlink
    monkeypatch.setattr(os, "readlink", lambda path: "4711" if path == "/proc/self" else whole(path))
    assert this_process()["space"] == ""
    assert not is_gone({**mine, "pid": 2**22 + 1, "space": ""})


@pytest.mark.parametrize("change", [{"process": "x"}, {"process": None, "beat": "?"}, {"process": {"pid": "x"}}])
async def test_a_damaged_record_is_watched(mongodb_database: str, db: Any, brief: None, change: dict[str, Any]) -> None:
    first = backend(mongodb_database)
    await first.open()
    await first.close()
    await db["nodes"].update_one({"_id": 1}, {"$set": change, "$unset": {"ended": ""}})
    second = backend(mongodb_database)
    await second.open()
    await second.close()


# ---- whole batches


async def held(backend: JournalBackend) -> None:
    """From now on nothing is applied."""

    async def never(_: Any) -> Any:
        await asyncio.Event().wait()

    backend.documents.run = never  # type: ignore[method-assign]


def held_up(store: Store) -> tuple[JournalBackend, asyncio.Event]:
    """Nothing is applied until the event is set."""
    backend = store.backend
    assert isinstance(backend, JournalBackend)
    whole, go = backend.documents.run, asyncio.Event()

    async def slow(statement: Any) -> Any:
        await go.wait()
        return await whole(statement)

    backend.documents.run = slow  # type: ignore[method-assign]
    return backend, go


async def killed(backend: JournalBackend) -> None:
    """As a kill does it: nothing is finished, nobody is told."""
    for task in (backend._chores, backend._committing, backend._applier and backend._applier._task):
        if task is not None:
            task.cancel()
    await backend.documents.close()


@pytest.mark.parametrize("applied", range(5))
async def test_a_batch_is_whole_whatever_of_it_was_applied(mongodb_database: str, db: Any, applied: int) -> None:
    """Committed, and killed when so many of the documents were there."""
    first = backend(mongodb_database)
    await first.open()
    await write(first, LogAppend("log", A, entry(1)), LogAppend("log", B, entry(1)))
    await first._seen(None)
    whole = first.documents.run

    async def some(statement: Any) -> Any:
        nonlocal applied
        rows = getattr(statement, "rows", None)
        if rows is not None and applied < len(rows):
            statement = type(statement)(rows[:applied])
            await whole(statement)
            await asyncio.Event().wait()
        applied -= len(rows or ())
        return await whole(statement)

    first.documents.run = some  # type: ignore[method-assign]
    await write(
        first,
        LogAppend("log", A, entry(2)),
        LogAppend("log", B, entry(2)),
        MapPut("count", A, "k", 2),
        MapPut("count", B, "k", 2),
    )
    await asyncio.sleep(0.1)
    await killed(first)
    second = backend(mongodb_database)
    await second.open()
    assert (await ids(second, A), await ids(second, B)) == ([1, 2], [1, 2])
    assert [await second.read("count", each, "k") for each in (A, B)] == [2, 2]
    await second.close()


async def test_a_read_waits_for_what_was_committed_when_it_was_asked(mongodb_database: str) -> None:
    store = await open_storage(mongodb_database, LoopClock())
    backend, go = held_up(store)
    archive, counts = store.log("log"), store.map("count", int, cached=True)
    await store.commit([archive.append(A, entry(1)), counts.put(A, "k", 1)])
    reads = [
        asyncio.create_task(each)
        for each in (archive.page(A, Range(), 10), archive.count(A, Range()), archive.last_id(A), counts.read(A, "k"))
    ]
    loading = asyncio.create_task(store.load(A))
    assert await asyncio.wait_for(archive.page(B, Range(), 10), 2) == []  # nothing of it is on its way
    await asyncio.sleep(0.05)
    assert not any(each.done() for each in (*reads, loading))
    assert backend.backlog[0] == 2
    go.set()
    page, count, last, value = await asyncio.gather(*reads)
    await loading
    assert ([each.id for each in page], count, last, value, counts.get(A)) == ([1], 1, 1, 1, {"k": 1})
    assert backend.backlog == (0, 0)
    await store.close()


async def test_what_is_not_applied_counts_as_waiting(mongodb_database: str, note: Recorder) -> None:
    """Committed, so acknowledged; but memory has a bound, so senders are paused."""
    store = await open_storage(mongodb_database, LoopClock(), Limits(queue_rows=20))
    _, go = held_up(store)
    things = store.map("things", int)
    for number in range(11):
        await store.commit([things.put(A, str(number), number)])
    store.join([things.put(A, "x", 1)], note("x"))
    assert store.congested
    went = asyncio.get_running_loop().create_future()
    store.on_uncongested(lambda: went.set_result(None))
    go.set()
    await asyncio.wait_for(went, 5)
    assert not store.congested
    await store.close()
    assert note.seen == ["x"]


async def test_what_waits_long_to_be_applied_pauses_senders(mongodb_database: str, note: Recorder) -> None:
    """However little it is: who reads waits for it, and has not forever."""
    store = await open_storage(mongodb_database, LoopClock(), Limits(behind=0.2))
    _, go = held_up(store)
    things = store.map("things", int)
    await store.commit([things.put(A, "1", 1)])
    store.join([things.put(A, "2", 2)], note("2"))
    assert not store.congested
    await asyncio.sleep(0.3)
    store.join([things.put(A, "3", 3)], note("3"))
    assert store.congested
    went = asyncio.get_running_loop().create_future()
    store.on_uncongested(lambda: went.set_result(None))
    go.set()
    await asyncio.wait_for(went, 5)
    assert not store.congested
    await store.close()
    assert note.seen == ["2", "3"]


async def test_the_journal_is_short_and_keeps_its_last_batch(mongodb_database: str, db: Any) -> None:
    first = backend(mongodb_database)
    await first.open()
    for number in range(1, 31):
        await write(first, MapPut("m", A, "k", number))
    await first._seen(None)
    await write(first, MapPut("m", A, "k", 31))
    await first._remove_applied()
    numbers = [each["_id"] - ROOM async for each in db["journal"].find().sort("_id", 1)]
    assert numbers == [31]
    await first.close()
    second = backend(mongodb_database)
    await second.open()
    assert [each async for each in db["journal"].find({}, {"_id": 1}).sort("_id", 1)] == [
        {"_id": ROOM + 31},
        {"_id": ROOM + 32},
    ]
    assert await second.read("m", A, "k") == 31
    await second.close()


async def test_reads_see_the_last_round_also_behind_a_fail_over(mongodb_database: str) -> None:
    """A server that tells when it wrote (this one does not: the relay does) is asked for a state not older."""
    async with relayed(mongodb_database) as relay:
        times = count(1)
        sessions = {"logicalSessionTimeoutMinutes": 30}  # also where the server has none
        relay.answer = lambda said: {
            **said, **(sessions if "maxWireVersion" in said else {}), "operationTime": Timestamp(next(times), 1)
        }  # fmt: skip
        store = await open_storage(relay.uri, LoopClock())
        archive, things = store.log("log"), store.map("things", int)
        for number in (1, 2):
            before, told = next(times), len(relay.seen)
            await store.commit([archive.append(A, entry(number)), things.put(A, "k", number)])
            assert await things.read(A, "k") == number
            await asyncio.gather(archive.page(A, Range(), 10), archive.count(A, Range()), store.load(A))
            await things.owners("example.org")
            asked = [each for each in relay.seen[told:] if {"find", "count"} & each.keys() and "owner" in _query(each)]
            assert len(asked) == (5 if number == 1 else 4)  # the working set is in memory
            assert all(each["readConcern"]["level"] == "majority" for each in asked)
            assert all(each["readConcern"]["afterClusterTime"].time > before for each in asked)
        await store.close()
        await (await open_storage(relay.uri, LoopClock())).close()  # applies the last batch once more
        store = await open_storage(relay.uri, LoopClock())  # has nothing to apply
        told = len(relay.seen)
        assert await store.map("things", int).read(A, "k") == 2
        (asked,) = [each for each in relay.seen[told:] if "find" in each and "owner" in _query(each)]
        assert asked["readConcern"]["afterClusterTime"].time > before
        began = asyncio.get_running_loop().time()
        await store.close()
        assert any("endSessions" in each for each in relay.seen[told:])
        assert asyncio.get_running_loop().time() - began < 5  # the relay runs in this loop: it was not held up


def _query(command: dict[str, Any]) -> set[str]:
    """What a read is about; the sequences are read by `_id`, and looked at again until they agree."""
    return set(command.get("filter") or command.get("query") or {"_id": 0})


async def test_an_answer_that_is_lost_is_told_from_a_take_over(
    quick: None, mongodb_database: str, note: Recorder
) -> None:
    async with relayed(mongodb_database) as relay:
        store = await open_storage(relay.uri, LoopClock())
        over: list[str] = []
        store.on_over = over.append
        archive = store.log("log")
        await store.commit([archive.append(A, entry(1))])
        relay.answer = lambda said: None  # carried out, but nobody hears of it
        store.join([archive.append(A, entry(2)), archive.append(B, entry(2))], note("2"))
        await asyncio.sleep(1)
        assert note.seen == []
        relay.answer = lambda said: said
        async with asyncio.timeout(20):
            while not note.seen:  # noqa: ASYNC110  the relay sets no event
                await asyncio.sleep(0.02)
        assert (note.seen, over) == (["2"], [])
        assert [each.id for each in await archive.page(A, Range(), 10)] == [1, 2]
        relay.answer = lambda said: None
        store.join([archive.append(A, entry(3))], note("3"))
        await asyncio.sleep(0.5)
        second = await open_storage(mongodb_database, LoopClock(), take_over=True)
        relay.answer = lambda said: said
        async with asyncio.timeout(20):
            while not over:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        # Whether it was in before the seal is the database's business; it is not released by who is over.
        left = [each.id for each in await second.log("log").page(A, Range(), 10)]
        assert left in ([1, 2], [1, 2, 3])
        await second.close()
        await store.close(1)


async def test_a_batch_that_is_refused_and_in_ends_the_server(mongodb_database: str, note: Recorder) -> None:
    """It was told that it is refused, and what it tries next finds it in its place: that is no lost answer."""
    store = await open_storage(mongodb_database, LoopClock())
    over: list[str] = []
    store.on_over = over.append
    made: Any = store.backend
    whole = made.documents.insert

    async def insert(sequence: str, document: Any) -> bool:
        made.documents.insert = whole
        await whole(sequence, document)
        raise DataError("an answer that cannot be read")

    made.documents.insert = insert
    archive = store.log("log")
    store.join([archive.append(A, entry(1))], note("1"))
    store.join([archive.append(B, entry(1))], note("2"))
    async with asyncio.timeout(5):
        while not over and len(note.seen) < 2:  # noqa: ASYNC110  the database sets no event
            await asyncio.sleep(0.02)
    assert (note.seen, len(over)) == ([], 1)
    await store.close(1)
    second = await open_storage(mongodb_database, LoopClock())
    for owner in (A, B):
        assert [each.id for each in await second.log("log").page(owner, Range(), 10)] == [1]
    await second.close()


async def test_it_beats_while_it_tidies_up(mongodb_database: str, db: Any) -> None:
    """An hour after many deletions that may take minutes."""
    first = backend(mongodb_database)
    await first.open()
    tidying = asyncio.Event()

    async def sweep() -> int:
        tidying.set()
        return await asyncio.Event().wait()

    first._swept = -1e9
    first._deletions.sweep = sweep  # type: ignore[method-assign, union-attr]
    await asyncio.wait_for(tidying.wait(), 5)
    before = (await db["nodes"].find_one({"_id": 1}))["beat"]
    await asyncio.sleep(2.5)
    assert (await db["nodes"].find_one({"_id": 1}))["beat"] > before
    await asyncio.wait_for(first.close(), 5)


async def test_what_was_left_of_the_former_run_is_not_kept_in_memory(mongodb_database: str) -> None:
    first = backend(mongodb_database)
    await first.open()
    await held(first)
    await write(first, MapPut("m", A, "k", "x" * 1_000_000))
    await killed(first)
    second = backend(mongodb_database)
    await second.open()
    assert await second.read("m", A, "k") == "x" * 1_000_000
    assert second._takeover._sealed is None
    await second.close()


async def test_the_session_of_a_read_that_was_cancelled_is_not_used_again(mongodb_database: str) -> None:
    """The driver's thread may still be at work with it."""
    async with relayed(mongodb_database) as relay:
        times = count(1)
        relay.answer = lambda said: {**said, "operationTime": Timestamp(next(times), 1)}
        first = backend(relay.uri)
        await first.open()
        await write(first, MapPut("m", A, "k", 1))
        assert await first.read("m", A, "k") == 1
        moment: Any = first.documents._moment  # type: ignore[attr-defined]
        (session,) = moment._idle
        answer, relay.answer = relay.answer, lambda said: None
        reading = asyncio.create_task(first.documents.read("m", A, "k"))
        await asyncio.sleep(0.1)
        assert moment._idle == []
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        relay.answer = answer
        assert session not in moment._idle
        await killed(first)


# ---- what is deleted


async def test_what_is_deleted_does_not_come_back(mongodb_database: str) -> None:
    """Neither what a later batch deletes, nor what the same one does, when all of it is applied again."""
    first = backend(mongodb_database)
    await first.open()
    appends = [LogAppend("log", owner, entry(id)) for owner in (A, B) for id in (1, 2, 3)]
    await write(first, *appends, LogDelete("log", A, (1,)), LogTrim("log", B, 2))
    await write(first, *(LogAppend("log", owner, entry(4)) for owner in (A, B)), MapPut("m", B, "k", 1))
    await write(first, LogDelete("log", A, (4,)), OwnerDelete(B), MapPut("m", A, "k", 1))
    await write(first, MapDelete("m", A, "k"))
    await killed(first)
    for _ in range(2):
        next = backend(mongodb_database)
        await next.open()
        assert (await ids(next, A), await ids(next, B)) == ([2, 3], [])
        assert [await next.read("m", each, "k") for each in (A, B)] == [None, None]
        assert await next.last_id("log", A) == 4  # no id is given twice
        await killed(next)


async def test_a_late_repetition_changes_nothing(mongodb_database: str) -> None:
    """Every statement that was ever sent is carried out once more, in any order."""
    first = backend(mongodb_database)
    await first.open()
    whole, sent = first.documents.run, []

    async def remembered(statement: Any) -> Any:
        sent.append(statement)
        return await whole(statement)

    first.documents.run = remembered  # type: ignore[method-assign]
    batches: list[list[Any]] = [
        [LogAppend("log", A, entry(id)) for id in (1, 2, 3, 4)],
        [LogDelete("log", A, (1,)), MapPut("m", A, "k", 1), MapPut("m", A, "other", 1)],
        [LogReplace("log", A, entry(2)), MapPut("m", A, "k", 2), MapDelete("m", A, "other")],
        [LogAppend("log", B, entry(1)), MapPut("m", B, "k", 1)],
        [LogTrim("log", A, 2), OwnerDelete(B)],
        [LogAppend("log", B, entry(9)), MapPut("m", B, "k", 9)],
    ]
    for batch in batches:
        await write(first, *batch)
        await first._seen(None)

    async def state() -> Any:
        return [
            await ids(first, A),
            await ids(first, B),
            [[await first.read("m", owner, key) for key in ("k", "other")] for owner in (A, B)],
        ]

    before = await state()
    assert before == [[2, 3, 4], [9], [[2, None], [9, None]]]
    for statement in [*sent, *reversed(sent)]:
        await whole(statement)
        assert await state() == before
    await first.close()


async def test_what_is_deleted_keeps_its_place_for_an_hour(mongodb_database: str, db: Any) -> None:
    clock = Shifted()
    first = make_backend(mongodb_database, clock)
    assert isinstance(first, JournalBackend)
    await first.open()
    appends = [LogAppend(log, owner, entry(1)) for owner in (A, B) for log in ("log", "other")]
    await write(first, *appends, MapPut("m", B, "k", 1))
    await first._seen(None)
    late = await db["entries"].find_one({"owner": B})
    await write(first, OwnerDelete(B), LogDelete("log", A, (1,)), LogTrim("other", A, 2), MapPut("m", A, "k", 1))
    await write(first, MapDelete("m", A, "k"))
    await first._seen(None)
    with pytest.raises(DuplicateKeyError):
        await db["entries"].insert_one(late)  # sent long ago, carried out now
    assert await ids(first, B) == []
    assert await first.read("m", B, "k") is None
    assert await first._deletions.sweep() == 0  # type: ignore[union-attr]
    clock.shift += 61
    assert await first._deletions.sweep() == 0  # type: ignore[union-attr]
    clock.shift += 3700
    assert await first._deletions.sweep() > 0  # type: ignore[union-attr]
    assert await db["entries"].count_documents({}) == 0
    assert await db["records"].count_documents({}) == 0
    assert await db["deleted"].count_documents({}) == 0
    await first.close()


async def test_a_damaged_note_keeps_no_other_one(
    mongodb_database: str, db: Any, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Shifted()
    first = make_backend(mongodb_database, clock)
    assert isinstance(first, JournalBackend)
    await first.open()
    await write(first, LogAppend("log", A, entry(1)))
    await write(first, LogDelete("log", A, (1,)))
    await first._seen(None)
    await db["deleted"].insert_one({"_id": 5, "later": b"?"})
    clock.shift += 61
    assert await first._deletions.sweep() == 0  # type: ignore[union-attr]
    clock.shift += 3700
    assert await first._deletions.sweep() > 0  # type: ignore[union-attr]
    assert await db["entries"].count_documents({}) == 0
    assert "what was noted as deleted is damaged" in caplog.text
    await first.close()


class Shifted(LoopClock):
    """Real time, and what a test adds."""

    shift = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.shift


# ---- stores of before


async def test_a_database_without_a_journal_is_taken_as_it_is(mongodb_database: str, db: Any) -> None:
    """Version 1: no versions in the documents, and what a killed process had not finished lies in `intents`."""
    place = {"owner": A, "log": "log", "peer": "p@example.org", "resource": "", "flags": 0, "body": Binary(b"<m/>")}
    await db["meta"].insert_one({"_id": "schema", "version": 1})
    await db["entries"].insert_one({**place, "id": 1})
    await db["intents"].insert_one({"_id": "batch", "entries": [Binary(encode({**place, "id": id})) for id in (1, 2)]})
    for key in ("put", "delete", "same"):
        record = {"owner": A, "map": "m", "key": key, "domain": "example.org", "value": 1}
        await db["records"].insert_one(record)
    store = Store(backend(mongodb_database), LoopClock())
    await store.open()
    things, log = store.map("m", int), store.log("log")
    assert [each.id for each in await log.page(A, Range(), 10)] == [1, 2]
    await store.commit([things.put(A, "put", 2), things.delete(A, "delete"), log.delete(A, [1])])
    assert await things.read_all(A) == {"put": 2, "same": 1}
    assert [each.id for each in await log.page(A, Range(), 10)] == [2]
    await store.commit([OwnerDelete(A)])
    assert (await things.read_all(A), await log.page(A, Range(), 10)) == ({}, [])
    assert "intents" not in await db.list_collection_names()
    await store.close()
