"""IQs to a room: which part answers (XEP-0045 sections 6.4, 8 to 10, XEP-0313, XEP-0077)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from xmppd.contracts.search import Search
from xmppd.errors import ServiceUnavailable
from xmppd.jid import JID
from xmppd.stanza import Stanza
from xmppd.storage.api import Log
from xmppd.xml import Element

from .admin import read_items
from .archive import MAM_NS, check_access, fields, fin, metadata, read_page, read_query, results
from .discovery import INFO_NS, ITEMS_NS, room_info, room_items
from .model import ADMIN_NS, OWNER_NS, Plan
from .owner import REGISTER_NS
from .room import Room

Answer = tuple[Sequence[Stanza], Element | None]
"""What is sent before the result, and the result's payload."""
Reader = Callable[[Log, Search | None], Awaitable[Answer]]


def _at_once(payload: Element | None) -> Reader:
    async def answer(log: Log, search: Search | None) -> Answer:
        return (), payload

    return answer


def _archive(room: Room, who: JID, payload: Element) -> Reader:
    check_access(room, who)
    query = read_query(payload, room)

    async def answer(log: Log, search: Search | None) -> Answer:
        page = await read_page(log, room.jid.bare, query, search)
        return results(room, who, query, page), fin(page)

    return answer


def _metadata(room: Room, who: JID, payload: Element) -> Reader:
    check_access(room, who)

    async def answer(log: Log, search: Search | None) -> Answer:
        return (), await metadata(log, room.jid.bare)

    return answer


def _fields(room: Room, who: JID, payload: Element) -> Reader:
    check_access(room, who)

    async def answer(log: Log, search: Search | None) -> Answer:
        return (), fields(search)

    return answer


ANSWERS: Final[dict[tuple[str, str], Callable[[Room, JID, Element], Reader | Plan]]] = {
    ("get", f"{INFO_NS}|query"): lambda room, who, x: _at_once(room_info(room, who, x.get("node", ""))),
    ("get", f"{ITEMS_NS}|query"): lambda room, who, x: _at_once(room_items(room, who)),
    ("get", "urn:xmpp:ping|ping"): lambda room, who, x: _at_once(None),
    ("get", f"{ADMIN_NS}|query"): lambda room, who, x: _at_once(room.listed(who, x)),
    ("get", f"{OWNER_NS}|query"): lambda room, who, x: _at_once(room.config_form(who)),
    ("set", f"{OWNER_NS}|query"): lambda room, who, x: room.configure(who, x),
    ("get", f"{REGISTER_NS}|query"): lambda room, who, x: _at_once(room.registration(who)),
    ("set", f"{REGISTER_NS}|query"): lambda room, who, x: room.register(who, x),
    ("set", f"{MAM_NS}|query"): _archive,
    ("get", f"{MAM_NS}|query"): _fields,
    ("get", f"{MAM_NS}|metadata"): _metadata,
}


def answer_query(room: Room, who: JID, stanza: Stanza, service_admin: bool) -> Reader | Plan:
    """A Plan for what changes the room, else what reads the answer. Raises StanzaError."""
    payload = stanza.payload
    assert payload is not None
    key = (stanza.type, stanza.tags[0])
    if key == ("set", f"{ADMIN_NS}|query"):
        return room.administer(who, read_items(payload), service_admin)
    handler = ANSWERS.get(key)
    if handler is None:
        raise ServiceUnavailable()
    return handler(room, who, payload)


def is_reading(stanza: Stanza) -> bool:
    """It changes nothing."""
    return stanza.type == "get" or stanza.tags[0] == f"{MAM_NS}|query"
