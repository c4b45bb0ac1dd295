"""What an occupant says again after its stream broke, and what is on disk before an invitation is acknowledged."""

from __future__ import annotations

import pytest

from tests.core.test_delivery import acked, enable, restarted
from tests.harness import Client, Harness
from tests.plugins.muc.people import MUC, ROOM, join, tavern
from xmppd.storage.api import Range

LONG = "3f7c2a51-8d0e-4b8e-a6a2-5c9f0e1d2b3a"
DELAY = "<delay xmlns='urn:xmpp:delay' stamp='2026-01-01T00:00:00Z'/>"


def say(client: Client, text: str, id: str, more: str = "") -> None:
    client.send(f"<message to='{ROOM}' type='groupchat' id='{id}'><body>{text}</body>{more}</message>")


async def heard(client: Client) -> list[str]:
    return [
        str(each.findtext("{jabber:client}body"))
        for each in await client.receive_all()
        if each.tag == "{jabber:client}message"
        and each.get("type") == "groupchat"
        and each.find("{jabber:client}body") is not None
    ]


async def kept(server: Harness) -> int:
    return await server.storage.log("archive").count(ROOM, Range())


@pytest.mark.parametrize("id", [LONG, "7"])
async def test_a_resend_is_seen_by_its_author_only(server: Harness, id: str) -> None:
    """T54: one entry, one delivery to each, and the author sees that it arrived."""
    romeo, juliet = await tavern(server, "juliet", muc__roomconfig_persistentroom="1")
    say(romeo, "hail", id)
    assert await heard(juliet) == ["hail"]
    romeo.cut()
    await server.quiet()
    again = await server.login("romeo", "again")
    await join(again, "romeo2")
    await heard(again)
    await heard(juliet)
    before = await kept(server)
    say(again, "hail", id, DELAY)
    assert await heard(again) == ["hail"]
    assert await heard(juliet) == []
    assert await kept(server) == before
    say(again, "hail", id)
    assert await heard(juliet) == ["hail"], "once: the next one is meant"


@pytest.mark.parametrize(
    ("who", "text", "id"), [("romeo", "another", "7"), ("romeo", "hail", "8"), ("juliet", "hail", "7")]
)
async def test_what_is_not_the_same_is_said(server: Harness, who: str, text: str, id: str) -> None:
    """A bot counts from 1 after a restart; and nobody repeats another's words by their id."""
    romeo, juliet = await tavern(server, "juliet", muc__roomconfig_persistentroom="1")
    say(romeo, "hail", "7")
    await heard(juliet)
    for client in (romeo, juliet):
        client.cut()
    await server.quiet()
    one, other = await server.login("romeo", "b"), await server.login("juliet", "b")
    await join(one, "romeo")
    await join(other, "juliet")
    speaker, listener = (one, other) if who == "romeo" else (other, one)
    await heard(listener)
    say(speaker, text, id, DELAY)
    assert await heard(listener) == [text]


@pytest.mark.parametrize(
    ("counts", "told", "more", "said"),
    [
        (True, True, "", ["door opened"]),
        (True, False, "", []),
        (True, True, DELAY, []),
        (False, False, "", ["door opened"]),
        (False, False, DELAY, []),
    ],
)
async def test_a_short_id_needs_a_reason(server: Harness, counts: bool, told: bool, more: str, said: list[str]) -> None:
    """A bot that counts from 1 says the same again, and means it; unless its client cannot know of the first one."""
    romeo, juliet = await tavern(server, "juliet", muc__roomconfig_persistentroom="1")
    if counts:
        await enable(romeo)
    await server.advance(1)
    say(romeo, "door opened", "1")
    assert await heard(juliet) == ["door opened"]
    await server.advance(1)
    if told:
        await acked(romeo)
    romeo.cut()
    await server.advance(60)
    romeo = await server.login("romeo", "b")
    await join(romeo, "romeo2")
    await heard(juliet)
    say(romeo, "door opened", "1", more)
    assert await heard(juliet) == said


async def test_a_resend_is_recognised_after_a_kill(server: Harness) -> None:
    romeo, _ = await tavern(server, "juliet", muc__roomconfig_persistentroom="1")
    say(romeo, "stored", LONG)
    await server.quiet()
    server.backend.hold()
    say(romeo, "lost", LONG[::-1])
    await server.quiet()
    second = await restarted(server)
    try:
        romeo, juliet = await second.login("romeo"), await second.login("juliet")
        await join(juliet, "juliet")
        await join(romeo, "romeo")
        await heard(juliet)
        before = await kept(second)
        say(romeo, "stored", LONG, DELAY)
        say(romeo, "lost", LONG[::-1], DELAY)
        assert await heard(juliet) == ["lost"]
        assert await kept(second) == before + 1
    finally:
        await second.stop()
        server.backend.release()


async def test_an_invitation_is_stored_before_it_is_acknowledged(server: Harness) -> None:
    """It is in the archive of who is invited, online or not."""
    await server.register("nurse")
    (romeo,) = await tavern(server)
    await enable(romeo)
    before = await acked(romeo)
    server.backend.hold()
    x = f"<x xmlns='{MUC}#user'><invite to='nurse@localhost'/></x>"
    romeo.send(f"<message to='{ROOM}' id='i'>{x}</message>")
    await server.quiet()
    assert await acked(romeo) == before
    server.backend.release()
    await server.quiet()
    assert await acked(romeo) == before + 1
    second = await restarted(server)
    try:
        assert await second.storage.log("archive").count("nurse@localhost", Range()) == 1
    finally:
        await second.stop()
