"""Whatever is asked of a room, by whomever, it holds to the tables of privileges, every client in it sees the occupants
that are there, hears once of what changes for it and of nothing else, and sees no address that is not for it (XEP-0045
sections 5, 7.2, 8 to 10)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from plugins.muc.admin_lists import admin_list
from plugins.muc.administration import AdminItem, administer
from plugins.muc.configuration import configure
from plugins.muc.discovery import room_items
from plugins.muc.join import join
from plugins.muc.model import Affiliation, Broadcast, Effect, JoinRequest, Occupant, Plan, Role, ServiceSettings
from plugins.muc.occupancy import leave, update_presence
from plugins.muc.room import RoomState
from xmppd.errors import StanzaError
from xmppd.jid import JID
from xmppd.stanza import Kind, Stanza, parse_stanza
from xmppd.xml import E

ROOM = JID.parse("tavern@rooms.lit")
USER = "{http://jabber.org/protocol/muc#user}"
PEOPLE = [JID.parse(f"{name}@lit/{resource}") for name in ("ann", "bob", "cat") for resource in ("x", "y")]
BROADCAST = (("moderator", "participant", "visitor"), ("moderator", "participant"), ("moderator",), ())
NICKS = ["ann", "bob", "Bob", "cat"]
ADMIN_NS, OWNER_NS = "http://jabber.org/protocol/muc#admin", "http://jabber.org/protocol/muc#owner"
ADMINS = (Affiliation.ADMIN, Affiliation.OWNER)
LOW = (Affiliation.OUTCAST, Affiliation.NONE, Affiliation.MEMBER)
Rank = tuple[Affiliation, Role]


@dataclass
class Client:
    """What one client believes, from the presence it gets."""

    jid: JID
    inside: bool = False
    nick: str = ""
    seen: dict[str, tuple[str, str]] = field(default_factory=dict)
    heard: Counter[str] = field(default_factory=Counter)
    """How often it got presence from each nick in this step."""

    def hear(self, stanza: Stanza, may_see: bool) -> None:
        x = stanza.child("http://jabber.org/protocol/muc#user", "x")
        assert x is not None and stanza.sender is not None
        nick, item = stanza.sender.resource, x.find(f"{USER}item")
        assert item is not None
        codes = {each.get("code") for each in x.iter(f"{USER}status")}
        own = "110" in codes
        self.heard[nick] += 1
        assert may_see or own or not item.get("jid"), "an address is shown to the wrong one"
        if stanza.type == "unavailable":
            self.seen.pop(nick, None)
            if own and "303" not in codes:
                self.inside, self.seen = False, {}
            return
        self.seen[nick] = (str(item.get("affiliation")), str(item.get("role")))
        if own:
            self.inside, self.nick = True, nick


class Scene:
    def __init__(self, open_room: bool) -> None:
        self.open_room = open_room
        self.room = self.new_room()
        self.destroyed = False
        self.clients = {who.full: Client(who) for who in PEOPLE}

    def new_room(self) -> RoomState:
        room = RoomState.created(ROOM, PEOPLE[0], ServiceSettings(lock=False), 1)
        room.options["muc#roomconfig_whois"] = "anyone" if self.open_room else "moderators"
        room.options["muc#roomconfig_persistentroom"] = True
        return room

    def perform(self, plan: Plan | None) -> None:
        if plan is not None:
            before = self.moderators()
            for effect in plan.apply():
                self.deliver(effect, before | self.moderators())
            self.destroyed = plan.deletes_room

    def rank(self, who: JID) -> Rank:
        """What somebody may do follows from its affiliation, and from its role if it is in the room."""
        occupant = self.room.sessions.get(who.full)
        return self.room.affiliation(who), occupant.role if occupant is not None else Role.NONE

    def snapshot(self) -> object:
        room = self.room
        occupants = {each.nick: (each.role, tuple(each.sessions)) for each in room.occupants.values()}
        return occupants, dict(room.affiliations), dict(room.options)

    def run(self, act: str, who: JID, nick: str, other: JID, number: int) -> None:
        """Takes a step, and holds what has become of it against the tables of sections 5.1 and 5.2."""
        room, self.destroyed = self.room, False
        for client in self.clients.values():
            client.heard.clear()
        actor, before, views = self.rank(who), self.snapshot(), self.views()
        target = room.occupant_named(nick)
        if act == "role":
            subject = (room.affiliation_of(target), target.role) if target is not None else None
            must, may = role_rules(actor, subject, Role(number % 4), target is room.sessions.get(who.full))
        elif act == "affiliation":
            owners = sum(each.affiliation == "owner" for each in room.affiliations.values())
            old, new = room.affiliation(other), Affiliation(number % 5)
            must, may = affiliation_rules(actor[0], old, new, who.bare == other.bare, owners == 1)
        elif act in ("configure", "destroy"):
            must = may = actor[0] is Affiliation.OWNER
        else:
            must, may = False, True
        moderators = self.moderators()
        try:
            self.step(act, who, nick, other, number)
        except StanzaError as error:
            assert not must, (act, error.condition)
            assert self.snapshot() == before, "who is refused has changed nothing"
            assert not any(client.heard for client in self.clients.values())
            return
        assert may or self.snapshot() == before, "somebody has done what is not for it"
        if self.destroyed:
            assert not room.sessions and not any(client.inside for client in self.clients.values())
            assert all(client.heard.total() == (full in views) for full, client in self.clients.items())
            self.room = self.new_room()
        elif act in ("role", "affiliation"):
            self.check_heard(views, self.moderators() - moderators)

    def check_heard(self, before: dict[str, dict[str, tuple[str, str]]], promoted: set[str]) -> None:
        """Each client hears once from every nick that shows otherwise to it than before, and from no other; a new
        moderator from those whose address it sees now."""
        after = self.views()
        for full, seen in before.items():
            now, heard = after.get(full), self.clients[full].heard
            if now is None:
                own = self.clients[full].nick
                assert heard == {own: 1}, "who must leave hears of it, and of nothing else"
                continue
            changed = {nick for nick in seen.keys() | now.keys() if seen.get(nick) != now.get(nick)}
            if full in promoted and not self.open_room:
                assert set(heard) == changed | now.keys()
            else:
                assert heard == dict.fromkeys(changed, 1), full

    def views(self) -> dict[str, dict[str, tuple[str, str]]]:
        return {full: self.truth(one) for full, one in self.room.sessions.items()}

    def moderators(self) -> set[str]:
        return {full for full, one in self.room.sessions.items() if one.role is Role.MODERATOR}

    def deliver(self, effect: Effect, moderators: set[str]) -> None:
        if effect.stanza.kind is not Kind.PRESENCE:
            return
        targets = effect.to if isinstance(effect, Broadcast) else (effect.stanza.to,)
        for to in targets:
            assert to is not None
            self.clients[to.full].hear(effect.stanza, self.open_room or to.full in moderators)

    def step(self, act: str, who: JID, nick: str, other: JID, number: int) -> None:
        room = self.room
        presence = Stanza(Kind.PRESENCE, to=ROOM.with_resource(nick))
        if act == "enter":
            self.perform(join(room, JoinRequest(who, nick, presence)))
        elif act == "presence":
            if who.full in room.sessions:
                self.perform(update_presence(room, who, presence))
        elif act == "leave":
            self.perform(leave(room, who, Stanza(Kind.PRESENCE, "unavailable")))
        elif act == "role":
            self.perform(administer(room, who, [AdminItem(nick=nick, role=Role(number % 4))]))
        elif act == "affiliation":
            item = AdminItem(jid=other.to_bare(), affiliation=Affiliation(number % 5))
            self.perform(administer(room, who, [item]))
        elif act == "destroy":
            self.perform(configure(room, who, E("query", OWNER_NS, {}, E("destroy", OWNER_NS))))
        else:
            values = {"muc#roomconfig_membersonly": number & 1, "muc#roomconfig_moderatedroom": number >> 1 & 1}
            fields = "".join(f"<field var='{var}'><value>{value}</value></field>" for var, value in values.items())
            roles = "".join(f"<value>{role}</value>" for role in BROADCAST[number // 4 % len(BROADCAST)])
            fields += f"<field var='muc#roomconfig_presencebroadcast'>{roles}</field>"
            query = (
                f"<iq id='1' type='set'><query xmlns='http://jabber.org/protocol/muc#owner'>"
                f"<x xmlns='jabber:x:data' type='submit'>{fields}</x></query></iq>"
            )
            payload = parse_stanza(query.encode()).payload
            assert payload is not None
            self.perform(configure(room, who, payload))

    def truth(self, looking: Occupant) -> dict[str, tuple[str, str]]:
        """What an occupant is to see: itself, and those whose presence is broadcast (section 7.2.2)."""
        shown = str(self.room.options.get("muc#roomconfig_presencebroadcast", "moderator participant visitor")).split()
        return {
            one.nick: (self.room.affiliation_of(one).name.lower(), one.role.name.lower())
            for one in self.room.occupants.values()
            if one is looking or one.role.name.lower() in shown
        }

    def check(self) -> None:
        room = self.room
        sessions = {full: one for one in room.occupants.values() for full in one.sessions}
        assert sessions == room.sessions and set(room.all_jids()) == {JID.parse(full) for full in sessions}
        for key, one in room.occupants.items():
            assert (
                one.key == key
                and one.sessions
                and {session.jid.bare for session in one.sessions.values()} == {one.bare}
            )
        for full, client in self.clients.items():
            assert client.inside == (full in room.sessions), full
            if client.inside:
                assert client.seen == self.truth(room.sessions[full]), full
                assert client.nick == room.sessions[full].nick
        assert any(member.affiliation == "owner" for member in room.affiliations.values())
        for one in room.occupants.values():
            affiliation = room.affiliation_of(one)
            assert affiliation is not Affiliation.OUTCAST
            assert affiliation > Affiliation.NONE or not room.options.get("muc#roomconfig_membersonly")
            assert one.role is Role.MODERATOR or affiliation not in ADMINS
        self.check_lists()

    def check_lists(self) -> None:
        """What is listed is what is: roles for a moderator, affiliations for an owner, items for who is inside."""
        room = self.room
        owner = next(JID.parse(bare) for bare, each in room.affiliations.items() if each.affiliation == "owner")
        found = {}
        for affiliation in Affiliation:
            if affiliation is not Affiliation.NONE:
                item = E("item", ADMIN_NS, {"affiliation": affiliation.name.lower()})
                listed = admin_list(room, owner, E("query", ADMIN_NS, {}, item))
                found.update({str(each.get("jid")): affiliation.name.lower() for each in listed})
        assert found == {bare: each.affiliation for bare, each in room.affiliations.items()}
        for full, one in room.sessions.items():
            items = {JID.parse(str(each.get("jid"))).resource for each in room_items(room, JID.parse(full))}
            assert items == self.truth(one).keys()
            if room.affiliation_of(one) in ADMINS and one.role is Role.MODERATOR:
                roles = {}
                for role in (Role.VISITOR, Role.PARTICIPANT, Role.MODERATOR):
                    query = E("query", ADMIN_NS, {}, E("item", ADMIN_NS, {"role": role.name.lower()}))
                    roles.update({str(each.get("nick")): role for each in admin_list(room, JID.parse(full), query)})
                assert roles == {each.nick: each.role for each in room.occupants.values()}


def role_rules(actor: Rank, target: Rank | None, new: Role, own: bool) -> tuple[bool, bool]:
    """Whether a change of role must succeed, and whether it may (sections 5.1.1, 5.1.3, 8.2 to 8.4, 9.6, 9.7)."""
    affiliation, role = actor
    if target is None or new is target[1]:
        return False, False
    above = target[0] < affiliation
    if new is Role.MODERATOR:
        return affiliation in ADMINS and not own, affiliation in ADMINS
    if target[1] is Role.MODERATOR and new is not Role.NONE:
        taken = affiliation in ADMINS and target[0] not in ADMINS
        return taken and above and role is Role.MODERATOR, taken
    kicks = role is Role.MODERATOR and target[0] <= affiliation
    if new is Role.NONE:
        return kicks and above and affiliation in ADMINS, kicks
    return role is Role.MODERATOR and above, role is Role.MODERATOR and target[0] not in ADMINS


def affiliation_rules(
    actor: Affiliation, old: Affiliation, new: Affiliation, own: bool, one_owner: bool
) -> tuple[bool, bool]:
    """Whether a change of affiliation must succeed, and whether it may (sections 5.2.2, 9.1, 10.4)."""
    if (own and new is Affiliation.OUTCAST) or (old is Affiliation.OWNER and one_owner and new is not old):
        return False, False
    may = actor is Affiliation.OWNER or (actor is Affiliation.ADMIN and old in LOW and new in LOW)
    return may, may


ACTS = [*["enter"] * 3, "presence", "leave", *["role"] * 5, *["affiliation"] * 4, *["configure"] * 2, "destroy"]
step = st.tuples(
    st.sampled_from(ACTS),
    st.sampled_from([*PEOPLE, PEOPLE[0], PEOPLE[0]]),
    st.sampled_from(NICKS),
    st.sampled_from(PEOPLE),
    st.integers(0, 19),
)


rank = st.sampled_from([Affiliation.NONE, Affiliation.MEMBER, Affiliation.ADMIN, Affiliation.OWNER])


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.booleans(), st.integers(0, 19), st.tuples(rank, rank), st.lists(step, min_size=10, max_size=40))
def test_all_views_agree(
    open_room: bool, options: int, ranks: tuple[Affiliation, ...], steps: list[tuple[str, JID, str, JID, int]]
) -> None:
    scene, (ann, *_) = Scene(open_room), PEOPLE
    full = [("enter", who, who.local, who, 0) for who in PEOPLE]
    ranked = [("affiliation", ann, "ann", who, rank) for who, rank in zip(PEOPLE[2::2], ranks, strict=True)]
    configured = ("configure", ann, "ann", ann, options)
    for each in (*full, *ranked, configured, *steps):
        scene.run(*each)
        scene.check()
