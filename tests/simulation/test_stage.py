"""The journal, step by step: what section by section of docs/explanation/simulation.md promises."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.simulation.cheats import CHEATS
from tests.simulation.load import Operation, plus
from tests.simulation.process import Process
from tests.simulation.stage import A, B, C, Stage, asks, runs, stage
from tests.simulation.world import HOUR, Failed
from xmppd.storage.api import Entry, LogDelete, LogReplace, LogTrim, MapClear, MapDelete, MapPut, MapUpdate, OwnerDelete
from xmppd.storage.journal.sealing import SEALS
from xmppd.storage.journal.statements import ROOM, InsertEntries, PutRecords, ReplaceEntry

# ---- a crash between any two steps, then a start


def _one_of_each(on: Stage, process: Process) -> None:
    """Operations that need each other, as fast as they can be joined."""
    join, message = on.join, on.message
    join(process, message(A, 1), message(B, 1), MapUpdate("count", A, "n", plus(1)), MapPut("notes", A, "x", 1))
    join(process, message(A, 2), message(C, 2), MapUpdate("count", A, "n", plus(1)), MapPut("notes", A, "y", 1))
    join(process, LogReplace("archive", A, Entry(1, "", "", 1, str(len(on.judge.ledger)).encode())))
    join(process, LogDelete("archive", B, (1,)), MapDelete("notes", A, "x"), MapPut("notes", C, "x", 1))
    join(process, MapClear("notes", A), MapPut("notes", A, "y", 2), MapUpdate("count", A, "n", plus(1)))
    join(process, message(A, 3), message(B, 3), LogTrim("archive", A, 2), LogDelete("archive", A, (3,)))
    join(process, OwnerDelete(C), message(C, 4), MapPut("notes", C, "y", 3))
    join(process, message(C, 5), MapUpdate("count", A, "n", plus(1)), MapUpdate("count", C, "n", plus(1)))


def _crashed_after(on: Stage, process: Process, statements: int) -> bool:
    """Whether it still worked when it had sent so many."""
    on.wait(
        lambda: (
            on.sent >= statements or (process.ready and not process.store.busy and process.backend.backlog == (0, 0))
        )
    )
    process.crash()
    return on.sent >= statements


@pytest.mark.parametrize("splits", [False, True])
def test_a_crash_between_any_two_steps(splits: bool) -> None:
    """Of the server, and of the one that takes over from it; what is on its way is carried out later."""
    steps, more = 0, True
    while more:
        with stage(seed=steps, splits=splits) as on:
            first = on.start()
            on.sent = 0
            _one_of_each(on, first)
            more = _crashed_after(on, first, steps)
            second = on.begin()
            on.sent = 0
            _crashed_after(on, second, steps % 40)
            on.start()
        steps += 1
    assert steps > 30


def test_a_crash_between_any_two_steps_of_a_take_over() -> None:
    for crash in range(8, 48, 4):
        steps, more = 0, True
        while more:
            with stage(seed=steps, splits=True) as on:
                first = on.start()
                on.sent = 0
                _one_of_each(on, first)
                _crashed_after(on, first, crash)
                second = on.begin()
                on.sent = 0
                more = not on.wait(lambda: second.ready or on.sent >= steps) or not second.ready  # noqa: B023
                second.crash()
                on.start()
            steps += 3
        assert steps > 20


# ---- late statements


DELETIONS: dict[str, Callable[[], tuple[object, ...]]] = {
    "delete": lambda: (LogDelete("archive", A, (1,)), MapDelete("notes", A, "x")),
    "trim": lambda: (LogTrim("archive", A, 2), MapClear("notes", A)),
    "owner": lambda: (OwnerDelete(A),),
}


@pytest.mark.parametrize("after", [0.0, HOUR * 0.9])
@pytest.mark.parametrize("deletion", DELETIONS)
def test_an_insert_delayed_beyond_its_deletion_changes_nothing(deletion: str, after: float) -> None:
    with stage() as on:
        first = on.start()
        on.hold(lambda *sent: runs(InsertEntries)(*sent) or runs(PutRecords)(*sent))
        operation = on.join(first, on.message(A, 1), MapPut("notes", A, "x", 1))
        assert on.wait(lambda: operation.acknowledged is not None and on.held)
        on.hold(runs(PutRecords))
        on.lose(on.held[0])
        assert on.wait(lambda: len(on.held) == 2)
        on.hold(None)
        on.lose(on.held[1])
        assert on.wait(lambda: first.backend.backlog == (0, 0))
        assert on.ask(first, first.store.map("notes", int).read(A, "x")) is not None
        on.write(first, *DELETIONS[deletion]())  # type: ignore[arg-type]
        on.write(first, on.message(A, 5), MapUpdate("count", A, "n", plus(1)))
        on.sleep(after)
        for call in on.held:
            on.carry_out(call)
        first.crash()
        on.start()
        on.sleep(HOUR * 2.5)
        assert on.world.database.left() == []
        on.start()


def test_a_batch_that_is_inserted_again_late_is_nothing() -> None:
    with stage() as on:
        first = on.start()
        on.hold(asks("insert", "journal"))
        on.join(first, on.message(A, 1))
        assert on.wait(lambda: on.held)
        on.hold(None)
        late = on.held[0]
        on.lose(late)
        on.write(first, LogDelete("archive", A, (1,)))
        for number in range(2, 10):
            on.write(first, on.message(A, number))
        on.sleep(3)
        assert late.what[1]["_id"] not in on.world.database.majority["journal"]
        on.carry_out(late)
        assert late.what[1]["_id"] in on.world.database.majority["journal"]
        first.crash()
        on.start()


# ---- reads


def test_reads_see_what_was_acknowledged_when_applying_takes_five_seconds() -> None:
    with stage() as on:
        first = on.start()
        on.write(first, on.message(B, 1))
        on.hold(lambda process, name, what: name == "run")
        operation = on.join(first, on.message(A, 1), MapPut("notes", A, "x", 7), MapPut("cursor", A, "c", 7))
        assert on.wait(lambda: operation.acknowledged is not None, 0.1)
        questions = [
            on.page(first, A),
            on.ask(first, first.store.map("notes", int).read(A, "x")),
            on.ask(first, first.archive.count(A, on.judge.WHOLE)),
            on.ask(first, first.archive.last_id(A)),
            on.ask(first, first.archive.ends(A, on.judge.WHOLE)),
        ]
        loading = on.ask(first, first.store.load(A))
        other = on.page(first, B)
        on.sleep(5)
        assert [each.id for each in other[0]] == [1]
        assert not loading and questions == [[]] * 5
        on.hold(None)
        on.carry_out(on.held[0])
        assert on.wait(lambda: loading and all(questions), 1)
        assert [each.id for each in questions[0][0]] == [1]
        assert [each[0] for each in questions[1:]] == [7, 1, 1, (1, 1)]
        assert first.store.map("cursor", int, cached=True).get(A) == {"c": 7}


def test_a_read_that_waits_for_too_long_is_told_so() -> None:
    with stage() as on:
        first = on.start()
        on.hold(lambda process, name, what: name == "run")
        on.join(first, on.message(A, 1))
        on.sleep(0.1)
        answers: list[str] = []

        async def asking() -> None:
            try:
                await first.archive.count(A, on.judge.WHOLE)
            except Exception as error:
                answers.append(str(error))

        first.do(asking())
        on.sleep(11)
        assert answers == ["what is committed is not applied yet"]


# ---- sealing


def _paused_sealer(on: Stage) -> None:
    """It has read the last batch; then the journal goes on for 1,000 batches; then it inserts its seals."""
    first = on.start()
    on.write(first, on.message(A, 1))
    on.hold(asks("insert_where_free", "journal"))
    second = on.begin()
    assert on.wait(lambda: on.held)
    on.hold(None)
    second.pause()
    for number in range(2, 1_002):
        on.join(first, on.message(A, number))
        on.sleep(0.01)
    assert on.wait(lambda: not first.store.busy)
    on.sleep(2)
    journal = on.world.database.majority["journal"]
    assert min(journal) % ROOM > 900, "it is shorter than the sealer knows"
    on.carry_out(on.held[0])
    assert sum("seal" in each for each in journal.values()) == SEALS
    assert sum(each.acknowledged is not None for each in on.judge.ledger) == 1_001
    second.go_on(False)
    for number in range(1_002, 1_102):
        on.join(first, on.message(A, number))
        on.sleep(0.01)
    on.sleep(2)
    assert first.over and second.ready
    on.write(second, on.message(A, 2_000))
    on.start()


def test_a_paused_sealer_does_not_believe_its_seal() -> None:
    with stage() as on:
        _paused_sealer(on)


def test_a_paused_sealer_that_believes_its_seal_is_found() -> None:
    with CHEATS["seal_not_looked_at_again"](), stage() as on, pytest.raises(Failed):
        _paused_sealer(on)


@pytest.mark.parametrize("empty", [False, True])
@pytest.mark.parametrize("insist", [False, True])
def test_two_starters_at_once(insist: bool, empty: bool) -> None:
    """One serves in the end; the other is refused, or has replaced it."""
    for seed in range(40):
        with stage(seed=seed) as on:
            on.world.weather.latency = 0.05
            if not empty:
                first = on.start()
                _one_of_each(on, first)
                on.sleep(seed * 0.01)
                first.crash()
            starters = [on.begin(insist, machine=1), on.begin(insist, machine=1)]
            on.sleep(20)
            serving = [each for each in starters if each.ready]
            assert len(serving) == 1
            other = next(each for each in starters if each not in serving)
            assert other.over if insist else other.refused
            on.write(serving[0], on.message(B, 1_000))
            serving[0].crash()
            on.start()


@pytest.mark.parametrize("trouble", ["killed", "paused", "answers cut", "cut off"])
def test_who_is_taken_over_at_full_load_releases_nothing_more(trouble: str) -> None:
    """The operations say so themselves: each must be told once, by who is not over, and be there or not."""
    for seed in range(20):
        with stage(seed=seed, splits=True) as on:
            first = on.start()

            def go_on(_: object, on: Stage = on, first: Process = first) -> None:
                if on.world.time < 40:
                    on.world.at(0.01, go_on)
                    if first.serving and first.store.available:
                        on.join(first, on.message(A, first.clients._id(A)), MapUpdate("count", A, "n", plus(1)))

            go_on(None)
            on.sleep(0.3 + seed * 0.003)
            if trouble == "killed":
                first.crash()
            elif trouble == "paused":
                first.pause()
            else:
                first.cut = "answers" if trouble == "answers cut" else "both"
            second = on.start()
            on.sleep(3)
            before = sum(each.acknowledged is not None for each in on.judge.ledger)
            on.sleep(27)
            first.cut = ""
            first.go_on(suspended=bool(seed % 2))
            on.sleep(10)
            assert first.dead or first.over
            # What was committed before the seal may be told when the answer comes, and no more.
            after = sum(each.acknowledged is not None for each in on.judge.ledger)
            assert after - before <= 1
            on.write(second, on.message(A, second.clients._id(A)))
            on.start()


# ---- what the simulation has found


def _with_the_primary_alone(on: Stage, first: Process) -> Operation:
    """A batch is with the primary alone, and its answer is lost."""
    on.hold(asks("insert", "journal"))
    operation = on.join(first, on.message(A, 1))
    assert on.wait(lambda: on.held)
    on.hold(None)
    on.world.lag = 1e9
    on.carry_out(on.held[0])
    on.lose(on.held[0])
    on.sleep(1)
    return operation


def _lost_answer(on: Stage) -> None:
    """A batch is with the primary alone, its answer is lost; what is tried again finds it, and then it is gone."""
    first = on.start()
    operation = _with_the_primary_alone(on, first)
    on.world.fail_over(0, 0.1)
    on.world.lag = 0.0
    if not on.wait(lambda: operation.acknowledged is not None, 30):
        on.world.problem("it is never committed")


def _lost_table(on: Stage) -> None:
    """The answer to the insert of the table is lost: this process is the home, and finds it so."""
    on.write(on.start(), on.message(A, 1))
    on.hold(asks("insert", "table"))
    second = on.begin()
    assert on.wait(lambda: on.held)
    on.hold(None)
    on.carry_out(on.held[0])
    on.lose(on.held[0])
    if not on.wait(lambda: second.ready, 20):
        on.world.problem("it does not serve")
    on.write(second, on.message(A, 2))
    on.sleep(3)
    assert second.ready


def _forgotten_table(on: Stage) -> None:
    """A new primary does not know the newest table yet."""
    on.write(on.start(), on.message(A, 1))
    second = on.start()
    on.hold(lambda process, name, what: process is second and asks("find", "table")(process, name, what))
    assert on.wait(lambda: on.held)
    on.hold(None)
    on.world.fail_over(200, 0.5)
    on.carry_out(on.held[0])
    on.sleep(3)
    on.write(second, on.message(A, 2))


def _forgotten_seal(on: Stage) -> None:
    """A new primary does not know the last batch and the seals when the journal is tidied up."""
    first = on.start()
    for number in range(1, 5):
        on.write(first, on.message(A, number))
    on.hold(asks("insert", "journal"))
    on.join(first, on.message(A, 5))
    assert on.wait(lambda: on.held)
    first.pause()
    batch = on.held[0]
    on.hold(asks("insert", "table"))
    second = on.begin()
    assert on.wait(lambda: len(on.held) == 2)
    on.hold(lambda process, name, what: process is second and what[0] == "journal")
    on.carry_out(on.held[1])
    assert on.wait(lambda: len(on.held) == 3)
    on.hold(None)
    on.world.fail_over(SEALS + 5, 0.5)
    on.carry_out(on.held[2])
    assert on.wait(lambda: second.ready)
    on.carry_out(batch)
    first.go_on(False)
    on.sleep(3)
    assert first.over


@pytest.mark.parametrize(
    ("what", "cheat"),
    [
        (_lost_answer, "not_inserted_again"),
        (_lost_table, "seals_its_own_journal"),
        (_forgotten_table, "stale_table_believed"),
        (_forgotten_seal, "tidied_by_a_new_look"),
    ],
)
def test_a_fail_over_and_lost_answers(what: Callable[[Stage], None], cheat: str) -> None:
    with stage() as on:
        what(on)
    with CHEATS[cheat](), stage() as on, pytest.raises(Failed):
        what(on)


@pytest.mark.parametrize("suspended", [False, True])
def test_who_stood_still_for_hours_applies_nothing_more(suspended: bool) -> None:
    """The next home has deleted the entry since, and keeps its place no more."""

    def hours(on: Stage) -> None:
        first = on.start()
        on.hold(runs(InsertEntries))
        on.join(first, on.message(A, 1))
        assert on.wait(lambda: on.held)
        first.pause()
        on.hold(None)
        on.lose(on.held[0])
        second = on.start()
        on.write(second, LogDelete("archive", A, (1,)))
        on.write(second, on.message(B, 1))
        on.sleep(HOUR * 2)
        on.write(second, on.message(B, 2))
        assert on.world.database.left() == []
        first.go_on(suspended)
        on.sleep(3)
        assert first.over
        on.start()

    with stage() as on:
        hours(on)
    with CHEATS["home_not_checked"](), stage() as on, pytest.raises(Failed):
        hours(on)


def test_who_stood_still_while_it_took_over_begins_anew() -> None:
    with stage() as on:
        first = on.start()
        on.hold(lambda process, name, what: name == "run" and process is first)
        on.join(first, on.message(A, 1), MapPut("notes", A, "x", 1))
        on.sleep(0.1)
        first.crash()
        on.hold(lambda process, name, what: name == "insert_where_free")
        late = on.begin()
        assert on.wait(lambda: any(call.process is late for call in on.held))
        on.hold(None)
        on.carry_out(on.held[-1])
        late.pause()
        second = on.start()
        on.write(second, LogDelete("archive", A, (1,)), MapDelete("notes", A, "x"))
        on.write(second, on.message(B, 1))
        on.sleep(HOUR * 2)
        on.write(second, on.message(B, 2))
        late.go_on(True)
        assert on.wait(lambda: late.ready)
        assert second.over or on.wait(lambda: second.over)


def test_a_replacement_that_comes_late_is_nothing() -> None:
    with stage() as on:
        first = on.start()
        on.write(first, on.message(A, 1))
        on.hold(runs(ReplaceEntry))
        on.join(first, LogReplace("archive", A, Entry(1, "", "", 1, b"1")))
        assert on.wait(lambda: on.held)
        on.hold(None)
        on.lose(on.held[0])
        on.write(first, LogReplace("archive", A, Entry(1, "", "", 1, b"2")))
        on.carry_out(on.held[0])
        first.crash()
        on.start()


def test_journals_of_former_homes_are_tidied_up() -> None:
    """Also those that the next home had no time for, and when it is not known how far that was."""
    with stage() as on:
        first = on.start()
        for number in range(1, 6):
            on.write(first, on.message(A, number))
        on.hold(asks("set", "journal"))
        second = on.begin()
        assert on.wait(lambda: on.held)
        first.crash()
        second.crash()
        on.hold(asks("set", "table"))
        third = on.begin()
        for number in range(2):
            assert on.wait(lambda number=number: len(on.held) == number + 2)
            on.carry_out(on.held[-1])
            on.lose(on.held[-1])
        on.hold(None)
        assert on.wait(lambda: third.ready)
        journal = on.world.database.majority["journal"]
        assert sorted((n // ROOM, n % ROOM) for n in journal) == [(1, 5), (1, 6), (2, 1)]
        assert not any(each.get("batch") for each in journal.values())
        on.start()


def test_a_stop_while_there_is_no_majority_ends() -> None:
    """The number is taken, nobody can say by whom."""
    with stage() as on:
        first = on.start()
        operation = _with_the_primary_alone(on, first)
        first.close()
        assert on.wait(lambda: first.dead, 20)
        assert operation.acknowledged is None and not operation.refused
        on.world.lag = 0.0
        on.world.database.replicate(on.world.database.written)
        on.start()
