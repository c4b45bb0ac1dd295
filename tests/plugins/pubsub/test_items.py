"""What a node holds after many changes, whether its items are remembered or asked for each time."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from lxml import etree

import plugins.pubsub.items as kept
from tests.harness import Client, Harness, condition
from tests.plugins.pubsub.test_access import NS, OWNER, ids, items, publish
from xmppd.storage.api import DataError, Range

MOST = 6


async def retract(client: Client, id: str) -> None:
    await client.iq(f"<pubsub xmlns='{NS}'><retract node='n'><item id='{id}'/></retract></pubsub>", "set")


async def stored(server: Harness) -> list[str]:
    log = server.storage.log("pubsub")
    return [entry.resource for entry in await log.page("juliet@localhost", Range(peer="n"), 1000)]


@pytest.mark.parametrize("remembered", [100, 3])
@pytest.mark.parametrize("seed", range(4))
async def test_a_node_holds_the_newest_items(
    server: Harness, monkeypatch: pytest.MonkeyPatch, remembered: int, seed: int
) -> None:
    monkeypatch.setattr(kept, "CACHED_ITEMS", remembered)
    random = Random(seed)
    juliet = await server.login("juliet")
    await publish(juliet, "n", "0", max_items=str(MOST))
    model = ["0"]
    for step in range(60):
        id = str(random.randrange(9))
        action = random.randrange(12)
        if action < 8:
            await publish(juliet, "n", id)
            model = [*(each for each in model if each != id), id][-MOST:]
        elif action < 11:
            await retract(juliet, id)
            model = [each for each in model if each != id]
        else:
            await juliet.iq(f"<pubsub xmlns='{OWNER}'><purge node='n'/></pubsub>", "set")
            model = []
        assert await stored(server) == model, step
        assert ids(await items(juliet, None, "n")) == model, step


@pytest.mark.parametrize("remembered", [100, 2])
async def test_a_new_version_pushes_nothing_out(
    server: Harness, monkeypatch: pytest.MonkeyPatch, remembered: int
) -> None:
    """There is room for it: it takes the place of the old one."""
    monkeypatch.setattr(kept, "CACHED_ITEMS", remembered)
    juliet = await server.login("juliet")
    await publish(juliet, "n", "1", max_items="3")
    for id in ("2", "3", "3", "2"):
        await publish(juliet, "n", id)
    assert await stored(server) == ["1", "3", "2"]


async def test_a_publication_of_a_known_node_reads_nothing(server: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    juliet = await server.login("juliet")
    for id in ("1", "2"):
        await publish(juliet, "n", id)
    server.backend.unreachable = True
    assert (await publish(juliet, "n", "3")).get("type") == "result"
    server.backend.unreachable = False
    assert await stored(server) == ["3"]


async def test_what_could_not_be_stored_is_not_remembered(server: Harness) -> None:
    juliet = await server.login("juliet")
    await publish(juliet, "n", "1", max_items="2")
    await publish(juliet, "n", "2")
    server.backend.fail(DataError("no"))
    assert condition(await publish(juliet, "n", "3")) == "internal-server-error"
    assert await stored(server) == ["1", "2"]
    await publish(juliet, "n", "4")
    assert await stored(server) == ["2", "4"]


async def test_who_is_deleted_and_comes_again_begins_anew(server: Harness) -> None:
    juliet = await server.login("juliet")
    for id in ("1", "2"):
        await publish(juliet, "n", id)
    await juliet.iq("<query xmlns='jabber:iq:register'><remove/></query>", "set")
    await server.quiet()
    again = await server.login("juliet")
    for id in ("2", "3", "3"):
        await publish(again, "n", id)
    assert await stored(server) == ["3"]


PAYLOADS = (
    "<x xmlns='urn:x' a='&quot;&lt;&#10;'>&lt;&amp;<y/></x>",
    "<p:x xmlns:p='urn:p' xmlns:q='urn:q' q:a='1'><p:y/>tail</p:x>",
    "<x xmlns=''><y/></x>",
    f"<event xmlns='{NS}#event'><items/></event>",
    f"<pubsub xmlns='{NS}'><y xmlns='jabber:client'/></pubsub>",
)


@pytest.mark.parametrize("payload", PAYLOADS)
async def test_what_is_published_comes_as_it_was(server: Harness, payload: str) -> None:
    """Names, ids and payloads that need care where they are written: told, read, retracted."""
    juliet = await server.login("juliet", resource="b&lt;&amp;'\"")
    nurse = await server.login("nurse", presence=True)
    name, id = "n&lt;&apos;&amp;&gt;&quot;", "i&quot;&lt;&apos;&amp;&#10;"
    assert (await publish(juliet, name, id, payload, access_model="open")).get("type") == "result"
    subscribe = f"<pubsub xmlns='{NS}'><subscribe node='{name}' jid='nurse@localhost'/></pubsub>"
    assert (await nurse.iq(subscribe, "set", to="juliet@localhost")).get("type") == "result"
    await nurse.receive_all()
    answer = await publish(juliet, name, id, payload)
    told = await nurse.receive()
    read = await items(nurse, "juliet@localhost", name)
    expected = etree.tostring(etree.fromstring(payload), method="c14n", exclusive=True)
    for element, ns, full in ((answer, NS, False), (told, f"{NS}#event", True), (read, NS, True)):
        (item,) = element.iter(f"{{{ns}}}item")
        assert item.get("id") == "i\"<'&\n"
        parent = item.getparent()
        assert parent is not None and parent.get("node") == "n<'&>\""
        if full:
            assert etree.tostring(item[0], method="c14n", exclusive=True, with_tail=False) == expected
        else:
            assert len(item) == 0
    retract = f"<pubsub xmlns='{NS}'><retract node='{name}' notify='true'><item id='{id}'/></retract></pubsub>"
    assert (await juliet.iq(retract, "set")).get("type") == "result"
    (gone,) = (await nurse.receive()).iter(f"{{{NS}#event}}retract")
    assert gone.get("id") == "i\"<'&\n"


async def test_named_items_are_one_answer_of_a_bounded_size(server: Harness) -> None:
    """XEP-0060 section 6.5.8: a part of what was named would look like the rest were not there, so it is an error."""
    juliet = await server.login("juliet")
    await publish(juliet, "n", "first", max_items="20")
    for number in range(8):
        item = f"<item id='{number}'><entry xmlns='http://www.w3.org/2005/Atom'>{'x' * 200_000}</entry></item>"
        answer = await juliet.iq(f"<pubsub xmlns='{NS}'><publish node='n'>{item}</publish></pubsub>", "set")
        assert answer.get("type") == "result"
        await server.advance(1)

    async def named(wanted: list[str]) -> Any:
        asked = "".join(f"<item id='{id}'/>" for id in wanted)
        return await juliet.iq(f"<pubsub xmlns='{NS}'><items node='n'>{asked}</items></pubsub>")

    assert ids(await named(["1", "7", "1", "none", "3"])) == ["1", "7", "3"]
    assert condition(await named([str(number) for number in range(8)])) == "policy-violation"
    assert condition(await named([f"i{number}" for number in range(101)])) == "policy-violation"
