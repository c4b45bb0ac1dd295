"""The subject of a room (XEP-0045 sections 7.2.15, 8.1)."""

from __future__ import annotations

from dataclasses import replace

from xmppd.contracts.routes import Arrival
from xmppd.errors import BadRequest
from xmppd.jid import JID
from xmppd.stanza import Kind, Stanza, parse_stanza
from xmppd.xep.elements import DELAY_NS, delay_bytes

from .messages import SUBJECT, reflection
from .model import AppendEntry, Broadcast, Effect, Plan, SaveRoom
from .options import MAY_SET_SUBJECT
from .registry import RoomSlot
from .room import RoomState
from .service import RoomService, sender_of


async def handle_subject(service: RoomService, slot: RoomSlot, room: RoomState, arrival: Arrival) -> None:
    """Handles a new subject. Raises StanzaError, StorageUnavailable."""
    who = sender_of(arrival)
    service.count_change(slot, who)
    await service.carry_out(slot, change_subject(room, who, arrival.stanza, service.now()))


def change_subject(room: RoomState, who: JID, stanza: Stanza, now: int) -> Plan:
    """Decides a change of subject (section 8.1). Raises NotAcceptable, BadRequest, Forbidden."""
    assert stanza.to is not None
    occupant = room.occupant_of(who)
    if stanza.to.resource:
        raise BadRequest("a subject is set for the room")
    for rule in MAY_SET_SUBJECT:
        rule(room, occupant)
    out, entry = reflection(room, occupant, who, stanza, now, subject=True)
    record = replace(room.current_record(), subject=out.data.decode(), subject_at=now)
    plan = Plan([SaveRoom(record)])
    if entry is not None:
        plan.saves.append(AppendEntry(entry))

    def apply() -> list[Effect]:
        room.record = record
        everyone = room.all_jids()
        return [Broadcast(out, everyone)] if everyone else []

    plan.apply = apply
    return plan


def subject_message(room: RoomState) -> Stanza:
    """Builds the message with the present subject, which ends a join (section 7.2.15)."""
    if not room.record.subject:
        return Stanza(Kind.MESSAGE, "groupchat", None, room.jid, "", b"<subject/>", (SUBJECT,))
    delay = delay_bytes(room.jid.bare, room.record.subject_at)
    return parse_stanza(room.record.subject.encode()).with_child(delay, f"{DELAY_NS}|delay")
