"""Private messages between occupants (XEP-0045 section 7.5)."""

from __future__ import annotations

from xmppd.contracts.routes import Arrival
from xmppd.errors import ItemNotFound
from xmppd.jid import JID
from xmppd.stanza import Stanza

from .blocking import check_blocklists
from .elements import MUC_USER_TAG, OCCUPANT_ID_TAG, without_forgeries
from .model import USER_NS, Send
from .options import MAY_SEND_PRIVATE
from .registry import RoomSlot
from .room import RoomState
from .service import RoomService, sender_of


def handle_private_message(service: RoomService, slot: RoomSlot, room: RoomState, arrival: Arrival) -> None:
    """Handles a message to an occupant: acknowledged means that the recipient's archive has it. Raises StanzaError."""
    stanza, who = arrival.stanza, sender_of(arrival)
    check_blocklists(service.host, room, who, stanza)
    arrival.behind(slot.lane)
    for effect in private_message(room, who, stanza):
        service.forward(arrival, effect.stanza)


def private_message(room: RoomState, who: JID, stanza: Stanza) -> list[Send]:
    """Returns a private message, or an error that answers one, to all clients of the nick.

    Raises NotAcceptable (a stranger), ItemNotFound (no such occupant), Forbidden.
    """
    assert stanza.to is not None
    occupant = room.occupant_of(who)
    target = room.occupant_named(stanza.to.resource)
    if target is None:
        raise ItemNotFound("nobody of that nick is here")
    if stanza.type != "error":
        for rule in MAY_SEND_PRIVATE:
            rule(room, occupant, target)
    out = (
        without_forgeries(room.jid, stanza)
        .with_child(f"<x xmlns='{USER_NS}'/>".encode(), MUC_USER_TAG)
        .with_child(occupant.id, OCCUPANT_ID_TAG)
        .stamped(sender=occupant.jid)
    )
    return [Send(out.stamped(to=session.jid)) for session in target.sessions.values()]
