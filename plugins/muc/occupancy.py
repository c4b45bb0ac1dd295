"""The presence of those who are in a room: updates, other nicks, leaving (XEP-0045 sections 7.2.16, 7.6, 7.7, 7.14).

How one gets in is in `join`.
"""

from __future__ import annotations

from xmppd.contracts.routes import Arrival
from xmppd.errors import JidMalformed
from xmppd.jid import JID
from xmppd.stanza import Kind, Stanza

from .destruction import destroy_room
from .elements import MUC_USER_TAG, NO_NOTICE, Notice, muc_user_element, muc_user_item, without_forgeries
from .model import Affiliation, DeleteRoom, Effect, Occupant, OccupantSession, Plan, Role, Send
from .nick_conflicts import check_nick, nick_key
from .presence import presence_if_changed, presence_of, presence_to_all, presence_to_others, self_presence
from .registry import RoomSlot
from .room import RoomState
from .service import RoomService, sender_of

# ---- handlers


async def handle_available(service: RoomService, slot: RoomSlot, room: RoomState, arrival: Arrival) -> None:
    """Handles presence of an occupant that is no request to join. Raises StanzaError."""
    who = sender_of(arrival)
    service.count_change(slot, who)
    await service.carry_out(slot, update_presence(room, who, arrival.stanza))


async def handle_unavailable(service: RoomService, slot: RoomSlot, room: RoomState, arrival: Arrival) -> None:
    """Handles the presence of a client that leaves: it is never refused."""
    await service.carry_out(slot, leave(room, sender_of(arrival), arrival.stanza))


# ---- presence and nicks


def update_presence(room: RoomState, who: JID, stanza: Stanza) -> Plan:
    """Decides a change of presence or nick. A stranger's client is out of step and is told so (section 7.2.16).

    Raises Conflict, JidMalformed, NotAcceptable.
    """
    assert stanza.to is not None
    if not stanza.to.resource:
        raise JidMalformed("a nick is needed")
    occupant = room.sessions.get(who.full)
    if occupant is None:
        notice = Notice((110, 307, 333), reason="You are not in the room.")
        x = muc_user_element(muc_user_item(Affiliation.NONE, Role.NONE, "", notice), notice.codes)
        answer = Stanza(Kind.PRESENCE, "unavailable", who, stanza.to, stanza.id, x, (MUC_USER_TAG,))
        return Plan(apply=lambda: [Send(answer)])
    presence = without_forgeries(room.jid, stanza)
    if stanza.to.resource != occupant.nick:
        return change_nick(room, who, stanza.to.resource, presence)

    def apply() -> list[Effect]:
        room.add_session(occupant, OccupantSession(who, presence))
        return presence_to_all(room, occupant)

    return Plan(apply=apply)


def change_nick(room: RoomState, who: JID, nick: str, presence: Stanza) -> Plan:
    """Decides a change of nick (section 7.6). One session of several leaves the others under the old one.

    Raises Conflict, JidMalformed.
    """
    occupant, key = room.occupant_of(who), nick_key(room, nick)
    target = check_nick(room, nick, key, who)
    if target is occupant and (len(occupant.sessions) > 1 or nick == occupant.nick):
        return Plan(apply=lambda: _moved(room, occupant, occupant, OccupantSession(who, presence)))

    def apply() -> list[Effect]:
        new = target
        if new is None or new is occupant:
            new = room.new_occupant(nick, key, who, occupant.role, occupant.id)
        return _moved(room, occupant, new, OccupantSession(who, presence))

    return Plan(apply=apply)


def _moved(room: RoomState, old: Occupant, new: Occupant, session: OccupantSession) -> list[Effect]:
    """Moves a session from one nick to another."""
    if old is new:
        room.add_session(old, session)
        return presence_to_all(room, old)
    notice = Notice((303,), nick=new.nick)
    left = OccupantSession(session.jid, Stanza(Kind.PRESENCE, "unavailable", id=session.presence.id))
    last = len(old.sessions) == 1
    effects = self_presence(room, old, left, (session.jid,), "unavailable", notice)
    if last:
        seen = notice if room.is_shown(new) else NO_NOTICE  # where it goes may be out of sight
        effects += presence_to_others(room, old, left, room.others(old), "unavailable", seen)
    before = old.latest
    room.remove_session(old, session.jid.full)
    room.add_session(new, session)
    if not last:
        # Its other clients go on under the old nick, which this one has just seen going.
        effects += presence_of(room, (old,), new, session) + presence_if_changed(room, old, before)
    return effects + presence_to_all(room, new)


# ---- leaving


def leave(room: RoomState, who: JID, presence: Stanza, codes: tuple[int, ...] = ()) -> Plan | None:
    """Takes a session out of the room (section 7.14, and 17.2.2 with code 333). None if it is not there (17.3.2).

    A temporary room ends with its last occupant; a room that its owner leaves before it is configured is destroyed
    (section 10.1.3).
    """
    occupant = room.sessions.get(who.full)
    if occupant is None:
        return None
    last = len(room.sessions) == 1
    if room.record.locked and last:
        plan = destroy_room(room, id=presence.id)
        plan.apply_unsaved = True
        return plan
    plan = Plan(apply_unsaved=True)
    if last and not room.is_persistent():
        plan.saves.append(DeleteRoom())
    session = OccupantSession(who, without_forgeries(room.jid, presence))
    plan.apply = lambda: _left(room, occupant, session, Notice(codes))
    return plan


def leave_silently(room: RoomState, who: JID) -> Plan | None:
    """As `leave`, for a client that can say nothing any more."""
    return leave(room, who, Stanza(Kind.PRESENCE, "unavailable", None, who))


def _left(room: RoomState, occupant: Occupant, session: OccupantSession, notice: Notice) -> list[Effect]:
    effects = self_presence(room, occupant, session, (session.jid,), "unavailable", notice, Role.NONE)
    room.remove_session(occupant, session.jid.full)
    if occupant.sessions:
        # Other clients share the nick: it is still there, as the one that sent presence last.
        return effects + presence_to_all(room, occupant)
    others = room.occupants.values()
    return effects + presence_to_others(room, occupant, session, others, "unavailable", notice, Role.NONE)
