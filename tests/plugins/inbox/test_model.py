"""A conversation, step by step (XEP-0430 section 4)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from plugins.inbox.model import LONGEST_RUN, NEW, Activity, ActivityKind, Conversation, Lookup, apply


def after(*activities: Activity, start: Conversation = NEW) -> Conversation:
    for activity in activities:
        start, lookup = apply(start, activity)
        assert lookup is None
    return start


RECEIVED = [Activity(ActivityKind.RECEIVED, id, f"m{id}") for id in range(1, 10)]


def test_a_message_starts_unread() -> None:
    assert after(RECEIVED[0], RECEIVED[1]) == Conversation(2, 2, 0, 2, "m2")


def test_a_marker_for_the_newest_reads_all() -> None:
    found = after(*RECEIVED[:3], Activity(ActivityKind.MARKER, 4, "m3"))
    assert (found.unread, found.read, found.newest) == (0, 3, 4)


def test_a_marker_for_an_older_one_asks_the_log() -> None:
    _, lookup = apply(after(*RECEIVED[:3]), Activity(ActivityKind.MARKER, 4, "m2"))
    assert lookup is Lookup.MARKED_ENTRY
    found, lookup = apply(after(*RECEIVED[:3]), Activity(ActivityKind.READ, 2))
    assert lookup is Lookup.UNREAD_COUNT
    assert found.read == 2


def test_a_marker_where_nothing_is_unread_asks_nothing() -> None:
    assert after(Activity(ActivityKind.SENT, 1), Activity(ActivityKind.MARKER, 2, "x")).unread == 0


def test_what_one_says_oneself_reads_what_was_said_before() -> None:
    assert after(*RECEIVED[:3], Activity(ActivityKind.SENT, 4)) == Conversation(4, 4, 4, 0, "m3")


def test_nobody_has_read_what_is_not_there_yet() -> None:
    found = after(RECEIVED[0], Activity(ActivityKind.READ, 10**18), RECEIVED[1])
    assert (found.read, found.unread) == (1, 1)


def test_receipts_move_nothing() -> None:
    assert after(RECEIVED[0], Activity(ActivityKind.OTHER, 2)) == Conversation(1, 2, 0, 1, "m1")


@given(
    st.lists(st.sampled_from((ActivityKind.RECEIVED, ActivityKind.SENT, ActivityKind.OTHER)), max_size=12),
    st.integers(0, 12),
)
def test_what_is_told_twice_counts_once(kinds: list[ActivityKind], again: int) -> None:
    """After a crash the log is read again from a position that may lie too far back."""
    activities = [Activity(kind, id + 1, f"m{id}") for id, kind in enumerate(kinds)]
    once = after(*activities)
    assert after(*activities[min(again, len(activities)) :], start=once) == once


def merged(activities: list[Activity]) -> list[Activity]:
    """As they are buffered."""
    found: list[Activity] = []
    for activity in activities:
        if not found or not found[-1].absorb(activity):
            found.append(activity)
    return found


def copies(activities: list[Activity]) -> list[Activity]:
    return [Activity(activity.kind, activity.id, activity.text) for activity in activities]


KINDS = st.lists(
    st.sampled_from(
        (ActivityKind.RECEIVED, ActivityKind.RECEIVED, ActivityKind.RECEIVED, ActivityKind.SENT, ActivityKind.OTHER)
    ),
    max_size=40,
)


@given(KINDS, st.integers(0, 40), st.integers(0, 40), st.integers(0, 3))
def test_activities_that_were_merged_count_the_same(
    kinds: list[ActivityKind], seen: int, read: int, unread: int
) -> None:
    """Whatever was counted of them before, and up to wherever it was read."""
    activities = [Activity(kind, id + 1, f"m{id}") for id, kind in enumerate(kinds)]
    start = Conversation(min(seen, read), max(seen, read), read, unread, "before") if seen else NEW
    single, together = start, start
    asked = [False, False]
    for activity in copies(activities):
        single, lookup = apply(single, activity)
        asked[0] |= lookup is not None
    for activity in merged(copies(activities)):
        together, lookup = apply(together, activity)
        asked[1] |= lookup is not None
    assert asked[0] or not asked[1]
    if not asked[0]:
        assert together == single


def test_a_run_is_few_activities() -> None:
    """A conversation in which much comes is counted in few activities, of bounded size."""
    found = merged([Activity(ActivityKind.RECEIVED, id, f"m{id}") for id in range(1, 10 * LONGEST_RUN + 1)])
    assert len(found) == 10
    assert after(*found) == Conversation(160, 160, 0, 160, "m160")
    assert all(len(activity.ids or ()) == LONGEST_RUN for activity in found)


def test_markers_stay_one_by_one() -> None:
    activities = [
        Activity(ActivityKind.MARKER, 0, "a"),
        Activity(ActivityKind.MARKER, 0, "b"),
        Activity(ActivityKind.READ, 4),
        Activity(ActivityKind.READ, 5),
    ]
    assert merged(copies(activities)) == activities


def test_what_comes_out_of_order_stays_an_activity_of_its_own() -> None:
    received = [Activity(ActivityKind.RECEIVED, id, text) for id, text in ((2, "b"), (1, "a"), (2, "b"))]
    assert len(merged(received)) == 2
