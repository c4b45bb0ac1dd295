"""What one owner says to another, step by step: two decisions, and anything between them."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from tests.simulation.cheats import CHEATS
from tests.simulation.load import Operation
from tests.simulation.process import Process
from tests.simulation.stage import A, B, C, Stage, runs, stage
from tests.simulation.world import HOUR, Failed
from xmppd.storage.api import LogDelete, OwnerDelete
from xmppd.storage.journal.statements import ROOM, DeleteSendings, InsertSendings


def _said(on: Stage, process: Process) -> None:
    """Something of each kind, as fast as it can be joined."""
    on.say(process, A, B)
    on.say(process, A, B, C)
    on.join(process, on.message(A, 1), on.message(B, 2))
    on.say(process, C, B)
    on.join(process, OwnerDelete(A))
    on.say(process, B, A)
    on.say(process, A, B)


def _crashed_after(on: Stage, process: Process, statements: int) -> bool:
    """Whether it still worked when it had sent so many."""

    def is_done() -> bool:
        busy = not process.mail.idle or process.store.busy
        return process.ready and not busy and process.backend.backlog == (0, 0)

    on.wait(lambda: on.sent >= statements or is_done())
    process.crash()
    return on.sent >= statements


# ---- a crash between any two steps


@pytest.mark.parametrize("parked", [10.0, 0.0], ids=["new", "put elsewhere"])
@pytest.mark.parametrize("splits", [False, True])
def test_a_crash_between_any_two_steps_of_two_decisions(splits: bool, parked: float) -> None:
    """Of the server, and of the one that takes over from it; what is on its way is carried out later."""
    steps, more = 0, True
    while more:
        with stage(seed=steps, splits=splits, parked=parked) as on:
            if not parked:
                on.world.post.slow = 2.5  # time enough
            first = on.start()
            on.sent = 0
            _said(on, first)
            more = _crashed_after(on, first, steps)
            second = on.begin()
            on.sent = 0
            _crashed_after(on, second, steps % 40)
            on.finish()
        steps += 1 if steps < 40 else 3
    assert steps > 20


# ---- what the journal holds


def _lost(on: Stage, first: Process) -> Operation:
    """What is said does not arrive."""
    on.world.post.lost = 1.0
    operation = on.say(first, A, B)
    assert on.wait(lambda: operation.acknowledged is not None)
    for number in range(1, 6):
        on.join(first, on.message(C, number))
        on.sleep(0.5)
    return operation


def _held(on: Stage) -> None:
    first = on.start()
    _lost(on, first)
    on.sleep(3)
    if len(on.world.database.majority["journal"]) < 5:
        on.world.problem("the journal does not hold what it must")
    first.crash()
    on.world.post.lost = 0.0
    on.finish()


def test_the_journal_holds_what_is_not_heard() -> None:
    with stage() as on:
        _held(on)
    with CHEATS["low_not_held"](), stage() as on, pytest.raises(Failed):
        _held(on)


def _lost_with_low(on: Stage) -> None:
    """The same, and nobody looks at the journal: it is lost."""
    first = on.start()
    _lost(on, first)
    first.crash()
    on.world.post.lost = 0.0
    on.finish()


def test_what_is_not_held_is_lost() -> None:
    with stage() as on:
        _lost_with_low(on)
    with CHEATS["low_not_held"](), stage() as on, pytest.raises(Failed, match=r"finds that \[\] is not heard"):
        _lost_with_low(on)


def test_after_ten_seconds_it_need_not() -> None:
    with stage() as on:
        first = on.start()
        operation = _lost(on, first)
        assert on.world.database.sendings == {}
        on.sleep(9)
        (sending,) = on.world.database.sendings.values()
        assert sending is not None and int(sending.data) == operation.token
        on.write(first, on.message(C, 10))
        on.write(first, on.message(C, 11))
        on.sleep(2)
        assert min(on.world.database.majority["journal"]) % ROOM > 6
        on.world.post.lost = 0.0
        assert on.wait(lambda: first.mail.idle)
        assert on.wait(lambda: list(on.world.database.sendings.values()) == [None])
        first.crash()
        on.finish()
        on.sleep(HOUR * 2.5)
        assert on.world.database.left() == []


def _not_there_yet(on: Stage) -> None:
    """It is on its way elsewhere, and the server crashes."""
    first = on.start()
    on.hold(runs(InsertSendings))
    _lost(on, first)
    assert on.wait(lambda: on.held)
    for number in range(10, 14):
        on.join(first, on.message(C, number))
        on.sleep(0.5)
    first.crash()
    on.hold(None)
    on.world.post.lost = 0.0
    on.finish()


def test_the_journal_holds_it_until_it_is_there() -> None:
    with stage() as on:
        _not_there_yet(on)
    with CHEATS["low_free_too_soon"](), stage() as on, pytest.raises(Failed):
        _not_there_yet(on)


# ---- said again


def _word_lost(on: Stage) -> Process:
    """It is heard, and who has said it does not get to know."""
    first = on.start()
    said = on.say(first, A, B)
    assert on.wait(lambda: said.acknowledged is not None)
    on.world.post.lost = 1.0
    assert on.wait(lambda: len(on.judge.ledger) == 2 and on.judge.ledger[1].acknowledged is not None)
    on.say(first, A, B)
    return first


@pytest.mark.parametrize("deletion", [None, LogDelete("archive", B, (1,)), OwnerDelete(B)], ids=["", "entry", "owner"])
def test_what_is_said_again_is_heard_once(deletion: LogDelete | OwnerDelete | None) -> None:
    """Also when the recipient has deleted it since."""

    def again(on: Stage) -> None:
        first = _word_lost(on)
        if isinstance(deletion, LogDelete):
            heard = on.judge.ledger[1].appended[0][1]
            on.join(first, LogDelete("archive", B, (heard,)))
        elif deletion is not None:
            on.join(first, deletion)
        on.sleep(2.0)
        on.world.post.lost = 0.0
        if not on.wait(lambda: first.mail.idle):
            on.world.problem("it is not heard")
        on.sleep(1)
        first.crash()
        on.finish()
        assert first.mail.known == 1

    with stage() as on:
        again(on)
    with CHEATS["fresh_for_again"](), stage() as on, pytest.raises(Failed, match="once more"):
        again(on)


def test_whether_it_was_heard_waits_for_what_is_committed() -> None:
    """Applying takes longer than it takes to say it again."""

    def slow(on: Stage) -> None:
        first = _word_lost(on)
        on.hold(lambda process, name, what: name == "run")
        on.sleep(2.5)
        on.world.post.lost = 0.0
        on.sleep(2.5)
        on.hold(None)
        for call in on.held:
            on.lose(call)
        if not on.wait(lambda: first.mail.idle):
            on.world.problem("it is not heard")
        first.crash()
        on.finish()

    with stage() as on:
        slow(on)

    def held(on: Stage) -> None:
        on.hold(lambda process, name, what: name == "run" and process.ready)
        slow(on)

    with stage() as on:
        held(on)
    with CHEATS["heard_does_not_wait"](), stage() as on, pytest.raises(Failed, match="once more"):
        held(on)


# ---- late statements


@pytest.mark.parametrize("after", [0.0, HOUR * 0.9])
@pytest.mark.parametrize("cheat", ["", "heard_leaves_no_place"])
def test_one_that_is_put_elsewhere_late_is_not_there_again(after: float, cheat: str) -> None:
    """Heard and deleted by then. The recipient has deleted it, too, and keeps its place no more at the next start."""

    def late(on: Stage) -> None:
        first = on.start()
        on.hold(runs(InsertSendings))
        _lost(on, first)
        assert on.wait(lambda: on.held)
        on.hold(None)
        on.lose(on.held[0])
        assert on.wait(lambda: None not in on.world.database.sendings.values() and on.world.database.sendings)
        on.world.post.lost = 0.0
        assert on.wait(lambda: first.mail.idle)
        on.sleep(1)
        heard = next(each.appended[0][1] for each in on.judge.ledger if each.hears)
        on.write(first, LogDelete("archive", B, (heard,)))
        on.sleep(after)
        on.carry_out(on.held[0])
        on.sleep(HOUR * 2)
        on.write(first, on.message(C, 20))
        assert on.world.database.left() == []
        first.crash()
        on.finish()

    with CHEATS[cheat]() if cheat else nullcontext(), stage() as on:
        if cheat:
            with pytest.raises(Failed, match="is not heard, and it is"):
                late(on)
        else:
            late(on)


def test_a_deletion_that_comes_late_or_twice_is_nothing() -> None:
    with stage() as on:
        first = on.start()
        _lost(on, first)
        on.say(first, A, C)
        on.sleep(11)
        on.hold(runs(DeleteSendings))
        on.world.post.lost = 0.0
        assert on.wait(lambda: first.mail.idle and on.held)
        on.hold(None)
        on.lose(on.held[0])
        on.sleep(3)
        on.say(first, A, B)
        on.say(first, A, C)
        assert on.wait(lambda: first.mail.idle)
        on.sleep(HOUR * 0.5)
        on.carry_out(on.held[0])
        on.carry_out(on.held[0])
        first.crash()
        on.finish()


# ---- two at once


@pytest.mark.parametrize("paused", [False, True])
def test_two_that_take_over_at_once(paused: bool) -> None:
    """Both put the same elsewhere, one of them long after the other."""
    for seed in range(30):
        with stage(seed=seed) as on:
            on.world.weather.latency = 0.05
            first = on.start()
            on.world.post.lost = 1.0
            _said(on, first)
            on.sleep(0.2 + seed * 0.02)
            first.crash()
            on.world.post.lost = 0.0
            starters = [on.begin(machine=1), on.begin(machine=1)]
            if paused:
                on.sleep(seed * 0.02)
                starters[0].pause()
            assert on.wait(lambda: any(each.ready for each in starters))  # noqa: B023
            on.sleep(5)
            starters[0].go_on(suspended=bool(seed % 2))
            on.sleep(15)
            serving = [each for each in starters if each.ready]
            assert len(serving) == 1
            assert on.wait(lambda: serving[0].mail.idle)  # noqa: B023
            serving[0].crash()
            on.finish()
