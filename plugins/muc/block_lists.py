"""Who is on a block list that this server follows, and is nothing in a room, is kept out of it (contracts.block_lists).

As other servers do it: members, admins and owners stay, for the room has chosen them; who is in a room when the entry
comes is kicked (XEP-0045 section 8.2), which changes no affiliation.
"""

from __future__ import annotations

from typing import Final

from xmppd.contracts.block_lists import BlockLists
from xmppd.errors import Forbidden
from xmppd.jid import JID
from xmppd.stanza import Kind, Stanza

from .elements import Notice
from .model import Affiliation, DeleteRoom, Effect, Plan
from .presence import remove_occupants
from .room import RoomState
from .service import RoomService

REASON: Final = "You are on a block list that this server follows."


def check_block_lists(service: RoomService, room: RoomState | None, stanza: Stanza) -> None:
    """Refuses what somebody who is listed sends to a room, or to one that is not there. Who leaves, or answers, may.

    Raises Forbidden.
    """
    if not service.block_lists or stanza.sender is None or stanza.answers:
        return
    if stanza.kind is Kind.PRESENCE and stanza.type:
        return
    lists = _keeping_out(service, room, stanza.sender)
    if lists is not None:
        lists.kept_out(stanza.sender)
        raise Forbidden(REASON, type="cancel")


def _keeping_out(service: RoomService, room: RoomState | None, who: JID) -> BlockLists | None:
    """Whose lists keep somebody out of a room."""
    for lists in service.block_lists:
        if lists.keeps_out(who):
            return lists if room is None or room.affiliation(who) is Affiliation.NONE else None
    return None


async def kick_listed(service: RoomService) -> None:
    """Takes those out of all rooms who are listed now. Raises StorageUnavailable."""
    for bare, slot in list(service.rooms.slots.items()):
        room = slot.room
        if room is None or kick(service, room) is None:
            continue
        async with service.rooms.exclusive(JID.parse(bare)) as slot:
            if slot.room is not None:
                await service.carry_out(slot, kick(service, slot.room))


def kick(service: RoomService, room: RoomState) -> Plan | None:
    """Decides who is kicked; None: nobody."""
    listed = [each for each in room.occupants.values() if _keeping_out(service, room, each.latest.jid)]
    if not listed:
        return None

    def apply() -> list[Effect]:
        own, rest = remove_occupants(room, [(each, Notice((307,), reason=REASON)) for each in listed])
        return own + rest

    plan = Plan(apply=apply, apply_unsaved=True)
    if len(listed) == len(room.occupants) and not room.is_persistent():
        plan.saves.append(DeleteRoom())
    return plan
