"""The presence of occupants as the others and they themselves see it (XEP-0045 sections 7.2.2 to 7.2.4, 7.7)."""

from __future__ import annotations

from collections.abc import Iterable
from secrets import token_hex

from xmppd.jid import JID
from xmppd.stanza import Kind, Stanza

from .elements import (
    HATS_TAG,
    MUC_USER_TAG,
    NO_NOTICE,
    OCCUPANT_ID_TAG,
    Notice,
    muc_user_element,
    muc_user_item,
)
from .model import Broadcast, Effect, Occupant, OccupantSession, Role
from .room import RoomState


def _presence(room: RoomState, occupant: Occupant, session: OccupantSession, type: str, x: bytes) -> Stanza:
    shown = session.presence
    hats = b"" if type else room.hats_element(occupant.bare)
    return Stanza(
        Kind.PRESENCE,
        type,
        None,
        occupant.jid,
        shown.id,
        shown.inside + x + occupant.id + hats,
        (*shown.tags, MUC_USER_TAG, OCCUPANT_ID_TAG, *((HATS_TAG,) if hats else ())),
        shown.lang,
    )


def presence_to_others(
    room: RoomState,
    about: Occupant,
    session: OccupantSession,
    to: Iterable[Occupant],
    type: str = "",
    notice: Notice = NO_NOTICE,
    role: Role | None = None,
) -> list[Effect]:
    """Returns the presence of an occupant to others, with the real address for those who may see it: nothing if the
    room does not broadcast the presence of its role."""
    role = about.role if role is None else role
    return _to_others(room, about, session, to, type, notice, role) if room.is_shown(about) else []


def _to_others(
    room: RoomState,
    about: Occupant,
    session: OccupantSession,
    to: Iterable[Occupant],
    type: str,
    notice: Notice,
    role: Role,
) -> list[Effect]:
    affiliation = room.affiliation(session.jid)
    seeing: list[JID] = []
    blind: list[JID] = []
    non_anonymous = room.is_non_anonymous()
    for other in to:
        group = seeing if non_anonymous or other.role is Role.MODERATOR else blind
        group.extend(each.jid for each in other.sessions.values())
    effects: list[Effect] = []
    for group, address in ((seeing, session.jid.full), (blind, "")):
        if group:
            x = muc_user_element(muc_user_item(affiliation, role, address, notice), notice.codes)
            effects.append(Broadcast(_presence(room, about, session, type, x), tuple(group)))
    return effects


def self_presence(
    room: RoomState,
    about: Occupant,
    session: OccupantSession,
    to: Iterable[JID],
    type: str = "",
    notice: Notice = NO_NOTICE,
    role: Role | None = None,
) -> list[Effect]:
    """Returns the presence of an occupant to its own clients, with status code 110 (section 7.2.2)."""
    role = about.role if role is None else role
    item = muc_user_item(room.affiliation(session.jid), role, session.jid.full, notice)
    stanza = _presence(room, about, session, type, muc_user_element(item, (110, *notice.codes)))
    return [Broadcast(stanza, tuple(to))]


def presence_gone(room: RoomState, about: Occupant) -> list[Effect]:
    """Returns what the others get when an occupant they saw is one whose presence is not broadcast any more: to them it
    leaves. Nothing if they see it still."""
    if room.is_shown(about):
        return []
    session = OccupantSession(about.latest.jid, Stanza(Kind.PRESENCE, "unavailable"))
    return _to_others(room, about, session, room.others(about), "unavailable", NO_NOTICE, Role.NONE)


def presence_to_all(room: RoomState, about: Occupant, notice: Notice = NO_NOTICE) -> list[Effect]:
    """Returns the present presence of an occupant to all others and to itself."""
    session = about.latest
    others = room.others(about)
    own = [each.jid for each in about.sessions.values()]
    return [
        *presence_to_others(room, about, session, others, "", notice),
        *self_presence(room, about, session, own, "", notice),
    ]


def presence_if_changed(
    room: RoomState, about: Occupant, before: OccupantSession, informed: OccupantSession | None = None
) -> list[Effect]:
    """Returns the presence of an occupant to those to whom it shows otherwise than from the session `before`.

    `informed`: a session of its own that has got it.
    """
    session = about.latest
    others = room.others(about)
    own = [each.jid for each in about.sessions.values() if each is not informed]
    if (session.presence.inside, session.presence.lang) == (before.presence.inside, before.presence.lang):
        if session.jid == before.jid:
            return []
        others = [other for other in others if room.sees_addresses(other)]
    effects = presence_to_others(room, about, session, others)
    return effects + self_presence(room, about, session, own) if own else effects


def presence_of(room: RoomState, others: Iterable[Occupant], to: Occupant, session: OccupantSession) -> list[Effect]:
    """Returns the presence of other occupants to one session of an occupant."""
    alone = Occupant(to.jid, to.key, to.bare, to.role, to.id, {"": session})
    return [effect for each in others for effect in presence_to_others(room, each, each.latest, (alone,))]


def remove_occupants(room: RoomState, leaving: Iterable[tuple[Occupant, Notice]]) -> tuple[list[Effect], list[Effect]]:
    """Takes occupants out of the room; returns what they get, and what those who stay get."""
    own: list[Effect] = []
    left: list[tuple[Occupant, OccupantSession, Notice]] = []
    for about, notice in leaving:
        session = OccupantSession(about.latest.jid, Stanza(Kind.PRESENCE, "unavailable"))
        jids = [each.jid for each in about.sessions.values()]
        own += self_presence(room, about, session, jids, "unavailable", notice, Role.NONE)
        for full in list(about.sessions):
            room.remove_session(about, full)
        left.append((about, session, notice))
    rest: list[Effect] = []
    for about, session, notice in left:
        staying = room.occupants.values()
        rest += presence_to_others(room, about, session, staying, "unavailable", notice, Role.NONE)
    return own, rest


def room_notice(room: RoomState, x: bytes) -> list[Effect]:
    """Returns a message of the room itself to all occupants (section 10.2.1). `x`: <x/> of muc#user."""
    stanza = Stanza(Kind.MESSAGE, "groupchat", None, room.jid, token_hex(8), x, (MUC_USER_TAG,))
    everyone = room.all_jids()
    return [Broadcast(stanza, everyone)] if everyone else []
