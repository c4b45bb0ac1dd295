"""XEP-0424: what is taken back is gone from the archives, and only its author takes it back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.core.test_delivery import restarted
from tests.harness import Client, Element, Harness, xml
from tests.plugins.muc.people import ROOM, tavern
from xmppd.delivery.cursor_writer import LOG
from xmppd.storage.api import Range
from xmppd.xep.retraction import PendingRetraction

NS = "urn:xmpp:message-retract:1"


def retract(client: Client, id: str, to: str = "juliet@localhost", type: str = "chat", by: str = "r1") -> None:
    inside = f"<retract xmlns='{NS}' id='{id}'/><body>I took it back</body>"
    client.send(f"<message to='{to}' type='{type}' id='{by}'>{inside}</message>")


async def archive(client: Client, to: str | None = None) -> list[Element]:
    target = f" to='{to}'" if to else ""
    client.send(f"<iq type='set' id='a'{target}><query xmlns='urn:xmpp:mam:2'/></iq>")
    found = await client.receive_all()
    return [inner for each in found for inner in each.iter("{jabber:client}message") if inner is not each]


async def test_both_archives(server: Harness) -> None:
    await server.register("juliet")
    romeo = await server.login("romeo")
    romeo.send(
        "<message to='juliet@localhost' type='chat' id='m1'><body>a slip</body><x xmlns='urn:x'>of mine</x></message>"
    )
    romeo.send("<message to='juliet@localhost' type='chat' id='m2'><body>not this</body></message>")
    retract(romeo, "m1")
    await server.quiet()
    for client in (romeo, await server.login("juliet")):
        first, second, third = await archive(client)
        mark = first.find(f"{{{NS}}}retracted")
        assert mark is not None and mark.get("id") == "r1" and mark.get("stamp")
        assert "slip" not in xml(first) and "of mine" not in xml(first)
        assert first.get("id") == "m1"
        assert "not this" in xml(second)
        assert third.find(f"{{{NS}}}retract") is not None, "the retraction is kept, too"


async def test_another_cannot(server: Harness) -> None:
    juliet = await server.login("juliet")
    romeo, mallory = await server.login("romeo"), await server.login("mallory")
    romeo.send("<message to='juliet@localhost' type='chat' id='m1'><body>it stays</body></message>")
    await server.quiet()
    retract(mallory, "m1")
    retract(juliet, "m1", to="romeo@localhost")
    retract(romeo, "none")
    await server.quiet()
    assert "it stays" in "".join(map(xml, await archive(juliet)))
    assert "it stays" in "".join(map(xml, await archive(romeo)))


async def test_in_a_room(server: Harness) -> None:
    romeo, juliet = await tavern(server, "juliet")
    romeo.send(f"<message to='{ROOM}' type='groupchat' id='m1'><body>a slip</body></message>")
    said = await juliet.receive()
    number = said.find("{urn:xmpp:sid:0}stanza-id")
    assert number is not None
    id = str(number.get("id"))
    retract(juliet, id, ROOM, "groupchat")
    await server.quiet()
    assert "a slip" in "".join(map(xml, await archive(juliet, ROOM))), "not hers"
    retract(romeo, id, ROOM, "groupchat", "r2")
    await server.quiet()
    entries = await archive(juliet, ROOM)
    assert "a slip" not in "".join(map(xml, entries))
    assert "romeo@localhost" not in "".join(map(xml, entries)), "she must not see who he is"
    marks = [each.find(f"{{{NS}}}retracted") for each in entries]
    assert [mark.get("id") for mark in marks if mark is not None] == ["r2"]


async def never(*args: Any) -> None:
    """The process is killed before it has found the message."""
    await asyncio.Event().wait()


@pytest.mark.parametrize("room", [False, True], ids=["chat", "room"])
async def test_a_kill_behind_the_retraction_leaves_nothing_to_read(server: Harness, room: bool) -> None:
    romeo, juliet = await tavern(server, "juliet", muc__roomconfig_persistentroom="1")
    to, type, id = (ROOM, "groupchat", "m1") if room else ("juliet@localhost", "chat", "m1")
    romeo.send(f"<message to='{to}' type='{type}' id='m1'><body>a slip</body></message>")
    if room:
        number = (await juliet.receive()).find("{urn:xmpp:sid:0}stanza-id")
        assert number is not None
        id = str(number.get("id"))
    for host, plugin in (("localhost", "retraction"), ("conference.localhost", "muc")):
        server.server.hosts[host].plugins[plugin].retractions.find = never  # type: ignore[attr-defined]
    retract(romeo, id, to, type)
    await server.quiet()
    second = await restarted(server)
    try:
        await second.quiet()
        muc = second.server.hosts["conference.localhost"].plugins["muc"]
        log = muc.rooms.archive if room else second.storage.log(LOG)  # type: ignore[attr-defined]
        for owner in (ROOM,) if room else ("juliet@localhost", "romeo@localhost"):
            first, last = [entry.body for entry in await log.page(owner, Range(), 10)]
            assert b"a slip" not in first
            assert b"<retracted " in first
            assert b"<retract " in last
            assert not await second.storage.map("retracted", PendingRetraction).read_all(owner)
    finally:
        await second.stop()


@pytest.mark.in_memory
async def test_the_tombstone_waits_for_a_store_that_is_away(server: Harness) -> None:
    await server.register("juliet")
    romeo = await server.login("romeo")
    romeo.send("<message to='juliet@localhost' type='chat' id='m1'><body>a slip</body></message>")
    await server.quiet()
    server.backend.unreachable = True
    retract(romeo, "m1")
    await server.quiet()
    server.backend.unreachable = False
    assert "a slip" in "".join(map(xml, await archive(romeo)))
    await server.advance(31)
    assert "a slip" not in "".join(map(xml, await archive(romeo)))


async def test_what_is_not_archived_is_taken_back_all_the_same(server: Harness) -> None:
    """The retraction asks not to be stored: the message was."""
    juliet, romeo = await server.login("juliet", presence=True), await server.login("romeo")
    romeo.send("<message to='juliet@localhost' type='chat' id='m1'><body>a slip</body></message>")
    hint = "<no-store xmlns='urn:xmpp:hints'/>"
    romeo.send(
        f"<message to='juliet@localhost' type='chat' id='r1'><retract xmlns='{NS}' id='m1'/><body/>{hint}</message>"
    )
    await server.quiet()
    assert "a slip" not in "".join(map(xml, await archive(romeo)))
    juliet.inbox.clear()
    assert "a slip" not in "".join(map(xml, await archive(juliet)))
