"""Accounts that are removed after a while, unless somebody signs in."""

from __future__ import annotations

import pytest

from tests.harness import Client, Harness, condition
from tests.plugins.test_register import REMOVE, exists

DAY = 86_400
grace = pytest.mark.server(plugins={"register": {"removal_grace": "3 days"}})


async def removed(server: Harness) -> None:
    """Romeo, who has a contact and a card, wants to go."""
    romeo, other = await server.login("romeo", "orchard", presence=True), await server.login("romeo", "street")
    await romeo.iq("<query xmlns='jabber:iq:roster'><item jid='juliet@localhost'/></query>", "set")
    assert condition(await romeo.iq(REMOVE, "set")) == ""
    assert await romeo.stream_error() == "not-authorized"
    assert await other.stream_error() == "not-authorized"


async def refused(server: Harness) -> bool:
    try:
        await server.connect().sign_in("romeo")
    except AssertionError:
        return True
    return False


async def later(server: Harness, seconds: float) -> None:
    """Days pass by the wall clock; to live through all their timers would take a minute."""
    server.clock.step(seconds - 700)
    await server.advance(700)


async def contacts(client: Client) -> list[str]:
    return [str(each.get("jid")) for each in (await client.iq("<query xmlns='jabber:iq:roster'/>"))[0]]


@grace
async def test_who_comes_back_has_all(server: Harness) -> None:
    await removed(server)
    assert await refused(server), "other devices do not take it back"
    await server.advance(700)
    romeo = await server.login("romeo", presence=False)
    assert await contacts(romeo) == ["juliet@localhost"]
    romeo.send("<presence/>")
    said = [each.findtext("{jabber:client}body") or "" for each in await romeo.receive_all()]
    assert any("Since you have signed in, it stays" in each for each in said)
    await later(server, 5 * DAY)
    assert await exists(server, "romeo")
    again = await server.login("romeo", presence=True)
    again.send("<presence/>")
    assert not [
        each for each in await again.receive_all() if "it stays" in (each.findtext("{jabber:client}body") or "")
    ]


@grace
async def test_in_the_end_it_is_removed(server: Harness) -> None:
    await removed(server)
    await later(server, 2 * DAY)
    assert await exists(server, "romeo")
    await later(server, DAY + 100)
    assert not await exists(server, "romeo")


@grace
async def test_messages_come_meanwhile(server: Harness) -> None:
    await removed(server)
    juliet = await server.login("juliet", presence=True)
    juliet.send("<message to='romeo@localhost' type='chat' id='m'><body>Come back</body></message>")
    await juliet.silence()
    await server.advance(700)
    romeo = await server.login("romeo")
    romeo.send("<presence/>")
    assert "Come back" in [each.findtext("{jabber:client}body") for each in await romeo.receive_all()]


@grace
async def test_asked_twice(server: Harness) -> None:
    """The second time counts."""
    await removed(server)
    await later(server, 2 * DAY)
    romeo = await server.login("romeo")
    assert condition(await romeo.iq(REMOVE, "set")) == ""
    await later(server, 2 * DAY)
    assert await exists(server, "romeo")
    await later(server, 2 * DAY)
    assert not await exists(server, "romeo")


@grace
async def test_an_administrator_need_not_wait(server: Harness) -> None:
    await removed(server)
    await server.operation("user.del", jids=["romeo@localhost"])
    await server.quiet()
    assert not await exists(server, "romeo")
    await later(server, 4 * DAY)


@grace
async def test_while_the_store_is_away(server: Harness) -> None:
    romeo = await server.login("romeo")
    server.storage.available = False
    assert condition(await romeo.iq(REMOVE, "set")) == "resource-constraint"
    server.storage.available = True
    await server.connect().sign_in("romeo")
    await removed(server)
    server.backend.unreachable = True
    await later(server, 4 * DAY)
    server.backend.unreachable = False
    await server.advance(100)
    assert not await exists(server, "romeo")


@pytest.mark.server(plugins={"register": {"removal_grace": "5 minutes"}})
async def test_a_grace_shorter_than_the_rest(server: Harness) -> None:
    await removed(server)
    await server.advance(400)
    assert not await exists(server, "romeo")


@grace
async def test_a_ban_is_not_lifted_by_leaving(server: Harness) -> None:
    """Who has asked for the removal, and is banned then, does not come back when the rest is over."""
    await removed(server)
    await server.operation("user.disable", jids=["romeo@localhost"])
    await server.advance(700)
    assert await refused(server)
    await later(server, 4 * DAY)
    assert not await exists(server, "romeo")


@grace
async def test_an_administrator_lets_the_owner_in_at_once(server: Harness) -> None:
    await removed(server)
    await server.operation("user.enable", jids=["romeo@localhost"])
    assert await contacts(await server.login("romeo")) == ["juliet@localhost"]
    await later(server, 5 * DAY)
    assert await exists(server, "romeo")
