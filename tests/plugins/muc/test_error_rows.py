"""The error rows of XEP-0045 sections 7 to 10 over the wire, with their types; and what comes behind a result."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from tests.harness import Client, Harness, condition
from tests.plugins.muc.people import MUC, ROOM, admin, configure, item, join, join_text, tavern

ADMIN, OWNER, REGISTER = f"{MUC}#admin", f"{MUC}#owner", "jabber:iq:register"
NOWHERE = "nowhere@conference.localhost"
DATA = "<x xmlns='jabber:x:data' type='{}'><field var='FORM_TYPE'><value>{}</value></field>{}</x>"


class Row(NamedTuple):
    """`who` sends that and gets an error."""

    section: str
    who: str
    text: str
    condition: str
    type: str


def iq(payload: str, type: str = "set", to: str = ROOM) -> str:
    return f"<iq type='{type}' id='row' to='{to}'>{payload}</iq>"


def items(*found: str) -> str:
    return iq(f"<query xmlns='{ADMIN}'>{''.join(f'<item {each}/>' for each in found)}</query>")


def listing(what: str) -> str:
    return iq(f"<query xmlns='{ADMIN}'><item {what}/></query>", "get")


def message(inside: str, to: str = ROOM, type: str = "groupchat") -> str:
    return f"<message to='{to}' type='{type}' id='row'>{inside}</message>"


def presence(nick: str, inside: str = f"<x xmlns='{MUC}'/>", room: str = ROOM) -> str:
    return f"<presence to='{room}{nick}' id='row'>{inside}</presence>"


def configured(var: str, *values: str) -> str:
    field = f"<field var='{var}'>{''.join(f'<value>{each}</value>' for each in values)}</field>"
    return iq(f"<query xmlns='{OWNER}'>{DATA.format('submit', f'{MUC}#roomconfig', field)}</query>")


def registering(nick: str, form_type: str = f"{MUC}#register") -> str:
    field = f"<field var='muc#register_roomnick'><value>{nick}</value></field>"
    return iq(f"<query xmlns='{REGISTER}'>{DATA.format('submit', form_type, field)}</query>")


BODY = "<body>x</body>"
SUBJECT = "<subject>x</subject>"
INVITE = f"<x xmlns='{MUC}#user'><invite to='stranger@localhost'/></x>"
DESTROY = iq(f"<query xmlns='{OWNER}'><destroy/></query>")
FORM = iq(f"<query xmlns='{OWNER}'/>", "get")

# The room is moderated, open, semi-anonymous. owner, admin: in it. mod: a member whom the owner has made moderator.
# member, visitor: in it. outcast, stranger: not in it. "member" has reserved the nick "Mem".
ROWS = [
    Row("7.2.1", "stranger", presence(""), "jid-malformed", "modify"),
    Row("7.2.7", "outcast", presence("/outcast"), "forbidden", "auth"),
    Row("7.2.8", "stranger", presence("/visitor"), "conflict", "cancel"),
    Row("7.2.8", "stranger", presence("/MEM"), "conflict", "cancel"),
    Row("7.4", "visitor", message(BODY), "forbidden", "auth"),
    Row("7.4", "stranger", message(BODY), "not-acceptable", "cancel"),
    Row("7.5", "member", message(BODY, f"{ROOM}/visitor"), "bad-request", "modify"),
    Row("7.5", "member", message(BODY, f"{ROOM}/nobody", "chat"), "item-not-found", "cancel"),
    Row("7.5", "stranger", message(BODY, f"{ROOM}/visitor", "chat"), "not-acceptable", "cancel"),
    Row("7.6", "member", presence("/visitor", ""), "conflict", "cancel"),
    Row("7.6", "visitor", presence("/mem", ""), "conflict", "cancel"),
    Row("7.10", "stranger", iq(f"<query xmlns='{REGISTER}'/>", "get", NOWHERE), "item-not-found", "cancel"),
    Row("7.10", "stranger", iq(f"<query xmlns='{REGISTER}'/>", "get"), "not-allowed", "cancel"),
    Row("7.10", "outcast", iq(f"<query xmlns='{REGISTER}'/>", "get"), "not-allowed", "cancel"),
    Row("7.10", "outcast", registering("x"), "not-allowed", "cancel"),
    Row("7.10", "admin", registering("Mem"), "conflict", "cancel"),
    Row("7.10", "member", registering("Mem", "urn:example"), "bad-request", "modify"),
    Row("7.10", "member", iq(f"<query xmlns='{REGISTER}'/>"), "bad-request", "modify"),
    Row("8.1", "member", message(SUBJECT), "forbidden", "auth"),
    Row("8.1", "visitor", message(SUBJECT), "forbidden", "auth"),
    Row("8.1", "stranger", message(SUBJECT), "not-acceptable", "cancel"),
    Row("8", "member", items("nick='visitor' role='none'"), "forbidden", "auth"),
    Row("8", "visitor", items("nick='nobody' role='none'"), "forbidden", "auth"),
    Row("8", "stranger", items("nick='nobody' role='participant'"), "forbidden", "auth"),
    Row("8", "mod", items("nick='nobody' role='participant'"), "item-not-found", "cancel"),
    Row("8.2", "mod", items("nick='owner' role='none'"), "not-allowed", "cancel"),
    Row("8.2", "mod", items("nick='admin' role='none'"), "not-allowed", "cancel"),
    Row("8.2", "admin", items("nick='owner' role='none'"), "not-allowed", "cancel"),
    Row("8.2", "admin", items("nick='admin' role='none'"), "conflict", "cancel"),
    Row("8.4", "mod", items("nick='owner' role='visitor'"), "not-allowed", "cancel"),
    Row("8.4", "mod", items("nick='admin' role='visitor'"), "not-allowed", "cancel"),
    Row("8.4", "mod", items("nick='member' role='visitor'"), "not-allowed", "cancel"),
    Row("8.4", "admin", items("nick='owner' role='visitor'"), "not-allowed", "cancel"),
    Row("8.5", "member", listing("role='participant'"), "forbidden", "auth"),
    Row("8.5", "stranger", listing("role='participant'"), "forbidden", "auth"),
    Row("9", "mod", items("nick='nobody' role='moderator'"), "forbidden", "auth"),
    Row("9.1", "mod", items("jid='visitor@localhost' affiliation='outcast'"), "forbidden", "auth"),
    Row("9.1", "admin", items("jid='owner@localhost' affiliation='outcast'"), "not-allowed", "cancel"),
    Row("9.1", "admin", items("jid='admin@localhost' affiliation='outcast'"), "conflict", "cancel"),
    Row("9.1", "admin", items("nick='admin' affiliation='outcast'"), "conflict", "cancel"),
    Row("9.1", "owner", items("jid='owner@localhost' affiliation='outcast'"), "conflict", "cancel"),
    Row("9.2", "mod", listing("affiliation='outcast'"), "forbidden", "auth"),
    Row(
        "9.2",
        "admin",
        items("jid='new@localhost' affiliation='outcast'", "jid='owner@localhost' affiliation='outcast'"),
        "not-allowed",
        "cancel",
    ),
    Row("9.3", "mod", items("jid='new@localhost' affiliation='member'"), "forbidden", "auth"),
    Row("9.3", "stranger", items("jid='stranger@localhost' affiliation='member'"), "forbidden", "auth"),
    Row("9.4", "mod", items("jid='member@localhost' affiliation='none'"), "forbidden", "auth"),
    Row("9.5", "member", listing("affiliation='member'"), "forbidden", "auth"),
    Row("9.5", "stranger", listing("affiliation='member'"), "forbidden", "auth"),
    Row("9.6", "mod", items("nick='member' role='moderator'"), "forbidden", "auth"),
    Row("9.7", "admin", items("nick='owner' role='participant'"), "not-allowed", "cancel"),
    Row("9.7", "mod", items("nick='owner' role='participant'"), "not-allowed", "cancel"),
    Row("9.7", "mod", items("nick='admin' role='participant'"), "not-allowed", "cancel"),
    Row("9.8", "mod", listing("role='moderator'"), "forbidden", "auth"),
    Row("10.1.3", "owner", configured("muc#roomconfig_passwordprotectedroom", "1"), "not-acceptable", "modify"),
    Row("10.2", "owner", configured("muc#roomconfig_roomowners"), "conflict", "cancel"),
    *(Row("10.2", who, FORM, "forbidden", "auth") for who in ("admin", "mod", "visitor", "stranger")),
    *(
        Row("10.2", who, configured("muc#roomconfig_roomname", "x"), "forbidden", "auth")
        for who in ("admin", "member", "stranger")
    ),
    *(
        Row(section, who, items(f"jid='{whom}@localhost' affiliation='{new}'"), "forbidden", "auth")
        for who in ("admin", "mod", "stranger")
        for section, whom, new in (
            ("10.3", "member", "owner"),
            ("10.4", "owner", "admin"),
            ("10.4", "owner", "none"),
            ("10.6", "member", "admin"),
            ("10.7", "admin", "none"),
            ("10.7", "admin", "member"),
        )
    ),
    *(Row("10.5", who, listing("affiliation='owner'"), "forbidden", "auth") for who in ("admin", "member", "stranger")),
    *(Row("10.8", who, listing("affiliation='admin'"), "forbidden", "auth") for who in ("admin", "member", "stranger")),
    Row("10.4", "owner", items("jid='owner@localhost' affiliation='admin'"), "conflict", "cancel"),
    *(Row("10.9", who, DESTROY, "forbidden", "auth") for who in ("admin", "mod", "member", "stranger")),
    Row("10.9", "owner", DESTROY.replace(ROOM, NOWHERE), "item-not-found", "cancel"),
    Row("17.4", "owner", items("nick='visitor' role='none' affiliation='none'"), "bad-request", "modify"),
]


async def company(server: Harness) -> dict[str, Client]:
    owner, *_ = await tavern(server, muc__roomconfig_persistentroom="1", muc__roomconfig_moderatedroom="1")
    people = {"romeo": owner}
    for name, rank in (("admin", "admin"), ("mod", "member"), ("member", "member"), ("outcast", "outcast")):
        nick = " nick='Mem'" if name == "member" else ""
        assert (await admin(owner, f"<item jid='{name}@localhost' affiliation='{rank}'{nick}/>")).get(
            "type"
        ) == "result"
    await admin(owner, "<item jid='owner@localhost' affiliation='owner'/>")
    owner.send(f"<presence type='unavailable' to='{ROOM}/romeo'/>")
    await owner.receive_all()
    for name in ("owner", "admin", "mod", "member", "visitor", "outcast", "stranger"):
        people[name] = await server.login(name, presence=True)
        if name not in ("outcast", "stranger"):
            await join(people[name], name)
    await admin(people["owner"], "<item jid='romeo@localhost' affiliation='none'/>")
    await admin(people["owner"], "<item nick='mod' role='moderator'/>")
    for client in people.values():
        await client.receive_all()
    return people


async def test_every_error_row(server: Harness) -> None:
    """The condition, the type, and that nothing has changed."""
    people = await company(server)
    failed = []
    for row in ROWS:
        people[row.who].send(row.text)
        got = await people[row.who].receive_all()
        shown = []
        for each in got:
            error = each.find("{jabber:client}error")
            shown.append((condition(each), error.get("type") if error is not None else None))
        if shown != [(row.condition, row.type)] or got[0].get("id") != "row":
            failed.append((row, shown))
        await server.advance(2)
    assert not failed
    for name, client in people.items():
        assert await client.receive_all() == [], name


ENTRANCE = [
    ("7.2.5", {"passwordprotectedroom": "1", "roomsecret": "sesame"}, "not-authorized", "auth"),
    ("7.2.6", {"membersonly": "1"}, "registration-required", "auth"),
    ("7.2.9", {"maxusers": "1"}, "service-unavailable", "wait"),
]


@pytest.mark.parametrize(("section", "options", "wanted", "type"), ENTRANCE)
async def test_rows_of_the_entrance(
    server: Harness, section: str, options: dict[str, str], wanted: str, type: str
) -> None:
    await tavern(server, **{f"muc__roomconfig_{name}": value for name, value in options.items()})
    stranger = await server.login("stranger", presence=True)
    stranger.send(join_text("stranger"))
    got = await stranger.receive()
    error = got.find("{jabber:client}error")
    assert error is not None and (condition(got), error.get("type")) == (wanted, type), section


async def test_a_mere_member_invites_nobody_to_a_members_only_room(server: Harness) -> None:
    """Sections 7.8.2 and 9.5."""
    people = await company(server)
    await configure(people["owner"], muc__roomconfig_membersonly="1")
    await people["member"].receive_all()
    people["member"].send(message(INVITE, type="normal"))
    assert [condition(each) for each in await people["member"].receive_all()] == ["forbidden"]


CAUSES = [
    # (section, request, what the actor sees, in order)
    ("8.2", "nick='visitor' role='none'", ["iq", "presence visitor unavailable"]),
    ("8.3", "nick='visitor' role='participant'", ["iq", "presence visitor "]),
    ("8.4", "nick='visitor' role='participant'", ["iq", "presence visitor "]),
    ("9.1", "jid='visitor@localhost' affiliation='outcast'", ["iq", "presence visitor unavailable"]),
    ("9.3", "jid='visitor@localhost' affiliation='member'", ["iq", "presence visitor "]),
    ("9.4", "jid='member@localhost' affiliation='none'", ["iq", "presence member "]),
    ("9.6", "nick='member' role='moderator'", ["iq", "presence member "]),
    ("9.7", "nick='mod' role='participant'", ["iq", "presence mod "]),
    ("10.3", "jid='member@localhost' affiliation='owner'", ["iq", "presence member "]),
    ("10.6", "jid='new@localhost' affiliation='admin'", ["iq", "message  "]),
    ("10.7", "jid='admin@localhost' affiliation='none'", ["iq", "presence admin "]),
]


@pytest.mark.parametrize(("section", "asked", "wanted"), CAUSES)
async def test_the_result_and_what_it_causes(server: Harness, section: str, asked: str, wanted: list[str]) -> None:
    """ "… and then inform the admin of success … MUST then send updated presence"."""
    people = await company(server)
    people["owner"].send(items(asked))
    seen = []
    for each in await people["owner"].receive_all():
        kind = str(each.tag).rpartition("}")[2]
        nick = str(each.get("from")).partition("/")[2]
        seen.append("iq" if kind == "iq" else f"{kind} {nick} {each.get('type', '')}".replace("normal", ""))
        if kind == "presence":
            assert {"affiliation", "role"} <= set(item(each)), section
    assert seen[: len(wanted)] == wanted, section
