"""XEP-0317: hats are given by admins, shown in presence, kept, bounded, and never worn by one's own word."""

from __future__ import annotations

import pytest

from plugins.muc import hats
from plugins.muc.model import Hat
from tests.core.test_delivery import restarted
from tests.harness import Client, Element, Harness, condition, xml
from tests.plugins.muc.people import ROOM, admin, codes, join, tavern

NS = "urn:xmpp:hats:0"
NODE = "urn:xmpp:hats:commands"
COMMANDS = "http://jabber.org/protocol/commands"
DATA = "{jabber:x:data}"
TEACHER = "http://tech.example.edu/hats#Teacher"
PROCTOR = "http://tech.example.edu/hats#Proctor"


async def run(client: Client, name: str, more: str = "", **fields: str) -> Element:
    """Runs a command, with a form if there are fields."""
    inside = "".join(f"<field var='hats#{var}'><value>{value}</value></field>" for var, value in fields.items())
    kind = f"<field var='FORM_TYPE'><value>{NODE}</value></field>"
    form = f"<x xmlns='jabber:x:data' type='submit'>{kind}{inside}</x>" if fields else ""
    return await client.iq(f"<command xmlns='{COMMANDS}' node='{NODE}:{name}'{more}>{form}</command>", "set", ROOM)


async def done(client: Client, name: str, **fields: str) -> None:
    answer = await run(client, name, **fields)
    assert answer.get("type") == "result" and answer[0].get("status") == "completed", xml(answer)


async def define(client: Client, uri: str = TEACHER, title: str = "Teacher", hue: str = "327.255249") -> None:
    await done(client, "create", uri=uri, title=title, hue=hue)


def worn(element: Element) -> list[tuple[str | None, str | None, str | None]]:
    return [(each.get("uri"), each.get("title"), each.get("hue")) for each in element.iter(f"{{{NS}}}hat")]


def rows(answer: Element) -> list[dict[str, str]]:
    return [
        {str(cell.get("var")): cell.findtext(f"{DATA}value") or "" for cell in item.iter(f"{DATA}field")}
        for item in answer.iter(f"{DATA}item")
    ]


async def test_a_hat_from_its_making_to_its_end(server: Harness) -> None:
    romeo, juliet = await tavern(server, "juliet")
    form = await run(romeo, "create", " action='execute'")
    assert form[0].get("status") == "executing" and form[0].get("sessionid")
    assert {each.get("var") for each in form.iter(f"{DATA}field")} >= {"hats#title", "hats#uri", "hats#hue"}
    await define(romeo)
    for client in (romeo, juliet):
        (notice,) = await client.receive_all()
        assert notice.get("from") == ROOM and codes(notice) == ["104"]
    await done(romeo, "assign", uri=TEACHER, jid="juliet@localhost/phone")
    for client in (romeo, juliet):
        (shown,) = await client.receive_all()
        assert shown.get("from") == f"{ROOM}/juliet" and worn(shown) == [(TEACHER, "Teacher", "327.255249")]
    await define(romeo, title="Headmaster", hue="")  # section 3.2: the same URI is the same hat
    for client in (romeo, juliet):
        notice, shown = await client.receive_all()
        assert codes(notice) == ["104"] and worn(shown) == [(TEACHER, "Headmaster", None)]
    await done(romeo, "destroy", uri=TEACHER)
    for client in (romeo, juliet):
        notice, shown = await client.receive_all()
        assert codes(notice) == ["104"] and shown.find(f"{{{NS}}}hats") is None
    assert rows(await run(romeo, "list")) == []


async def test_several_hats_and_taking_one(server: Harness) -> None:
    romeo, juliet = await tavern(server, "juliet")
    await define(romeo)
    await define(romeo, PROCTOR, "Test &lt;Proctor&gt; &amp; 'more'", "")
    for uri in (TEACHER, PROCTOR):
        await done(romeo, "assign", uri=uri, jid="juliet@localhost")
    await done(romeo, "assign", uri=PROCTOR, jid="juliet@localhost")  # once more changes nothing
    shown = (await juliet.receive_all())[-1]
    assert [each[1] for each in worn(shown)] == ["Teacher", "Test <Proctor> & 'more'"]
    assert rows(await run(juliet, "list"))[0] == {
        "hats#title": "Teacher", "hats#uri": TEACHER, "hats#hue": "327.255249"
    }  # fmt: skip
    found = rows(await run(romeo, "list-assigned"))
    assert [(each["hats#jid"], each["hats#uri"]) for each in found] == [
        ("juliet@localhost", TEACHER), ("juliet@localhost", PROCTOR)
    ]  # fmt: skip
    await done(romeo, "unassign", uri=TEACHER, jid="juliet@localhost")
    assert [each[0] for each in worn((await juliet.receive_all())[-1])] == [PROCTOR]
    nurse = await server.login("nurse", presence=True)
    shown = next(each for each in await join(nurse, "nurse") if each.get("from") == f"{ROOM}/juliet")
    assert [each[0] for each in worn(shown)] == [PROCTOR]


async def test_nobody_wears_a_hat_by_his_own_word(server: Harness) -> None:
    romeo, juliet = await tavern(server, "juliet")
    forged = f"<hats xmlns='{NS}'><hat title='Teacher' uri='{TEACHER}'/></hats>"
    await define(romeo)
    await romeo.receive_all()
    juliet.send(f"<presence to='{ROOM}/juliet'><show>away</show>{forged}</presence>")
    (shown,) = await romeo.receive_all()
    assert "away" in xml(shown) and NS not in xml(shown)
    juliet.send(f"<message to='{ROOM}' type='groupchat'><body>I teach</body>{forged}</message>")
    (message,) = await romeo.receive_all()
    assert "I teach" in xml(message) and NS not in xml(message)
    nurse = await server.login("nurse", presence=True)
    nurse.send(f"<presence to='{ROOM}/nurse'><x xmlns='http://jabber.org/protocol/muc'/>{forged}</presence>")
    (shown,) = await romeo.receive_all()
    assert shown.get("from") == f"{ROOM}/nurse" and NS not in xml(shown)


async def test_only_admins(server: Harness) -> None:
    romeo, juliet = await tavern(server, "juliet")
    stranger = await server.login("nurse", presence=True)
    await define(romeo)
    for client in (juliet, stranger):
        for name in ("create", "destroy", "assign", "unassign", "list-assigned"):
            given = await run(client, name, uri=TEACHER, title="x", jid="juliet@localhost")
            assert condition(given) == condition(await run(client, name)) == "forbidden", name
    assert condition(await run(stranger, "list")) == "forbidden"
    items = "<query xmlns='http://jabber.org/protocol/disco#items' node='http://jabber.org/protocol/commands'/>"
    counts = [len((await client.iq(items, "get", ROOM))[0]) for client in (romeo, juliet, stranger)]
    assert counts == [6, 1, 0]
    await admin(romeo, "<item jid='juliet@localhost' affiliation='admin'/>")
    await done(juliet, "assign", uri=TEACHER, jid="romeo@localhost")


@pytest.mark.parametrize(
    ("name", "fields", "wanted"),
    [
        ("create", {"uri": TEACHER}, "bad-request"),
        ("create", {"uri": TEACHER, "title": " "}, "bad-request"),
        ("create", {"uri": TEACHER, "title": "x" * 101}, "bad-request"),
        ("create", {"title": "x"}, "bad-request"),
        ("create", {"uri": "Teacher", "title": "x"}, "bad-request"),
        ("create", {"uri": "urn:two words", "title": "x"}, "bad-request"),
        ("create", {"uri": "urn:" + "x" * 300, "title": "x"}, "bad-request"),
        ("create", {"uri": TEACHER, "title": "x", "hue": "red"}, "bad-request"),
        ("create", {"uri": TEACHER, "title": "x", "hue": "361"}, "bad-request"),
        ("create", {"uri": TEACHER, "title": "x", "hue": "-1"}, "bad-request"),
        ("create", {"uri": TEACHER, "title": "x", "hue": "1e2"}, "bad-request"),
        ("destroy", {"uri": "urn:none"}, "item-not-found"),
        ("assign", {"uri": "urn:none", "jid": "juliet@localhost"}, "item-not-found"),
        ("assign", {"uri": TEACHER, "jid": "@"}, "jid-malformed"),
        ("assign", {"uri": TEACHER, "jid": "localhost"}, "bad-request"),
        ("assign", {"uri": TEACHER}, "bad-request"),
        ("unassign", {"uri": TEACHER, "jid": "juliet@localhost"}, "item-not-found"),
        ("polish", {"uri": TEACHER}, "item-not-found"),
    ],
)  # fmt: skip
async def test_bad_requests(server: Harness, name: str, fields: dict[str, str], wanted: str) -> None:
    romeo, juliet = await tavern(server, "juliet")
    await define(romeo)
    await juliet.receive_all()
    assert condition(await run(romeo, name, **fields)) == wanted
    assert not await juliet.receive_all()
    assert [each["hats#title"] for each in rows(await run(romeo, "list"))] == ["Teacher"]


async def test_bad_commands(server: Harness) -> None:
    (romeo,) = await tavern(server)
    assert condition(await run(romeo, "create", " action='prev'", uri=TEACHER, title="x")) == "bad-request"
    assert condition(await run(romeo, "create", f" sessionid='{'x' * 300}'", uri=TEACHER, title="x")) == "bad-request"
    cancelled = await run(romeo, "create", " action='cancel'", uri=TEACHER, title="x")
    assert cancelled[0].get("status") == "canceled"
    other = "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>urn:x</value></field></x>"
    command = f"<command xmlns='{COMMANDS}' node='{NODE}:create'>{other}</command>"
    assert condition(await romeo.iq(command, "set", ROOM)) == "bad-request"
    assert rows(await run(romeo, "list")) == []


async def test_there_are_bounds(server: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hats, "MOST_HATS", 3)
    monkeypatch.setattr(hats, "WEARERS", 2)
    monkeypatch.setattr(hats, "WORN", 2)
    (romeo,) = await tavern(server)
    for number in range(3):
        await define(romeo, f"urn:hat:{number}")
    assert condition(await run(romeo, "create", uri="urn:hat:3", title="x")) == "resource-constraint"
    await define(romeo, "urn:hat:2", "renamed")
    for who in ("a", "b"):
        await done(romeo, "assign", uri="urn:hat:0", jid=f"{who}@localhost")
    assert condition(await run(romeo, "assign", uri="urn:hat:0", jid="c@localhost")) == "resource-constraint"
    await done(romeo, "assign", uri="urn:hat:1", jid="a@localhost")
    assert condition(await run(romeo, "assign", uri="urn:hat:2", jid="a@localhost")) == "resource-constraint"


async def test_hats_outlive_a_restart(server: Harness) -> None:
    romeo, _ = await tavern(server, "juliet", muc__roomconfig_persistentroom="1")
    await define(romeo)
    await done(romeo, "assign", uri=TEACHER, jid="juliet@localhost")
    second = await restarted(server)
    try:
        juliet = await second.login("juliet", "balcony", presence=True)
        shown = next(each for each in await join(juliet, "juliet") if each.get("from") == f"{ROOM}/juliet")
        assert worn(shown) == [(TEACHER, "Teacher", "327.255249")]
    finally:
        await second.stop()


async def test_a_hat_goes_with_the_account(server: Harness) -> None:
    """Also one of somebody who is not affiliated, and not there: who gets the name next wears nothing."""
    romeo, _ = await tavern(server, "juliet")
    await define(romeo)
    for who in ("juliet", "nurse"):
        await done(romeo, "assign", uri=TEACHER, jid=f"{who}@localhost")
    await server.register("nurse")
    await server.operation("user.del", jids=["juliet@localhost", "nurse@localhost"])
    await server.quiet()
    assert rows(await run(romeo, "list-assigned")) == []
    muc = server.server.hosts["conference.localhost"].plugins["muc"]
    assert await muc.rooms.hats.read_all(ROOM) == {TEACHER: Hat("Teacher", "327.255249")}  # type: ignore[attr-defined]


async def test_the_room_announces_hats(server: Harness) -> None:
    romeo, juliet = await tavern(server, "juliet")
    query = "<query xmlns='http://jabber.org/protocol/disco#info'/>"

    async def hashes() -> list[str]:
        info = await juliet.iq(query, "get", ROOM)
        assert f'"{NS}"' in xml(info) and COMMANDS in xml(info)
        return [
            each.findtext(f"{DATA}value") or "" for each in info.iter(f"{DATA}field") if each.get("var") == "hats#hash"
        ]

    assert await hashes() == []
    await define(romeo)
    (first,) = await hashes()
    await define(romeo, PROCTOR, "Proctor")
    assert len(first) == 40 and await hashes() != [first]
    node = f"<query xmlns='http://jabber.org/protocol/disco#info' node='{NODE}:create'/>"
    assert "command-node" in xml(await romeo.iq(node, "get", ROOM))
    assert condition(await juliet.iq(node, "get", ROOM)) == "item-not-found"
