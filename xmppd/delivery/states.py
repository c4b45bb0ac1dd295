"""The states of a `DeliveryChannel`, and every transition between them (docs/explanation/delivery.md)."""

from __future__ import annotations

from enum import Enum
from typing import Final


class State(Enum):
    """How a session gets the entries of its account's log."""

    UNAVAILABLE = "unavailable"
    """It is not available for messages: it gets only what is for its full JID, at once."""
    UNAVAILABLE_LAGGING = "unavailable, lagging"
    """The same, and its client takes no more: what is in no log waits in memory."""
    LIVE = "live"
    """Entries are sent when they are released."""
    LAGGING = "lagging"
    """Entries stay in the log until there is room for them; what is in no log waits in memory."""
    CATCHING_UP = "catching up"
    """The log is read in pages (`CatchUp`); what is released meanwhile is read as well."""


class Event(Enum):
    """What may change the state."""

    AVAILABLE = "available"
    """Available presence with a priority that is not negative."""
    UNAVAILABLE = "unavailable"
    """Unavailable presence, or a negative priority, on a stream that stays."""
    BACKLOG = "backlog"
    """The log has entries behind `DeliveryChannel.position` that are due to the session."""
    NO_ROOM = "no room"
    """Something is to be sent, and queue or connection are full. Of a `CatchUp` also: it cannot go on now."""
    ROOM = "room"
    """Queue and connection take more."""
    CAUGHT_UP = "caught up"
    """The `CatchUp` has sent all that the log has for the session."""


class Action(Enum):
    """What a transition does, once the next state is set."""

    READ_LOG = "read log"
    """A `CatchUp` starts."""
    STOP_READING = "stop reading"
    """The `CatchUp` on its way sends nothing more."""
    SEND_WAITING = "send waiting"
    """What waited in memory is sent."""


Transition = tuple[State, tuple[Action, ...]]

TRANSITIONS: Final[dict[tuple[State, Event], Transition]] = {
    (State.UNAVAILABLE, Event.AVAILABLE): (State.LIVE, ()),
    (State.UNAVAILABLE, Event.NO_ROOM): (State.UNAVAILABLE_LAGGING, ()),
    (State.UNAVAILABLE_LAGGING, Event.AVAILABLE): (State.LAGGING, ()),
    (State.UNAVAILABLE_LAGGING, Event.ROOM): (State.UNAVAILABLE, (Action.SEND_WAITING,)),
    (State.LIVE, Event.UNAVAILABLE): (State.UNAVAILABLE, ()),
    (State.LIVE, Event.BACKLOG): (State.LAGGING, ()),
    (State.LIVE, Event.NO_ROOM): (State.LAGGING, ()),
    (State.LAGGING, Event.UNAVAILABLE): (State.UNAVAILABLE_LAGGING, ()),
    (State.LAGGING, Event.ROOM): (State.CATCHING_UP, (Action.READ_LOG,)),
    (State.CATCHING_UP, Event.UNAVAILABLE): (State.UNAVAILABLE_LAGGING, (Action.STOP_READING,)),
    (State.CATCHING_UP, Event.NO_ROOM): (State.LAGGING, (Action.STOP_READING,)),
    (State.CATCHING_UP, Event.CAUGHT_UP): (State.LIVE, (Action.STOP_READING, Action.SEND_WAITING)),
}
"""An event that has no row in a state changes nothing there."""

SENDING: Final = frozenset({State.UNAVAILABLE, State.LIVE})
"""What comes is sent at once; in all other states it waits."""
AVAILABLE: Final = frozenset({State.LIVE, State.LAGGING, State.CATCHING_UP})
"""The session is available for messages."""
