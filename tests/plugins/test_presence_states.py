"""RFC 6121 appendix A, checked whole: every state and stanza against rules that were written down independently."""

from __future__ import annotations

from itertools import product

import pytest

from plugins.presence.rules import arriving, leaving, removed
from plugins.presence.states import INBOUND, OUTBOUND, TYPES, State, in_state, state_of
from xmppd.contracts.roster import RosterItem

CASES = list(product(TYPES, State))

# The same tables in another form: what each stanza does to the four facts of a subscription.
# (to, out, from, in): we see them, we asked, they see us, they asked.
FACTS = {
    State.NONE: (0, 0, 0, 0),
    State.NONE_OUT: (0, 1, 0, 0),
    State.NONE_IN: (0, 0, 0, 1),
    State.NONE_BOTH: (0, 1, 0, 1),
    State.TO: (1, 0, 0, 0),
    State.TO_IN: (1, 0, 0, 1),
    State.FROM: (0, 0, 1, 0),
    State.FROM_OUT: (0, 1, 1, 0),
    State.BOTH: (1, 0, 1, 0),
}
STATES = {facts: state for state, facts in FACTS.items()}


def after_outbound(type: str, state: State) -> tuple[bool, State]:
    to, out, seen, asked = FACTS[state]
    if type == "subscribe":
        return True, STATES[(to, 0 if to else 1, seen, asked)]
    if type == "unsubscribe":
        return True, STATES[(0, 0, seen, asked)]
    if type == "subscribed":
        return (True, STATES[(to, out, 1, 0)]) if asked else (False, state)
    return (True, STATES[(to, out, 0, 0)]) if asked or seen else (False, state)


def after_inbound(type: str, state: State) -> tuple[bool, State]:
    to, out, seen, asked = FACTS[state]
    if type == "subscribe":
        return (True, STATES[(to, out, 0, 1)]) if not asked and not seen else (False, state)
    if type == "unsubscribe":
        return (True, STATES[(to, out, 0, 0)]) if asked or seen else (False, state)
    if type == "subscribed":
        return (True, STATES[(1, 0, seen, asked)]) if out else (False, state)
    return (True, STATES[(0, 0, seen, asked)]) if out or to else (False, state)


def test_the_tables_are_whole() -> None:
    assert len(State) == 9
    assert set(TYPES) == {"subscribe", "subscribed", "unsubscribe", "unsubscribed"}
    for table in (OUTBOUND, INBOUND):
        assert set(table) == set(TYPES)
        assert all(set(row) == set(State) for row in table.values())


@pytest.mark.parametrize(("type", "state"), CASES)
def test_outbound(type: str, state: State) -> None:
    assert tuple(OUTBOUND[type][state]) == after_outbound(type, state)


@pytest.mark.parametrize(("type", "state"), CASES)
def test_inbound(type: str, state: State) -> None:
    assert tuple(INBOUND[type][state]) == after_inbound(type, state)


@pytest.mark.parametrize("state", State)
def test_an_item_holds_its_state(state: State) -> None:
    item = in_state(RosterItem(name="Romeo", groups=("Lovers",), request="<x/>"), state)
    assert state_of(item) is state
    assert (item.name, item.groups) == ("Romeo", ("Lovers",))
    assert item.request == ("<x/>" if item.pending_in else "")
    to, out, seen, asked = FACTS[state]
    assert (item.we_see, item.ask, item.sees_us, item.pending_in) == (to, out, seen, asked)


@pytest.mark.parametrize(
    ("item", "state"),
    [
        (None, State.NONE),
        (RosterItem(subscription="to", ask=True), State.TO),
        (RosterItem(subscription="from", pending_in=True), State.FROM),
        (RosterItem(subscription="both", ask=True, pending_in=True), State.BOTH),
    ],
)
def test_what_cannot_be_is_read_as_what_it_means(item: RosterItem | None, state: State) -> None:
    assert state_of(item) is state


# ---- rules: records, strangers, pre-approval


def item_in(state: State, **fields: object) -> RosterItem:
    return in_state(RosterItem(**fields), state)  # type: ignore[arg-type]


@pytest.mark.parametrize(("type", "state"), CASES)
def test_rules_follow_the_tables(type: str, state: State) -> None:
    item = item_in(state)
    out = leaving(item, type)
    assert (out.passes, state_of(out.item)) == after_outbound(type, state)
    passes, to = after_inbound(type, state)
    back = arriving(item, type)
    assert (back.passes, state_of(back.item)) == (passes, to)
    auto = type == "subscribe" and item.sees_us
    assert back.reply == ("subscribed" if auto else "")


@pytest.mark.parametrize("type", TYPES)
def test_a_stranger_leaves_no_record_but_a_request(type: str) -> None:
    change = arriving(None, type, "<status>it is me</status>")
    if type == "subscribe":
        assert change.item == RosterItem(pending_in=True, listed=False, request="<status>it is me</status>")
    else:
        assert change.item is None
        assert not change.passes


def test_only_asking_and_granting_make_a_contact() -> None:
    request = RosterItem(pending_in=True, listed=False, request="<x/>")
    assert leaving(request, "subscribed").item == RosterItem(subscription="from")
    assert leaving(request, "unsubscribed").item is None
    assert leaving(request, "subscribe").item == RosterItem(ask=True, pending_in=True, request="<x/>")
    assert leaving(request, "unsubscribe").item == request
    assert leaving(None, "unsubscribe").item is None
    assert leaving(None, "unsubscribed").item is None
    assert arriving(request, "unsubscribe").item is None


@pytest.mark.parametrize("state", State)
def test_approval_in_advance(state: State) -> None:
    """Section 3.4.2: kept where nobody asked and nobody sees us; elsewhere it is an approval, or nothing."""
    change = leaving(item_in(state), "subscribed")
    assert change.item is not None
    kept = state in (State.NONE, State.NONE_OUT, State.TO)
    assert change.item.approved is kept
    assert not (kept and change.passes)


@pytest.mark.parametrize(
    ("state", "after"),
    [(State.NONE, State.FROM), (State.NONE_OUT, State.FROM_OUT), (State.TO, State.BOTH)],
)
def test_who_is_approved_in_advance_is_answered_at_once(state: State, after: State) -> None:
    change = arriving(item_in(state, approved=True), "subscribe")
    assert (state_of(change.item), change.passes, change.reply) == (after, False, "subscribed")


def test_an_approval_is_taken_back() -> None:
    change = leaving(RosterItem(approved=True), "unsubscribed")
    assert change.item == RosterItem()
    assert not change.passes
    stranger = leaving(None, "subscribed").item
    assert stranger == RosterItem(approved=True)


@pytest.mark.parametrize("state", State)
def test_removal_ends_what_there_is(state: State) -> None:
    to, out, seen, asked = FACTS[state]
    expected = ("unsubscribe",) * (to or out) + ("unsubscribed",) * (seen or asked)
    assert removed(item_in(state)) == expected
