"""Whatever happens in a room, every client in it sees the same occupants as the room itself, and nobody sees an
address that is not for him."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from plugins.muc.administration import AdminItem, administer
from plugins.muc.configuration import configure
from plugins.muc.join import join
from plugins.muc.model import Affiliation, Broadcast, Effect, JoinRequest, Occupant, Plan, Role, ServiceSettings
from plugins.muc.occupancy import leave, update_presence
from plugins.muc.room import RoomState
from xmppd.errors import StanzaError
from xmppd.jid import JID
from xmppd.stanza import Kind, Stanza, parse_stanza

ROOM = JID.parse("tavern@rooms.lit")
USER = "{http://jabber.org/protocol/muc#user}"
PEOPLE = [JID.parse(f"{name}@lit/{resource}") for name in ("ann", "bob", "cat") for resource in ("x", "y")]
BROADCAST = (("moderator", "participant", "visitor"), ("moderator", "participant"), ("moderator",), ())
NICKS = ["ann", "bob", "Bob", "cat"]


@dataclass
class Client:
    """What one client believes, from the presence it gets."""

    jid: JID
    inside: bool = False
    nick: str = ""
    seen: dict[str, tuple[str, str]] = field(default_factory=dict)

    def hear(self, stanza: Stanza, may_see: bool) -> None:
        x = stanza.child("http://jabber.org/protocol/muc#user", "x")
        assert x is not None and stanza.sender is not None
        nick, item = stanza.sender.resource, x.find(f"{USER}item")
        assert item is not None
        codes = {each.get("code") for each in x.iter(f"{USER}status")}
        own = "110" in codes
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
        self.room = RoomState.created(ROOM, PEOPLE[0], ServiceSettings(lock=False), 1)
        self.room.options["muc#roomconfig_whois"] = "anyone" if open_room else "moderators"
        self.room.options["muc#roomconfig_persistentroom"] = True
        self.open_room = open_room
        self.clients = {who.full: Client(who) for who in PEOPLE}

    def perform(self, plan: Plan | None) -> None:
        if plan is not None:
            before = self.moderators()
            for effect in plan.apply():
                self.deliver(effect, before | self.moderators())

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
        else:
            values = {"muc#roomconfig_membersonly": number & 1, "muc#roomconfig_moderatedroom": number >> 1 & 1}
            fields = "".join(f"<field var='{var}'><value>{value}</value></field>" for var, value in values.items())
            roles = "".join(f"<value>{role}</value>" for role in BROADCAST[number % len(BROADCAST)])
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


step = st.tuples(
    st.sampled_from(["enter", "enter", "presence", "leave", "role", "affiliation", "affiliation", "configure"]),
    st.sampled_from([*PEOPLE, PEOPLE[0], PEOPLE[0]]),
    st.sampled_from(NICKS),
    st.sampled_from(PEOPLE),
    st.integers(0, 19),
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.booleans(), st.lists(step, max_size=40))
def test_all_views_agree(open_room: bool, steps: list[tuple[str, JID, str, JID, int]]) -> None:
    scene = Scene(open_room)
    for each in steps:
        with suppress(StanzaError):
            scene.step(*each)
        scene.check()
