"""IQs to a room: how each kind of query is answered (XEP-0045 sections 6.4, 8 to 10, XEP-0313, XEP-0077).

A query is decided from the room's state. What changes the room is a Plan, or a ModerationQuery, which asks the archive
first; what only reads is a Reader, which may ask the store without holding the room up.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from xmppd.contracts.commands import NS as COMMANDS_NS
from xmppd.contracts.routes import Arrival
from xmppd.contracts.search import SEARCH
from xmppd.errors import ItemNotFound, ServiceUnavailable
from xmppd.jid import JID
from xmppd.stanza import Stanza
from xmppd.xep import mam
from xmppd.xep.mam import MAM_NS
from xmppd.xml import E, Element, Written, parse

from .admin_lists import admin_list
from .administration import administer, read_items
from .archive import check_archive_access, read_query, results
from .block_lists import check_block_lists
from .card import CARD_NS, CARD_TAG, check_card_access, set_card
from .configuration import config_form, configure
from .discovery import INFO_NS, ITEMS_NS, room_info, room_items
from .hat_commands import run_command
from .model import ADMIN_NS, OWNER_NS, Affiliation, Plan
from .moderation import FASTEN_TAG, MODERATE_TAG, ModerationQuery, moderate
from .registration import REGISTER_NS, register, registration_form
from .registry import RoomSlot
from .room import RoomState
from .service import RoomService, sender_of

log = logging.getLogger("xmppd.rooms")

Answer = tuple[Sequence[Stanza], Element | Written | None]
"""What is sent before the result, and the result's payload."""
Reader = Callable[[RoomService], Awaitable[Answer]]
"""Reads the answer from the store."""
Query = Callable[[RoomState, JID, Element], Reader | Plan | ModerationQuery]
"""Decides a query of somebody. Raises StanzaError."""


async def handle_query(service: RoomService, arrival: Arrival, to: JID) -> None:
    """Answers a get or set. Reading needs no lock: what the asker sent before is stored by now.

    Raises StanzaError, StorageUnavailable.
    """
    if to.local not in service.rooms.directory:
        raise ItemNotFound("there is no such room")
    stanza = arrival.stanza
    slot = service.rooms.slots.get(to.bare)
    reads = stanza.type == "get" or stanza.tags[0] == f"{MAM_NS}|query"
    if reads and slot is not None and slot.room is not None:
        decided = _decide(service, slot, arrival)
    else:
        async with service.rooms.exclusive(to) as slot:
            if not reads:
                service.count_change(slot, sender_of(arrival))
            decided = _decide(service, slot, arrival)
            if isinstance(decided, ModerationQuery):
                decided = await decided.decide(service)
            if isinstance(decided, Plan):
                await _change(service, slot, arrival, decided)
    if isinstance(decided, (Plan, ModerationQuery)):
        return
    messages, payload = await decided(service)
    for each in messages:
        service.reply(arrival, each)
    service.reply(arrival, stanza.result(payload))


def _decide(service: RoomService, slot: RoomSlot, arrival: Arrival) -> Reader | Plan | ModerationQuery:
    """Has a query decided by its handler in the table. Raises StanzaError."""
    room, who, stanza = slot.room, sender_of(arrival), arrival.stanza
    if room is None or (room.record.locked and room.affiliation(who) < Affiliation.OWNER):
        raise ItemNotFound("there is no such room")
    payload = stanza.payload
    assert payload is not None
    if stanza.type == "set":
        check_block_lists(service, room, stanza)
    key = (stanza.type, stanza.tags[0])
    if key == ("set", f"{ADMIN_NS}|query"):
        return administer(room, who, read_items(payload), who.bare in service.host.admins)
    query = QUERIES.get(key)
    if query is None:
        raise ServiceUnavailable()
    return query(room, who, payload)


async def _change(service: RoomService, slot: RoomSlot, arrival: Arrival, plan: Plan) -> None:
    """Carries out what a query changes, with its answer in between. Raises StorageUnavailable."""
    room, who = slot.room, sender_of(arrival)
    assert room is not None
    was, result = room.affiliation(who), arrival.stanza.result(plan.answer)
    await service.carry_out(slot, plan, lambda: service.reply(arrival, result))
    if was is not Affiliation.OWNER and room.affiliation(who) is Affiliation.OWNER:
        log.warning("%s, a service admin, has become an owner of %s", who.bare, room.jid)


# ---- readers


def _command(room: RoomState, who: JID, payload: Element) -> Reader | Plan:
    decided = run_command(room, who, payload)
    return decided if isinstance(decided, Plan) else _payload(decided)


def _payload(payload: Element | None) -> Reader:
    """Wraps an answer that is known already."""

    async def read(service: RoomService) -> Answer:
        return (), payload

    return read


def _archive_page(room: RoomState, who: JID, payload: Element) -> Reader:
    check_archive_access(room, who)
    query = read_query(payload, room)

    async def read(service: RoomService) -> Answer:
        page = await mam.read_page(service.rooms.archive, room.jid.bare, query, service.host.find(SEARCH))
        return results(room, who, query, page), mam.fin(page)

    return read


def _archive_metadata(room: RoomState, who: JID, payload: Element) -> Reader:
    check_archive_access(room, who)

    async def read(service: RoomService) -> Answer:
        return (), await mam.metadata(service.rooms.archive, room.jid.bare)

    return read


def _archive_fields(room: RoomState, who: JID, payload: Element) -> Reader:
    check_archive_access(room, who)

    async def read(service: RoomService) -> Answer:
        return (), mam.fields(service.host.find(SEARCH))

    return read


def _card(room: RoomState, who: JID, payload: Element) -> Reader:
    check_card_access(room, who)

    async def read(service: RoomService) -> Answer:
        card = await service.rooms.cards.read(room.jid.bare, "")
        return (), parse(card.xml.encode()) if card is not None else E("vCard", CARD_NS)

    return read


QUERIES: Final[Mapping[tuple[str, str], Query]] = {
    ("get", f"{INFO_NS}|query"): lambda room, who, x: _payload(room_info(room, who, x.get("node", ""))),
    ("get", f"{ITEMS_NS}|query"): lambda room, who, x: _payload(room_items(room, who, x.get("node", ""))),
    ("get", "urn:xmpp:ping|ping"): lambda room, who, x: _payload(None),
    ("get", f"{ADMIN_NS}|query"): lambda room, who, x: _payload(admin_list(room, who, x)),
    ("get", f"{OWNER_NS}|query"): lambda room, who, x: _payload(config_form(room, who)),
    ("set", f"{OWNER_NS}|query"): configure,
    ("get", f"{REGISTER_NS}|query"): lambda room, who, x: _payload(registration_form(room, who)),
    ("set", f"{REGISTER_NS}|query"): register,
    ("set", f"{COMMANDS_NS}|command"): _command,
    ("get", CARD_TAG): _card,
    ("set", CARD_TAG): set_card,
    ("set", MODERATE_TAG): moderate,
    ("set", FASTEN_TAG): moderate,
    ("set", f"{MAM_NS}|query"): _archive_page,
    ("get", f"{MAM_NS}|query"): _archive_fields,
    ("get", f"{MAM_NS}|metadata"): _archive_metadata,
}
"""By type and payload; a set of muc#admin needs to know more (`_decide`)."""
