"""The end of a room (XEP-0045 section 10.9)."""

from __future__ import annotations

from xmppd.errors import JidMalformed, MalformedJid
from xmppd.jid import JID
from xmppd.stanza import Kind, Stanza
from xmppd.xml import Element, escape, find, quoted, text_of

from .elements import MUC_USER_TAG, OCCUPANT_ID_TAG, muc_user_element, muc_user_item
from .model import OWNER_NS, REASON_LENGTH, Affiliation, Broadcast, DeleteRoom, Effect, Plan, Role
from .room import RoomState


def destroy_as_asked(room: RoomState, destroy: Element) -> Plan:
    """Decides an owner's <destroy/>. Raises JidMalformed."""
    venue = destroy.get("jid", "")
    try:
        if venue:
            venue = JID.parse(venue).bare
    except MalformedJid:
        raise JidMalformed() from None
    reason = text_of(find(destroy, OWNER_NS, "reason"))[:REASON_LENGTH]
    password = text_of(find(destroy, OWNER_NS, "password"))[:REASON_LENGTH]
    return destroy_room(room, venue, reason, password)


def destroy_room(room: RoomState, venue: str = "", reason: str = "", password: str = "", id: str = "") -> Plan:
    """Deletes everything that the room owns, and sends one last presence to each session.

    `venue`: the room to go to. `id`: of the presence with which the last occupant leaves, who waits for its reflection.
    """
    start = f"<destroy jid='{quoted(venue)}'" if venue else "<destroy"
    inside = f"<password>{escape(password)}</password>" if password else ""
    inside += f"<reason>{escape(reason)}</reason>" if reason else ""
    x = muc_user_element(muc_user_item(Affiliation.NONE, Role.NONE) + f"{start}>{inside}</destroy>", (110,))
    tags = (MUC_USER_TAG, OCCUPANT_ID_TAG)

    plan = Plan([DeleteRoom()])

    def apply() -> list[Effect]:
        effects: list[Effect] = []
        for occupant in list(room.occupants.values()):
            stanza = Stanza(Kind.PRESENCE, "unavailable", None, occupant.jid, id, x + occupant.id, tags)
            effects.append(Broadcast(stanza, tuple(session.jid for session in occupant.sessions.values())))
            for full in list(occupant.sessions):
                room.remove_session(occupant, full)
        plan.before_reply = len(effects)  # the owner hears of success behind that
        return effects

    plan.apply = apply
    return plan
