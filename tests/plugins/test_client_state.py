"""XEP-0352: what waits for a sleeping client, and what does not."""

from __future__ import annotations

import random

import pytest
from lxml import etree

from tests.harness import Client, Harness
from xmppd.storage.store import Store

ACTIVE, INACTIVE = "<active xmlns='urn:xmpp:csi:0'/>", "<inactive xmlns='urn:xmpp:csi:0'/>"
SM = "urn:xmpp:sm:3"
STATES = "http://jabber.org/protocol/chatstates"


async def phone(server: Harness, managed: bool = False) -> tuple[Client, str]:
    client = await server.login("romeo", "phone", presence=True)
    id = ""
    if managed:
        client.send(f"<enable xmlns='{SM}' resume='true'/>")
        id = str((await client.receive()).get("id"))
    return client, id


def told(elements: list[etree._Element]) -> list[str]:
    """Presence as its status, messages as their body or state."""
    found = []
    for each in elements:
        name = etree.QName(each.tag).localname
        if name == "presence":
            found.append(each.findtext("{jabber:client}status") or str(each.get("type", "")))
        elif name == "message":
            found.append(each.findtext("{jabber:client}body") or etree.QName(each[0].tag).localname)
        elif name == "iq":
            found.append("iq")
    return found


def show(client: Client, status: str) -> None:
    client.send(f"<presence to='romeo@localhost/phone'><status>{status}</status></presence>")


def say(client: Client, body: str) -> None:
    client.send(f"<message to='romeo@localhost' type='chat'><body>{body}</body></message>")


def state(client: Client, name: str) -> None:
    client.send(f"<message to='romeo@localhost/phone' type='chat'><{name} xmlns='{STATES}'/></message>")


async def test_is_offered(server: Harness) -> None:
    client = await server.login("romeo")
    assert client.features.find("{urn:xmpp:csi:0}csi") is not None


async def test_the_last_presence_and_state_wait(server: Harness) -> None:
    romeo, _ = await phone(server)
    juliet = await server.login("juliet")
    romeo.send(INACTIVE)
    show(juliet, "one")
    state(juliet, "composing")
    show(juliet, "two")
    state(juliet, "paused")
    await romeo.silence()
    romeo.send(ACTIVE + "<iq type='get' id='p' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>")
    assert told(await romeo.receive_all()) == ["two", "paused", "iq"]
    show(juliet, "three")
    assert told(await romeo.receive_all()) == ["three"]


async def test_a_message_brings_along_what_waits(server: Harness) -> None:
    romeo, _ = await phone(server)
    juliet, nurse = await server.login("juliet"), await server.login("nurse")
    romeo.send(INACTIVE)
    show(nurse, "here")
    state(juliet, "composing")
    say(juliet, "hello")
    assert told(await romeo.receive_all()) == ["here", "composing", "hello"]
    show(nurse, "away")
    await romeo.silence()


@pytest.mark.parametrize("kept", [True, False])
async def test_what_is_said_in_a_room_does_not_wait(server: Harness, kept: bool) -> None:
    """No log of the account holds it, so it passes the gate by its kind alone. What is typed there waits."""
    room, muc = "r@conference.localhost", "http://jabber.org/protocol/muc"
    juliet = await server.login("juliet", "balcony", presence=True)
    romeo, _ = await phone(server)
    for client in (juliet, romeo):
        client.send(f"<presence to='{room}/{client.bare}'><x xmlns='{muc}'/></presence>")
        await server.quiet()
        if client is juliet:
            await client.iq(
                f"<query xmlns='{muc}#owner'><x xmlns='jabber:x:data' type='submit'/></query>", "set", to=room
            )
    await romeo.receive_all()
    romeo.send(INACTIVE)
    juliet.send(f"<message to='{room}' type='groupchat'><composing xmlns='{STATES}'/></message>")
    await romeo.silence()
    hint = "" if kept else "<no-store xmlns='urn:xmpp:hints'/>"
    juliet.send(f"<message to='{room}' type='groupchat'><body>hello</body>{hint}</message>")
    assert told(await romeo.receive_all()) == ["composing", "hello"]


async def test_a_subscription_does_not_wait(server: Harness) -> None:
    romeo, _ = await phone(server)
    juliet = await server.login("juliet")
    romeo.send(INACTIVE)
    show(juliet, "one")
    juliet.send("<presence to='romeo@localhost' type='subscribe'/>")
    assert told(await romeo.receive_all()) == ["one", "subscribe"]


async def test_what_waits_is_not_counted_before_it_is_sent(server: Harness) -> None:
    romeo, _ = await phone(server, managed=True)
    juliet = await server.login("juliet")
    romeo.send(INACTIVE)
    show(juliet, "one")
    await server.quiet()
    session = server.host.accounts["romeo@localhost"].sessions["phone"]
    assert session.channel.queue.sent == 0
    say(juliet, "hello")
    await server.quiet()
    assert session.channel.queue.sent == 2


async def test_a_resumed_stream_is_active(server: Harness) -> None:
    romeo, id = await phone(server, managed=True)
    juliet = await server.login("juliet")
    romeo.send(INACTIVE)
    show(juliet, "one")
    await server.quiet()
    romeo.cut()
    show(juliet, "two")
    await server.quiet()
    again = server.connect()
    await again.sign_in("romeo")
    again.send(f"<resume xmlns='{SM}' previd='{id}' h='0'/>")
    assert told(await again.receive_all()) == ["two"]
    show(juliet, "three")
    assert told(await again.receive_all()) == ["three"]


async def test_what_waits_outlives_a_restart(server: Harness) -> None:
    romeo, id = await phone(server, managed=True)
    juliet = await server.login("juliet")
    romeo.send(INACTIVE)
    show(juliet, "one")
    state(juliet, "composing")
    await server.quiet()
    romeo.cut()
    backend, clock = server.backend, server.clock
    await server.server.stop()
    second = await Harness(store=Store(backend, clock), clock=clock).start()
    again = second.connect()
    await again.sign_in("romeo")
    again.send(f"<resume xmlns='{SM}' previd='{id}' h='0'/>")
    # her own session did not outlive it, so her last presence is another
    assert told(await again.receive_all()) == ["composing", "unavailable"]
    await second.stop()


@pytest.mark.server(plugins={"client_state": {"held": 3}})
async def test_what_waits_is_bounded(server: Harness) -> None:
    romeo, _ = await phone(server)
    others = [await server.login(f"p{number}") for number in range(4)]
    romeo.send(INACTIVE)
    for number, each in enumerate(others):
        show(each, str(number))
        await server.quiet()
    assert told(await romeo.receive_all()) == ["0", "1", "2", "3"]


@pytest.mark.parametrize("seed", range(12))
async def test_any_order_of_things(server: Harness, seed: int) -> None:
    """Messages come at once and in order, behind what the sender did before; the last presence always arrives."""
    chance = random.Random(seed)
    romeo, id = await phone(server, managed=True)
    people = [await server.login(name) for name in ("juliet", "nurse")]
    done: list[list[str]] = [[], []]
    seen: list[str] = []
    h, cut = 0, False

    async def read() -> None:
        nonlocal h
        came = told(await romeo.receive_all())
        h += len(came)
        seen.extend(came)

    for serial in range(60):
        which = chance.randrange(2)
        name = f"{which}-{serial}"
        act = chance.choice(("show", "show", "say", "active", "inactive", "cut"))
        if act in ("show", "say"):
            (show if act == "show" else say)(people[which], f"{act}-{name}")
            done[which].append(f"{act}-{name}")
            await server.quiet()
            if not cut:
                await read()
                assert act == "show" or f"say-{name}" in seen
        elif act != "cut" and not cut:
            romeo.send(ACTIVE if act == "active" else INACTIVE)
        elif act == "cut":
            if not cut:
                await read()
                romeo.cut()
            else:
                romeo = server.connect()
                await romeo.sign_in("romeo")
                romeo.send(f"<resume xmlns='{SM}' previd='{id}' h='{h}'/>")
                await read()
            cut = not cut
    if cut:
        romeo = server.connect()
        await romeo.sign_in("romeo")
        romeo.send(f"<resume xmlns='{SM}' previd='{id}' h='{h}'/>")
    romeo.send(ACTIVE)
    await read()
    for which in range(2):
        mine = [each for each in seen if each.split("-")[1] == str(which)]
        assert [each for each in done[which] if each in mine] == mine, "order, and nothing twice"
        assert {each for each in done[which] if each.startswith("say")} <= set(mine)
        shown = [each for each in done[which] if each.startswith("show")]
        assert not shown or shown[-1] in mine
