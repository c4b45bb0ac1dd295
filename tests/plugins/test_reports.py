"""XEP-0377: a block with a report is a block, and the report waits for an administrator."""

from __future__ import annotations

import pytest

from plugins.reports import NODE
from tests.harness import Client, Element, Harness, condition, xml
from tests.plugins.test_administration import submitted

NS = "urn:xmpp:reporting:1"
COMMANDS = "http://jabber.org/protocol/commands"
SPAM = "urn:xmpp:reporting:spam"


async def block(client: Client, jid: str = "mallory@localhost", inside: str = "", reason: str = SPAM) -> Element:
    report = f"<report xmlns='{NS}' reason='{reason}'>{inside}</report>"
    return await client.iq(f"<block xmlns='urn:xmpp:blocking'><item jid='{jid}'>{report}</item></block>", "set")


async def waiting(admin: Client) -> list[dict[str, str]]:
    answer = await admin.iq(f"<command xmlns='{COMMANDS}' node='{NODE}'/>", "set", to="localhost")
    return [
        {str(field.get("var")): field.findtext("{jabber:x:data}value") or "" for field in item}
        for item in answer.iter("{jabber:x:data}item")
    ]


async def test_a_report_waits_with_what_was_said(server: Harness) -> None:
    admin, romeo, mallory = [await server.login(name) for name in ("admin", "romeo", "mallory")]
    romeo.send("<presence/>")
    await romeo.receive_all()
    mallory.send("<message to='romeo@localhost' type='chat'><body>cheap pills</body></message>")
    said = (await romeo.receive()).find("{urn:xmpp:sid:0}stanza-id")
    assert said is not None
    id = f"<stanza-id xmlns='urn:xmpp:sid:0' by='romeo@localhost' id='{said.get('id')}'/>"
    assert (await block(romeo, inside=f"<text>Never came trouble</text>{id}")).get("type") == "result"
    (found,) = await waiting(admin)
    assert (found["reporter"], found["reported"], found["reason"]) == ("romeo@localhost", "mallory@localhost", "spam")
    assert found["text"] == "Never came trouble"
    assert "cheap pills" in found["messages"]
    mallory.send("<message to='romeo@localhost' type='chat' id='m'><body>more</body></message>")
    assert condition(await mallory.receive()) == "service-unavailable", "it is a block, too"
    command = f"<command xmlns='{COMMANDS}' node='{NODE}#resolve'"
    first = await admin.iq(f"{command}/>", "set", to="localhost")
    session = first[0].get("sessionid")
    done = f"{command} sessionid='{session}' action='complete'>{submitted(id=found['id'])}</command>"
    assert (await admin.iq(done, "set", to="localhost"))[0].get("status") == "completed"
    assert await waiting(admin) == []


async def test_another_conversation_is_not_shown(server: Harness) -> None:
    """Only what the reported has written to the reporter."""
    admin, romeo, juliet = [await server.login(name) for name in ("admin", "romeo", "juliet")]
    romeo.send("<presence/>")
    await romeo.receive_all()
    juliet.send("<message to='romeo@localhost' type='chat'><body>a secret</body></message>")
    said = (await romeo.receive()).find("{urn:xmpp:sid:0}stanza-id")
    assert said is not None
    await block(romeo, inside=f"<stanza-id xmlns='urn:xmpp:sid:0' by='romeo@localhost' id='{said.get('id')}'/>")
    (found,) = await waiting(admin)
    assert "secret" not in str(found)


@pytest.mark.server(plugins={"reports": {"per_day": 2}})
async def test_bounds_and_what_is_no_report(server: Harness) -> None:
    admin, romeo = await server.login("admin"), await server.login("romeo")
    await block(romeo, reason="urn:x:nonsense")
    assert await waiting(admin) == []
    for number in range(4):
        assert (await block(romeo, f"m{number}@localhost")).get("type") == "result"
    assert len(await waiting(admin)) == 2


async def test_only_administrators_see_them(server: Harness) -> None:
    romeo = await server.login("romeo")
    await block(romeo)
    for node in (NODE, f"{NODE}#resolve"):
        answer = await romeo.iq(f"<command xmlns='{COMMANDS}' node='{node}'/>", "set", to="localhost")
        assert condition(answer) == "forbidden"
        assert "mallory" not in xml(answer)


@pytest.mark.server(plugins={"reports": {"per_day": 1}})
async def test_a_clock_that_was_set_back_silences_nobody(server: Harness) -> None:
    """Reports of a day that has not come yet are not of the last day."""
    admin, romeo = [await server.login(name) for name in ("admin", "romeo")]
    server.clock.step(400 * 86_400.0)
    await block(romeo)
    server.clock.step(-400 * 86_400.0)
    await block(romeo, "tybalt@localhost")
    await block(romeo, "paris@localhost")
    assert [each["reported"] for each in await waiting(admin)] == ["tybalt@localhost", "mallory@localhost"]
