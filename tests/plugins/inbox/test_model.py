"""A conversation, step by step (XEP-0430 section 4)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from plugins.inbox.model import NEW, Ask, Conversation, Step, What, advance


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
