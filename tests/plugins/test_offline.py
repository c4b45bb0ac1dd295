"""XEP-0160 and XEP-0013."""

from __future__ import annotations

import pytest

from tests.harness import Client, Element, Harness, condition
from xmppd.contracts.archive import LOG
from xmppd.storage.api import Flags, Range

NS = "http://jabber.org/protocol/offline"
INFO = f"<query xmlns='http://jabber.org/protocol/disco#info' node='{NS}'/>"
ITEMS = f"<query xmlns='http://jabber.org/protocol/disco#items' node='{NS}'/>"
BODY = "{jabber:client}body"
FETCH, PURGE = f"<offline xmlns='{NS}'><fetch/></offline>", f"<offline xmlns='{NS}'><purge/></offline>"


def bodies(received: list[Element]) -> list[str]:
    return [str(each.findtext(BODY)) for each in received if each.find(BODY) is not None]


def named(action: str, *nodes: str) -> str:
    items = "".join(f"<item action='{action}' node='{node}'/>" for node in nodes)
    return f"<offline xmlns='{NS}'>{items}</offline>"


async def online(client: Client) -> list[str]:
    client.send("<presence/>")
    return bodies(await client.receive_all())


async def story(server: Harness, *texts: str, hidden: bool = False) -> tuple[Client, Client]:
    romeo = await server.login("romeo", "orchard", True)
    await server.register("juliet")
    hint = "<no-permanent-store xmlns='urn:xmpp:hints'/>" if hidden else ""
    for text in texts:
        romeo.send(f"<message to='juliet@localhost' type='chat'><body>{text}</body>{hint}</message>")
    await server.quiet()
    return romeo, await server.login("juliet", "balcony")


async def nodes(juliet: Client) -> list[str]:
    answer = await juliet.iq(ITEMS)
    assert all(each.get("jid") == "juliet@localhost" for each in answer[0])
    return [str(each.get("node")) for each in answer[0]]


async def test_it_is_announced(server: Harness) -> None:
    juliet = await server.login("juliet")
    answer = await juliet.iq("<query xmlns='http://jabber.org/protocol/disco#info'/>", to="localhost")
    assert {"msgoffline", NS} <= {each.get("var") for each in answer[0]}


async def test_what_waits_comes_once_with_its_delay(server: Harness) -> None:
    _, juliet = await story(server, "one", "two")
    juliet.send("<presence/>")
    messages = [each for each in await juliet.receive_all() if each.tag.endswith("}message")]
    assert bodies(messages) == ["one", "two"]
    for each in messages:
        delay = each.find("{urn:xmpp:delay}delay")
        assert delay is not None and delay.get("from") == "localhost"
    juliet.close()
    await server.quiet()
    assert await online(await server.login("juliet", "other")) == []


async def test_how_many_and_from_whom(server: Harness) -> None:
    """Sections 2.2 and 2.3: who has asked is not flooded."""
    _, juliet = await story(server, "one", "two")
    info = (await juliet.iq(INFO))[0]
    assert (info[0].get("category"), info[0].get("type")) == ("automation", "message-list")
    form = info.find("{jabber:x:data}x")
    assert form is not None
    assert [(each.get("var"), each[0].text) for each in form] == [("FORM_TYPE", NS), ("number_of_messages", "2")]
    items = (await juliet.iq(ITEMS))[0]
    assert [each.get("name") for each in items] == ["romeo@localhost/orchard"] * 2
    assert await online(juliet) == []


async def test_no_messages_is_an_empty_list(server: Harness) -> None:
    _, juliet = await story(server)
    assert await nodes(juliet) == []


async def test_view_and_remove(server: Harness) -> None:
    """Sections 2.4 and 2.5."""
    _, juliet = await story(server, "one", "two", "three")
    first, second, third = await nodes(juliet)
    assert (await juliet.iq(named("view", first, third))).get("type") == "result"
    got = await juliet.receive_all()
    assert bodies(got) == ["one", "three"]
    assert [each.find(f"{{{NS}}}offline/{{{NS}}}item").get("node") for each in got] == [first, third]  # type: ignore[union-attr]
    assert (await juliet.iq(named("remove", first), "set")).get("type") == "result"
    assert condition(await juliet.iq(named("view", first))) == "item-not-found"
    assert await nodes(juliet) == [second, third]
    juliet.close()  # it has shown no presence: what it has not removed waits on
    await server.quiet()
    assert await online(await server.login("juliet", "other")) == ["two", "three"]


async def test_fetch(server: Harness) -> None:
    """Section 2.6: all of them, and no flood."""
    romeo, juliet = await story(server, "one", "two")
    assert (await juliet.iq(FETCH)).get("type") == "result"
    assert bodies(await juliet.receive_all()) == ["one", "two"]
    romeo.send("<message to='juliet@localhost' type='chat'><body>later</body></message>")
    await server.quiet()
    assert await online(juliet) == ["later"]


@pytest.mark.parametrize("hidden", [False, True])
async def test_purge(server: Harness, hidden: bool) -> None:
    """Section 2.7. The archive keeps what is its own; what only waited is gone."""
    romeo, juliet = await story(server, "one", "two", hidden=hidden)
    assert (await juliet.iq(PURGE, "set")).get("type") == "result"
    left = await server.storage.log(LOG).page("juliet@localhost", Range(), 10)
    assert len(left) == (0 if hidden else 2)
    assert not any(each.flags & Flags.HIDDEN for each in left)
    romeo.send("<message to='juliet@localhost' type='chat'><body>later</body></message>")
    await server.quiet()
    assert await online(juliet) == ["later"]
    juliet.close()
    await server.quiet()
    assert await online(await server.login("juliet", "other")) == []


async def test_removing_what_only_waited_deletes_it(server: Harness) -> None:
    _, juliet = await story(server, "one", "two", hidden=True)
    first, _ = await nodes(juliet)
    await juliet.iq(named("remove", first), "set")
    assert [each.id for each in await server.storage.log(LOG).page("juliet@localhost", Range(), 10)] != [int(first)]
    assert len(await server.storage.log(LOG).page("juliet@localhost", Range(), 10)) == 1


@pytest.mark.server(plugins={"offline": {"listed": 2}})
async def test_more_than_can_be_listed_comes_as_always(server: Harness) -> None:
    _, juliet = await story(server, "1", "2", "3", "4")
    assert len(await nodes(juliet)) == 2
    assert await online(juliet) == ["3", "4"]


@pytest.mark.parametrize(
    ("type", "payload", "wanted"),
    [
        ("get", f"<offline xmlns='{NS}'/>", "bad-request"),
        ("get", f"<offline xmlns='{NS}'><fetch/><fetch/></offline>", "bad-request"),
        ("get", f"<offline xmlns='{NS}'><fetch/><item action='view' node='1'/></offline>", "bad-request"),
        ("get", f"<offline xmlns='{NS}'><item action='remove' node='1'/></offline>", "bad-request"),
        ("get", named("view", "1"), "item-not-found"),
        ("set", named("remove", "&apos; OR 1=1 --"), "item-not-found"),
        ("set", named("remove", "9" * 30), "item-not-found"),
        ("set", FETCH, "bad-request"),
        ("get", PURGE, "bad-request"),
    ],
)
async def test_errors(server: Harness, type: str, payload: str, wanted: str) -> None:
    _, juliet = await story(server, "one")
    await nodes(juliet)
    assert condition(await juliet.iq(payload, type)) == wanted


async def test_messages_of_others(server: Harness) -> None:
    romeo, _ = await story(server, "one")
    for type, payload in (("get", FETCH), ("set", PURGE)):
        assert condition(await romeo.iq(payload, type, "juliet@localhost")) == "forbidden"
    assert condition(await romeo.iq(INFO, "get", "juliet@localhost")) == "service-unavailable"
    assert len((await romeo.iq(ITEMS, "get", "juliet@localhost"))[0]) == 0, "XEP-0030 section 8"
