"""IQs between occupants, which the room forwards, and pings of oneself (XEP-0045 section 17.4, XEP-0410)."""

from __future__ import annotations

from secrets import token_hex
from typing import Final

from xmppd.contracts.routes import Arrival
from xmppd.errors import BadRequest, Forbidden, ItemNotFound, NotAcceptable
from xmppd.jid import JID
from xmppd.stanza import Stanza

from .blocking import check_blocklists
from .model import Effect, Send
from .registry import RoomSlot
from .room import RoomState
from .service import RoomService, sender_of

PING_TAG: Final = "urn:xmpp:ping|ping"
ID_LENGTH: Final = 1024
"""Of an IQ that is forwarded: what is remembered of it is bounded in bytes, too."""
FOR_ACCOUNT: Final = frozenset(("vcard-temp|vCard", "http://jabber.org/protocol/pubsub|pubsub"))
"""Payloads that the account answers, not the client (section 17.4)."""


def handle_request(service: RoomService, slot: RoomSlot, room: RoomState, arrival: Arrival) -> None:
    """Handles a get or set to an occupant. Raises StanzaError."""
    stanza, who = arrival.stanza, sender_of(arrival)
    check_blocklists(service.host, room, who, stanza)
    if stanza.tags[0] == PING_TAG and is_self_ping(room, who, stanza):
        result = stanza.result()
        arrival.then(lambda: service.reply(arrival, result))
        return
    effects = forward_request(room, who, stanza)
    arrival.behind(slot.lane)
    arrival.then(lambda: service.perform(effects))


def handle_answer(service: RoomService, slot: RoomSlot, room: RoomState, arrival: Arrival) -> None:
    """Handles a result or error, to an occupant or to the room."""
    effects = forward_answer(room, sender_of(arrival), arrival.stanza)
    arrival.behind(slot.lane)
    arrival.then(lambda: service.perform(effects))


def is_self_ping(room: RoomState, who: JID, stanza: Stanza) -> bool:
    """Whether a stanza is a ping of one's own nick, which the room answers (XEP-0410 section 4).

    Raises NotAcceptable.
    """
    assert stanza.to is not None
    return room.occupant_named(stanza.to.resource) is room.occupant_of(who)


def forward_request(room: RoomState, who: JID, stanza: Stanza) -> list[Effect]:
    """Forwards a get or set to an occupant's client (section 17.4).

    Raises NotAcceptable, BadRequest (a stranger), ItemNotFound, Forbidden.
    """
    assert stanza.to is not None
    if who.full not in room.sessions and stanza.tags[0].startswith("http://jabber.org/protocol/disco#"):
        raise BadRequest("you are not in the room")  # section 6.6
    occupant = room.occupant_of(who)
    target = room.occupant_named(stanza.to.resource)
    if target is None:
        raise ItemNotFound("nobody of that nick is here")
    real = target.latest.jid
    if stanza.tags[0] in FOR_ACCOUNT:
        if stanza.type == "set":
            raise Forbidden()
        real = real.to_bare()
    if len(stanza.id) > ID_LENGTH:
        raise NotAcceptable("an id is remembered until the answer comes: not one so long")
    id = token_hex(12)
    room.forward_iq(id, who, stanza.id, real.full)
    return [Send(stanza.stamped(to=real, sender=occupant.jid, id=id))]


def forward_answer(room: RoomState, who: JID, stanza: Stanza) -> list[Effect]:
    """Forwards the answer to an IQ: only the one who was asked may give it (R07)."""
    asked = room.forwarded_iqs.get(stanza.id)
    if asked is None or asked[2] != who.full:
        return []
    room.forwarded_iqs.pop(stanza.id)
    asker, id, _ = asked
    answering = room.sessions.get(who.full) or next(
        (each for each in room.occupants.values() if each.bare == who.bare), None
    )
    if answering is None or asker.full not in room.sessions:
        return []
    return [Send(stanza.stamped(to=asker, sender=answering.jid, id=id))]
