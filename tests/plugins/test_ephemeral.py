"""XEP-0466 in the archives, over real stores."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.harness import Client, Element, Harness
from tests.harness.clock import FakeClock
from tests.plugins.stores import KINDS, store_of
from xmppd.storage.api import Range
from xmppd.storage.memory import MemoryBackend
from xmppd.storage.store import Store

MAM = "urn:xmpp:mam:2"
MESSAGE = "{jabber:client}message"
BODY = "{jabber:client}body"
TIMER = "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='{}'/>"
HOUR = 3600.0


@pytest.fixture(params=KINDS)
async def server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Harness]:
    clock = FakeClock()
    marker = request.node.get_closest_marker("server")
    options = marker.kwargs if marker else {}
    harness = Harness(**options, store=store_of(request, tmp_path, clock), clock=clock)
    await harness.start()
    yield harness
    await harness.stop()


def say(client: Client, body: str, timer: object = None, to: str = "juliet@localhost", type: str = "chat") -> None:
    inside = TIMER.format(timer) if timer is not None else ""
    client.send(f"<message to='{to}' type='{type}' id='{body}'><body>{body}</body>{inside}</message>")


async def archive(client: Client, to: str | None = None) -> list[str | None]:
    """The bodies, None for a message without one."""
    answer = await client.iq(f"<query xmlns='{MAM}'/>", "set", to=to)
    assert answer.get("type") == "result"
    return [
        inner(each).findtext(BODY) for each in await client.receive_all() if each.find(f"{{{MAM}}}result") is not None
    ]


def inner(element: Element) -> Element:
    return next(each for each in element.iter(MESSAGE) if each is not element)


async def test_it_disappears_from_both_archives(server: Harness) -> None:
    romeo, juliet = await server.login("romeo", presence=True), await server.login("juliet", presence=True)
    say(romeo, "gone", 60)
    say(romeo, "stays")
    say(romeo, "later", 7200)
    assert [each.findtext(BODY) for each in await juliet.receive_all()] == ["gone", "stays", "later"]
    await server.advance(50)
    assert await archive(romeo) == await archive(juliet) == ["gone", "stays", "later"]
    await server.advance(60)
    assert await archive(romeo) == await archive(juliet) == [None, "stays", "later"]
    await server.advance(2 * HOUR)
    romeo, juliet = await server.login("romeo"), await server.login("juliet")
    assert await archive(romeo) == await archive(juliet) == [None, "stays", None]


async def test_what_nobody_has_taken_waits(server: Harness) -> None:
    await server.register("juliet")
    romeo = await server.login("romeo", presence=True)
    say(romeo, "wait", 60)
    await server.advance(2 * HOUR)
    assert await archive(await server.login("romeo")) == [None]
    juliet = await server.login("juliet")
    juliet.send("<presence/>")
    assert "wait" in [each.findtext(BODY) for each in await juliet.receive_all()]
    await server.advance(2 * HOUR)
    assert await archive(await server.login("juliet")) == [None]


@pytest.mark.server(plugins={"ephemeral": {"undelivered_days": 1}})
async def test_but_not_for_ever(server: Harness) -> None:
    await server.register("juliet")
    romeo = await server.login("romeo")
    say(romeo, "wait", 60)
    await server.advance(26 * HOUR)
    juliet = await server.login("juliet")
    juliet.send("<presence/>")
    assert "wait" not in [each.findtext(BODY) for each in await juliet.receive_all()]
    assert await archive(juliet) == [None]


async def test_ids_are_still_found(server: Harness) -> None:
    """A client goes on from the last id that it knows (XEP-0313 section 4.3.2)."""
    romeo, juliet = await server.login("romeo", presence=True), await server.login("juliet", presence=True)
    say(romeo, "gone", 60)
    stanza_id = (await juliet.receive()).find("{urn:xmpp:sid:0}stanza-id")
    assert stanza_id is not None
    await server.advance(120)
    say(romeo, "news")
    await juliet.receive_all()
    rsm = f"<set xmlns='http://jabber.org/protocol/rsm'><after>{stanza_id.get('id')}</after></set>"
    await juliet.iq(f"<query xmlns='{MAM}'>{rsm}</query>", "set")
    assert [inner(each).findtext(BODY) for each in await juliet.receive_all()] == ["news"]


async def test_what_is_no_timer(server: Harness) -> None:
    romeo = await server.login("romeo", presence=True)
    await server.register("juliet")
    for timer in ("0", "-1", "soon", "1.5", "9" * 30, "000000000001" + "9" * 30, ""):
        say(romeo, "stays", timer)
    await server.quiet()
    await server.advance(100)
    assert await archive(romeo) == ["stays"] * 7


async def test_many_that_wait_are_all_looked_at_again(server: Harness) -> None:
    """Also when they were accepted at the same fraction of a second."""
    await server.register("juliet")
    romeo = await server.login("romeo")
    for number in range(3):
        say(romeo, str(number), 60)
        await server.advance(2)
    await server.advance(2 * HOUR)
    due = server.host.plugins["ephemeral"].due
    assert len(await due.page("juliet@localhost", Range(), 10)) == 3


async def test_a_store_that_is_away_at_the_time(server: Harness) -> None:
    if not isinstance(server.backend, MemoryBackend):
        pytest.skip("the memory's can be made to fail")
    await server.register("juliet")
    romeo = await server.login("romeo")
    say(romeo, "gone", 60)
    await server.advance(1)
    server.backend.unreachable = True
    await server.advance(100)
    server.backend.unreachable = False
    await server.advance(60)
    assert await archive(await server.login("romeo")) == [None]


async def test_in_a_room(server: Harness) -> None:
    romeo = await server.login("romeo")
    room = "garden@conference.localhost"
    romeo.send(f"<presence to='{room}/Romeo'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
    await romeo.receive_all()
    submit = "<x xmlns='jabber:x:data' type='submit'/>"
    owner = "http://jabber.org/protocol/muc#owner"
    await romeo.iq(f"<query xmlns='{owner}'>{submit}</query>", "set", to=room)
    say(romeo, "gone", 60, room, "groupchat")
    say(romeo, "stays", None, room, "groupchat")
    assert len(await romeo.receive_all()) == 2
    await server.advance(100)
    assert await archive(romeo, room) == [None, "stays"]


async def test_it_outlives_the_process(server: Harness) -> None:
    if server.backend.__class__.__name__ == "MemoryBackend":
        pytest.skip("nothing outlives it")
    romeo = await server.login("romeo", presence=True)
    await server.register("juliet")
    say(romeo, "gone", 60)
    await server.quiet()
    await server.advance(1)
    await server.stop()
    await server.storage.close()
    second = Harness(store=Store(server.backend, server.clock), clock=server.clock)
    await second.start()
    await second.advance(HOUR)
    assert await archive(await second.login("romeo")) == [None]
    server.server, server.storage = second.server, second.storage
