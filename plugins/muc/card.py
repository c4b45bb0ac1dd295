"""The card of a room, with its avatar (XEP-0054, XEP-0486): set by owners, read by whoever may see the room.

Its hashes (XEP-0153) are in the room's form of disco#info, and in presence of the room itself, which many clients wait
for (XEP-0486 section 6.2); a room without an avatar sends none.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from dataclasses import replace
from hashlib import sha1
from typing import Final

from xmppd.errors import BadRequest, Forbidden, NotAcceptable
from xmppd.jid import JID
from xmppd.stanza import Kind, Stanza
from xmppd.xml import Element, alone, children, find, text_of, to_bytes

from .elements import muc_user_element
from .model import Affiliation, Broadcast, Effect, Plan, SaveCard, SaveRoom, Send
from .presence import room_notice
from .room import RoomState

CARD_NS: Final = "vcard-temp"
CARD_TAG: Final = f"{CARD_NS}|vCard"
UPDATE_NS: Final = "vcard-temp:x:update"
PHOTOS: Final = 5
"""Of one card: the same image in several formats (XEP-0486 section 6.1)."""


def set_card(room: RoomState, who: JID, card: Element) -> Plan:
    """Decides another card; an empty one takes it away. Occupants are told by status 104 if the avatar is another one.

    Raises Forbidden, BadRequest (a picture that is none), NotAcceptable (too large).
    """
    if room.affiliation(who) is not Affiliation.OWNER:
        raise Forbidden("only owners are allowed to set avatars")
    data = to_bytes(alone(card))
    if len(data) > room.settings.card:
        raise NotAcceptable(f"a room's card has at most {room.settings.card} bytes")
    hashes = _hashes(card)
    changed = hashes != room.record.avatar
    record = replace(room.current_record(), avatar=hashes)
    plan = Plan([SaveCard(data.decode() if len(card) else "")])
    if changed:
        plan.saves.append(SaveRoom(record))

    def apply() -> list[Effect]:
        if not changed:
            return []
        room.record = record
        everyone = room.all_jids()
        effects = room_notice(room, muc_user_element("", (104,)))
        return [*effects, Broadcast(_avatar_presence(room), everyone)] if everyone else []

    plan.apply = apply
    return plan


def _hashes(card: Element) -> tuple[str, ...]:
    """SHA-1 of each picture in a card (XEP-0153 section 3.1), in hex. Raises BadRequest."""
    found: list[str] = []
    for photo in children(card, CARD_NS, "PHOTO"):
        text = "".join(text_of(find(photo, CARD_NS, "BINVAL")).split())
        if not text:
            continue  # XEP-0153 section 4.2: an empty one is no avatar; one elsewhere (EXTVAL) has no hash
        try:
            picture = b64decode(text, validate=True)
        except binascii.Error:
            raise BadRequest("a picture is written in base64") from None
        if not text_of(find(photo, CARD_NS, "TYPE")).strip().startswith("image/"):
            raise BadRequest("a picture has the type of an image")
        found.append(sha1(picture, usedforsecurity=False).hexdigest())
    if len(found) > PHOTOS:
        raise BadRequest(f"a card has at most {PHOTOS} pictures")
    return tuple(found)


def check_card_access(room: RoomState, who: JID) -> None:
    """Checks that somebody may read the card: a private room shows strangers nothing, and nothing is shown to who is
    banned. Raises Forbidden."""
    affiliation = room.affiliation(who)
    stranger = who.full not in room.sessions and affiliation < Affiliation.MEMBER
    if affiliation is Affiliation.OUTCAST or (stranger and room.is_private()):
        raise Forbidden()


def avatar_presence(room: RoomState, to: JID) -> list[Effect]:
    """Returns what tells a client that joins of the avatar, if there is one."""
    return [Send(_avatar_presence(room).stamped(to=to))] if room.record.avatar else []


def _avatar_presence(room: RoomState) -> Stanza:
    """Presence of the room (XEP-0153 section 3.2, XEP-0486 section 6.2); an empty <photo/> for no avatar."""
    hash = room.record.avatar[0] if room.record.avatar else ""
    photo = f"<photo>{hash}</photo>" if hash else "<photo/>"
    inside = f"<x xmlns='{UPDATE_NS}'>{photo}</x>".encode()
    return Stanza(Kind.PRESENCE, "", None, room.jid, "", inside, (f"{UPDATE_NS}|x",))
