"""Mediated invitations and declines (XEP-0045 section 7.8.2)."""

from __future__ import annotations

from secrets import token_hex
from typing import Final

from xmppd.errors import BadRequest, Forbidden, ItemNotFound, JidMalformed, MalformedJid, ResourceConstraint
from xmppd.jid import JID
from xmppd.stanza import Stanza, message
from xmppd.xml import E, Element, find, text_of

from .model import REASON_LENGTH, USER_NS, Affiliation, AffiliationRecord, Effect, Plan, SaveAffiliation, Send
from .options import MAY_INVITE, MEMBERS_ONLY, PASSWORD
from .room import RoomState

AT_ONCE: Final = 10
"""So many invitations in one message."""


def _address(element: Element) -> JID:
    try:
        return JID.parse(element.get("to", ""))
    except MalformedJid:
        raise JidMalformed() from None


def _reason(element: Element) -> str:
    return text_of(find(element, USER_NS, "reason"))[:REASON_LENGTH]


def invite(room: RoomState, who: JID, invites: list[Element], id: str = "") -> Plan:
    """Invites people; in a members-only room they become members (section 9.5). `id`: of the message.

    Raises NotAcceptable, Forbidden, BadRequest, JidMalformed, ResourceConstraint.
    """
    occupant, affiliation = room.occupant_of(who), room.affiliation(who)
    for rule in MAY_INVITE:
        rule(room, occupant, affiliation)
    if len(invites) > AT_ONCE:
        raise BadRequest(f"at most {AT_ONCE} invitations at once")
    plan, sends = Plan(), list[tuple[JID, Send]]()
    for each in invites:
        to = _address(each)
        if not to.local:
            raise JidMalformed("an invitation goes to a person")
        theirs = room.affiliation(to)
        if theirs is Affiliation.OUTCAST:
            raise Forbidden("that user is banned from the room")
        if MEMBERS_ONLY.of(room) and theirs is Affiliation.NONE:
            plan.saves.append(SaveAffiliation(to.bare, AffiliationRecord("member")))
        continued = find(each, USER_NS, "continue")
        sends.append((to, Send(invitation(room, to, who.bare, _reason(each), id, continued))))
    check_affiliations_fit(room, sum(isinstance(save, SaveAffiliation) for save in plan.saves))

    def apply() -> list[Effect]:
        for save in plan.saves:
            if isinstance(save, SaveAffiliation) and save.record is not None:
                room.affiliations[save.bare] = save.record
        for to, _ in sends:
            room.allow_decline(to.bare, who.bare)
        return [send for _, send in sends]

    plan.apply = apply
    return plan


def check_affiliations_fit(room: RoomState, more: int) -> None:
    """Checks that the list of affiliations may grow. Raises ResourceConstraint."""
    if more > 0 and len(room.affiliations) + more > room.settings.affiliations:
        raise ResourceConstraint("the list of affiliations is full")


def invitation(
    room: RoomState, to: JID, inviter: str, reason: str = "", id: str = "", continued: Element | None = None
) -> Stanza:
    """Builds the message to the invited; with the password, if there is one. `continued`: <continue/> (section 7.9)."""
    proceed = None
    if continued is not None:
        thread = continued.get("thread")
        proceed = E("continue", USER_NS, {"thread": thread} if thread else {})
    secret = PASSWORD.of(room)
    x = E(
        "x",
        USER_NS,
        {},
        E("invite", USER_NS, {"from": inviter}, E("reason", USER_NS, {}, reason) if reason else None, proceed),
        E("password", USER_NS, {}, secret) if secret else None,
    )
    return message("normal", x, to=to, sender=room.jid).stamped(id=id or token_hex(8))


def decline(room: RoomState, who: JID, decline: Element, id: str = "") -> Plan:
    """Tells an inviter of a decline; only somebody who was invited by that one can decline.

    Raises ItemNotFound, JidMalformed.
    """
    to = _address(decline)
    if to.bare == room.jid.bare:
        inviter = room.occupant_named(to.resource)
        to = inviter.latest.jid if inviter is not None else to
    if (who.bare, to.bare) not in room.invitations:
        raise ItemNotFound("there is no such invitation")
    reason = _reason(decline)
    child = E("reason", USER_NS, {}, reason) if reason else None
    x = E("x", USER_NS, {}, E("decline", USER_NS, {"from": who.bare}, child))
    present = (jid for jid in room.all_jids() if jid.bare == to.bare)
    out = message("normal", x, to=next(present, to.to_bare()), sender=room.jid).stamped(id=id or token_hex(8))

    def apply() -> list[Effect]:
        room.invitations.pop((who.bare, to.bare))
        return [Send(out)]

    return Plan(apply=apply)
