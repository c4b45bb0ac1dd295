"""A message that a moderator retracts (XEP-0425): its content leaves the archive, and all occupants are told.

Requests and what is told have two forms: that of the present version (`message-moderate:1`), and that of versions up to
0.2, which fastens the retraction to the message (XEP-0422) and which many clients still speak.
"""

from __future__ import annotations

from dataclasses import dataclass
from secrets import token_hex
from typing import Final

from xmppd.errors import BadRequest, Forbidden, ItemNotFound, ServiceUnavailable
from xmppd.jid import JID
from xmppd.stanza import Kind, Stanza
from xmppd.storage.api import Entry, Flags, Range
from xmppd.xep.elements import stanza_id_bytes
from xmppd.xep.numbers import log_id
from xmppd.xep.retraction import (
    MODERATE_NS,
    OLD_MODERATE_NS,
    OLD_RETRACT_NS,
    RETRACT_NS,
    RETRACT_TAG,
    Moderation,
    PendingRetraction,
    author_of,
    is_tombstone,
    marked,
    old_moderated,
)
from xmppd.xml import E, Element, find, name_of, parse, text_of, to_bytes

from .elements import STANZA_ID_TAG
from .messages import said, tell_account_hosts, writes_elsewhere
from .model import REASON_LENGTH, AppendEntry, Broadcast, Effect, Occupant, Plan, Role, SaveAlso
from .options import ARCHIVING
from .room import RoomState
from .service import RoomService

FASTEN_NS: Final = "urn:xmpp:fasten:0"
MODERATE_TAG: Final = f"{MODERATE_NS}|moderate"
FASTEN_TAG: Final = f"{FASTEN_NS}|apply-to"
MODERATION_FEATURES: Final = (MODERATE_NS, OLD_MODERATE_NS)


@dataclass(frozen=True, slots=True)
class ModerationRequest:
    """`id`: the stanza-id that the room gave the message."""

    id: str
    reason: str


def read_moderation(payload: Element) -> ModerationRequest:
    """Parses a request of either version. Raises BadRequest, ServiceUnavailable (something else is fastened)."""
    moderate: Element | None = payload
    retract_ns = RETRACT_NS
    if name_of(payload)[0] == FASTEN_NS:
        moderate, retract_ns = find(payload, OLD_MODERATE_NS, "moderate"), OLD_RETRACT_NS
        if moderate is None:
            raise ServiceUnavailable()
    assert moderate is not None
    id = str(payload.get("id", ""))
    if not id or find(moderate, retract_ns, "retract") is None:
        raise BadRequest("a message is retracted by its stanza-id")
    reason = text_of(find(moderate, name_of(moderate)[0], "reason"))[:REASON_LENGTH]
    return ModerationRequest(id, reason)


@dataclass(frozen=True, slots=True)
class ModerationQuery:
    """A request of a moderator, to be decided with a look into the archive, under the room's lock."""

    room: RoomState
    moderator: Occupant
    request: ModerationRequest

    async def decide(self, service: RoomService) -> Plan:
        """Decides the retraction: one commit for the announcement in the archive and the tombstone to write, which a
        start after a crash still does. What is a tombstone already stays one, and nobody is told again.

        Raises ItemNotFound, StorageUnavailable.
        """
        room, request = self.room, self.request
        entry = await _find_message(service, room, request.id)
        if is_tombstone(entry):
            return Plan()
        occupant = str(parse(self.moderator.id).get("id", ""))
        moderation = Moderation(self.moderator.jid.full, occupant, request.reason)
        number = room.next_id(service.now())
        out = announcement(room, request.id, moderation, number)
        kept = Entry(number, room.jid.bare, "", int(Flags.GROUP), out.data) if ARCHIVING.of(room) else None
        author = author_of(service.host, room.jid.bare, entry)
        pending = PendingRetraction(author, request.id, out.id, moderation=moderation)
        event = said(room, out, kept)
        plan = Plan([SaveAlso(service.retractions.store_pending(room.jid.bare, number, pending))])
        if kept is not None:
            plan.saves.append(AppendEntry(kept))
        plan.saves += map(SaveAlso, writes_elsewhere(service, event))

        def apply() -> list[Effect]:
            service.spawn(service.retractions.write_tombstone(room.jid.bare, number, pending), "moderate")
            tell_account_hosts(service, event)
            everyone = room.all_jids()
            plan.before_reply = 1
            return [Broadcast(out, everyone)] if everyone else []

        plan.apply = apply
        return plan


def moderate(room: RoomState, who: JID, payload: Element) -> ModerationQuery:
    """Checks a request. Raises Forbidden, BadRequest, ServiceUnavailable."""
    request = read_moderation(payload)
    moderator = room.sessions.get(who.full)
    if moderator is None or moderator.role is not Role.MODERATOR:
        raise Forbidden("only moderators retract messages of others")
    return ModerationQuery(room, moderator, request)


async def _find_message(service: RoomService, room: RoomState, id: str) -> Entry:
    """Finds the message of an occupant in the archive: neither a subject nor a marker, nor what the room itself has
    said (section 5). Raises ItemNotFound, StorageUnavailable."""
    number = log_id(id)
    if number is not None:
        found = await service.rooms.archive.page(room.jid.bare, Range(ids=(number,), flags=int(Flags.GROUP)), 1)
        if found and found[0].resource:
            return found[0]
    raise ItemNotFound("there is no such message")


def announcement(room: RoomState, id: str, moderation: Moderation, number: int) -> Stanza:
    """Builds what occupants are told (section 3.1), in the forms of both versions. `id`: of the retracted message;
    `number`: of the announcement in the archive."""
    retract = marked(E("retract", RETRACT_NS, {"id": id}), moderation)
    old = E("apply-to", FASTEN_NS, {"id": id}, old_moderated(E("retract", OLD_RETRACT_NS), moderation))
    inside = to_bytes(retract) + to_bytes(old)
    out = Stanza(Kind.MESSAGE, "groupchat", None, room.jid, token_hex(8), inside, (RETRACT_TAG, FASTEN_TAG))
    return out.with_child(stanza_id_bytes(room.jid.bare, number), STANZA_ID_TAG) if ARCHIVING.of(room) else out
