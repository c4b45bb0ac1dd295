"""Roles, affiliations, configuration and the end of a room (XEP-0045 sections 8 to 11), without a server."""

from __future__ import annotations

import pytest

from plugins.muc.administration import AdminItem, administer
from plugins.muc.configuration import configure
from plugins.muc.destruction import destroy_room
from plugins.muc.join import discussion_history, join
from plugins.muc.model import (
    Affiliation,
    AffiliationRecord,
    DeleteRoom,
    Effect,
    HistoryLimits,
    Plan,
    Role,
    Send,
    ServiceSettings,
)
from plugins.muc.occupancy import change_nick, leave
from plugins.muc.room import RoomState
from tests.plugins.muc.rooms import JULIET, NURSE, ROMEO, ROOM, USER, add, entry, make, stanza, to
from xmppd.errors import NotAcceptable
from xmppd.stanza import Kind, Stanza
from xmppd.storage.api import Entry as LogEntry

# ---- 8, 9: what follows from a change


def change(room: RoomState, **item: object) -> list[Effect]:
    return administer(room, ROMEO, [AdminItem(**item)]).apply()  # type: ignore[arg-type]


def test_kick_and_ban() -> None:
    """8.2 code 307, 9.1 code 301; the actor's nick and the reason are told."""
    for code, item in (
        ("307", {"nick": "juliet", "role": Role.NONE, "reason": "rude"}),
        ("301", {"jid": JULIET.to_bare(), "affiliation": Affiliation.OUTCAST, "reason": "rude"}),
    ):
        room = make()
        add(room, JULIET, "juliet")
        add(room, NURSE, "nurse")
        effects = change(room, **item)
        assert to(effects, JULIET)[0][:2] == ("unavailable", sorted(["110", code]))
        assert to(effects, NURSE)[0][:2] == ("unavailable", [code])
        x = effects[0].stanza.child("http://jabber.org/protocol/muc#user", "x")
        assert x is not None and x.findtext(f"{USER}item/{USER}reason") == "rude"
        actor = x.find(f"{USER}item/{USER}actor")
        assert actor is not None and actor.get("nick") == "romeo"
        assert JULIET.full not in room.sessions


def test_who_loses_membership_of_a_members_only_room_leaves() -> None:
    """9.4: code 321, and no other presence."""
    room = make(membersonly=True)
    room.affiliations[JULIET.bare] = AffiliationRecord("member")
    add(room, JULIET, "juliet")
    effects = change(room, jid=JULIET.to_bare(), affiliation=Affiliation.NONE)
    assert [got[:2] for got in to(effects, JULIET)] == [("unavailable", ["110", "321"])]


def test_roles_follow_affiliations() -> None:
    """5.1.3."""
    room = make(moderatedroom=True)
    add(room, JULIET, "juliet")
    for affiliation, role in (
        (Affiliation.MEMBER, Role.PARTICIPANT),
        (Affiliation.ADMIN, Role.MODERATOR),
        (Affiliation.MEMBER, Role.PARTICIPANT),
        (Affiliation.NONE, Role.PARTICIPANT),
    ):
        effects = change(room, jid=JULIET.to_bare(), affiliation=affiliation)
        assert room.occupants["juliet"].role is role
        own = [item for _, codes, item in to(effects, JULIET) if "110" in codes]
        assert [item["affiliation"] for item in own] == [affiliation.name.lower()]


def test_a_new_moderator_learns_the_addresses() -> None:
    """8, 13.1: through presence."""
    room = make()
    add(room, JULIET, "juliet")
    add(room, NURSE, "nurse")
    effects = change(room, nick="juliet", role=Role.MODERATOR)
    assert {item.get("jid") for _, _, item in to(effects, JULIET)} == {ROMEO.full, JULIET.full, NURSE.full}
    assert len(to(effects, NURSE)) == 1


def test_a_ban_takes_the_reserved_nick() -> None:
    room = make()
    room.affiliations[JULIET.bare] = AffiliationRecord("member", "juliet")
    change(room, jid=JULIET.to_bare(), affiliation=Affiliation.OUTCAST)
    assert room.affiliations[JULIET.bare].nick == ""


def test_a_new_member_of_a_members_only_room_is_invited() -> None:
    """9.5."""
    effects = change(make(membersonly=True), jid=JULIET.to_bare(), affiliation=Affiliation.MEMBER)
    assert any(isinstance(each, Send) and str(each.stanza.to) == JULIET.bare for each in effects)


# ---- 10 configuration


def query(inside: str) -> object:
    payload = stanza(
        f"<iq type='set' id='1'><query xmlns='http://jabber.org/protocol/muc#owner'>{inside}</query></iq>"
    ).payload
    assert payload is not None
    return payload


def settings(form: str = "submit", **values: str) -> object:
    fields = "".join(
        f"<field var='muc#roomconfig_{var}'><value>{value}</value></field>" for var, value in values.items()
    )
    kind = "<field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#roomconfig</value></field>"
    return query(f"<x xmlns='jabber:x:data' type='{form}'>{kind if values else ''}{fields}</x>")


@pytest.mark.parametrize(
    ("values", "codes"),
    [
        ({"roomname": "The Tavern"}, ["104"]),
        ({"whois": "anyone"}, ["172"]),
        ({"enablearchiving": "0"}, ["171"]),
        ({"roomname": "x", "whois": "anyone", "enablearchiving": "0"}, ["104", "171", "172"]),
        ({"roomname": ""}, None),
    ],
)
def test_changes_are_announced(values: dict[str, str], codes: list[str] | None) -> None:
    """10.2.1."""
    room = make()
    effects = configure(room, ROMEO, settings(**values)).apply()  # type: ignore[arg-type]
    assert [got for _, got, _ in to(effects, ROMEO)] == ([codes] if codes else [])


@pytest.mark.parametrize(
    "values",
    [
        {"passwordprotectedroom": "1"},
        {"passwordprotectedroom": "1", "roomsecret": ""},
        {"maxusers": "0"},
        {"maxusers": "100000"},
        {"whois": "nobody"},
        {"lang": "not a language"},
        {"roomname": "x" * 201},
    ],
)
def test_configurations_that_are_not_acceptable(values: dict[str, str]) -> None:
    room = make()
    with pytest.raises(NotAcceptable):
        configure(room, ROMEO, settings(**values))  # type: ignore[arg-type]


def test_a_room_that_becomes_members_only_is_left_by_the_others() -> None:
    """Code 322."""
    room = make()
    add(room, JULIET, "juliet")
    effects = configure(room, ROMEO, settings(membersonly="1")).apply()  # type: ignore[arg-type]
    assert to(effects, JULIET)[0][:2] == ("unavailable", ["110", "322"])
    assert set(room.occupants) == {"romeo"}


def test_cancelling_the_first_configuration_destroys_the_room() -> None:
    """10.1.3; later it changes nothing."""
    room = RoomState.created(ROOM, ROMEO, ServiceSettings(), 1)
    join(room, entry(ROMEO, "romeo")).apply()
    plan = configure(room, ROMEO, settings("cancel"))  # type: ignore[arg-type]
    assert plan.deletes_room and to(plan.apply(), ROMEO)[0][0] == "unavailable"
    assert not configure(make(), ROMEO, settings("cancel")).saves  # type: ignore[arg-type]


def test_destruction() -> None:
    """10.9: one presence each, with the other venue."""
    room = make()
    add(room, JULIET, "juliet")
    plan = configure(room, ROMEO, query("<destroy jid='other@rooms.lit'><reason>moved</reason></destroy>"))  # type: ignore[arg-type]
    effects = plan.apply()
    assert plan.deletes_room and not room.sessions
    assert [len(to(effects, who)) for who in (ROMEO, JULIET)] == [1, 1]
    x = effects[0].stanza.child("http://jabber.org/protocol/muc#user", "x")
    assert x is not None
    destroy = x.find(f"{USER}destroy")
    assert destroy is not None and destroy.get("jid") == "other@rooms.lit"
    assert destroy.findtext(f"{USER}reason") == "moved"


@pytest.mark.parametrize(
    ("persistent", "locked", "ends"), [(False, False, True), (True, False, False), (True, True, True)]
)
def test_a_temporary_or_unconfigured_room_goes_with_the_last_one(persistent: bool, locked: bool, ends: bool) -> None:
    room = RoomState.created(ROOM, ROMEO, ServiceSettings(lock=locked), 1)
    room.options["muc#roomconfig_persistentroom"] = persistent
    join(room, entry(ROMEO, "romeo")).apply()
    plan = leave(room, ROMEO, stanza("<presence type='unavailable'/>"))
    assert plan is not None and plan.deletes_room is ends and (DeleteRoom() in plan.saves) is ends
    assert leave(room, JULIET, stanza("<presence type='unavailable'/>")) is None  # 17.3.2: silence


def test_plans_change_nothing_until_applied() -> None:
    """Decide, commit, release: a commit that fails must leave the room as it was."""
    room = make()
    before = (set(room.sessions), dict(room.affiliations), dict(room.options), room.record)
    plans: list[Plan | None] = [
        join(room, entry(JULIET, "juliet")),
        leave(room, ROMEO, Stanza(Kind.PRESENCE, "unavailable")),
        change_nick(room, ROMEO, "boy", Stanza(Kind.PRESENCE)),
        administer(room, ROMEO, [AdminItem(jid=JULIET.to_bare(), affiliation=Affiliation.OWNER)]),
        configure(room, ROMEO, settings(roomname="x")),  # type: ignore[arg-type]
        destroy_room(room),
    ]
    assert all(plan is not None for plan in plans)
    assert (set(room.sessions), dict(room.affiliations), dict(room.options), room.record) == before
    assert isinstance(
        discussion_history(room, [LogEntry(1, "", "", 0, b"<message/>")], HistoryLimits(), JULIET)[0], Send
    )
