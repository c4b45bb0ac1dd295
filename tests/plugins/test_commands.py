"""XEP-0050: who sees commands, their steps, and the errors of section 4.4."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.harness import Client, Element, Harness, condition, xml

NS = "http://jabber.org/protocol/commands"
INFO, ITEMS = "http://jabber.org/protocol/disco#info", "http://jabber.org/protocol/disco#items"
FORM = "<x xmlns='jabber:x:data' type='submit'><field var='{}'><value>{}</value></field></x>"


async def harness(**options: int) -> Harness:
    folder = Path(__file__).parent / "offered"
    return await Harness(plugins={"wizard": {}, "commands": dict(options)}, more=f"plugin_path: ['{folder}']").start()


@pytest.fixture
async def offering() -> AsyncIterator[Harness]:
    made = await harness(sessions=2, sessions_in_all=3, lifetime="60 seconds")
    yield made
    await made.stop()


async def run(
    client: Client, node: str = "wizard", id: str = "", action: str = "", inside: str = "", to: str = "localhost"
) -> Element:
    more = f" sessionid='{id}'" if id else ""
    more += f" action='{action}'" if action else ""
    return await client.iq(f"<command xmlns='{NS}' node='{node}'{more}>{inside}</command>", "set", to=to)


def own(answer: Element) -> str:
    """The application-specific condition."""
    found = [each.tag for each in answer.find("{jabber:client}error") if NS in each.tag]
    return found[0].rpartition("}")[2] if found else ""


def actions(answer: Element) -> tuple[str, list[str]]:
    found = answer[0].find(f"{{{NS}}}actions")
    return found.get("execute"), [each.tag.rpartition("}")[2] for each in found]


async def nodes(client: Client, to: str = "localhost") -> list[str]:
    answer = await client.iq(f"<query xmlns='{ITEMS}' node='{NS}'/>", to=to)
    return [each.get("node") for each in answer[0] if each.get("node", "").islower() and ":" not in each.get("node")]


async def test_each_sees_what_they_may_run(offering: Harness) -> None:
    romeo, admin = await offering.login("romeo"), await offering.login("admin")
    assert await nodes(romeo) == ["wizard", "now", "mine"]
    assert await nodes(admin) == ["wizard", "now", "secret", "mine"]
    assert await nodes(romeo, "romeo@localhost") == ["mine"]
    assert await nodes(romeo, "admin@localhost") == []
    info = await romeo.iq(f"<query xmlns='{INFO}' node='wizard'/>", to="localhost")
    assert "automation" in xml(info) and "command-node" in xml(info) and f'var="{NS}"' in xml(info)
    refused = await romeo.iq(f"<query xmlns='{INFO}' node='secret'/>", to="localhost")
    assert condition(refused) == "forbidden"
    assert condition(await run(romeo, "secret")) == "forbidden"
    assert (await run(admin, "secret"))[0].get("status") == "completed"
    assert condition(await run(romeo, "none")) == "item-not-found"


async def test_the_list_of_the_host_leads_to_the_own_account(offering: Harness) -> None:
    """Clients ask the host first. An item names who runs the command (section 2.2)."""
    romeo = await offering.login("romeo")
    answer = await romeo.iq(f"<query xmlns='{ITEMS}' node='{NS}'/>", to="localhost")
    runs = {each.get("node"): each.get("jid") for each in answer[0]}
    assert (runs["wizard"], runs["mine"]) == ("localhost", "romeo@localhost")
    assert (await run(romeo, "mine", to=runs["mine"]))[0].get("status") == "completed"
    assert condition(await run(romeo, "mine", to="localhost")) == "item-not-found"


async def test_strangers_learn_nothing_of_an_account(offering: Harness) -> None:
    romeo = await offering.login("romeo")
    await offering.register("juliet")
    absent, there = await run(romeo, "mine", to="nobody@localhost"), await run(romeo, "mine", to="juliet@localhost")
    assert condition(absent) == condition(there) == "service-unavailable"
    assert (await run(romeo, "mine", to="romeo@localhost"))[0].get("status") == "completed"


async def test_two_forms_back_and_forth(offering: Harness) -> None:
    romeo = await offering.login("romeo")
    answer = await run(romeo)
    id = answer[0].get("sessionid")
    assert answer[0].get("status") == "executing" and actions(answer) == ("next", ["next"])
    answer = await run(romeo, id=id, inside=FORM.format("service", "httpd"))
    assert answer[0].get("sessionid") == id and actions(answer) == ("complete", ["prev", "complete"])
    answer = await run(romeo, id=id, action="prev")
    assert "One" in xml(answer) and actions(answer) == ("next", ["next"])
    await run(romeo, id=id, action="next", inside=FORM.format("service", "jabberd"))
    answer = await run(romeo, id=id, action="complete", inside=FORM.format("state", "on"))
    assert answer[0].get("status") == "completed" and "jabberd is done" in xml(answer)
    again = await run(romeo, id=id, action="complete")
    assert (condition(again), own(again)) == ("not-allowed", "session-expired")


async def test_cancel(offering: Harness) -> None:
    romeo = await offering.login("romeo")
    id = (await run(romeo))[0].get("sessionid")
    assert (await run(romeo, id=id, action="cancel"))[0].get("status") == "canceled"
    assert own(await run(romeo, id=id)) == "session-expired"


async def test_bad_steps_leave_the_command_where_it_is(offering: Harness) -> None:
    romeo = await offering.login("romeo")
    assert own(await run(romeo, action="dance")) == "malformed-action"
    assert own(await run(romeo, action="next")) == "bad-action"
    id = (await run(romeo))[0].get("sessionid")
    for action, inside, wanted in (
        ("complete", "", "bad-action"),
        ("prev", "", "bad-action"),
        ("next", "", "bad-payload"),
        ("next", "<x xmlns='jabber:x:data' type='form'/>", "bad-payload"),
    ):
        answer = await run(romeo, id=id, action=action, inside=inside)
        assert (condition(answer), own(answer)) == ("bad-request", wanted)
    assert actions(await run(romeo, id=id, inside=FORM.format("service", "httpd")))[0] == "complete"


async def test_no_language_and_any_language(offering: Harness) -> None:
    romeo = await offering.login("romeo")
    bad = await romeo.iq(f"<command xmlns='{NS}' node='now' xml:lang='no language'/>", "set", to="localhost")
    assert own(bad) == "bad-locale"
    good = await romeo.iq(f"<command xmlns='{NS}' node='now' xml:lang='de-AT'/>", "set", to="localhost")
    assert good[0].get("{http://www.w3.org/XML/1998/namespace}lang") == "en"


async def test_an_id_is_its_requesters(offering: Harness) -> None:
    romeo, other, juliet = [await offering.login(*who) for who in (("romeo", "a"), ("romeo", "b"), ("juliet", "a"))]
    id = (await run(romeo))[0].get("sessionid")
    for who, node in ((other, "wizard"), (juliet, "wizard"), (romeo, "now")):
        answer = await run(who, node, id=id, action="cancel")
        assert (condition(answer), own(answer)) == ("bad-request", "bad-sessionid")
    assert own(await run(romeo, id="invented")) == "bad-sessionid"
    assert (await run(romeo, id=id, action="cancel"))[0].get("status") == "canceled"


async def test_bounds_and_ends(offering: Harness) -> None:
    romeo, juliet = await offering.login("romeo"), await offering.login("juliet")
    ids = [(await run(romeo))[0].get("sessionid") for _ in range(3)]
    assert own(await run(romeo, id=ids[0])) == "session-expired"  # two at a time
    await run(juliet)
    assert condition(await run(juliet)) == "resource-constraint"  # three in all
    await offering.advance(61)
    assert own(await run(romeo, id=ids[2], action="cancel")) == "session-expired"
    await run(romeo)
    romeo.close()
    await offering.quiet()
    assert not offering.host.plugins["commands"].runs


@pytest.mark.server(plugins={"invitations": {"users": "nobody"}})
async def test_commands_are_announced_to_who_has_some(server: Harness) -> None:
    """Section 2.1; what the hash of the server's capabilities stands for is the same for everybody."""
    romeo, admin = await server.login("romeo"), await server.login("admin")

    async def announced(client: Client, node: str = "") -> set[str | None]:
        at = f" node='{node}'" if node else ""
        answer = await client.iq(f"<query xmlns='{INFO}'{at}/>", to="localhost")
        return {each.get("var") for each in answer[0].iter(f"{{{INFO}}}feature")}

    assert NS in await announced(admin)
    assert NS not in await announced(romeo)
    caps = admin.features.find("{http://jabber.org/protocol/caps}c")
    assert caps is not None
    node = f"{caps.get('node')}#{caps.get('ver')}"
    assert await announced(admin, node) == await announced(romeo, node)
