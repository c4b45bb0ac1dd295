"""What a subscription stanza does to one account's roster item: the tables, pre-approval (RFC 6121 section 3.4), and
requests of strangers, who are no contacts yet. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass, replace

from xmppd.contracts.roster import RosterItem

from .states import INBOUND, OUTBOUND, State, in_state, state_of

APPROVABLE = (State.NONE, State.NONE_OUT, State.TO)
"""Section 3.4.2: where a pre-approval is stored."""


@dataclass(frozen=True, slots=True)
class Change:
    """`item`: what is to be stored, None for nothing. `passes`: route it (outbound), deliver it (inbound).

    `reply`: the type of the stanza that answers it at once in the account's name, "" for none.
    """

    item: RosterItem | None
    passes: bool
    reply: str = ""


def leaving(item: RosterItem | None, type: str) -> Change:
    """The account sends a subscription stanza to the contact (sections 3.1.2, 3.1.5, 3.2.2, 3.3.2, 3.4.2)."""
    state = state_of(item)
    move = OUTBOUND[type][state]
    after = in_state(item or RosterItem(listed=False), move.to)
    if type == "subscribe":
        after = replace(after, listed=True)
    elif type == "subscribed" and move.passes:
        after = replace(after, listed=True)  # section 3.1.5: a stranger becomes a contact by the approval
    elif type == "subscribed" and state in APPROVABLE:
        after = replace(after, listed=True, approved=True)
    elif type == "unsubscribed":
        after = replace(after, approved=False)
    return Change(_kept(after), move.passes)


def arriving(item: RosterItem | None, type: str, request: str = "") -> Change:
    """The contact's stanza comes to the account (sections 3.1.3, 3.1.6, 3.2.3, 3.3.3, 3.4.3).

    `request`: the inside of a subscribe, stored until it is answered.
    """
    state = state_of(item)
    move = INBOUND[type][state]
    known = item or RosterItem(listed=False)
    if type == "subscribe":
        if known.sees_us:
            return Change(item, False, "subscribed")
        if known.approved:
            approved = OUTBOUND["subscribed"][move.to].to
            return Change(in_state(known, approved), False, "subscribed")
        if move.passes:
            return Change(replace(in_state(known, move.to), request=request), True)
        return Change(item, False)
    return Change(_kept(in_state(known, move.to)), move.passes)


def removed(item: RosterItem) -> tuple[str, ...]:
    """The presence that the contact gets when it is removed from the roster (section 2.5.2)."""
    types = []
    if item.we_see or item.ask:
        types.append("unsubscribe")
    if item.sees_us or item.pending_in:
        types.append("unsubscribed")
    return tuple(types)


def _kept(item: RosterItem) -> RosterItem | None:
    """A stranger without a request is not remembered."""
    return item if item.listed or item.pending_in else None
