"""The elements that a room writes: <x/> of muc#user, what only it may write, real addresses in its archive."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from xmppd.errors import MalformedJid
from xmppd.jid import JID
from xmppd.stanza import Stanza
from xmppd.xep.elements import DELAY_NS, SID_NS
from xmppd.xml import Element, escape, quoted

from .model import HATS_NS, MUC_NS, OCCUPANT_ID_NS, USER_NS, Affiliation, Role

MUC_USER_TAG: Final = f"{USER_NS}|x"
OCCUPANT_ID_TAG: Final = f"{OCCUPANT_ID_NS}|occupant-id"
STANZA_ID_TAG: Final = f"{SID_NS}|stanza-id"
HATS_TAG: Final = f"{HATS_NS}|hats"
FORGEABLE: Final = frozenset(
    (STANZA_ID_TAG, OCCUPANT_ID_TAG, MUC_USER_TAG, HATS_TAG, f"{MUC_NS}|x", f"{DELAY_NS}|delay")
)
"""Children that only the room may write: a stanza that has one of them is looked at closely (T28)."""
_ADDRESSES: Final = (f"<x xmlns='{USER_NS}'><item ".encode(), f'<x xmlns="{USER_NS}"><item '.encode())
"""As a room writes it, and as a tree is written: that of a tombstone."""
_END: Final = b"</message>"


@dataclass(frozen=True, slots=True)
class Notice:
    """What a presence says beside affiliation and role: status codes, who did it and why, the new nick."""

    codes: tuple[int, ...] = ()
    actor: str = ""
    reason: str = ""
    nick: str = ""


NO_NOTICE: Final = Notice()


def muc_user_element(item: str, codes: Iterable[int] = ()) -> bytes:
    """Serialises <x/> of muc#user with an item (serialised) and status codes."""
    statuses = "".join(f"<status code='{code}'/>" for code in sorted(set(codes)))
    return f"<x xmlns='{USER_NS}'>{item}{statuses}</x>".encode()


def muc_user_item(affiliation: Affiliation, role: Role, jid: str = "", notice: Notice = NO_NOTICE) -> str:
    """Serialises <item/> of muc#user."""
    start = f"<item affiliation='{affiliation.name.lower()}' role='{role.name.lower()}'"
    if jid:
        start += f" jid='{quoted(jid)}'"
    if notice.nick:
        start += f" nick='{quoted(notice.nick)}'"
    inside = f"<actor nick='{quoted(notice.actor)}'/>" if notice.actor else ""
    if notice.reason:
        inside += f"<reason>{escape(notice.reason)}</reason>"
    return f"{start}>{inside}</item>" if inside else f"{start}/>"


def without_forgeries(room: JID, stanza: Stanza) -> Stanza:
    """Removes what only the room may write from a stanza (T28): its stanza-ids, all occupant ids, muc#user,
    hats, its delays."""
    if FORGEABLE.isdisjoint(stanza.tags):
        return stanza
    return (
        stanza.without(OCCUPANT_ID_NS, "occupant-id")
        .without(USER_NS, "x")
        .without(HATS_NS, "hats")
        .without(MUC_NS, "x")
        .without(SID_NS, "stanza-id", lambda each: _claims_room(room, each, "by"))
        .without(DELAY_NS, "delay", lambda each: _claims_room(room, each, "from"))
    )


def _claims_room(room: JID, element: Element, attribute: str) -> bool:
    """Whether an element claims to be written by this room, one of its occupants or its service."""
    try:
        claimed = JID.parse(element.get(attribute, ""))
    except MalformedJid:
        return True
    return claimed.bare in (room.bare, room.domain)


def archived_message(body: bytes, addresses: bool) -> bytes:
    """Returns an archived message with the sender's real address only for those who may see it (`addresses`)."""
    if addresses:
        return body
    at = max(map(body.rfind, _ADDRESSES))
    return body if at < 0 else body[:at] + _END
