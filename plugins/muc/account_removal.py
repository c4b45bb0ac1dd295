"""A removed account leaves nothing in the rooms: whoever gets the name later inherits nothing (G02)."""

from __future__ import annotations

from dataclasses import replace

from xmppd.jid import JID

from .affiliation_changes import AffiliationChange
from .destruction import destroy_room
from .hats import hats_without
from .model import Affiliation, Effect, Plan, SaveRoom
from .occupancy import leave_silently
from .options import MEMBERS_ONLY
from .registration import change_own_affiliation
from .registry import RoomSlot
from .room import RoomState
from .service import RoomService


async def remove_accounts(service: RoomService, names: frozenset[str]) -> None:
    """Removes accounts from all rooms: they leave, and their affiliations are deleted. `names`: bare JIDs.

    Raises StorageUnavailable.
    """
    for room_jid in await service.rooms.rooms_naming(names):
        async with service.rooms.exclusive(room_jid) as slot:
            await _remove_from(service, slot, names)


async def _remove_from(service: RoomService, slot: RoomSlot, names: frozenset[str]) -> None:
    for who in slot.room.all_jids() if slot.room is not None else ():
        if slot.room is not None and who.bare in names:
            await service.carry_out(slot, leave_silently(slot.room, who))
    for bare in names:
        if slot.room is not None:
            await service.carry_out(slot, forget_account(slot.room, bare))


def forget_account(room: RoomState, bare: str) -> Plan | None:
    """Deletes affiliation, invitations, hats and creatorship of an account that is not in the room. A ban stays, it is
    the room's.

    A room that nobody is left to join (members only, and the last of them is removed) is destroyed.
    """
    for pair in [pair for pair in room.invitations if bare in pair]:
        room.invitations.pop(pair)
    room.kept_roles.pop(bare)
    known = room.affiliations.get(bare)
    if known is not None and known.affiliation == "outcast":
        known = None
    record = replace(room.record, creator="") if room.record.creator == bare else room.record
    hats, take_hats = hats_without(room, bare)
    if known is None and record is room.record and not hats:
        return None
    others = (each for jid, each in room.affiliations.items() if jid != bare and each.affiliation != "outcast")
    if MEMBERS_ONLY.of(room) and not room.sessions and next(others, None) is None:
        return destroy_room(room)
    plan = Plan()
    if known is not None:
        jid = JID.parse(bare)
        change = AffiliationChange(jid, room.affiliation(jid), Affiliation.NONE, "")
        plan = change_own_affiliation(room, jid, None, change)
    apply_change = plan.apply
    records = [SaveRoom(record)] if record is not room.record else []

    def apply() -> list[Effect]:
        room.record = record
        take_hats()
        return apply_change()

    return Plan([*plan.saves, *hats, *records], apply)
