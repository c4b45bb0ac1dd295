"""The archive of a room (XEP-0313), and what stays of a room after a restart."""

from __future__ import annotations

import pytest

from tests.harness import Client, Element, FakeClock, Harness, condition, xml
from tests.plugins.muc.people import MUC, ROOM, admin, body, codes, configure, item, join, say, tavern
from xmppd.storage.memory import MemoryBackend
from xmppd.storage.sqlite import SqliteBackend
from xmppd.storage.store import Store

NS = "urn:xmpp:mam:2"


def query(form: str = "", rsm: str = "", more: str = "", id: str = "q") -> str:
    kind = f"<field var='FORM_TYPE'><value>{NS}</value></field>"
    x = f"<x xmlns='jabber:x:data' type='submit'>{kind}{form}</x>" if form else ""
    set_ = f"<set xmlns='http://jabber.org/protocol/rsm'>{rsm}</set>" if rsm else ""
    return f"<query xmlns='{NS}' queryid='{id}'>{x}{set_}{more}</query>"


def field(var: str, *values: str) -> str:
    return f"<field var='{var}'>{''.join(f'<value>{value}</value>' for value in values)}</field>"


async def read(client: Client, payload: str) -> tuple[list[Element], Element]:
    """The result elements of a query, and its fin."""
    answer = await client.iq(payload, "set", ROOM)
    assert answer.get("type") == "result", xml(answer)
    found = []
    for message in await client.receive_all():
        assert message.get("from") == ROOM and message[0].get("queryid") == "q"
        found.append(message[0])
    return found, answer[0]


def texts(results: list[Element]) -> list[str]:
    return [each.findtext(".//{jabber:client}body") or "" for each in results]


async def talk(server: Harness, count: int = 6) -> list[Client]:
    """Messages "0", "1", … a second apart, in turns by romeo and juliet."""
    clients = await tavern(server, "juliet")
    for number in range(count):
        clients[number % 2].send(say(str(number)))
        await server.quiet()
        await server.advance(1)
    for client in clients:
        await client.receive_all()
    return clients


async def test_pages(server: Harness) -> None:
    romeo, juliet = await talk(server)
    everything, fin = await read(juliet, query())
    assert texts(everything) == list("012345") and fin.get("complete") == "true"
    ids = [str(each.get("id")) for each in everything]
    for form, rsm, wanted, complete in (
        ("", "<max>2</max>", "01", False),
        ("", f"<max>2</max><after>{ids[1]}</after>", "23", False),
        ("", f"<max>2</max><after>{ids[3]}</after>", "45", True),
        ("", "<max>2</max><before/>", "45", False),
        ("", f"<max>2</max><before>{ids[2]}</before>", "01", True),
        ("", f"<max>2</max><before>{ids[4]}</before>", "23", False),
        (field("after-id", ids[0]) + field("before-id", ids[4]), "", "123", True),
        (field("after-id", ids[0]), f"<max>2</max><before>{ids[4]}</before>", "23", False),
        (field("ids", ids[5], ids[1]), "", "15", True),
        (field("with", f"{ROOM}/romeo"), "", "024", True),
        (field("with", ROOM), "", "012345", True),
        (field("start", "2023-11-14T22:13:23Z"), "", "345", True),
        (field("end", "2023-11-14T22:13:21Z"), "", "01", True),
    ):
        results, fin = await read(juliet, query(form, rsm))
        assert "".join(texts(results)) == wanted, (form, rsm)
        assert (fin.get("complete") == "true") is complete, (form, rsm)
    flipped, fin = await read(juliet, query("", "<max>3</max>", "<flip-page/>"))
    assert texts(flipped) == ["2", "1", "0"]
    assert fin.findtext(".//{*}first") == ids[0] and fin.findtext(".//{*}last") == ids[2]
    nothing, fin = await read(juliet, query("", "<max>0</max>"))
    assert not nothing and fin.findtext(".//{*}count") == "6"
    assert not romeo.inbox


async def test_what_a_result_looks_like(server: Harness) -> None:
    """5.1.2: no `to`, from the occupant; the real address for those who may see it only."""
    romeo, juliet = await talk(server, 1)
    for client, sees in ((romeo, True), (juliet, False)):
        (result,), _ = await read(client, query())
        forwarded = result.find("{urn:xmpp:forward:0}forwarded")
        assert forwarded is not None
        message = forwarded.find("{jabber:client}message")
        assert message is not None and message.get("to") is None and message.get("from") == f"{ROOM}/romeo"
        assert forwarded[0].get("stamp") == "2023-11-14T22:13:20.000000Z"
        assert ("romeo@localhost" in xml(message)) is sees
        assert message.find("{urn:xmpp:occupant-id:0}occupant-id") is not None


@pytest.mark.parametrize(
    ("form", "rsm", "wanted"),
    [
        (field("after-id", "1"), "", "item-not-found"),
        (field("before-id", "x' OR 1=1--"), "", "item-not-found"),
        (field("ids", "1", "2"), "", "item-not-found"),
        ("", '<after>{"$gt":""}</after>', "item-not-found"),
        ("", "<before>7</before>", "item-not-found"),
        ("", "<max>many</max>", "bad-request"),
        (field("start", "yesterday"), "", "bad-request"),
        (field("start", "999999-01-01T00:00:00Z"), "", "bad-request"),
        (field("with", "@"), "", "jid-malformed"),
        (field("with", "juliet@localhost"), "", "feature-not-implemented"),
        (field("colour", "red"), "", "feature-not-implemented"),
        (field("ids", *map(str, range(1, 252))), "", "bad-request"),
    ],
)
async def test_bad_queries(server: Harness, form: str, rsm: str, wanted: str) -> None:
    """4.1.4, G08."""
    _, juliet = await talk(server, 2)
    assert condition(await juliet.iq(query(form, rsm), "set", ROOM)) == wanted
    assert not juliet.inbox


async def test_form_and_metadata(server: Harness) -> None:
    """4.1.5, 4.4."""
    romeo, *_ = await tavern(server)
    empty = (await romeo.iq(f"<metadata xmlns='{NS}'/>", "get", ROOM))[0]
    assert len(empty) == 0
    romeo.send(say("x"))
    romeo.send(say("y"))
    await romeo.receive_all()
    start, end = (await romeo.iq(f"<metadata xmlns='{NS}'/>", "get", ROOM))[0]
    assert int(str(end.get("id"))) > int(str(start.get("id")))
    form = xml(await romeo.iq(f"<query xmlns='{NS}'/>", "get", ROOM))
    assert "before-id" in form and "with" in form


@pytest.mark.parametrize(
    ("options", "stranger", "member", "outcast"),
    [
        ({}, True, True, False),
        ({"muc__roomconfig_membersonly": "1"}, False, True, False),
        ({"muc__roomconfig_publicroom": "0"}, False, True, False),
        ({"muc__roomconfig_passwordprotectedroom": "1", "muc__roomconfig_roomsecret": "x"}, False, True, False),
    ],
)
async def test_who_may_read(
    server: Harness, options: dict[str, str], stranger: bool, member: bool, outcast: bool
) -> None:
    """T35, G03; XEP-0313 section 5.1.2. The rights are those at the time of the query."""
    romeo, *_ = await tavern(server, **options)
    romeo.send(say("secret"))
    await romeo.receive_all()
    nurse = await server.login("nurse", presence=True)
    for affiliation, may in (("none", stranger), ("member", member), ("outcast", outcast)):
        await admin(romeo, f"<item jid='nurse@localhost' affiliation='{affiliation}'/>")
        await nurse.receive_all()
        for payload, type in (
            (query(), "set"),
            (f"<metadata xmlns='{NS}'/>", "get"),
            (f"<query xmlns='{NS}'/>", "get"),
        ):
            answer = await nurse.iq(payload, type, ROOM)
            assert condition(answer) == ("" if may else "forbidden"), (affiliation, payload)
        got = await nurse.receive_all()
        assert ("secret" in "".join(map(xml, got))) is may


async def test_a_query_sees_what_came_before_it(server: Harness) -> None:
    _, juliet = await tavern(server, "juliet")
    server.backend.hold()
    juliet.send(say("mine"))
    juliet.send(f"<iq type='set' id='a' to='{ROOM}'>{query()}</iq>")
    await server.quiet()
    server.backend.release()
    got = await juliet.receive_all()
    assert [each.tag.split("}")[1] for each in got] == ["message", "message", "iq"]
    assert texts([got[1]]) == ["mine"]


async def test_subject_changes_are_in_the_archive(server: Harness) -> None:
    romeo, *_ = await tavern(server)
    romeo.send(f"<message type='groupchat' to='{ROOM}'><subject>Fish</subject></message>")
    await romeo.receive_all()
    (result,), _ = await read(romeo, query())
    assert result.findtext(".//{jabber:client}subject") == "Fish"


# ---- restart


async def restarted(harness: Harness, clock: FakeClock, store: Store) -> Harness:
    """Another server on the same data."""
    await harness.stop()
    return await Harness(store=store, clock=clock).start()


@pytest.fixture(params=["memory", "sqlite"])
def make_store(request: pytest.FixtureRequest, tmp_path: object) -> object:
    clock = FakeClock()
    memory = MemoryBackend(clock)

    def make() -> tuple[Store, FakeClock]:
        if request.param == "memory":
            return Store(memory, clock), clock
        return Store(SqliteBackend(f"{tmp_path}/x.sqlite"), clock), clock

    return make


async def test_a_persistent_room_survives_a_restart(make_store: object) -> None:
    assert callable(make_store)
    store, clock = make_store()
    first = await Harness(store=store, clock=clock).start()
    romeo, juliet = await tavern(
        first,
        "juliet",
        muc__roomconfig_persistentroom="1",
        muc__roomconfig_roomname="Inn",
        muc__roomconfig_whois="anyone",
    )
    await admin(romeo, "<item jid='juliet@localhost' affiliation='admin' nick='Jules'/>")
    await admin(romeo, "<item jid='tybalt@localhost' affiliation='outcast'><reason>rude</reason></item>")
    romeo.send(f"<message type='groupchat' to='{ROOM}'><subject>Fish</subject></message>")
    romeo.send(say("before"))
    before = (await juliet.receive_all())[-1]
    await join(romeo, "romeo", "temporary@conference.localhost")
    await configure(romeo, "temporary@conference.localhost")
    old_id = before.find("{urn:xmpp:sid:0}stanza-id")
    assert old_id is not None

    store, clock = make_store()
    second = await restarted(first, clock, store)
    juliet = await second.login("juliet", presence=True)
    got = await join(juliet, "Jules", inside="")
    assert len(got) == 3, "nobody else is there"
    assert codes(got[0]) == ["100", "110", "170"] and item(got[0])["affiliation"] == "admin"
    assert body(got[1]) == "before" and got[-1].findtext("{jabber:client}subject") == "Fish"
    ids = [each.find("{urn:xmpp:occupant-id:0}occupant-id") for each in (got[1], before)]
    assert len({each.get("id") for each in ids if each is not None}) == 1
    assert 'name="Inn"' in xml(await juliet.iq("<query xmlns='http://jabber.org/protocol/disco#info'/>", to=ROOM))
    banned = await admin(juliet, "<item affiliation='outcast'/>", "get")
    assert "tybalt@localhost" in xml(banned) and "rude" in xml(banned)
    nurse = await second.login("nurse", presence=True)
    nurse.send(f"<presence to='{ROOM}/jules'><x xmlns='{MUC}'/></presence>")
    assert condition(await nurse.receive()) == "conflict"
    juliet.send(say("after"))
    new_id = (await juliet.receive()).find("{urn:xmpp:sid:0}stanza-id")
    assert new_id is not None and int(str(new_id.get("id"))) > int(str(old_id.get("id")))
    results, _ = await read(juliet, query())
    assert texts(results) == ["", "before", "after"]
    gone = await juliet.iq(
        "<query xmlns='http://jabber.org/protocol/disco#info'/>", to="temporary@conference.localhost"
    )
    assert condition(gone) == "item-not-found"
    await second.stop()


async def test_what_a_crash_leaves_of_a_temporary_room_is_deleted() -> None:
    """Nobody could leave it, so nobody would ever delete it; and it must not come back with its old owner."""
    clock = FakeClock()
    backend = MemoryBackend(clock)
    first = await Harness(store=Store(backend, clock), clock=clock).start()
    romeo, *_ = await tavern(first)
    romeo.send(say("x"))
    await romeo.receive_all()
    second = await Harness(store=Store(backend, clock), clock=clock).start()
    assert await second.storage.log("archive").last_id(ROOM) == 0
    juliet = await second.login("juliet", presence=True)
    assert "201" in codes((await join(juliet, "juliet"))[0])
    await second.stop()
