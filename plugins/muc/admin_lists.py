"""The lists of muc#admin: who has a role, who has an affiliation (XEP-0045 sections 8.5, 9.2, 9.5, 9.8, 10.5, 10.8)."""

from __future__ import annotations

from xmppd.errors import BadRequest, Forbidden
from xmppd.jid import JID
from xmppd.xml import E, Element

from .administration import read_items
from .model import ADMIN_NS, Affiliation, Role
from .options import MEMBER_LIST
from .privileges import ADMINS, check_list
from .room import RoomState


def admin_list(room: RoomState, who: JID, query: Element) -> Element:
    """Answers a get of muc#admin with the list that it asks for. Raises Forbidden, BadRequest, JidMalformed."""
    asked = read_items(query)
    if len(asked) != 1:
        raise BadRequest("one list at a time")
    listed, affiliation = asked[0].role, asked[0].affiliation
    if listed is not None:
        return E("query", ADMIN_NS, {}, *_role_list(room, who, listed))
    assert affiliation is not None
    acting, rank = room.sessions.get(who.full), room.affiliation(who)
    role = acting.role if acting is not None else room.initial_role(rank)  # a member need not be in the room
    check_list(rank, affiliation, room.is_non_anonymous() and MEMBER_LIST.opens_to(room, role))
    return E("query", ADMIN_NS, {}, *_affiliation_list(room, affiliation))


def _role_list(room: RoomState, who: JID, role: Role) -> list[Element]:
    acting = room.sessions.get(who.full)
    if acting is None or acting.role is not Role.MODERATOR or role is Role.NONE:
        raise Forbidden()
    if role is Role.MODERATOR and room.affiliation(who) not in ADMINS:
        raise Forbidden()
    return [
        E(
            "item",
            ADMIN_NS,
            {
                "affiliation": room.affiliation_of(each).name.lower(),
                "jid": each.latest.jid.full,
                "nick": each.nick,
                "role": role.name.lower(),
            },
        )
        for each in room.occupants.values()
        if each.role is role
    ]


def _affiliation_list(room: RoomState, affiliation: Affiliation) -> list[Element]:
    word, found = affiliation.name.lower(), []
    occupants = {each.bare: each for each in room.occupants.values() if room.is_shown(each)}
    for bare, record in room.affiliations.items():
        if record.affiliation != word:
            continue
        attributes = {"affiliation": word, "jid": bare}  # no role: section 17.4
        occupant = occupants.get(bare)
        nick = record.nick or (occupant.nick if occupant is not None else "")
        if nick:
            attributes["nick"] = nick
        reason = E("reason", ADMIN_NS, {}, record.reason) if record.reason else None
        found.append(E("item", ADMIN_NS, attributes, reason))
    return found
