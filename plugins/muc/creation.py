"""A new room, created by the first who joins it (XEP-0045 section 10.1)."""

from __future__ import annotations

from xmppd.contracts.routes import Arrival
from xmppd.errors import ItemNotFound, JidMalformed, NotAllowed, ResourceConstraint
from xmppd.jid import JID

from .join import join, read_join
from .model import JOIN_TAG, AffiliationRecord, SaveAffiliation, SaveRoom
from .registry import RoomSlot
from .room import RoomState
from .service import RoomService, sender_of


async def handle_first_presence(service: RoomService, slot: RoomSlot, arrival: Arrival) -> None:
    """Creates the room that a presence asks to join.

    Raises JidMalformed, ItemNotFound, NotAllowed, ResourceConstraint.
    """
    stanza, who = arrival.stanza, sender_of(arrival)
    assert stanza.to is not None
    if not stanza.to.resource:
        raise JidMalformed("a nick is needed")
    if JOIN_TAG not in stanza.tags:
        raise ItemNotFound("there is no such room")
    room = RoomState.created(stanza.to.to_bare(), who, service.settings, service.now())
    request = read_join(room, who, stanza, service.now(), service.incarnation(who))
    check_may_create(service, who)
    plan = join(room, request, created=True)
    owner = SaveAffiliation(who.bare, AffiliationRecord("owner"))
    plan.saves = [SaveRoom(room.current_record()), owner, *plan.saves]
    await service.rooms.commit(room, plan)
    slot.room = room
    service.perform(plan.apply())


def check_may_create(service: RoomService, who: JID) -> None:
    """Checks that somebody may create a room. Raises NotAllowed, ResourceConstraint."""
    if who.bare in service.host.admins:
        return
    create = service.settings.create
    is_local = service.host.router.routes.is_local(who.domain)
    if create == "admins" or (create == "local" and not is_local):
        raise NotAllowed("you may not make rooms here")
    if service.rooms.made_by[who.bare] >= service.settings.rooms_per_user:
        raise ResourceConstraint("you have made as many rooms as are allowed")
