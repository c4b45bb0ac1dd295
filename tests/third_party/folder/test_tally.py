"""The counter of docs/howto/write-a-plugin.md: nothing that it is told of is lost, and nothing counts twice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.harness import Client, Harness, condition
from xmppd.errors import StorageUnavailable
from xmppd.storage.api import DataError

NS = "urn:example:tally"


@pytest.fixture
async def counting() -> AsyncIterator[Harness]:
    folder = Path(__file__).parent / "plugins"
    harness = Harness(plugins={"tally": {}}, more=f"plugin_path: ['{folder}']")
    await harness.start()
    yield harness
    await harness.stop()


def said(to: str, *bodies: str) -> str:
    return "".join(f"<message to='{to}' type='chat' id='{each}'><body>{each}</body></message>" for each in bodies)


async def tally(server: Harness, user: str) -> str | None:
    client = await server.login(user)
    return (await client.iq(f"<tally xmlns='{NS}'/>"))[0].get("messages")


async def test_three_messages_in_one_read_are_three(counting: Harness) -> None:
    romeo, juliet = await counting.login("romeo"), await counting.login("juliet")
    romeo.send(said(juliet.bare, "one", "two", "three"))
    await counting.quiet()
    assert await tally(counting, "juliet") == "3"
    nurse = await counting.login("nurse")
    counting.backend.hold()
    romeo.send(said(juliet.bare, "four"))
    await counting.quiet()
    nurse.send(said(juliet.bare, "five") + said(romeo.bare, "six"))
    await counting.quiet()
    counting.backend.release()
    await counting.quiet()
    assert await tally(counting, "juliet") == "5"
    assert await tally(counting, "romeo") == "1"


async def test_a_store_that_fails_counts_once(counting: Harness) -> None:
    """It is tried again, until it is in."""
    romeo, juliet = await counting.login("romeo"), await counting.login("juliet")
    counting.backend.fail(StorageUnavailable("away"), times=2)
    romeo.send(said(juliet.bare, "one", "two"))
    await counting.quiet()
    await counting.advance(5)
    assert await tally(counting, "juliet") == "2"


async def test_what_is_refused_does_not_count(counting: Harness) -> None:
    """One of three is refused for what it holds, and the others count as if it had not been there."""
    romeo, juliet = await counting.login("romeo"), await counting.login("juliet")
    counting.backend.fail(DataError("poison"))  # the three together: they are taken apart
    counting.backend.fail(DataError("poison"))  # the first one, alone
    romeo.send(said(juliet.bare, "one", "two", "three"))
    answers = await romeo.receive_all()
    assert [each.get("type") for each in answers if each.get("id") == "one"] == ["error"]
    assert await tally(counting, "juliet") == "2"


async def test_one_message_to_many_counts_once_for_each(counting: Harness) -> None:
    """XEP-0033; one of them is not in memory when it is sent."""
    await counting.register("nurse")
    romeo, juliet = await counting.login("romeo"), await counting.login("juliet")
    addresses = "".join(f"<address type='to' jid='{each}@localhost'/>" for each in ("juliet", "nurse"))
    romeo.send(
        f"<message to='localhost' type='chat' id='m'><body>all</body>"
        f"<addresses xmlns='http://jabber.org/protocol/address'>{addresses}</addresses></message>"
        + said(juliet.bare, "two")
    )
    await counting.quiet()
    assert await tally(counting, "juliet") == "2"
    assert await tally(counting, "nurse") == "1"


COMMANDS = "http://jabber.org/protocol/commands"
RESET = "urn:xmppd:operations:0#tally.reset"


async def listed(client: Client) -> dict[str, str]:
    query = f"<query xmlns='http://jabber.org/protocol/disco#items' node='{COMMANDS}'/>"
    return {each.get("node", ""): each.get("name", "") for each in (await client.iq(query, to="localhost"))[0]}


async def test_administrators_reset_it_from_their_clients(counting: Harness) -> None:
    admin, romeo = await counting.login("admin"), await counting.login("romeo")
    admin.send(said(romeo.bare, "one", "two"))
    await counting.quiet()
    assert (await listed(admin))[RESET] == "Count the messages of an account from zero"
    start = f"<command xmlns='{COMMANDS}' node='{RESET}'/>"
    shown = (await admin.iq(start, "set", to="localhost"))[0]
    fields = {each.get("var"): each.get("type") for each in shown.iter("{jabber:x:data}field")}
    assert fields == {"FORM_TYPE": "hidden", "jid": "jid-single"}

    def filled(jid: str) -> str:
        form = f"<x xmlns='jabber:x:data' type='submit'><field var='jid'><value>{jid}</value></field></x>"
        return start.replace("/>", f" sessionid='{shown.get('sessionid')}'>{form}</command>")

    for wrong in ("", "localhost", "romeo@elsewhere.example"):
        assert condition(await admin.iq(filled(wrong), "set", to="localhost")) == "bad-request"
    assert await tally(counting, "romeo") == "2"
    done = (await admin.iq(filled("romeo@localhost"), "set", to="localhost"))[0]
    assert (done.get("status"), done[0].text) == ("completed", "romeo@localhost begins at zero.")
    assert await tally(counting, "romeo") == "0"


async def test_nobody_else_sees_the_command(counting: Harness) -> None:
    romeo = await counting.login("romeo")
    assert RESET not in await listed(romeo)
    answer = await romeo.iq(f"<command xmlns='{COMMANDS}' node='{RESET}'/>", "set", to="localhost")
    assert condition(answer) == "forbidden"
