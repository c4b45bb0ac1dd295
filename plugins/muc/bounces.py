"""Errors that come back from occupants: who is not there any more is removed (XEP-0045 section 17.2.2)."""

from __future__ import annotations

from typing import Final

from xmppd.contracts.routes import Arrival
from xmppd.jid import JID
from xmppd.stanza import Kind, Stanza

from .model import Effect, Plan
from .occupancy import leave
from .private_messages import private_message
from .registry import RoomSlot
from .room import RoomState
from .service import RoomService, sender_of

UNREACHABLE: Final = frozenset(
    (
        "gone",
        "item-not-found",
        "recipient-unavailable",
        "redirect",
        "remote-server-not-found",
        "remote-server-timeout",
    )
)
"""Conditions that say that nobody is there any more (section 17.2.2)."""


async def handle_error(service: RoomService, slot: RoomSlot, room: RoomState, arrival: Arrival) -> None:
    """Handles a message or presence of type error. Raises StorageUnavailable."""
    who = sender_of(arrival)
    await service.carry_out(slot, bounce(room, who, arrival.stanza, service.is_online(who)))


def bounce(room: RoomState, who: JID, stanza: Stanza, online: bool | None) -> Plan | None:
    """Removes an occupant that cannot be reached; passes any other error of a private message on to its sender.

    `online`: whether the session is known to be there, None if that cannot be known.
    """
    assert stanza.to is not None
    if who.full not in room.sessions:
        return None
    condition = condition_of(stanza)
    if condition in UNREACHABLE or (condition == "service-unavailable" and not online):
        return leave(room, who, Stanza(Kind.PRESENCE, "unavailable"), (333,))
    if stanza.kind is Kind.MESSAGE and stanza.to.resource and room.occupant_named(stanza.to.resource) is not None:
        effects: list[Effect] = [*private_message(room, who, stanza)]
        return Plan(apply=lambda: effects)
    return None


def condition_of(stanza: Stanza) -> str:
    """Returns the condition of an error stanza, "" if it holds none."""
    error = stanza.child("jabber:client", "error")
    if error is not None:
        for each in error:
            namespace, _, name = str(each.tag)[1:].partition("}")
            if namespace == "urn:ietf:params:xml:ns:xmpp-stanzas" and name != "text":
                return name
    return ""
