"""Configuration and destruction (XEP-0045 section 10), registration with a room (section 7.10)."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from xmppd.errors import BadRequest, Conflict, Forbidden, JidMalformed, MalformedJid, NotAllowed, RegistrationRequired
from xmppd.jid import JID
from xmppd.stanza import Kind, Stanza
from xmppd.xep.forms import Field, Submitted, form, read_form
from xmppd.xml import E, Element, escape, find, quoted, text_of

from . import full_lists
from .admin import Administration, Turn
from .invitations import REASON
from .members import Members
from .model import (
    MUC_NS,
    OWNER_NS,
    Affiliation,
    Cast,
    Effect,
    Member,
    Plan,
    Role,
    SaveMember,
    SaveRoom,
    Value,
    Vanish,
)
from .options import FEATURES, MEMBERS_ONLY, MODERATED, PERSISTENT
from .state import OCCUPANT_ID_TAG, X_TAG, Notice, item_text, x_bytes

CONFIG: Final = MUC_NS + "#roomconfig"
REGISTER: Final = MUC_NS + "#register"
REGISTER_NS: Final = "jabber:iq:register"


class Ownership(Administration):
    # ---- configuration

    def _check_owner(self, who: JID) -> None:
        if self.affiliation(who) is not Affiliation.OWNER:
            raise Forbidden("only owners may do this")

    def config_form(self, who: JID) -> Element:
        """Section 10.2. Raises Forbidden."""
        self._check_owner(who)
        fields = [field for option in FEATURES for field in option.fields(self)] + full_lists.fields(self.members)
        title = f"Configuration of {self.jid.bare}"
        return E("query", OWNER_NS, {}, form("form", CONFIG, fields, title))

    def configure(self, who: JID, query: Element) -> Plan:
        """A set of muc#owner: a filled-in form, its cancellation, or <destroy/> (sections 10.1 to 10.9).

        Raises Forbidden, BadRequest, NotAcceptable, JidMalformed, Conflict, ResourceConstraint.
        """
        self._check_owner(who)
        destroy = find(query, OWNER_NS, "destroy")
        if destroy is not None:
            return self._destroy(destroy)
        submitted = read_form(query)
        if submitted is None:
            raise BadRequest("a form is needed")
        if submitted.type == "cancel":
            return self.destroyed() if self.record.locked else Plan()
        if submitted.type != "submit":
            raise BadRequest("a form to submit is needed")
        if submitted.values and submitted.form_type not in (CONFIG, ""):
            raise BadRequest("not the form of a room")
        return self._configure(who, submitted)

    def _configure(self, who: JID, submitted: Submitted) -> Plan:
        options: dict[str, Value] = dict(self.options)
        codes: set[int] = set()
        for option in FEATURES:
            value, before = option.read(submitted, self), self.options.get(option.var, option.default)
            if value is not None and value != before:
                options[option.var] = value
                codes.update(option.codes(before, value))
        members_only = bool(options.get(MEMBERS_ONLY.var, MEMBERS_ONLY.default))
        members, saves, turns = self._listed_anew(submitted, members_only)
        if turns:
            codes.add(104)
        record = replace(self.record, locked=False, options=options)
        plan = Plan([SaveRoom(record), *saves])
        if not self.seats and not options.get(PERSISTENT.var, PERSISTENT.default):
            plan.saves = [Vanish()]  # nobody is in it, and it is no longer kept
        was_members_only, was_moderated = MEMBERS_ONLY.of(self), MODERATED.of(self)
        actor = self.seats[who.full].nick if who.full in self.seats else ""

        def apply() -> list[Effect]:
            self.record, self.options, self.members = record, options, members
            effects: list[Effect] = []
            if MEMBERS_ONLY.of(self) and not was_members_only:
                effects += self._only_members()
            effects += self.turned(turns, actor, who)
            if was_moderated and not MODERATED.of(self):
                effects += self._all_speak()
            if codes:
                effects += self.announced(x_bytes("", codes))
            return effects

        plan.apply = apply
        return plan

    def _listed_anew(self, submitted: Submitted, members_only: bool) -> tuple[Members, list[SaveMember], list[Turn]]:
        """The members as a form's lists of owners and admins leave them. Raises Conflict, ResourceConstraint."""
        members, saves, turns = Members(self.members), list[SaveMember](), list[Turn]()
        for bare, (old, new) in sorted(full_lists.changed(submitted, members, members_only).items()):
            known = members.get(bare, Member(""))
            if new is Affiliation.NONE:
                members.discard(bare)
            else:
                members[bare] = replace(known, affiliation=new.name.lower())
            saves.append(SaveMember(bare, members.get(bare)))
            turns.append(Turn(JID.parse(bare), old, new, ""))
        if turns and not self.has_owner(members):
            raise Conflict("a room has at least one owner")  # section 10.2
        self.check_room_for(len(members) - len(self.members))
        return members, saves, turns

    def _only_members(self) -> list[Effect]:
        """Section 10.2: who is no member leaves."""
        strangers = [each for each in self.occupants.values() if self.affiliation_of(each) < Affiliation.MEMBER]
        own, rest = self.removed([(each, Notice((322,))) for each in strangers])
        return own + rest

    def _all_speak(self) -> list[Effect]:
        """No longer moderated: those who only waited for voice have it."""
        effects: list[Effect] = []
        for occupant in self.occupants.values():
            if occupant.role is Role.VISITOR:
                occupant.role = Role.PARTICIPANT
                effects += self.updated(occupant)
        return effects

    # ---- destruction

    def _destroy(self, destroy: Element) -> Plan:
        venue = destroy.get("jid", "")
        try:
            if venue:
                venue = JID.parse(venue).bare
        except MalformedJid:
            raise JidMalformed() from None
        reason = text_of(find(destroy, OWNER_NS, "reason"))[:REASON]
        password = text_of(find(destroy, OWNER_NS, "password"))[:REASON]
        return self.destroyed(venue, reason, password)

    def destroyed(self, venue: str = "", reason: str = "", password: str = "") -> Plan:
        """Section 10.9: one last presence to each seat, everything that the room owns is deleted."""
        start = f"<destroy jid='{quoted(venue)}'" if venue else "<destroy"
        inside = f"<password>{escape(password)}</password>" if password else ""
        inside += f"<reason>{escape(reason)}</reason>" if reason else ""
        x = x_bytes(item_text(Affiliation.NONE, Role.NONE) + f"{start}>{inside}</destroy>", (110,))
        tags = (X_TAG, OCCUPANT_ID_TAG)

        plan = Plan([Vanish()])

        def apply() -> list[Effect]:
            effects: list[Effect] = []
            for occupant in list(self.occupants.values()):
                stanza = Stanza(Kind.PRESENCE, "unavailable", None, occupant.jid, "", x + occupant.id, tags)
                effects.append(Cast(stanza, tuple(seat.jid for seat in occupant.seats.values())))
                for full in list(occupant.seats):
                    self.stand_up(occupant, full)
            plan.ahead = len(effects)  # the owner hears of success behind that
            return effects

        plan.apply = apply
        return plan

    def leave(self, who: JID, presence: Stanza, codes: tuple[int, ...] = ()) -> Plan | None:
        """As `Entering.leave`; a room that its owner leaves before it is configured is destroyed (section 10.1.3)."""
        if self.record.locked and len(self.seats) == 1 and who.full in self.seats:
            plan = self.destroyed()
            plan.regardless = True
            return plan
        return super().leave(who, presence, codes)

    # ---- registration

    def registration(self, who: JID) -> Element:
        """Section 7.10: the form, or the nick that one has. Raises NotAllowed."""
        member = self.members.get(who.bare)
        if member is not None and member.nick:
            name = E("username", REGISTER_NS, {}, member.nick)
            return E("query", REGISTER_NS, {}, E("registered", REGISTER_NS), name)
        self._check_may_register(who)
        field = Field("muc#register_roomnick", "text-single", "Desired nick", required=True)
        text = "Say under which nick you want to be known in this room."
        x = form("form", REGISTER, (field,), f"Registration with {self.jid.bare}", text)
        return E("query", REGISTER_NS, {}, E("instructions", REGISTER_NS, {}, text), x)

    def _check_may_register(self, who: JID) -> None:
        if not self.may_register(who):
            raise NotAllowed("only admins make members of this room")

    def may_register(self, who: JID) -> bool:
        """Who is a member may reserve a nick. Others may where that is no way around the owner's decision on who enters
        or speaks."""
        affiliation = self.affiliation(who)
        if affiliation is Affiliation.OUTCAST or self.record.locked:
            return False
        return affiliation >= Affiliation.MEMBER or not (MEMBERS_ONLY.of(self) or MODERATED.of(self))

    def register(self, who: JID, query: Element) -> Plan:
        """Reserve a nick, which makes the unaffiliated members; <remove/> takes it back."""
        member = self.members.get(who.bare)
        affiliation = self.affiliation(who)
        if find(query, REGISTER_NS, "remove") is not None:
            return self._unregister(who, member, affiliation)
        self._check_may_register(who)
        submitted = read_form(query)
        nick = submitted.text("muc#register_roomnick") if submitted is not None else None
        if submitted is None or submitted.type != "submit" or submitted.form_type != REGISTER or not nick:
            raise BadRequest("a nick is needed")
        key = self.nick_key(nick)
        try:
            nick = self.jid.with_resource(nick).resource
        except MalformedJid:
            raise JidMalformed("not a nick") from None
        there, owner = self.occupants.get(key), self.members.reserved_for(key)
        if (there is not None and there.bare != who.bare) or (owner is not None and owner != who.bare):
            raise Conflict("that nick is taken")
        if owner is None and self.mistaken(nick, who.bare):
            raise Conflict("that nick looks like another's")
        new = affiliation if affiliation > Affiliation.NONE else Affiliation.MEMBER
        record = Member(new.name.lower(), nick, member.reason if member is not None else "")
        self.check_room_for(0 if member is not None else 1)
        return self._membership(who, record, Turn(who.to_bare(), affiliation, new, ""))

    def _unregister(self, who: JID, member: Member | None, affiliation: Affiliation) -> Plan:
        if affiliation is Affiliation.OUTCAST:
            raise Forbidden()
        if member is None:
            raise RegistrationRequired("you are not registered")  # XEP-0077 section 3.2
        if affiliation is Affiliation.MEMBER:
            return self._membership(who, None, Turn(who.to_bare(), affiliation, Affiliation.NONE, ""))
        return self._membership(who, replace(member, nick=""), Turn(who.to_bare(), affiliation, affiliation, ""))

    def _membership(self, who: JID, record: Member | None, turn: Turn) -> Plan:
        def apply() -> list[Effect]:
            if record is None:
                self.members.discard(who.bare)
            else:
                self.members[who.bare] = record
            return self.turned((turn,), "", who)

        return Plan([SaveMember(who.bare, record)], apply)

    # ---- accounts

    def forget(self, bare: str) -> Plan | None:
        """An account is removed: whoever gets the name later inherits nothing (G02). A ban stays, it is the room's.

        A room that nobody is left to enter (members only, and the last of them goes) goes with it.
        """
        for pair in [pair for pair in self.invitations if bare in pair]:
            del self.invitations[pair]
        member = self.members.get(bare)
        if member is not None and member.affiliation == "outcast":
            member = None
        record = replace(self.record, creator="") if self.record.creator == bare else self.record
        if member is None and record is self.record:
            return None
        others = (each for jid, each in self.members.items() if jid != bare and each.affiliation != "outcast")
        if MEMBERS_ONLY.of(self) and not self.seats and next(others, None) is None:
            return self.destroyed()
        plan = Plan()
        if member is not None:
            jid = JID.parse(bare)
            plan = self._membership(jid, None, Turn(jid, self.affiliation(jid), Affiliation.NONE, ""))
        if record is self.record:
            return plan
        turned = plan.apply

        def apply() -> list[Effect]:
            self.record = record
            return turned()

        return Plan([*plan.saves, SaveRoom(record)], apply)
