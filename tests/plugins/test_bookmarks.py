"""XEP-0402 section 5: bookmarks are the same in all their forms."""

from __future__ import annotations

from tests.harness import Client, Harness, condition, xml
from tests.plugins.pubsub.test_access import NS, ids, items, publish
from tests.plugins.pubsub.test_pep import announce, events

NODE = "urn:xmpp:bookmarks:1"
OLD = "storage:bookmarks"
ROOM = "play@conference.localhost"
NEW = (
    f"<conference xmlns='{NODE}' name='The Play' autojoin='true'><nick>JC</nick>"
    "<extensions><x xmlns='urn:x'/></extensions></conference>"
)


def private(inside: str = "") -> str:
    return f"<query xmlns='jabber:iq:private'><storage xmlns='{OLD}'>{inside}</storage></query>"


async def rooms(client: Client) -> dict[str, tuple[str | None, str | None, str | None]]:
    answer = await client.iq(private())
    return {
        str(each.get("jid")): (each.get("name"), each.get("autojoin"), each.findtext(f"{{{OLD}}}nick"))
        for each in answer.iter(f"{{{OLD}}}conference")
    }


async def test_what_a_new_client_keeps_an_old_one_reads(server: Harness) -> None:
    juliet = await server.login("juliet")
    await announce(juliet, OLD)
    await publish(juliet, NODE, ROOM, NEW)
    await server.quiet()
    assert await rooms(juliet) == {ROOM: ("The Play", "true", "JC")}
    assert events(await juliet.receive_all(), OLD) == ["current"], "those that know the node only are told"
    found = await items(juliet, None, OLD)
    assert [each.get("jid") for each in found.iter(f"{{{OLD}}}conference")] == [ROOM]
    await juliet.iq(f"<pubsub xmlns='{NS}'><retract node='{NODE}'><item id='{ROOM}'/></retract></pubsub>", "set")
    await server.quiet()
    assert await rooms(juliet) == {}


async def test_what_an_old_client_keeps_a_new_one_reads(server: Harness) -> None:
    juliet = await server.login("juliet")
    await announce(juliet, NODE)
    await publish(juliet, NODE, ROOM, NEW)
    await publish(juliet, NODE, "gone@conference.localhost", f"<conference xmlns='{NODE}'/>")
    await server.quiet()
    await juliet.receive_all()
    kept = f"<conference jid='{ROOM}' name='Renamed' autojoin='1'><nick>JC</nick></conference>"
    kept += "<url name='x' url='urn:x'/>"
    added = "<conference jid='b@conference.localhost'/><conference jid='@'/>"
    assert (await juliet.iq(private(kept + added), "set")).get("type") == "result"
    await server.quiet()
    assert sorted(events(await juliet.receive_all(), NODE)) == sorted(
        [ROOM, "b@conference.localhost", "gone@conference.localhost"]
    )
    answer = await items(juliet, None, NODE)
    assert ids(answer) == ["b@conference.localhost", ROOM] or ids(answer) == [ROOM, "b@conference.localhost"]
    renamed = next(each for each in answer.iter(f"{{{NODE}}}conference") if each.get("name"))
    assert renamed.get("name") == "Renamed"
    assert "urn:x" in xml(renamed), "what only the new form has stays"
    assert "<url " in xml(await juliet.iq(private())), "and what only the old form has"


async def test_the_old_node(server: Harness) -> None:
    """XEP-0411's other half: published over PEP by a client that knows no other way."""
    juliet = await server.login("juliet")
    storage = f"<storage xmlns='{OLD}'><conference jid='{ROOM}' name='P'/></storage>"
    await publish(juliet, OLD, "current", storage)
    await server.quiet()
    assert ids(await items(juliet, None, NODE)) == [ROOM]
    assert await rooms(juliet) == {ROOM: ("P", None, None)}


async def test_they_are_nobody_elses_business(server: Harness) -> None:
    juliet, romeo = await server.login("juliet", presence=True), await server.login("romeo", presence=True)
    juliet.send("<presence type='subscribe' to='romeo@localhost'/>")
    await juliet.iq(private(f"<conference jid='{ROOM}'/>"), "set")
    await server.quiet()
    for node in (NODE, OLD):
        assert condition(await items(romeo, "juliet@localhost", node)) in ("service-unavailable", "not-allowed")


async def test_too_many(server: Harness) -> None:
    juliet = await server.login("juliet")
    many = "".join(f"<conference jid='{number}@c'/>" for number in range(501))
    assert condition(await juliet.iq(private(many), "set")) == "not-acceptable"
    assert await rooms(juliet) == {}
