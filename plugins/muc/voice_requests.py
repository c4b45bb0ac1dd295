"""Requests for voice and a moderator's answers to them (XEP-0045 sections 7.13, 8.6)."""

from __future__ import annotations

from secrets import token_hex
from typing import Final

from xmppd.errors import BadRequest, Forbidden, ItemNotFound
from xmppd.jid import JID
from xmppd.stanza import message
from xmppd.xep.forms import Field, Submitted, form

from .affiliation_changes import set_role
from .elements import NO_NOTICE
from .kept_roles import keep_voice
from .model import MUC_NS, Effect, Occupant, Plan, Role, Send
from .privileges import check_role
from .room import RoomState

REQUEST_FORM: Final = MUC_NS + "#request"


def voice_form(room: RoomState, who: JID, submitted: Submitted) -> Plan:
    """Decides the form of a visitor who asks for voice, or of a moderator who answers.

    Raises NotAcceptable, BadRequest, Forbidden, ItemNotFound, NotAllowed.
    """
    occupant = room.occupant_of(who)
    if "muc#request_allow" in submitted.values:
        return _answer(room, who, occupant, submitted)
    return _request(room, who, occupant, submitted)


def _request(room: RoomState, who: JID, occupant: Occupant, submitted: Submitted) -> Plan:
    if submitted.text("muc#role") != "participant":
        raise BadRequest("only voice can be asked for")
    if occupant.role is not Role.VISITOR:
        raise BadRequest("you have voice")
    fields = (
        Field("muc#role", "list-single", "Requested role", ("participant",), (("participant", "Participant"),)),
        Field("muc#jid", "jid-single", "User", (who.full,)),
        Field("muc#roomnick", "text-single", "Nick", (occupant.nick,)),
        Field("muc#request_allow", "boolean", "Grant voice to this person?", ("0",)),
    )
    x = form("form", REQUEST_FORM, fields, "Voice request", "Somebody asks for voice in this room.")
    out = message("normal", x, sender=room.jid).stamped(id=token_hex(8))
    moderators = [each for each in room.occupants.values() if each.role is Role.MODERATOR]
    return Plan(
        apply=lambda: [Send(out.stamped(to=session.jid)) for each in moderators for session in each.sessions.values()]
    )


def _answer(room: RoomState, who: JID, occupant: Occupant, submitted: Submitted) -> Plan:
    if occupant.role is not Role.MODERATOR:
        raise Forbidden()
    if not submitted.boolean("muc#request_allow"):
        return Plan()
    target = room.occupant_named(submitted.text("muc#roomnick") or "")
    if target is None:
        raise ItemNotFound("nobody of that nick is here")
    check_role(room.affiliation(who), occupant.role, room.affiliation_of(target), target.role, Role.PARTICIPANT)

    def apply() -> list[Effect]:
        if target.role is not Role.VISITOR:
            return []
        effects = set_role(room, target, Role.PARTICIPANT, NO_NOTICE)
        keep_voice(room, target)
        return effects

    return Plan(apply=apply)
