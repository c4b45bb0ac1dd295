"""Whatever people do in a room, all inside see the same, and see what is (XEP-0045 sections 7.2, 7.6 to 9.8, 17.3).

Nine clients of four people act at random, with a seed; after each act the view of each, put together from what it was
sent, is held against the room.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from plugins.muc.room import RoomState
from tests.harness import Client, Element, Harness, condition
from tests.plugins.muc.people import MUC, ROOM, codes, item, tavern

NAMES = ("romeo", "juliet", "nurse", "tybalt")
NICKS = (*NAMES, "x", "X", "xx", "rnike", "mike", "ｘ")
State = tuple[str, str, str]
"""<show/>, affiliation, role."""


def show_of(element: Element) -> str:
    return element.findtext("{jabber:client}show") or ""


class View:
    """A room as one client sees it. `occupants`: by nick; empty for a client that is not inside."""

    def __init__(self) -> None:
        self.occupants: dict[str, State] = {}

    def take(self, element: Element) -> None:
        if not str(element.tag).endswith("presence") or element.get("type") == "error":
            return
        nick, said = str(element.get("from")).partition("/")[2], codes(element)
        if element.get("type") != "unavailable":
            shown = item(element)
            self.occupants[nick] = (show_of(element), shown["affiliation"], shown["role"])
        elif "110" in said and "303" not in said:
            self.occupants.clear()
        else:
            self.occupants.pop(nick, None)


def truth(room: RoomState, full: str) -> dict[str, State]:
    """What a client in the room is to see: its own occupant, and those whose presence is broadcast."""
    shown = str(room.options.get("muc#roomconfig_presencebroadcast", "moderator participant visitor")).split()
    return {
        each.nick: (show_of(each.latest.presence.xml), room.affiliation_of(each).name.lower(), each.role.name.lower())
        for each in room.occupants.values()
        if each is room.sessions[full] or each.role.name.lower() in shown
    }


class Acts:
    """What a client may do. `owner` is romeo's first client, which never leaves."""

    def __init__(self, pick: random.Random, room: RoomState) -> None:
        self.pick = pick
        self.room = room

    def one(self) -> tuple[bool, Callable[[Client], str]]:
        """Whether it is the owner's, and what is sent."""
        return self.pick.choice(
            [
                *[(False, self.enter)] * 4,
                *[(False, self.mood)] * 2,
                (False, self.nick),
                (False, self.leave),
                (True, self.roles),
                (True, self.affiliations),
                (True, self.configure),
                (False, self.register),
            ]
        )

    def show(self) -> str:
        return self.pick.choice(["", "<show>away</show>", "<show>dnd</show>"])

    def enter(self, client: Client) -> str:
        x = f"<x xmlns='{MUC}'><history maxstanzas='0'/></x>"
        return f"<presence to='{ROOM}/{self.pick.choice(NICKS)}'>{self.show()}{x}</presence>"

    def mood(self, client: Client) -> str:
        session = self.room.sessions.get(client.jid)
        return f"<presence to='{ROOM}/{session.nick if session else 'x'}'>{self.show()}</presence>"

    def nick(self, client: Client) -> str:
        return f"<presence to='{ROOM}/{self.pick.choice(NICKS)}'>{self.show()}</presence>"

    def leave(self, client: Client) -> str:
        return f"<presence type='unavailable' to='{ROOM}/x'/>"

    def _set(self, namespace: str, inside: str) -> str:
        return f"<iq type='set' id='a' to='{ROOM}'><query xmlns='{namespace}'>{inside}</query></iq>"

    def roles(self, client: Client) -> str:
        roles = ("none", "visitor", "participant", "moderator")
        items = [f"<item nick='{self.pick.choice(NICKS)}' role='{self.pick.choice(roles)}'/>" for _ in range(2)]
        return self._set(f"{MUC}#admin", "".join(items[: self.pick.randrange(1, 3)]))

    def affiliations(self, client: Client) -> str:
        ranks = ("none", "none", "member", "admin", "owner", "outcast")
        whom = (*(f"{name}@localhost" for name in NAMES), "localhost")
        items = [f"<item jid='{self.pick.choice(whom)}' affiliation='{self.pick.choice(ranks)}'/>" for _ in range(3)]
        return self._set(f"{MUC}#admin", "".join(items[: self.pick.randrange(1, 4)]))

    def configure(self, client: Client) -> str:
        fields = {"FORM_TYPE": [f"{MUC}#roomconfig"]}
        for name in self.pick.sample(("membersonly", "moderatedroom", "enablelogging"), 2):
            fields[f"muc#roomconfig_{name}"] = [self.pick.choice("01")]
        fields["muc#roomconfig_whois"] = [self.pick.choice(("anyone", "moderators"))]
        if self.pick.random() < 0.5:
            roles = ["moderator", "participant", "visitor"]
            fields["muc#roomconfig_presencebroadcast"] = roles[: self.pick.randrange(4)]
        if self.pick.random() < 0.5:
            admins = self.pick.sample(NAMES[1:], self.pick.randrange(3))
            fields["muc#roomconfig_roomadmins"] = [f"{name}@localhost" for name in admins]
        return self._set(f"{MUC}#owner", self._form(fields))

    def register(self, client: Client) -> str:
        nick = {"FORM_TYPE": [f"{MUC}#register"], "muc#register_roomnick": [self.pick.choice(NICKS)]}
        return self._set("jabber:iq:register", self.pick.choice(["<remove/>", self._form(nick)]))

    @staticmethod
    def _form(fields: dict[str, list[str]]) -> str:
        inside = "".join(
            f"<field var='{var}'>{''.join(f'<value>{value}</value>' for value in values)}</field>"
            for var, values in fields.items()
        )
        return f"<x xmlns='jabber:x:data' type='submit'>{inside}</x>"


@pytest.mark.server(rooms={"muc": {"changes": 100_000}})
@pytest.mark.parametrize("seed", range(6))
async def test_all_see_the_same(server: Harness, seed: int, caplog: pytest.LogCaptureFixture) -> None:
    pick = random.Random(seed)
    owner, *_ = await tavern(server, muc__roomconfig_persistentroom="1")
    people = [(await server.login(name, place, presence=True), View()) for name in NAMES for place in "ab"]
    for client, _ in people:
        await client.receive_all()
    room = server.server.hosts["conference.localhost"].plugins["muc"].rooms.slots[ROOM].room  # type: ignore[attr-defined]
    acts, said = Acts(pick, room), list[tuple[str, str]]()
    for _ in range(100):
        owners, act = acts.one()
        client = owner if owners else pick.choice(people)[0]
        said.append((client.jid, act(client)))
        client.send(said[-1][1])
        await server.quiet()
        await owner.receive_all()
        for each, view in people:
            for element in await each.receive_all():
                view.take(element)
                assert condition(element) != "internal-server-error", said[-1]
            inside = each.jid in room.sessions
            assert view.occupants == (truth(room, each.jid) if inside else {}), (each.jid, said[-3:])
    assert not [record for record in caplog.records if record.exc_info]
