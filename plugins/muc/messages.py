"""Messages to all occupants, and what the archive keeps of them (XEP-0045 section 7.4)."""

from __future__ import annotations

from collections.abc import Iterator
from secrets import token_hex
from typing import Final

from xmppd.contracts.expiry import EPHEMERAL_TAG, EXPIRY
from xmppd.contracts.rooms import ROOM_SAID, ROOM_SAYS, RoomSaid
from xmppd.contracts.routes import Arrival
from xmppd.errors import BadRequest
from xmppd.jid import JID
from xmppd.stanza import Kind, Stanza
from xmppd.storage.api import Entry, Flags, Write
from xmppd.xep.elements import stanza_id_bytes
from xmppd.xep.retraction import PendingRetraction, retracted_id

from .duplicates import find_duplicate
from .elements import OCCUPANT_ID_TAG, STANZA_ID_TAG, muc_user_element, muc_user_item, without_forgeries
from .model import Occupant
from .options import ARCHIVING, MAY_SPEAK
from .registry import RoomSlot
from .room import RoomState
from .service import RoomService, sender_of

BODY: Final = "jabber:client|body"
SUBJECT: Final = "jabber:client|subject"
THREAD: Final = "jabber:client|thread"
_HINTS: Final = "urn:xmpp:hints"
NO_STORE: Final = frozenset((f"{_HINTS}|no-store", f"{_HINTS}|no-permanent-store"))
ARCHIVED: Final = frozenset(
    (
        BODY,
        "eu.siacs.conversations.axolotl|encrypted",
        "urn:xmpp:omemo:1|encrypted",
        "urn:xmpp:omemo:2|encrypted",
        "urn:xmpp:openpgp:0|openpgp",
        "jabber:x:encrypted|x",
        "jabber:x:oob|x",
        "jabber:x:conference|x",
        "urn:xmpp:sfs:0|file-sharing",
        "urn:xmpp:sims:1|media-sharing",
        "urn:xmpp:reference:0|reference",
        "urn:xmpp:reactions:0|reactions",
        "urn:xmpp:message-attaching:1|attach-to",
        "urn:xmpp:message-correct:0|replace",
        "urn:xmpp:message-retract:0|retract",
        "urn:xmpp:message-retract:1|retract",
        "urn:xmpp:fasten:0|apply-to",
        *(f"urn:xmpp:call-invites:0|{name}" for name in ("invite", "retract", "accept", "reject", "left")),
    )
)
"""A message must hold one of these to be archived (XEP-0313 section 5.1.2, XEP-0334): what the archives of accounts
store of messages of type chat, too."""
STORE: Final = f"{_HINTS}|store"
MARKERS: Final = frozenset(f"urn:xmpp:chat-markers:0|{name}" for name in ("displayed", "acknowledged"))
"""Archived, but no part of the discussion that newcomers are shown: how far everybody has read (XEP-0333)."""


def is_subject(stanza: Stanza) -> bool:
    """A change of subject: a subject, neither body nor thread (section 8.1)."""
    tags = stanza.tags
    return SUBJECT in tags and BODY not in tags and THREAD not in tags


def handle_groupchat(service: RoomService, slot: RoomSlot, room: RoomState, arrival: Arrival) -> None:
    """Handles a message to all. Its archive entry and what other plugins store for it are in its batch.

    Raises StanzaError.
    """
    stanza, who = arrival.stanza, sender_of(arrival)
    host = service.host
    if slot.resendable:
        duplicate = find_duplicate(slot, stanza, who, host.clock.now())
        if duplicate is not None:
            arrival.behind(slot.lane)
            arrival.then(lambda: host.deliver(duplicate))
            return
    out, entry = reflect_message(room, who, stanza, service.now())
    if entry is not None:
        arrival.write(service.rooms.archive.append(room.jid.bare, entry))
        host.router.newest = max(host.router.newest, entry.id)
        expiry = host.find(EXPIRY) if EPHEMERAL_TAG in stanza.tags else None
        for write in expiry.timed(room.jid.bare, entry.id, stanza) if expiry is not None else ():
            arrival.write(write)
    event = said(room, out, entry)
    for write in writes_elsewhere(service, event):
        arrival.write(write)
    fan_out = host.router.fan_out
    arrival.behind(slot.lane)
    arrival.then(lambda: fan_out(out, room.all_jids(), event.id))
    arrival.then(lambda: tell_account_hosts(service, event))
    retracted = retracted_id(stanza)
    if retracted:
        pending = PendingRetraction(who.bare, retracted, out.id, since=host.router.routes.since(who))
        _retract(service, room.jid.bare, arrival, pending, event.id)


def said(room: RoomState, out: Stanza, entry: Entry | None) -> RoomSaid:
    """What other plugins are told of a message to all. `entry`: of the archive, None if it is not kept."""
    return RoomSaid(room.jid, out, entry.id if entry is not None else 0, room.absent_members, room.attending)


def writes_elsewhere(service: RoomService, event: RoomSaid) -> Iterator[Write]:
    """What the hosts with accounts store with a message to all that is kept."""
    if event.id:
        for home in service.account_hosts():
            yield from home.gather(ROOM_SAYS, event)


def tell_account_hosts(service: RoomService, event: RoomSaid) -> None:
    """Tells the hosts with accounts, so that members who are not in the room can be woken."""
    for home in service.account_hosts():
        home.tell(ROOM_SAID, event)


def _retract(service: RoomService, bare: str, arrival: Arrival, pending: PendingRetraction, id: int) -> None:
    """Has a tombstone written in place of a message. `id`: of the retraction in the archive, 0 if it is not there."""
    if id:
        arrival.write(service.retractions.store_pending(bare, id, pending))
    arrival.then(lambda: service.spawn(service.retractions.write_tombstone(bare, id, pending), "retract"))


# ---- the message to the occupants, the entry in the archive


def reflect_message(room: RoomState, who: JID, stanza: Stanza, now: int) -> tuple[Stanza, Entry | None]:
    """Decides a message to all: as all occupants get it, and the archive entry to write before.

    Raises NotAcceptable (a stranger), BadRequest (to an occupant), Forbidden (no voice).
    """
    assert stanza.to is not None
    occupant = room.occupant_of(who)
    if stanza.to.resource:
        raise BadRequest("a groupchat message goes to the room")
    for rule in MAY_SPEAK:
        rule(room, occupant)
    return reflection(room, occupant, who, stanza, now)


def reflection(
    room: RoomState, occupant: Occupant, who: JID, stanza: Stanza, now: int, subject: bool = False
) -> tuple[Stanza, Entry | None]:
    """Rewrites a stanza to come from its occupant, with occupant-id and, if it is archived, stanza-id and entry.

    Changes the last id of the room only. `now`: microseconds since 1970. `subject`: it changes the subject.
    """
    stanza = without_forgeries(room.jid, stanza)
    tags = stanza.tags
    marker = not MARKERS.isdisjoint(tags)
    discussion = not subject and (not ARCHIVED.isdisjoint(tags) or (STORE in tags and not marker))
    archived = (discussion or marker or subject) and ARCHIVING.of(room) and NO_STORE.isdisjoint(tags)
    inside = stanza.inside + occupant.id
    id = stanza.id or token_hex(8)
    if not archived:
        tags = (*tags, OCCUPANT_ID_TAG)
        return Stanza(Kind.MESSAGE, "groupchat", None, occupant.jid, id, inside, tags, stanza.lang), None
    number = room.next_id(now)
    inside += stanza_id_bytes(room.jid.bare, number)
    tags = (*tags, OCCUPANT_ID_TAG, STANZA_ID_TAG)
    out = Stanza(Kind.MESSAGE, "groupchat", None, occupant.jid, id, inside, tags, stanza.lang)
    address = muc_user_element(muc_user_item(room.affiliation(who), occupant.role, who.full))
    body = b"<message%s%s</message>" % (out.rest[: -len(b"</message>")], address)
    flags = int(Flags.GROUP) if discussion else 0  # 0: not part of the discussion history (section 7.2.12)
    return out, Entry(number, room.jid.bare, occupant.nick, flags, body)
