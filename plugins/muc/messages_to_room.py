"""Messages to the room itself that are not for all: invitations, declines, requests for voice (XEP-0045 sections
7.8.2, 7.13, 8.6)."""

from __future__ import annotations

from xmppd.contracts.routes import Arrival
from xmppd.errors import BadRequest
from xmppd.jid import JID
from xmppd.stanza import Kind, Stanza
from xmppd.xep.forms import NS as DATA_NS
from xmppd.xep.forms import read_form
from xmppd.xml import children, find

from .invitations import decline, invite
from .model import USER_NS, Effect, Plan, Send
from .registry import RoomSlot
from .room import RoomState
from .service import RoomService, sender_of
from .voice_requests import REQUEST_FORM, voice_form


async def handle_message(service: RoomService, slot: RoomSlot, room: RoomState, arrival: Arrival) -> None:
    """Handles a message to the room: acknowledged means that the archive of whoever gets what follows has it, too.

    Raises StanzaError, StorageUnavailable.
    """
    who = sender_of(arrival)
    service.count_change(slot, who)
    plan = decide_message(room, who, arrival.stanza)
    await service.rooms.commit(room, plan)
    effects = plan.apply()
    local = [await _is_for_local_account(service, effect) for effect in effects]
    # No await from here on: an entry is stored in the order of the ids that are given.
    for effect, is_local in zip(effects, local, strict=True):
        if is_local:
            service.forward(arrival, effect.stanza)
        else:
            service.perform((effect,))


async def _is_for_local_account(service: RoomService, effect: Effect) -> bool:
    """Whether a message goes to an account of this server, which is loaded then. Raises StorageUnavailable."""
    to = effect.stanza.to
    if not isinstance(effect, Send) or effect.stanza.kind is not Kind.MESSAGE or to is None:
        return False
    return await service.host.router.routes.open_account(to) is not None


def decide_message(room: RoomState, who: JID, stanza: Stanza) -> Plan:
    """Decides the request that a message is. Raises StanzaError."""
    x = stanza.child(USER_NS, "x")
    if x is not None:
        invites = list(children(x, USER_NS, "invite"))
        declined = find(x, USER_NS, "decline")
        if invites:
            return invite(room, who, invites, stanza.id)
        if declined is not None:
            return decline(room, who, declined, stanza.id)
    if f"{DATA_NS}|x" in stanza.tags:
        submitted = read_form(stanza.xml)
        if submitted is not None and submitted.type == "cancel" and submitted.form_type in (REQUEST_FORM, ""):
            room.occupant_of(who)
            return Plan()  # a moderator skips a request (section 8.6)
        if submitted is not None and submitted.form_type == REQUEST_FORM:
            return voice_form(room, who, submitted)
    room.occupant_of(who)
    raise BadRequest("a message to all is of type groupchat")
