"""Owners leave their home between what people do, and come back, or go on at another one: nobody sees a difference.

The same story is told three times: by a server that nobody leaves, by one that all leave whenever nobody is signed in,
and by two over one store that have the owners in turn, so that what one remembers is wrong by the time they come back.
What may be different: a message that is sent again is looked for as after a start of the server (see `Resends`), and
rates begin anew.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from lxml import etree

from tests.harness import Client, Element, Everybody, Harness, condition
from tests.harness.clock import FakeClock
from tests.plugins.stores import store_of
from xmppd.contracts.core import Host
from xmppd.hosts.host import Host as RealHost
from xmppd.hosts.owner_memory import OwnerMemory
from xmppd.jid import JID
from xmppd.storage.backend import Backend
from xmppd.storage.store import Store

C, MAM, INBOX = "{jabber:client}", "{urn:xmpp:mam:2}", "{urn:xmpp:inbox:1}"
JULIET = JID.parse("juliet@localhost")
ROOM = "capulets@conference.localhost"
SM = "urn:xmpp:sm:3"
LONG = "0123456789abcdef"
RETRACT = "<retract xmlns='urn:xmpp:message-retract:1' id='{}'/><fallback xmlns='urn:xmpp:fallback:0'/>"


class SharedStore(Store):
    """The store of another home, over a backend that is open already."""

    async def open(self) -> None:
        """It is open."""

    async def close(self, within: float = 10.0) -> None:
        await self.drain(within)


class World:
    """Where owners have their home now."""

    def __init__(self, here: Harness) -> None:
        self.here = here

    async def next(self) -> None:
        """Nobody is signed in."""
        for client in self.here.clients:
            client.close()
        self.here.clients.clear()
        await self.here.quiet()

    async def stop(self) -> None:
        await self.here.stop()


class Leaving(World):
    """They leave, and come back."""

    async def next(self) -> None:
        await super().next()
        for host in self.here.server.hosts.values():
            await host.arrived(await all_leave(host))


class Moving(World):
    """They go to the other of two homes."""

    def __init__(self, here: Harness) -> None:
        super().__init__(here)
        self.there: Harness | None = None

    async def next(self) -> None:
        await super().next()
        for host in self.here.server.hosts.values():
            await all_leave(host)
        if self.there is None:
            backend: Backend = self.here.backend
            self.there = await Harness(store=SharedStore(backend, self.here.clock), clock=self.here.clock).start()
        else:
            for host in self.there.server.hosts.values():
                await host.arrived(Everybody())
        self.here, self.there = self.there, self.here

    async def stop(self) -> None:
        assert self.there is not None
        first, second = self.here, self.there
        if isinstance(first.storage, SharedStore):
            first, second = second, first
        await second.stop()
        await first.stop()


async def all_leave(host: Host) -> frozenset[str]:
    """All but the host itself, whose working set is in use."""
    left, stayed = await host.unload(Everybody())
    assert stayed <= {host.domain}, "something is under way"
    return left


Begin = Callable[[str], Awaitable[World]]
WORLDS: dict[str, type[World]] = {"stays": World, "leaves": Leaving, "moves": Moving}


@pytest.fixture(params=["memory", "sqlite"])
async def begin(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Begin]:
    """Starts a world of that kind."""
    worlds: list[World] = []

    async def make(kind: str) -> World:
        clock = FakeClock()
        folder = tmp_path / kind
        folder.mkdir()
        harness = await Harness(store=store_of(request, folder, clock), clock=clock).start()
        worlds.append(WORLDS[kind](harness))
        return worlds[-1]

    yield make
    for world in worlds:
        await world.stop()


# ---- what people do, and what they see


def say(client: Client, to: str, body: str, more: str = "", type: str = "chat", id: str = "") -> None:
    client.send(f"<message to='{to}' type='{type}' id='{id or body}'><body>{body}</body>{more}</message>")


def bodies(elements: list[Element]) -> list[str]:
    return [each.findtext(f"{C}body", "") for each in elements if each.tag == f"{C}message"]


async def archive(client: Client, to: str | None = None) -> list[str]:
    await client.iq("<query xmlns='urn:xmpp:mam:2'/>", "set", to=to)
    found = [each.find(f"{MAM}result") for each in await client.receive_all()]
    return [next(each.iter(f"{C}message")).findtext(f"{C}body", "") for each in found if each is not None]


async def inbox(client: Client) -> list[tuple[str, str]]:
    """Who, and how much is unread; and of all."""
    fin = await client.iq("<inbox xmlns='urn:xmpp:inbox:1'/>")
    entries = [each.find(f"{INBOX}entry") for each in await client.receive_all()]
    found = [(str(each.get("jid")), str(each.get("unread"))) for each in entries if each is not None]
    return [*found, ("all", str(fin[0].get("all-unread")))]


async def roster(client: Client) -> list[tuple[str, str]]:
    answer = await client.iq("<query xmlns='jabber:iq:roster'/>")
    return [(str(each.get("jid")), str(each.get("subscription"))) for each in answer[0]]


async def join(client: Client, nick: str) -> list[str]:
    """What one who enters the room sees: who is there, and what was said."""
    client.send(f"<presence to='{ROOM}/{nick}'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
    came = await client.receive_all()
    there = sorted(str(each.get("from")).rpartition("/")[2] for each in came if each.tag == f"{C}presence")
    return [*there, *bodies(came)]


async def story(world: World) -> list[object]:
    seen: list[object] = []

    # They know each other, and have a room.
    romeo = await world.here.login("romeo", "phone", presence=True)
    juliet = await world.here.login("juliet", "phone", presence=True)
    await romeo.iq("<query xmlns='jabber:iq:roster'><item jid='juliet@localhost' name='J'/></query>", "set")
    romeo.send("<presence to='juliet@localhost' type='subscribe'/>")
    await juliet.receive_all()
    juliet.send("<presence to='romeo@localhost' type='subscribed'/>")
    await romeo.receive_all()
    seen.append(await join(romeo, "romeo"))
    form = "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>{}</value></field>{}</x>"
    persistent = "<field var='muc#roomconfig_persistentroom'><value>1</value></field>"
    submitted = form.format("http://jabber.org/protocol/muc#roomconfig", persistent)
    await romeo.iq(f"<query xmlns='http://jabber.org/protocol/muc#owner'>{submitted}</query>", "set", to=ROOM)
    seen.append(await join(juliet, "juliet"))
    say(romeo, ROOM, "in the room", type="groupchat")
    seen.append(bodies(await juliet.receive_all()))
    await juliet.iq("<enable xmlns='urn:xmpp:push:0' jid='app@localhost/server' node='n'/>", "set")
    seen.append(await roster(romeo))
    await world.next()

    # One writes to the other, who is away; her device is woken, but its server is not ready.
    app = await world.here.login("app", "server")
    romeo = await world.here.login("romeo", "phone", presence=True)
    say(romeo, "juliet@localhost", "one")
    say(romeo, "juliet@localhost", "a slip")
    say(romeo, "juliet@localhost", "secret", "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='7200'/>")
    await world.here.advance(3)
    push = await app.receive()
    app.send(
        f"<iq type='error' id='{push.get('id')}' to='localhost'><error type='wait'>"
        "<resource-constraint xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
    )
    seen.append(("romeo's chats", await inbox(romeo), await archive(romeo)))
    await world.next()

    # Her device is woken again when it is time. He takes something back, and sends more.
    app = await world.here.login("app", "server")
    await world.here.advance(30)
    push = await app.receive()
    seen.append(("woken", push[0][0][0].findtext(".//{*}field[@var='message-count']/{*}value")))
    app.send(f"<iq type='result' id='{push.get('id')}' to='localhost'/>")
    romeo = await world.here.login("romeo", "phone", presence=True)
    say(romeo, "juliet@localhost", "taken back", RETRACT.format("a slip"))
    say(romeo, "juliet@localhost", "two")
    for push in await app.receive_all():
        app.send(f"<iq type='result' id='{push.get('id')}' to='localhost'/>")
    for push in await app.receive_all():
        app.send(f"<iq type='result' id='{push.get('id')}' to='localhost'/>")
    await world.next()

    # She comes, reads, and marks what she has read.
    juliet = await world.here.login("juliet", "phone", presence=False)
    seen.append(("juliet's chats", await inbox(juliet)))
    juliet.send("<presence/>")
    seen.append(("offline", bodies(await juliet.receive_all())))
    juliet.send(
        "<message to='romeo@localhost' type='chat'><displayed xmlns='urn:xmpp:chat-markers:0' id='two'/></message>"
    )
    await world.here.quiet()
    seen.append(("read", await inbox(juliet)))
    await world.next()

    # His stream breaks; he sends again what he cannot know to be stored. His session ends, and he learns what it had.
    romeo = await world.here.login("romeo", "phone", presence=True)
    romeo.send(f"<enable xmlns='{SM}' resume='true'/>")
    session = next(each for each in await romeo.receive_all() if each.tag == f"{{{SM}}}enabled").get("id")
    say(romeo, "juliet@localhost", "three", id=LONG)
    say(romeo, ROOM, "not there", type="groupchat")
    await world.here.quiet()
    romeo.cut()
    await world.here.advance(3700)
    await world.next()
    romeo = world.here.connect()
    await romeo.sign_in("romeo")
    romeo.send(f"<resume xmlns='{SM}' previd='{session}' h='0'/>")
    answer = await romeo.receive()
    seen.append((etree.QName(answer.tag).localname, answer.get("h")))
    await world.next()
    romeo = await world.here.login("romeo", "phone", presence=True)
    say(romeo, "juliet@localhost", "three", id=LONG)
    await world.here.quiet()
    seen.append(("sent once", await archive(romeo)))
    await world.next()

    # Timers end, wherever the archive is.
    await world.here.advance(7200)
    juliet = await world.here.login("juliet", "phone")
    juliet.send("<presence/>")
    seen.append(("late", bodies(await juliet.receive_all())))
    seen.append(("archive", await archive(juliet), await inbox(juliet), await roster(juliet)))
    await world.next()

    # The room knows its people and what was said.
    nurse = await world.here.login("nurse", "phone", presence=True)
    seen.append(await join(nurse, "nurse"))
    items = await nurse.iq("<query xmlns='http://jabber.org/protocol/disco#items'/>", to="conference.localhost")
    seen.append([each.get("jid") for each in items[0]])
    seen.append(condition(await nurse.iq("<query xmlns='http://jabber.org/protocol/muc#owner'/>", to=ROOM)))
    seen.append(await archive(nurse, ROOM))

    # An account of the same name begins with nothing.
    await world.next()
    await world.here.server.accounts.delete(JULIET)
    await world.here.quiet()
    await world.next()
    await world.here.server.accounts.release(JULIET)
    await world.next()
    juliet = await world.here.login("juliet", "phone", presence=True)
    seen.append(("new", await archive(juliet), await inbox(juliet), await roster(juliet)))
    romeo = await world.here.login("romeo", "phone", presence=True)
    seen.append(("his", await archive(romeo), await inbox(romeo), await roster(romeo)))
    return seen


MEMBERS = "<query xmlns='http://jabber.org/protocol/muc#admin'><item affiliation='member' {}/></query>"
BOOKMARK = (
    "<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='urn:xmpp:bookmarks:1'><item id='romeo@localhost'>"
    "<conference xmlns='urn:xmpp:bookmarks:1'><extensions><notify xmlns='urn:xmpp:notification-settings:1'>"
    "<{}/></notify></extensions></conference></item></publish></pubsub>"
)
OPTIONS = (
    "<publish-options><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'>"
    "<value>http://jabber.org/protocol/pubsub#publish-options</value></field>"
    "<field var='pubsub#max_items'><value>3</value></field></x></publish-options>"
)
PUBLISH = (
    "<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='notes'><item id='{}'><note xmlns='urn:note'/>"
    f"</item></publish>{OPTIONS}</pubsub>"
)
ITEMS = "<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='notes'/></pubsub>"
DELAY = "<delay xmlns='urn:xmpp:delay' stamp='2023-11-14T22:13:20Z'/>"


async def rounds(world: World) -> list[object]:
    """The same again and again, so that each home has an old memory of everything when it has its next turn."""
    seen: list[object] = []
    romeo = await world.here.login("romeo", "phone", presence=True)
    await join(romeo, "romeo")
    form = "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>{}</value></field>{}</x>"
    persistent = "<field var='muc#roomconfig_persistentroom'><value>1</value></field>"
    submitted = form.format("http://jabber.org/protocol/muc#roomconfig", persistent)
    await romeo.iq(f"<query xmlns='http://jabber.org/protocol/muc#owner'>{submitted}</query>", "set", to=ROOM)
    juliet = await world.here.login("juliet", "phone")
    await juliet.iq("<enable xmlns='urn:xmpp:push:0' jid='app@localhost/server' node='n'/>", "set")
    await world.next()
    for number in range(5):
        seen += await one_round(world, number)
        await world.next()
    return seen


async def one_round(world: World, number: int) -> list[object]:
    app = await world.here.login("app", "server")
    romeo = await world.here.login("romeo", "phone", presence=True)
    if number and number % 2 == 0:  # his last stream broke
        say(romeo, "juliet@localhost", f"hello {number - 1}", DELAY, id=f"{LONG}{number - 1}")
    chats = await inbox(romeo)
    say(romeo, "juliet@localhost", f"hello {number}", id=f"{LONG}{number}")
    await romeo.iq(PUBLISH.format(number), "set")
    notes = [each.get("id") for each in (await romeo.iq(ITEMS))[0][0]]
    await romeo.iq(MEMBERS.format(f"jid='user{number}@localhost'"), "set", to=ROOM)
    members = sorted(str(each.get("jid")) for each in (await romeo.iq(MEMBERS.format(""), to=ROOM))[0])
    entered = await join(romeo, "romeo")
    say(romeo, ROOM, f"hello all {number}", type="groupchat")
    await world.here.advance(40)
    pushes = [each for each in await app.receive_all() if each.tag == f"{C}iq"]
    for push in pushes:
        app.send(f"<iq type='result' id='{push.get('id')}' to='localhost'/>")
    await romeo.receive_all()
    if number % 2:
        romeo.cut()
    else:
        romeo.close()
    await world.here.quiet()
    juliet = await world.here.login("juliet", "phone")
    hers = await inbox(juliet)
    juliet.send("<presence/>")
    offline = bodies(await juliet.receive_all())
    if number == 2:
        juliet.send(
            "<message to='romeo@localhost' type='chat'>"
            f"<displayed xmlns='urn:xmpp:chat-markers:0' id='{LONG}{number}'/></message>"
        )
    say(juliet, "romeo@localhost", f"answer {number}")
    if number % 2:
        await juliet.iq(BOOKMARK.format("never" if number == 1 else "always"), "set")
    name = "<query xmlns='jabber:iq:roster'><item jid='user{}@localhost' name='{}'/></query>"
    await juliet.iq(name.format(number % 2, number), "set")
    seen = [chats, notes, members, entered, len(pushes), hers, offline, await archive(juliet), await inbox(juliet)]
    return [(number, *seen, await roster(juliet))]


@pytest.mark.parametrize("told", [story, rounds])
async def test_nobody_sees_that_owners_have_left(
    begin: Begin, told: Callable[[World], Awaitable[list[object]]]
) -> None:
    expected = await told(await begin("stays"))
    assert await told(await begin("leaves")) == expected
    assert await told(await begin("moves")) == expected


async def learn_nothing(self: Host, owners: object) -> None:
    """Nobody looks at what is due for those who come."""


def keep(self: OwnerMemory, owners: object) -> None:
    """Memory stays."""


@pytest.mark.parametrize(
    ("place", "name", "cheat"), [(OwnerMemory, "drop", keep), (RealHost, "arrived", learn_nothing)]
)
async def test_who_cheats_is_caught(
    begin: Begin, place: type, name: str, cheat: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stays in memory, or is not looked up, is seen in the story."""
    expected = await story(await begin("stays"))
    monkeypatch.setattr(place, name, cheat)
    try:
        told = await story(await begin("moves"))
    except AssertionError as error:
        told = [error]
    finally:
        monkeypatch.undo()
    assert told != expected
