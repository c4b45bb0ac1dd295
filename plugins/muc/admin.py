"""Roles and affiliations: kick, voice, ban, membership, ownership, and their lists (XEP-0045 sections 8 to 10)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from secrets import token_hex
from typing import Final

from xmppd.errors import BadRequest, Conflict, Forbidden, ItemNotFound, JidMalformed, MalformedJid, NotAllowed
from xmppd.jid import JID
from xmppd.stanza import Kind, Stanza
from xmppd.xml import E, Element, children, find, text_of

from .invitations import REASON, Invitations
from .members import Members
from .model import (
    ADMIN_NS,
    AFFILIATIONS,
    ROLES,
    Affiliation,
    Cast,
    Effect,
    Member,
    Occupant,
    Plan,
    Role,
    SaveMember,
    Send,
)
from .options import MEMBERS_ONLY
from .privileges import ADMINS, check_affiliation, check_list, check_role, may_give, may_moderate
from .state import X_TAG, Notice, item_text, x_bytes

ITEMS: Final = 200
TOLD: Final = 50
"""So many changes of people who are not there are told to those who are: that is a courtesy (sections 10.3 and 10.6),
and one request must not become a hundred thousand messages."""


@dataclass(frozen=True, slots=True)
class AdminItem:
    """One <item/> of a request. Of `role` and `affiliation` one is set; `reserve`: the nick to reserve."""

    nick: str = ""
    jid: JID | None = None
    role: Role | None = None
    affiliation: Affiliation | None = None
    reason: str = ""
    reserve: str | None = None


@dataclass(slots=True)
class Turn:
    """An affiliation that changes."""

    jid: JID
    old: Affiliation
    new: Affiliation
    reason: str


def read_items(query: Element) -> list[AdminItem]:
    """The items of muc#admin. Raises BadRequest, JidMalformed."""
    found = []
    for each in children(query, ADMIN_NS, "item"):
        role, affiliation, nick = each.get("role"), each.get("affiliation"), each.get("nick")
        if (role is None) is (affiliation is None):
            raise BadRequest("an item has a role or an affiliation")
        if (role is not None and role not in ROLES) or (affiliation is not None and affiliation not in AFFILIATIONS):
            raise BadRequest("no such role or affiliation")
        try:
            jid = JID.parse(each.get("jid", "")).to_bare() if each.get("jid") else None
        except MalformedJid:
            raise JidMalformed() from None
        reason = text_of(find(each, ADMIN_NS, "reason"))[:REASON]
        found.append(
            AdminItem(
                nick or "",
                jid,
                ROLES[role] if role is not None else None,
                AFFILIATIONS[affiliation] if affiliation is not None else None,
                reason,
                nick if jid is not None and affiliation is not None else None,
            )
        )
    if not found or len(found) > ITEMS:
        raise BadRequest(f"from 1 to {ITEMS} items")
    return found


class Administration(Invitations):
    # ---- changes

    def administer(self, who: JID, items: Iterable[AdminItem], service_admin: bool = False) -> Plan:
        """All items or none (section 9.5). Raises Forbidden, NotAllowed, Conflict, ItemNotFound, BadRequest.

        A service admin may make itself an owner, openly; it has no other rights of its own (T31, G02).
        """
        members, roles, turns = Members(self.members), list[tuple[Occupant, Role, str]](), list[Turn]()
        for item in items:
            if item.role is not None:
                roles.append(self._role_item(who, item))
            else:
                turns.append(self._affiliation_item(who, item, members, service_admin))
        if self.has_owner(self.members) and not self.has_owner(members):
            raise Conflict("a room has at least one owner")
        self.check_room_for(len(members) - len(self.members))
        changed = {bare for bare in {*members, *self.members} if members.get(bare) != self.members.get(bare)}
        plan = Plan([SaveMember(bare, members.get(bare)) for bare in sorted(changed)])
        actor = self.seats[who.full].nick if who.full in self.seats else ""

        def apply() -> list[Effect]:
            self.members = members
            kicked = {
                occupant.key: (occupant, Notice((307,), actor, reason))
                for occupant, role, reason in roles
                if role is Role.NONE and self.occupants.get(occupant.key) is occupant
            }
            # Section 8.2: who is put out hears of it before the moderator does, the others behind the answer.
            effects, rest = self.removed(kicked.values())
            plan.ahead = len(effects)
            effects += rest
            for occupant, role, reason in roles:
                effects += self._role_applied(occupant, role, Notice(actor=actor, reason=reason))
            return effects + self.turned(turns, actor, who)

        plan.apply = apply
        return plan

    @staticmethod
    def has_owner(members: Mapping[str, Member]) -> bool:
        return any(member.affiliation == "owner" for member in members.values())

    def _role_item(self, who: JID, item: AdminItem) -> tuple[Occupant, Role, str]:
        assert item.role is not None
        acting = self.seats.get(who.full)
        affiliation = self.affiliation(who)
        role = acting.role if acting is not None else Role.NONE
        may_moderate(affiliation, role, item.role)  # before anything is told about who is there
        if not item.nick:
            raise BadRequest("a role is given to a nick")  # section 17.4
        target = self.named(item.nick)
        if target is None:
            raise ItemNotFound("nobody of that nick is here")
        if item.role is not target.role:
            check_role(affiliation, role, self.affiliation_of(target), target.role, item.role)
            if acting is target:
                raise Conflict("not your own role")
        return target, item.role, item.reason

    def _affiliation_item(self, who: JID, item: AdminItem, members: Members, service_admin: bool) -> Turn:
        """Check one item against the members as the items before it leave them, and change them."""
        assert item.affiliation is not None
        actor, new = self.affiliation(who), item.affiliation
        claims = service_admin and item.jid is not None and item.jid.bare == who.bare and new is Affiliation.OWNER
        if not claims:
            may_give(actor, new)  # before anything is told about who is there
        jid = item.jid or self._address_of(item.nick)
        if jid.bare == who.bare and new is Affiliation.OUTCAST:
            raise Conflict("you cannot ban yourself")  # section 9.1, also for an admin
        known = members.get(jid.bare)
        old = AFFILIATIONS[known.affiliation] if known is not None else Affiliation.NONE
        if not claims:
            check_affiliation(actor, old, new)
        if not jid.local and new not in (Affiliation.OUTCAST, Affiliation.NONE):
            raise NotAllowed("a whole domain can only be banned")
        if new is Affiliation.NONE:
            members.discard(jid.bare)
        else:
            nick = item.reserve if item.reserve is not None else known.nick if known is not None else ""
            if new is Affiliation.OUTCAST:
                nick = ""  # section 9.1
            if nick:
                owner = members.reserved_for(self.nick_key(nick))
                if owner is not None and owner != jid.bare:
                    raise Conflict("that nick is reserved")
                if owner is None and members.looks_reserved(nick, jid.bare):
                    raise Conflict("that nick looks like one that is reserved")
            members[jid.bare] = Member(new.name.lower(), nick, item.reason)
        return Turn(jid, old, new, item.reason)

    def _address_of(self, nick: str) -> JID:
        if not nick:
            raise BadRequest("an affiliation is given to an address")  # section 17.4
        target = self.named(nick)
        if target is None:
            raise ItemNotFound("nobody of that nick is here")
        return target.main.jid.to_bare()

    # ---- what follows from them

    def _role_applied(self, occupant: Occupant, role: Role, notice: Notice) -> list[Effect]:
        if self.occupants.get(occupant.key) is not occupant or role is occupant.role:
            return []
        return self._with_role(occupant, role, notice)

    def _with_role(self, occupant: Occupant, role: Role, notice: Notice) -> list[Effect]:
        promoted = role is Role.MODERATOR and occupant.role is not Role.MODERATOR
        occupant.role = role
        effects = self.updated(occupant, notice)
        if promoted and not self.is_open():
            # Section 8: a moderator knows the real addresses; it does from the presence of the others.
            others = [each for each in self.occupants.values() if each is not occupant]
            effects += [effect for each in others for effect in self.shown(each, each.main, (occupant,))]
        return effects

    def turned(self, turns: Iterable[Turn], actor: str, who: JID) -> list[Effect]:
        """What follows from affiliations that `who`, here as `actor`, has changed."""
        gone: dict[str, tuple[Occupant, Notice]] = {}
        stay: list[tuple[Occupant, Turn]] = []
        away: list[Turn] = []
        merged: dict[str, Turn] = {}
        for turn in turns:
            first = merged.get(turn.jid.bare, turn)
            merged[turn.jid.bare] = Turn(turn.jid, first.old, turn.new, turn.reason)
        there: dict[str, list[Occupant]] = {}
        for each in self.occupants.values():
            there.setdefault(each.bare, []).append(each)
        for turn in merged.values():
            if turn.old is turn.new:
                continue
            here = there.get(turn.jid.bare, []) if turn.jid.local else self._below(turn.jid)
            for occupant in here:
                code = self._leaves_with(occupant)
                if code:
                    gone[occupant.key] = (occupant, Notice((code,), actor, turn.reason))
                else:
                    stay.append((occupant, turn))
            if not here:
                away.append(turn)
        own, rest = self.removed(gone.values())
        effects = own + rest
        for occupant, turn in stay:
            role = self._role_after(occupant.role, turn)
            effects += self._with_role(occupant, role, Notice((), actor, turn.reason))
        for turn in away:
            if len(away) <= TOLD:
                effects += self._told(turn)
            if turn.old is Affiliation.NONE and turn.new is Affiliation.MEMBER and MEMBERS_ONLY.of(self):
                effects.append(Send(self.invitation(turn.jid, who.bare, turn.reason)))  # section 9.5
                self.invited(turn.jid.bare, who.bare)
        return effects

    def _leaves_with(self, occupant: Occupant) -> int:
        """The status code for who may not stay, 0 for who may. Behind a membership may stand a ban of the domain."""
        affiliation = self.affiliation_of(occupant)
        if affiliation is Affiliation.OUTCAST:
            return 301
        return 321 if affiliation is Affiliation.NONE and MEMBERS_ONLY.of(self) else 0

    def _below(self, domain: JID) -> list[Occupant]:
        """A banned domain is about those who have no affiliation of their own."""
        return [
            each
            for each in self.occupants.values()
            if each.main.jid.domain == domain.domain and each.bare not in self.members
        ]

    def _role_after(self, role: Role, turn: Turn) -> Role:
        """Section 5.1.3: what one gains with an affiliation is kept, admins are moderators."""
        entry = self.entry_role(turn.new)
        if turn.old >= Affiliation.ADMIN > turn.new:
            return entry
        return max(role, entry)

    def _told(self, turn: Turn) -> list[Effect]:
        """The affiliation of somebody who is not there: told to those who may see the address (section 10.6)."""
        to = tuple(
            seat.jid for each in self.occupants.values() if self.sees_addresses(each) for seat in each.seats.values()
        )
        x = x_bytes(item_text(turn.new, Role.NONE, turn.jid.bare))
        stanza = Stanza(Kind.MESSAGE, "normal", None, self.jid, token_hex(8), x, (X_TAG,))
        return [Cast(stanza, to)] if to else []

    # ---- lists

    def listed(self, who: JID, query: Element) -> Element:
        """The list that a get asks for (sections 8.5, 9.2, 9.5, 9.8, 10.5, 10.8). Raises Forbidden, BadRequest."""
        asked = read_items(query)
        if len(asked) != 1:
            raise BadRequest("one list at a time")
        role, wanted = asked[0].role, asked[0].affiliation
        if role is not None:
            return E("query", ADMIN_NS, {}, *self._role_list(who, role))
        assert wanted is not None
        check_list(self.affiliation(who), wanted, self.is_open())
        return E("query", ADMIN_NS, {}, *self._affiliation_list(wanted))

    def _role_list(self, who: JID, role: Role) -> list[Element]:
        acting = self.seats.get(who.full)
        if acting is None or acting.role is not Role.MODERATOR or role is Role.NONE:
            raise Forbidden()
        if role is Role.MODERATOR and self.affiliation(who) not in ADMINS:
            raise Forbidden()
        return [
            E(
                "item",
                ADMIN_NS,
                {
                    "affiliation": self.affiliation_of(each).name.lower(),
                    "jid": each.main.jid.full,
                    "nick": each.nick,
                    "role": role.name.lower(),
                },
            )
            for each in self.occupants.values()
            if each.role is role
        ]

    def _affiliation_list(self, wanted: Affiliation) -> list[Element]:
        word, found = wanted.name.lower(), []
        here = {each.bare: each for each in self.occupants.values()}
        for bare, member in self.members.items():
            if member.affiliation != word:
                continue
            attributes = {"affiliation": word, "jid": bare}  # no role: section 17.4
            occupant = here.get(bare)
            nick = member.nick or (occupant.nick if occupant is not None else "")
            if nick:
                attributes["nick"] = nick
            reason = E("reason", ADMIN_NS, {}, member.reason) if member.reason else None
            found.append(E("item", ADMIN_NS, attributes, reason))
        return found
