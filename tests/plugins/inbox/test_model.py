"""A conversation, step by step (XEP-0430 section 4)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from plugins.inbox.model import LONGEST_RUN, NEW, Ask, Conversation, Step, What, advance


def after(*steps: Step, start: Conversation = NEW) -> Conversation:
    for step in steps:
        start, ask = advance(start, step)
        assert ask is None
    return start


CAME = [Step(What.CAME, id, f"m{id}") for id in range(1, 10)]


def test_a_message_starts_unread() -> None:
    assert after(CAME[0], CAME[1]) == Conversation(2, 2, 0, 2, "m2")


def test_a_marker_for_the_newest_reads_all() -> None:
    found = after(*CAME[:3], Step(What.DISPLAYED, 4, "m3"))
    assert (found.unread, found.read, found.newest) == (0, 3, 4)


def test_a_marker_for_an_older_one_asks_the_log() -> None:
    _, ask = advance(after(*CAME[:3]), Step(What.DISPLAYED, 4, "m2"))
    assert ask is Ask.FIND
    found, ask = advance(after(*CAME[:3]), Step(What.READ, 2))
    assert ask is Ask.COUNT
    assert found.read == 2


def test_a_marker_where_nothing_is_unread_asks_nothing() -> None:
    assert after(Step(What.WENT, 1), Step(What.DISPLAYED, 2, "x")).unread == 0


def test_what_one_says_oneself_reads_what_was_said_before() -> None:
    assert after(*CAME[:3], Step(What.WENT, 4)) == Conversation(4, 4, 4, 0, "m3")


def test_nobody_has_read_what_is_not_there_yet() -> None:
    found = after(CAME[0], Step(What.READ, 10**18), CAME[1])
    assert (found.read, found.unread) == (1, 1)


def test_receipts_move_nothing() -> None:
    assert after(CAME[0], Step(What.PASSED, 2)) == Conversation(1, 2, 0, 1, "m1")


@given(st.lists(st.sampled_from((What.CAME, What.WENT, What.PASSED)), max_size=12), st.integers(0, 12))
def test_what_is_told_twice_counts_once(kinds: list[What], again: int) -> None:
    """After a crash the log is read again from a position that may lie too far back."""
    steps = [Step(what, id + 1, f"m{id}") for id, what in enumerate(kinds)]
    once = after(*steps)
    assert after(*steps[min(again, len(steps)) :], start=once) == once


def merged(steps: list[Step]) -> list[Step]:
    """As they are noted."""
    found: list[Step] = []
    for step in steps:
        if not found or not found[-1].absorb(step):
            found.append(step)
    return found


def copies(steps: list[Step]) -> list[Step]:
    return [Step(step.what, step.id, step.text) for step in steps]


KINDS = st.lists(st.sampled_from((What.CAME, What.CAME, What.CAME, What.WENT, What.PASSED)), max_size=40)


@given(KINDS, st.integers(0, 40), st.integers(0, 40), st.integers(0, 3))
def test_steps_that_became_one_say_the_same(kinds: list[What], seen: int, read: int, unread: int) -> None:
    """Whatever was counted of them before, and up to wherever it was read."""
    steps = [Step(what, id + 1, f"m{id}") for id, what in enumerate(kinds)]
    start = Conversation(min(seen, read), max(seen, read), read, unread, "before") if seen else NEW
    single, together = start, start
    asked = [False, False]
    for step in copies(steps):
        single, ask = advance(single, step)
        asked[0] |= ask is not None
    for step in merged(copies(steps)):
        together, ask = advance(together, step)
        asked[1] |= ask is not None
    assert asked[0] or not asked[1]
    if not asked[0]:
        assert together == single


def test_a_run_is_few_steps() -> None:
    """A conversation in which much comes is counted in few steps, of bounded size."""
    found = merged([Step(What.CAME, id, f"m{id}") for id in range(1, 10 * LONGEST_RUN + 1)])
    assert len(found) == 10
    assert after(*found) == Conversation(160, 160, 0, 160, "m160")
    assert all(len(step.ids or ()) == LONGEST_RUN for step in found)


def test_what_a_client_says_alone_is_kept_one_by_one() -> None:
    steps = [Step(What.DISPLAYED, 0, "a"), Step(What.DISPLAYED, 0, "b"), Step(What.READ, 4), Step(What.READ, 5)]
    assert merged(copies(steps)) == steps


def test_what_comes_out_of_order_stays_a_step_of_its_own() -> None:
    assert len(merged([Step(What.CAME, 2, "b"), Step(What.CAME, 1, "a"), Step(What.CAME, 2, "b")])) == 2
