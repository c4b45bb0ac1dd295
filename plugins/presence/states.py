"""RFC 6121 appendix A: the nine states of a subscription, and what each stanza does to them. Tables, nothing else.

A state is one account's view of one contact. `passes`: an outbound stanza is routed to the contact, an inbound one
is delivered to the user.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import replace
from typing import Final, NamedTuple

from xmppd.contracts.roster import RosterItem


class State(enum.Enum):
    """Section A.1. *Out*: we asked and wait for the answer; *in*: they asked and wait for ours."""

    NONE = "None"
    NONE_OUT = "None + Pending Out"
    NONE_IN = "None + Pending In"
    NONE_BOTH = "None + Pending Out+In"
    TO = "To"
    TO_IN = "To + Pending In"
    FROM = "From"
    FROM_OUT = "From + Pending Out"
    BOTH = "Both"


class Move(NamedTuple):
    passes: bool
    to: State


N, NO, NI, NOI, T, TI, F, FO, B = State
_ORDER = (N, NO, NI, NOI, T, TI, F, FO, B)


def _row(passes: str, *after: State) -> Mapping[State, Move]:
    """A table: per state, in the order of section A.1, whether the stanza passes (x) and the state after it."""
    return {state: Move(mark == "x", next) for state, mark, next in zip(_ORDER, passes, after, strict=True)}


OUTBOUND: Final[Mapping[str, Mapping[State, Move]]] = {
    #                              N   NO  NI   NOI  T  TI  F   FO  B
    "subscribe": _row("xxxxxxxxx", NO, NO, NOI, NOI, T, TI, FO, FO, B),  # A.2.1
    "unsubscribe": _row("xxxxxxxxx", N, N, NI, NI, N, NI, F, F, F),  # A.2.2
    "subscribed": _row("--xx-x---", N, NO, F, FO, T, B, F, FO, B),  # A.2.3
    "unsubscribed": _row("--xx-xxxx", N, NO, N, NO, T, T, N, NO, T),  # A.2.4
}
INBOUND: Final[Mapping[str, Mapping[State, Move]]] = {
    #                              N   NO   NI   NOI  T   TI  F  FO  B
    "subscribe": _row("xx--x----", NI, NOI, NI, NOI, TI, TI, F, FO, B),  # A.3.1
    "unsubscribe": _row("--xx-xxxx", N, NO, N, NO, T, T, N, NO, T),  # A.3.2
    "subscribed": _row("-x-x---x-", N, T, NI, TI, T, TI, F, B, B),  # A.3.3
    "unsubscribed": _row("-x-xxx-xx", N, N, NI, NI, N, NI, F, F, F),  # A.3.4
}
TYPES: Final = tuple(OUTBOUND)

_FIELDS: Final[Mapping[State, tuple[str, bool, bool]]] = {
    N: ("none", False, False),
    NO: ("none", True, False),
    NI: ("none", False, True),
    NOI: ("none", True, True),
    T: ("to", False, False),
    TI: ("to", False, True),
    F: ("from", False, False),
    FO: ("from", True, False),
    B: ("both", False, False),
}
_STATES: Final = {fields: state for state, fields in _FIELDS.items()}


def state_of(item: RosterItem | None) -> State:
    """The state that a roster item stands for; what cannot be is read as if it were not there (ask of a "to")."""
    if item is None:
        return State.NONE
    ask = item.ask and not item.we_see
    pending_in = item.pending_in and not item.sees_us
    return _STATES[(item.subscription, ask, pending_in)]


def in_state(item: RosterItem, state: State) -> RosterItem:
    """The item in another state; a request that was answered is forgotten."""
    subscription, ask, pending_in = _FIELDS[state]
    request = item.request if pending_in else ""
    return replace(item, subscription=subscription, ask=ask, pending_in=pending_in, request=request)
