"""Rooms whose home is not that of who speaks there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from lxml import etree

from tests.core.test_routing_homes import MORE, NEAR, A, B, after_a_crash, homes, say, texts
from tests.harness import Client, Element, Harness, condition
from xmppd.contracts.archive import LOG
from xmppd.routing.outbox import AGAIN
from xmppd.storage.api import Range

ROOM = next(f"{n}@conference.localhost" for n in range(99) if homes.of(f"{n}@conference.localhost") == 1)
MUC = "http://jabber.org/protocol/muc"


@pytest.fixture
async def two() -> AsyncIterator[Harness]:
    server = await Harness(more=MORE, rooms={"muc": {"affiliations": 10}}).start()
    yield server
    server.backend.release()
    await server.stop()


async def enter(client: Client) -> list[Element]:
    client.send(f"<presence to='{ROOM}/{client.jid.partition('@')[0]}'><x xmlns='{MUC}'/></presence>")
    return await client.receive_all()


async def configure(client: Client, **options: str) -> None:
    form = f"<field var='FORM_TYPE'><value>{MUC}#roomconfig</value></field>"
    for name, value in options.items():
        form += f"<field var='muc#roomconfig_{name}'><value>{value}</value></field>"
    form = f"<x xmlns='jabber:x:data' type='submit'>{form}</x>"
    client.send(f"<iq type='set' id='c' to='{ROOM}'><query xmlns='{MUC}#owner'>{form}</query></iq>")
    assert "result" in {each.get("type") for each in await client.receive_all()}


async def owner(server: Harness) -> Client:
    """Of the room, and in it."""
    nurse = await server.login(NEAR, presence=True)
    await enter(nurse)
    await configure(nurse, persistentroom="1")
    return nurse


def tell_all(client: Client, body: str) -> None:
    client.send(f"<message to='{ROOM}' type='groupchat' id='{body}'><body>{body}</body></message>")


async def archive(server: Harness) -> list[str]:
    entries = await server.storage.log(LOG).page(ROOM, Range(), 100)
    return [str(etree.fromstring(each.body).findtext("{*}body")) for each in entries]


def occupants(server: Harness) -> list[str]:
    rooms: Any = server.server.hosts["conference.localhost"].plugins["muc"]
    return list(rooms.rooms.slots[ROOM].room.sessions)


@pytest.mark.parametrize("held", (False, True))
@pytest.mark.parametrize("end", ("</stream:stream>", "", "<presence type='unavailable'/>"))
async def test_who_has_said_something_and_goes_has_said_it(two: Harness, end: str, held: bool) -> None:
    """The end of a session comes to the room behind what was said on it; "": the connection breaks."""
    nurse, romeo = await owner(two), await two.login(A, presence=True)
    await enter(romeo)
    await nurse.receive_all()
    if held:
        two.backend.hold()
    tell_all(romeo, "one")
    if end:
        romeo.send(end)
    else:
        romeo.cut()
    await two.quiet()
    two.backend.release()
    got = [each.get("type") for each in await nurse.receive_all()]
    assert (got, await archive(two)) == (["groupchat", "unavailable"], ["one"])
    assert occupants(two) == [nurse.jid]


async def test_no_ghost_of_who_entered_and_went(two: Harness) -> None:
    """The join waits behind a message that is not stored yet, when the stream ends."""
    nurse = await owner(two)
    await two.register(B)
    romeo = await two.login(A, presence=True)
    two.backend.hold()
    say(romeo, B, "one")
    romeo.send(f"<presence to='{ROOM}/romeo'><x xmlns='{MUC}'/></presence></stream:stream>")
    await two.quiet()
    two.backend.release()
    await two.quiet()
    assert occupants(two) == [nurse.jid]


async def test_what_a_crash_made_impossible_is_told_later(two: Harness) -> None:
    """It was acknowledged; after the crash nobody is in the room, which refuses it. The client hears of it, once."""
    await owner(two)
    romeo = await two.login(A, presence=True)
    await enter(romeo)
    two.backend.hold()
    tell_all(romeo, "one")
    await two.quiet()
    two.backend.release(1)
    await two.quiet()
    after = await after_a_crash(two)
    await after.quiet()
    assert await after.storage.unheard("localhost") == []
    for expected in (["not-acceptable"], []):
        romeo = await after.login(A)
        romeo.send("<presence/>")
        errors = [each for each in await romeo.receive_all() if each.tag.endswith("message")]
        assert [condition(each) for each in errors] == expected
        assert all((each.get("id"), each.get("from")) == ("one", ROOM) for each in errors)
        await after.advance(1)
        romeo.close()
        await after.quiet()
    assert await texts(after, A) == []
    await after.stop()


async def test_a_full_list_is_no_reason_to_wait(two: Harness) -> None:
    """The rules refuse for good, though with the condition that a store has that is away."""
    nurse = await owner(two)
    await configure(nurse, membersonly="1", persistentroom="1")
    for number in range(9):
        member = f"<item affiliation='member' jid='m{number}@localhost'/>"
        nurse.send(f"<iq type='set' id='m' to='{ROOM}'><query xmlns='{MUC}#admin'>{member}</query></iq>")
    await nurse.receive_all()
    nurse.send(f"<message to='{ROOM}' id='i'><x xmlns='{MUC}#user'><invite to='more@localhost'/></x></message>")
    tell_all(nurse, "behind it")
    got = [(each.get("id"), condition(each)) for each in await nurse.receive_all()]
    assert got == [("i", "resource-constraint"), ("behind it", "")]
    await two.advance(AGAIN + 1)
    assert await archive(two) == ["behind it"]
    assert await two.storage.unheard("localhost") == []
