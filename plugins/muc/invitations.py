"""Mediated invitations, declines, requests for voice (XEP-0045 sections 7.8.2, 7.13, 8.6)."""

from __future__ import annotations

from secrets import token_hex
from typing import Final

from xmppd.errors import BadRequest, Forbidden, ItemNotFound, JidMalformed, MalformedJid, ResourceConstraint
from xmppd.jid import JID
from xmppd.stanza import Stanza, message
from xmppd.xep.forms import NS as DATA_NS
from xmppd.xep.forms import Field, Submitted, form, read_form
from xmppd.xml import E, Element, children, find, text_of

from .model import MUC_NS, USER_NS, Affiliation, Effect, Member, Occupant, Plan, Role, SaveMember, Send
from .options import MAY_INVITE, MEMBERS_ONLY, PASSWORD
from .privileges import check_role
from .speech import Speech

REQUEST: Final = MUC_NS + "#request"
AT_ONCE: Final = 10
REASON: Final = 1000


def _address(element: Element) -> JID:
    try:
        return JID.parse(element.get("to", ""))
    except MalformedJid:
        raise JidMalformed() from None


def _reason(element: Element) -> str:
    return text_of(find(element, USER_NS, "reason"))[:REASON]


class Invitations(Speech):
    def tell_room(self, who: JID, stanza: Stanza) -> Plan:
        """A message to the room itself that is not for all. Raises StanzaError."""
        x = stanza.child(USER_NS, "x")
        if x is not None:
            invites = list(children(x, USER_NS, "invite"))
            decline = find(x, USER_NS, "decline")
            if invites:
                return self.invite(who, invites, stanza.id)
            if decline is not None:
                return self.decline(who, decline, stanza.id)
        if f"{DATA_NS}|x" in stanza.tags:
            submitted = read_form(stanza.xml)
            if submitted is not None and submitted.type == "cancel" and submitted.form_type in (REQUEST, ""):
                self.occupant(who)
                return Plan()  # a moderator skips a request (section 8.6)
            if submitted is not None and submitted.form_type == REQUEST:
                return self.voice(who, submitted)
        self.occupant(who)
        raise BadRequest("a message to all is of type groupchat")

    # ---- invitations

    def invite(self, who: JID, invites: list[Element], id: str = "") -> Plan:
        """Section 7.8.2. In a members-only room the invited become members (section 9.5)."""
        occupant, affiliation = self.occupant(who), self.affiliation(who)
        for rule in MAY_INVITE:
            rule(self, occupant, affiliation)
        if len(invites) > AT_ONCE:
            raise BadRequest(f"at most {AT_ONCE} invitations at once")
        plan, effects = Plan(), list[Effect]()
        for each in invites:
            to = _address(each)
            if not to.local:
                raise JidMalformed("an invitation goes to a person")
            theirs = self.affiliation(to)
            if theirs is Affiliation.OUTCAST:
                raise Forbidden("that user is banned from the room")
            if MEMBERS_ONLY.of(self) and theirs is Affiliation.NONE:
                plan.saves.append(SaveMember(to.bare, Member("member")))
            more = find(each, USER_NS, "continue")
            effects.append(Send(self.invitation(to, who.bare, _reason(each), id, more)))
        self.check_room_for(sum(isinstance(save, SaveMember) for save in plan.saves))

        def apply() -> list[Effect]:
            for save in plan.saves:
                if isinstance(save, SaveMember) and save.member is not None:
                    self.members[save.bare] = save.member
            for effect in effects:
                assert isinstance(effect, Send) and effect.stanza.to is not None
                self.invited(effect.stanza.to.bare, who.bare)
            return effects

        plan.apply = apply
        return plan

    def check_room_for(self, more: int) -> None:
        """Raises ResourceConstraint when the list of affiliations would grow too long."""
        if more > 0 and len(self.members) + more > self.settings.affiliations:
            raise ResourceConstraint("the list of affiliations is full")

    def invitation(self, to: JID, inviter: str, reason: str = "", id: str = "", more: Element | None = None) -> Stanza:
        """The message to the invited; with the password, if there is one."""
        proceed = None
        if more is not None:
            thread = more.get("thread")
            proceed = E("continue", USER_NS, {"thread": thread} if thread else {})
        secret = PASSWORD.of(self)
        x = E(
            "x",
            USER_NS,
            {},
            E("invite", USER_NS, {"from": inviter}, E("reason", USER_NS, {}, reason) if reason else None, proceed),
            E("password", USER_NS, {}, secret) if secret else None,
        )
        return message("normal", x, to=to, sender=self.jid).stamped(id=id or token_hex(8))

    def decline(self, who: JID, decline: Element, id: str = "") -> Plan:
        """Tell the inviter; only somebody who was invited by that one can decline. Raises ItemNotFound."""
        to = _address(decline)
        if to.bare == self.jid.bare:
            there = self.named(to.resource)
            to = there.main.jid if there is not None else to
        if (who.bare, to.bare) not in self.invitations:
            raise ItemNotFound("there is no such invitation")
        reason = _reason(decline)
        child = E("reason", USER_NS, {}, reason) if reason else None
        x = E("x", USER_NS, {}, E("decline", USER_NS, {"from": who.bare}, child))
        seated = next(
            (seat.jid for one in self.occupants.values() for seat in one.seats.values() if one.bare == to.bare),
            to.to_bare(),
        )
        out = message("normal", x, to=seated, sender=self.jid).stamped(id=id or token_hex(8))

        def apply() -> list[Effect]:
            self.invitations.pop((who.bare, to.bare), None)
            return [Send(out)]

        return Plan(apply=apply)

    # ---- voice

    def voice(self, who: JID, submitted: Submitted) -> Plan:
        """A request (section 7.13), or a moderator's answer to one (section 8.6)."""
        occupant = self.occupant(who)
        if "muc#request_allow" in submitted.values:
            return self._grant(who, occupant, submitted)
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
        x = form("form", REQUEST, fields, "Voice request", "Somebody asks for voice in this room.")
        out = message("normal", x, sender=self.jid).stamped(id=token_hex(8))
        moderators = [each for each in self.occupants.values() if each.role is Role.MODERATOR]
        return Plan(
            apply=lambda: [Send(out.stamped(to=seat.jid)) for each in moderators for seat in each.seats.values()]
        )

    def _grant(self, who: JID, occupant: Occupant, submitted: Submitted) -> Plan:
        if occupant.role is not Role.MODERATOR:
            raise Forbidden()
        if not submitted.boolean("muc#request_allow"):
            return Plan()
        target = self.named(submitted.text("muc#roomnick") or "")
        if target is None:
            raise ItemNotFound("nobody of that nick is here")
        check_role(self.affiliation(who), occupant.role, self.affiliation_of(target), target.role, Role.PARTICIPANT)

        def apply() -> list[Effect]:
            if target.role is not Role.VISITOR:
                return []
            target.role = Role.PARTICIPANT
            return self.updated(target)

        return Plan(apply=apply)
