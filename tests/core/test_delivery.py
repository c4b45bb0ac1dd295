"""Stored, then seen; owed until acknowledged (docs/explanation/delivery.md), over a whole server."""

from __future__ import annotations

import asyncio
import random
import re
from itertools import pairwise
from typing import Any

import pytest

from tests.harness import Client, Element, FakeClock, Harness, condition, xml
from xmppd.delivery.cursor_writer import LOG, CursorMove
from xmppd.delivery.ping_ack import PAUSE
from xmppd.errors import StorageUnavailable
from xmppd.storage.api import DataError, Entry, Flags, Range
from xmppd.storage.memory import MemoryBackend
from xmppd.storage.store import Store
from xmppd.streams.client import ClientStream
from xmppd.xml import quoted

SM = "urn:xmpp:sm:3"
BODY = "{jabber:client}body"


def say(client: Client, to: str, text: str, type: str = "chat") -> None:
    client.send(f"<message to='{to}' type='{type}' id='{text}'><body>{text}</body></message>")


def bodies(found: list[Element]) -> list[str]:
    return [str(each.findtext(BODY)) for each in found if each.find(BODY) is not None]


async def enable(client: Client, resume: bool = True) -> str:
    client.send(f"<enable xmlns='{SM}' resume='{str(resume).lower()}'/>")
    answer = await client.receive()
    assert answer.tag == f"{{{SM}}}enabled"
    return str(answer.get("id"))


async def acked(client: Client) -> int:
    """The h that the server gives now."""
    client.send(f"<r xmlns='{SM}'/>")
    while True:
        answer = await client.receive()
        if answer.tag == f"{{{SM}}}a":
            return int(str(answer.get("h")))


class Reader:
    """A client with XEP-0198 that counts what it has handled."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.h = 0

    async def read(self, ack: bool = True) -> list[str]:
        found = await self.client.receive_all()
        self.h += sum(1 for each in found if each.tag.startswith("{jabber:client}"))
        if ack:
            self.client.send(f"<a xmlns='{SM}' h='{self.h}'/>")
        return bodies(found)


# ---- stored, then seen


async def test_nobody_sees_what_is_not_committed(server: Harness) -> None:
    romeo = await server.login("romeo")
    await enable(romeo)
    juliet = await server.login("juliet", presence=True)
    before = await acked(romeo)
    server.backend.hold()
    say(romeo, "juliet@localhost", "one")
    await juliet.silence()
    assert await acked(romeo) == before, "not acknowledged before it is on disk"
    server.backend.release()
    assert bodies(await juliet.receive_all()) == ["one"]
    follow_up = await romeo.receive()
    assert (follow_up.tag, follow_up.get("h")) == (f"{{{SM}}}a", str(before + 1))


async def test_order_between_kept_and_transient(server: Harness) -> None:
    """RFC 6120 section 10.1: what needs no commit does not overtake what does."""
    romeo = await server.login("romeo")
    juliet = await server.login("juliet", presence=True)
    server.backend.hold()
    say(romeo, "juliet@localhost", "kept")
    romeo.send(
        "<message to='juliet@localhost' type='chat'><active xmlns='http://jabber.org/protocol/chatstates'/></message>"
    )
    romeo.send(f"<iq type='get' id='p' to='{juliet.jid}'><x xmlns='urn:x'/></iq>")
    romeo.send("<message to='nobody@localhost' type='chat' id='lost'><body>x</body></message>")
    await juliet.silence()
    await romeo.silence()
    server.backend.release()
    found = await juliet.receive_all()
    assert [re.sub("{.*}", "", each[0].tag) for each in found] == ["body", "active", "x"]
    assert condition(await romeo.receive()) == "service-unavailable"


async def test_an_iq_waits_for_what_came_before(server: Harness) -> None:
    """An archive query sees all that was sent before it on its stream."""
    await server.register("juliet")
    romeo = await server.login("romeo")
    say(romeo, "juliet@localhost", "warm up")
    await server.quiet()
    server.backend.hold()
    say(romeo, "juliet@localhost", "before")
    romeo.send("<iq type='set' id='q'><query xmlns='urn:xmpp:mam:2'/></iq>")
    await romeo.silence()
    server.backend.release()
    found = [each.findtext(f".//{BODY}") for each in await romeo.receive_all()]
    assert found == ["warm up", "before", None]


async def test_a_refused_write_is_an_error_to_its_sender_only(server: Harness) -> None:
    romeo = await server.login("romeo")
    juliet = await server.login("juliet", presence=True)
    server.backend.fail(DataError("poison"))
    say(romeo, "juliet@localhost", "one")
    assert condition(await romeo.receive()) == "internal-server-error"
    await juliet.silence()
    say(romeo, "juliet@localhost", "two")
    assert bodies(await juliet.receive_all()) == ["two"]


async def test_a_store_that_comes_back_in_time_loses_nothing(server: Harness) -> None:
    romeo = await server.login("romeo")
    juliet = await server.login("juliet", presence=True)
    server.backend.fail(StorageUnavailable("gone"), times=3)
    say(romeo, "juliet@localhost", "one")
    await juliet.silence()
    await server.advance(8)
    assert bodies(await juliet.receive_all()) == ["one"]
    await romeo.silence()


async def test_a_store_that_stays_away_is_an_error_and_recovers(server: Harness) -> None:
    """Bounded waits: what was never handed to the store is answered with `wait`."""
    romeo = await server.login("romeo")
    juliet = await server.login("juliet", presence=True)
    server.backend.fail(StorageUnavailable("gone"), times=40)
    say(romeo, "juliet@localhost", "in flight")
    await server.quiet()
    say(romeo, "juliet@localhost", "waiting")
    await server.advance(12)
    errors = await romeo.receive_all()
    assert [(each.get("id"), condition(each)) for each in errors] == [("waiting", "resource-constraint")]
    error = errors[0].find("{jabber:client}error")
    assert error is not None
    assert error.get("type") == "wait"
    say(romeo, "juliet@localhost", "refused at once")
    assert condition(await romeo.receive()) == "resource-constraint"
    assert (await romeo.iq("<ping xmlns='urn:xmpp:ping'/>")).get("type") == "result", "what needs no store goes on"
    await juliet.silence()
    await server.advance(120)
    assert bodies(await juliet.receive_all()) == ["in flight"]
    say(romeo, "juliet@localhost", "after")
    assert bodies(await juliet.receive_all()) == ["after"]


# ---- what was missed


async def test_offline_messages_come_once_in_order_with_delay(server: Harness) -> None:
    await server.register("juliet")
    romeo = await server.login("romeo")
    for number in range(120):
        say(romeo, "juliet@localhost", str(number))
    await romeo.silence()
    await server.advance(60)
    juliet = await server.login("juliet")
    await juliet.silence()
    juliet.send("<presence/>")
    found = [each for each in await juliet.receive_all() if each.tag.endswith("message")]
    assert bodies(found) == [str(number) for number in range(120)]
    ids = [each.find("{urn:xmpp:sid:0}stanza-id") for each in found]
    assert len({each.get("id") for each in ids if each is not None}) == 120
    delay = found[0].find("{urn:xmpp:delay}delay")
    assert delay is not None
    assert str(delay.get("stamp")).startswith("2023-11-14T22:13:20"), "when it was sent, not when it came"
    juliet.close()
    again = await server.login("juliet", presence=False)
    again.send("<presence/>")
    assert bodies(await again.receive_all()) == []


async def test_negative_priority_gets_nothing(server: Harness) -> None:
    await server.register("juliet")
    romeo = await server.login("romeo")
    say(romeo, "juliet@localhost", "one")
    await romeo.silence()
    juliet = await server.login("juliet")
    juliet.send("<presence><priority>-1</priority></presence>")
    assert bodies(await juliet.receive_all()) == []
    juliet.send("<presence><priority>1</priority></presence>")
    assert bodies(await juliet.receive_all()) == ["one"]


async def test_what_was_sent_before_a_cut_is_sent_again_to_the_next_device(server: Harness) -> None:
    """T50: delivered means acknowledged."""
    await server.register("juliet")
    romeo = await server.login("romeo")
    for number in range(10):
        say(romeo, "juliet@localhost", str(number))
    await romeo.silence()
    first = await server.login("juliet", "phone")
    await enable(first, resume=False)
    first.send("<presence/>")
    reader = Reader(first)
    assert await reader.read(ack=False) == [str(number) for number in range(10)]
    first.send(f"<a xmlns='{SM}' h='5'/>")  # its own presence and four messages
    await server.quiet()
    first.cut()
    second = await server.login("juliet", "tablet")
    second.send("<presence/>")
    assert bodies(await second.receive_all()) == [str(number) for number in range(4, 10)]


async def test_a_resumed_session_gets_the_rest_once(server: Harness) -> None:
    romeo = await server.login("romeo")
    first = await server.login("juliet", "phone")
    previous = await enable(first)
    first.send("<presence/>")
    reader = Reader(first)
    await reader.read()
    for number in range(6):
        say(romeo, "juliet@localhost", str(number))
    await reader.read(ack=False)
    first.cut()
    for number in range(6, 9):
        say(romeo, "juliet@localhost", str(number))
    await server.quiet()
    second = server.connect()
    await second.sign_in("juliet")
    second.send(f"<resume xmlns='{SM}' previd='{previous}' h='{reader.h - 2}'/>")
    resumed = await second.receive()
    assert resumed.tag == f"{{{SM}}}resumed", xml(resumed)
    assert bodies(await second.receive_all()) == ["4", "5", "6", "7", "8"]


async def test_another_device_takes_over_when_the_session_times_out(server: Harness) -> None:
    romeo = await server.login("romeo")
    phone = await server.login("juliet", "phone")
    await enable(phone)
    phone.send("<presence/>")
    await Reader(phone).read()
    phone.cut()
    say(romeo, "juliet@localhost", "held")
    await server.quiet()
    tablet = await server.login("juliet", "tablet")
    tablet.send("<presence/>")
    assert bodies(await tablet.receive_all()) == [], "another device's session still waits with it"
    got: list[str] = []
    for _ in range(15):
        await server.advance(250)
        got += bodies(await tablet.receive_all())
        tablet.send(" ")
    assert got == ["held"]


async def test_without_acknowledgements_the_end_of_the_write_counts(server: Harness) -> None:
    await server.register("juliet")
    romeo = await server.login("romeo")
    for number in range(5):
        say(romeo, "juliet@localhost", str(number))
    await romeo.silence()
    stuck = await server.login("juliet", "stuck")
    stuck.link.stalled = True
    stuck.send("<presence/>")
    await server.quiet()
    stuck.cut()
    fine = await server.login("juliet", "fine")
    fine.send("<presence/>")
    assert bodies(await fine.receive_all()) == ["0", "1", "2", "3", "4"]


async def test_without_acknowledgements_a_ping_asks_behind_a_burst(server: Harness) -> None:
    """What no answer has confirmed when the connection breaks is owed to the next device."""
    romeo = await server.login("romeo")
    phone = await server.login("juliet", "phone", presence=True)
    say(romeo, "juliet@localhost", "one")
    say(romeo, "juliet@localhost", "two")
    assert bodies(await phone.receive_all()) == ["one", "two"]
    await server.quiet()
    assert phone.pings == 1, "one for the burst"
    phone.answers_pings = False
    say(romeo, "juliet@localhost", "three")
    say(romeo, "juliet@localhost", "four")
    assert bodies(await phone.receive_all()) == ["three", "four"]
    phone.cut()
    await server.quiet()
    tablet = await server.login("juliet", "tablet")
    tablet.send("<presence/>")
    assert bodies(await tablet.receive_all()) == ["three", "four"]


@pytest.mark.parametrize("slow", [True, False])
@pytest.mark.parametrize("direct", [True, False])
async def test_what_comes_between_reading_the_archive_and_presence_is_not_lost(
    server: Harness, slow: bool, direct: bool
) -> None:
    """`slow`: meanwhile the connection takes no more for a moment. `direct`: something comes for it alone."""
    romeo = await server.login("romeo")
    tablet = await server.login("juliet", "tablet", presence=True)
    say(romeo, "juliet@localhost", "before")
    assert bodies(await tablet.receive_all()) == ["before"]
    phone = await server.login("juliet", "phone")
    await enable(phone)
    assert (await phone.iq("<query xmlns='urn:xmpp:mam:2'/>", "set")).get("type") == "result"
    await phone.receive_all()
    session = server.host.accounts["juliet@localhost"].sessions["phone"]
    assert isinstance(session.stream, ClientStream)
    if slow:
        session.stream.pause_writing()
    romeo.send("<message to='juliet@localhost/phone' type='headline'><body>news</body></message>")
    say(romeo, "juliet@localhost", "one")
    if direct:
        say(romeo, "juliet@localhost/phone", "direct")
    say(romeo, "juliet@localhost", "two")
    await server.quiet()
    if slow:
        session.stream.resume_writing()
    got = bodies(await phone.receive_all())
    phone.send("<presence/>")
    got += bodies(await phone.receive_all())
    assert sorted(got) == sorted(["news", "one", "two", *(["direct"] if direct else [])])
    say(romeo, "juliet@localhost", "three")
    assert bodies(await phone.receive_all()) == ["three"]


@pytest.mark.parametrize("resource", ["phone", "it's <mine> & yours"])
async def test_a_copy_elsewhere_does_not_take_the_place_of_the_message(server: Harness, resource: str) -> None:
    """A device that has read its archive is sent what came since to its own address, though a carbon of it has reached
    another device."""
    romeo = await server.login("romeo")
    tablet = await server.login("juliet", "tablet", presence=True)
    assert (await tablet.iq("<enable xmlns='urn:xmpp:carbons:2'/>", "set")).get("type") == "result"
    phone = await server.login("juliet", quoted(resource))
    await enable(phone)
    assert (await phone.iq("<query xmlns='urn:xmpp:mam:2'/>", "set")).get("type") == "result"
    await phone.receive_all()
    session = server.host.accounts["juliet@localhost"].sessions[resource]
    assert isinstance(session.stream, ClientStream)
    session.stream.pause_writing()
    say(romeo, "juliet@localhost", "to all")
    say(romeo, f"juliet@localhost/{quoted(resource)}", "direct")
    await server.quiet()
    await tablet.receive_all()
    session.stream.resume_writing()
    got = bodies(await phone.receive_all())
    phone.send("<presence/>")
    assert got + bodies(await phone.receive_all()) == ["to all", "direct"]


async def test_who_gets_much_is_asked_now_and_then(server: Harness) -> None:
    """The first is asked for at once; what comes soon after waits for company, but not if it is much."""
    romeo = await server.login("romeo")
    phone = await server.login("juliet", "phone", presence=True)
    cursor = server.host.accounts["juliet@localhost"].cursor

    async def asked(messages: int) -> int:
        before = phone.pings
        for _ in range(messages):
            romeo.send("<message to='juliet@localhost' type='chat'><body>hello</body></message>")
            await server.quiet()
        return phone.pings - before

    assert await asked(1) == 1
    assert await asked(3) == 0
    assert len(cursor.in_flight) == 3
    await server.advance(PAUSE)
    assert phone.pings == 2
    assert await asked(server.server.limits.queue // 4 + 1) == 1
    await server.advance(5)
    assert await asked(1) == 1
    await server.advance(5)
    # Who says goodbye has taken what the socket has taken.
    assert await asked(2) == 1
    phone.close()
    await server.quiet()
    again = await server.login("juliet", "laptop", presence=True)
    assert not [each for each in await again.receive_all() if each.tag == "{jabber:client}message"]


async def test_a_client_that_answers_no_pings_is_asked_once(server: Harness) -> None:
    """It is alive, so the end of the write counts from then on."""
    romeo = await server.login("romeo")
    phone = await server.login("juliet", "phone", presence=True)
    phone.answers_pings = False
    say(romeo, "juliet@localhost", "one")
    await phone.receive_all()
    for _ in range(4):
        await server.advance(10)
        phone.send(" ")
        await server.quiet()
    say(romeo, "juliet@localhost", "two")
    assert bodies(await phone.receive_all()) == ["two"]
    assert phone.pings == 1
    phone.cut()
    await server.quiet()
    tablet = await server.login("juliet", "tablet")
    tablet.send("<presence/>")
    assert bodies(await tablet.receive_all()) == []


async def test_who_says_goodbye_has_what_was_written(server: Harness) -> None:
    romeo = await server.login("romeo")
    phone = await server.login("juliet", "phone", presence=True)
    phone.answers_pings = False
    say(romeo, "juliet@localhost", "one")
    await phone.receive_all()
    phone.close()
    await server.quiet()
    tablet = await server.login("juliet", "tablet")
    tablet.send("<presence/>")
    assert bodies(await tablet.receive_all()) == []


async def test_who_is_cut_off_while_the_backlog_is_read_loses_nothing(
    server: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without XEP-0198: what was read for a session that is not there any more goes on waiting for the next one."""
    await server.register("juliet")
    romeo = await server.login("romeo")
    say(romeo, "juliet@localhost", "first")
    await server.quiet()
    log = server.storage.log(LOG)
    page, answered = log.page, asyncio.Event()

    async def slow(*args: Any, **more: Any) -> list[Entry]:
        found = await page(*args, **more)
        await answered.wait()
        return found

    juliet = await server.login("juliet", "phone")
    with monkeypatch.context() as patch:
        patch.setattr(log, "page", slow)
        juliet.send("<presence/>")
        await server.quiet()
        juliet.cut()
        await server.quiet()
        answered.set()
        await server.quiet()
    again = await server.login("juliet", "phone")
    again.send("<presence/>")
    assert bodies(await again.receive_all()) == ["first"]


@pytest.mark.server(more="limits: {queue: 50, ask_every: 10}")
async def test_a_client_that_does_not_acknowledge_costs_bounded_memory(server: Harness) -> None:
    """T38 in small: the log is the queue, and everything arrives in the end, once and in order."""
    romeo = await server.login("romeo")
    juliet = await server.login("juliet", "phone")
    await enable(juliet)
    juliet.send("<presence/>")
    reader = Reader(juliet)
    await reader.read()
    for number in range(1000):
        say(romeo, "juliet@localhost", str(number))
        if number % 100 == 0:
            await server.advance(1)  # no faster than one client may send
    await server.quiet()
    session = server.host.accounts["juliet@localhost"].sessions["phone"]
    assert len(session.channel.queue) <= 51
    assert len(session.account.cursor.in_flight) <= 51
    got: list[str] = []
    for _ in range(120):
        got += await reader.read()
        await server.quiet()
    assert got == [str(number) for number in range(1000)]
    say(romeo, "juliet@localhost", "live again")
    assert await reader.read() == ["live again"]


async def test_a_device_that_reads_its_archive_takes_the_backlog_over(server: Harness) -> None:
    """docs/explanation/delivery.md; what is committed between its query and its presence still comes."""
    await server.register("juliet")
    romeo = await server.login("romeo")
    say(romeo, "juliet@localhost", "in the archive")
    await romeo.silence()
    juliet = await server.login("juliet", "phone")
    answer = await juliet.iq("<query xmlns='urn:xmpp:mam:2'/>", "set")
    assert answer.get("type") == "result"
    await juliet.receive_all()
    say(romeo, "juliet@localhost", "between")
    await romeo.silence()
    juliet.send("<presence/>")
    assert bodies(await juliet.receive_all()) == ["between"]
    juliet.close()
    other = await server.login("juliet", "tablet")
    other.send("<presence/>")
    assert bodies(await other.receive_all()) == [], "the archive reader has it"


# ---- crashes


async def restarted(server: Harness) -> Harness:
    """Another server, set up alike, on what the first one's disk holds now: it was killed."""
    clock = FakeClock(server.clock.wall)
    backend = server.backend.survivor()
    backend.clock = clock
    return await Harness(**server.made, store=Store(backend, clock), clock=clock).start()


async def test_a_kill_loses_nothing_that_was_acknowledged(server: Harness) -> None:
    await server.register("juliet")
    romeo = await server.login("romeo")
    await enable(romeo)
    for number in range(5):
        say(romeo, "juliet@localhost", str(number))
    assert await acked(romeo) >= 0
    await server.quiet()
    assert await acked(romeo) == 5
    server.backend.hold()
    say(romeo, "juliet@localhost", "never acknowledged")
    assert await acked(romeo) == 5
    second = await restarted(server)
    try:
        juliet = await second.login("juliet")
        juliet.send("<presence/>")
        assert bodies(await juliet.receive_all()) == ["0", "1", "2", "3", "4"]
    finally:
        await second.stop()
        server.backend.release()


async def test_after_a_kill_the_client_learns_what_is_on_disk(server: Harness) -> None:
    """docs/explanation/delivery.md: `<failed h=…/>`, exact for messages; another's id is as unknown as ever."""
    await server.register("juliet")
    romeo = await server.login("romeo")
    previous = await enable(romeo)
    for number in range(7):
        say(romeo, "juliet@localhost", str(number))
    await server.quiet()
    server.backend.hold()
    say(romeo, "juliet@localhost", "never on disk")
    second = await restarted(server)
    try:
        for user, h in (("romeo", "7"), ("juliet", None)):
            await second.register(user)
            client = second.connect()
            await client.sign_in(user)
            client.send(f"<resume xmlns='{SM}' previd='{previous}' h='0'/>")
            answer = await client.receive()
            assert answer.tag == f"{{{SM}}}failed"
            assert answer.get("h") == h
    finally:
        await second.stop()
        server.backend.release()


@pytest.mark.server(plugins={"limits": {"waiting_messages": 1}})
@pytest.mark.parametrize("told", [False, True])
async def test_after_a_kill_the_count_does_not_cover_a_refusal_nobody_heard(server: Harness, told: bool) -> None:
    """Else the client takes the message for delivered. What it has acknowledged the error of is over."""
    await server.register("grace")
    await server.login("juliet", presence=True)
    romeo = await server.login("romeo")
    previous = await enable(romeo)
    say(romeo, "grace@localhost", "first")
    await server.quiet()
    server.backend.hold()
    say(romeo, "juliet@localhost", "stored")
    say(romeo, "grace@localhost", "refused")
    say(romeo, "juliet@localhost", "stored, too")
    server.backend.release()
    assert [condition(each) for each in await romeo.receive_all() if each.get("type") == "error"]
    if told:
        romeo.send(f"<a xmlns='{SM}' h='1'/>")
        say(romeo, "juliet@localhost", "and now")
        await server.quiet()
    second = await restarted(server)
    try:
        client = second.connect()
        await client.sign_in("romeo")
        client.send(f"<resume xmlns='{SM}' previd='{previous}' h='0'/>")
        answer = await client.receive()
        assert (answer.tag, answer.get("h")) == (f"{{{SM}}}failed", "5" if told else "2")
    finally:
        await second.stop()


@pytest.mark.server(more="limits: {queue: 10, ask_every: 5}")
@pytest.mark.parametrize("many", [1, 9, 40])
async def test_an_acknowledgement_never_overtakes_the_error_that_it_covers(server: Harness, many: int) -> None:
    """The client takes what is acknowledged for delivered, so it must know what was refused: also while so much waits
    for it that other things are held back. Who takes nothing and is refused without end is let go."""
    juliet = await server.login("juliet", presence=True)
    romeo = await server.login("romeo", presence=True)
    await enable(romeo)
    for number in range(20):
        say(juliet, "romeo@localhost", f"{number}")
    await romeo.receive_all()
    for number in range(many):
        say(romeo, "nobody@localhost", f"refused {number}")
    romeo.send(f"<r xmlns='{SM}'/>")
    found = await romeo.receive_all()
    errors = [each.get("id") for each in found if each.get("type") == "error"]
    if many > 10:
        assert len(errors) == 10, "as much again as may wait otherwise"
        assert "resource-constraint" in xml(found[-1])
        return
    assert errors == [f"refused {number}" for number in range(many)]
    last = [each.tag for each in found].index(f"{{{SM}}}a")
    assert found[last].get("h") == str(many)
    assert all(found.index(each) < last for each in found if each.get("type") == "error")


async def test_a_count_goes_with_its_session(server: Harness) -> None:
    romeo = await server.login("romeo")
    await enable(romeo)
    say(romeo, "romeo@localhost", "note")
    await server.quiet()
    counts = server.host.plugins["stream_management"].counts
    assert len(await counts.read_all("romeo@localhost")) == 1
    romeo.close()
    await server.quiet()
    assert await counts.read_all("romeo@localhost") == {}


async def test_a_settled_message_does_not_come_again_after_a_restart(server: Harness) -> None:
    await server.register("juliet")
    romeo = await server.login("romeo")
    say(romeo, "juliet@localhost", "one")
    await romeo.silence()
    juliet = await server.login("juliet", "phone")
    juliet.send("<presence/>")
    assert bodies(await juliet.receive_all()) == ["one"]
    await server.advance(3)  # the cursor is written about once a second
    second = await restarted(server)
    try:
        again = await second.login("juliet", "other")
        again.send("<presence/>")
        assert bodies(await again.receive_all()) == []
    finally:
        await second.stop()


# ---- at random, against the promise


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.server(more="limits: {queue: 10, ask_every: 3}")
async def test_random_devices_lose_and_double_nothing(server: Harness, seed: int) -> None:
    """Devices with XEP-0198 come, cut, resume, acknowledge late or not at all: each message is acknowledged by one
    of them in the end, no device sees one twice but after a cut that it had not acknowledged, all in order."""
    chance = random.Random(seed)
    romeo = await server.login("romeo")
    await server.register("juliet")
    sent = 0
    readers: dict[str, Reader] = {}
    seen: dict[str, list[str]] = {}
    settled: set[str] = set()
    unacked: dict[str, list[str]] = {}

    async def look(name: str, ack: bool) -> None:
        got = await readers[name].read(ack)
        seen[name] += got
        unacked[name] += got
        if ack:
            settled.update(unacked[name])
            unacked[name] = []

    for _ in range(120):
        choice = chance.random()
        if choice < 0.5:
            for _ in range(chance.randint(1, 8)):
                say(romeo, "juliet@localhost", str(sent))
                sent += 1
        elif choice < 0.65 and len(readers) < 3:
            name = f"d{len(seen)}"
            client = await server.login("juliet", name)
            await enable(client, resume=False)
            client.send("<presence/>")
            readers[name], seen[name], unacked[name] = Reader(client), [], []
        elif readers:
            name = chance.choice(sorted(readers))
            if choice < 0.9:
                await look(name, ack=chance.random() < 0.7)
            else:
                await server.quiet()
                readers.pop(name).client.cut()
                unacked[name] = []
    last = await server.login("juliet", "last")
    await enable(last, resume=False)
    last.send("<presence/>")
    readers["last"], seen["last"], unacked["last"] = Reader(last), [], []
    for name in sorted(readers):
        if name != "last":
            await server.quiet()
            readers.pop(name).client.cut()
    for _ in range(sent + 2):
        await look("last", ack=True)
        if len(settled) == sent:
            break
    assert settled == {str(number) for number in range(sent)}
    for name, got in seen.items():
        numbers = [int(text) for text in got]
        assert len(set(numbers)) == len(numbers), f"{name} saw one twice: {numbers}"
        falls = sum(1 for one, two in pairwise(numbers) if two < one)
        assert falls <= len(seen), f"{name}: only what another device left behind comes late: {numbers}"


async def test_memory_store_survivor_is_what_was_committed() -> None:
    clock = FakeClock()
    backend = MemoryBackend(clock)
    assert backend.survivor() is not backend


async def test_a_device_that_could_not_read_its_archive_is_sent_what_is_owed(server: Harness) -> None:
    """It did the last time; this time the store was away when it asked."""
    await server.register("juliet")
    romeo = await server.login("romeo")
    say(romeo, "juliet@localhost", "read")
    await server.quiet()
    phone = await server.login("juliet", "phone")
    await phone.iq("<query xmlns='urn:xmpp:mam:2'/>", "set")
    phone.send("<presence/>")
    await phone.receive_all()
    phone.close()
    await server.quiet()
    say(romeo, "juliet@localhost", "owed")
    await server.quiet()
    phone = await server.login("juliet", "phone")
    server.backend.unreachable = True
    answer = await phone.iq("<query xmlns='urn:xmpp:mam:2'/>", "set")
    assert condition(answer) == "resource-constraint"
    server.backend.unreachable = False
    phone.send("<presence/>")
    assert bodies(await phone.receive_all()) == ["owed"]


@pytest.mark.one_home("it is two")
async def test_a_private_message_in_a_room_is_one_batch(server: Harness) -> None:
    """The sender's copy and the recipient's are on disk together, before either is seen or acknowledged."""
    room = "garden@conference.localhost"
    juliet = await server.login("juliet", "phone")
    juliet.send(f"<presence to='{room}/Julia'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
    await juliet.receive_all()
    unlock = "<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'/></query>"
    await juliet.iq(unlock, "set", to=room)
    romeo = await server.login("romeo")
    romeo.send(f"<presence to='{room}/Romeo'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
    await romeo.receive_all()
    await juliet.receive_all()
    server.backend.hold()
    say(romeo, f"{room}/Julia", "psst")
    await juliet.silence()
    owners = [write.owner for write in server.backend.held[0]]
    assert sorted(owners) == ["juliet@localhost", "romeo@localhost"]
    server.backend.release()
    assert bodies(await juliet.receive_all()) == ["psst"]


async def test_two_devices_that_sign_in_at_once_both_get_what_comes_then(server: Harness) -> None:
    """One reads its archive and one does not, while messages come: each has each of them once."""
    await server.register("juliet")
    romeo = await server.login("romeo")
    say(romeo, "juliet@localhost", "owed")
    await romeo.silence()
    reader = await server.login("juliet", "reader")
    await enable(reader)
    plain = await server.login("juliet", "plain")
    await enable(plain)
    reader.send("<iq type='set' id='q'><query xmlns='urn:xmpp:mam:2'/></iq>")
    fetched = [each.findtext(f".//{BODY}") for each in await reader.receive_all()]
    assert fetched == ["owed", None]
    server.backend.hold()
    say(romeo, "juliet@localhost", "while both come")
    plain.send("<presence/>")
    reader.send("<presence/>")
    await server.quiet()
    server.backend.release()
    assert bodies(await reader.receive_all()) == ["while both come"]
    assert bodies(await plain.receive_all())[-1:] == ["while both come"]


async def test_an_archive_shows_nothing_that_was_not_sent_yet(server: Harness) -> None:
    """A query ends at what is released: what is on disk and not released yet comes live, and only live."""
    romeo = await server.login("romeo")
    juliet = await server.login("juliet", "reader", presence=True)
    say(romeo, "juliet@localhost", "released")
    await server.quiet()
    account = server.host.account("juliet@localhost")
    body = b"<message to='juliet@localhost' from='romeo@localhost/x' type='chat'><body>on disk</body></message>"
    entry = Entry(account.released + 1, "romeo@localhost", "x", Flags.INCOMING, body)
    await server.storage.commit([server.storage.log(LOG).append("juliet@localhost", entry)])
    juliet.send("<iq type='set' id='q'><query xmlns='urn:xmpp:mam:2'/></iq>")
    found = [each.findtext(f".//{{urn:xmpp:forward:0}}forwarded//{BODY}") for each in await juliet.receive_all()]
    assert "released" in found
    assert "on disk" not in found
    account.released = entry.id
    juliet.send("<iq type='set' id='q'><query xmlns='urn:xmpp:mam:2'/></iq>")
    assert "on disk" in [each.findtext(f".//{BODY}") for each in await juliet.receive_all()]


async def test_a_copy_is_not_sent_again_as_the_message(server: Harness) -> None:
    """Carbons that came before the first presence (XEP-0280) are what the device has."""
    romeo = await server.login("romeo")
    phone = await server.login("juliet", "phone", presence=True)
    tablet = await server.login("juliet", "tablet")
    await enable(tablet)
    tablet.send("<iq type='set' id='c'><enable xmlns='urn:xmpp:carbons:2'/></iq>")
    tablet.send("<iq type='set' id='q'><query xmlns='urn:xmpp:mam:2'/></iq>")
    await tablet.receive_all()
    say(romeo, "juliet@localhost", "said")
    assert bodies(await phone.receive_all()) == ["said"]
    copies = await tablet.receive_all()
    assert [each.findtext(f".//{BODY}") for each in copies] == ["said"]
    tablet.send("<presence/>")
    assert bodies(await tablet.receive_all()) == []


CARBONS = "<iq type='set' id='c'><enable xmlns='urn:xmpp:carbons:2'/></iq>"


@pytest.mark.parametrize("acknowledged", [True, False])
async def test_a_copy_that_was_acknowledged_has_delivered_the_message(server: Harness, acknowledged: bool) -> None:
    """The device that it was for is lost with it: nobody gets it twice, and it is not lost with both."""
    romeo = await server.login("romeo")
    phone = await server.login("juliet", "phone")
    await enable(phone)
    phone.send("<presence/>")
    tablet = await server.login("juliet", "tablet")
    await enable(tablet)
    tablet.send(CARBONS + "<presence/>")
    reader = Reader(tablet)
    await reader.read()
    await phone.receive_all()
    say(romeo, phone.jid, "said")
    copies = await tablet.receive_all()
    assert [each.findtext(f".//{BODY}") for each in copies if each.tag == "{jabber:client}message"] == ["said"]
    if acknowledged:
        tablet.send(f"<a xmlns='{SM}' h='{reader.h + 1}'/>")
    await server.quiet()
    phone.cut()
    again: list[str] = []
    for _ in range(20):
        await server.advance(200)
        tablet.send(" ")
        again += bodies(await tablet.receive_all())
    assert again == []
    tablet.cut()
    await server.advance(4000)
    third = await server.login("juliet", "third")
    third.send("<presence/>")
    assert bodies(await third.receive_all()) == ([] if acknowledged else ["said"])


@pytest.mark.one_home("nobody waits for an account of the other home")
async def test_what_waits_for_another_account_is_stored_behind_what_came_meanwhile(server: Harness) -> None:
    """romeo writes to somebody who must be read from the disk; meanwhile he gets a message. The ids of his archive are
    in the order of the entries, so that a device that has read up to one has all before it."""
    await server.register("nurse")
    juliet = await server.login("juliet")
    romeo = await server.login("romeo", "phone", presence=True)
    server.host.forget("nurse@localhost")
    cache = server.host.open_account.__self__
    opened, wait = cache._load, asyncio.Event()

    async def slowly(jid: object) -> object:
        await wait.wait()
        return await opened(jid)

    cache._load = slowly
    say(romeo, "nurse@localhost", "sent")
    await server.quiet()
    say(juliet, "romeo@localhost", "came")
    assert bodies(await romeo.receive_all()) == ["came"]
    wait.set()
    await server.quiet()
    entries = await server.storage.log(LOG).page("romeo@localhost", Range(), 10)
    assert [b"sent" in entry.body for entry in entries] == [False, True]
    assert server.host.account("romeo@localhost").released == entries[-1].id
    nurse = await server.login("nurse")
    nurse.send("<presence/>")
    assert bodies(await nurse.receive_all()) == ["sent"]


async def test_what_was_delivered_is_forgotten_once(server: Harness) -> None:
    """Two batches may delete the same hidden entry, if the second is made before the first is released."""
    await server.login("juliet")
    cursor_writer, cursor = server.host.cursor_writer, server.host.accounts["juliet@localhost"].cursor
    cursor_writer.forget(cursor, 7)
    notes = [CursorMove(cursor_writer, cursor), CursorMove(cursor_writer, cursor)]
    assert [bool(each.writes()) for each in notes] == [True, True]
    for each in notes:
        each.stored()
    assert not cursor_writer.forgotten


@pytest.mark.server(more="limits: {queue: 10, ask_every: 3}")
@pytest.mark.parametrize("restart", [False, True])
async def test_a_carbon_that_waits_for_room_delivers_too(server: Harness, restart: bool) -> None:
    """XEP-0280: what comes as a copy does not come from the log as well when the device is there for messages."""
    romeo = await server.login("romeo")
    phone = await server.login("juliet", "phone")
    previous = await enable(phone)
    await phone.iq("<enable xmlns='urn:xmpp:carbons:2'/>", "set")
    phone.send("<presence><priority>-1</priority></presence>")
    reader = Reader(phone)
    await reader.read()
    said = [str(number) for number in range(14)]
    for text in said:
        say(romeo, "juliet@localhost", text)
    came = [each for each in await phone.receive_all() if each.tag == "{jabber:client}message"]
    assert len(came) < len(said), "the queue was not full"
    reader.h += 1 + len(came)  # the answer about carbons
    found = [str(each.findtext(f".//{BODY}")) for each in came]
    if restart:
        from tests.core.test_snapshots import again, resume

        phone.cut()
        server = await again(server)
        phone, answer = await resume(server, "juliet", previous, reader.h)
        assert answer.tag == f"{{{SM}}}resumed"
    phone.send("<presence/>")
    await server.quiet()
    for _ in range(4):
        phone.send(f"<a xmlns='{SM}' h='{reader.h}'/>")
        for each in await phone.receive_all():
            reader.h += each.tag.startswith("{jabber:client}")
            found += [str(body.text) for body in each.iter(BODY)]
    assert sorted(found, key=int) == said
    if restart:
        await server.stop()


async def test_many_refusals_that_were_lost_are_made_again(server: Harness) -> None:
    """An outage refuses all that is in flight at once, and the connection breaks with the errors: no count that a later
    stream is told covers any of them."""
    romeo = await server.login("romeo", "r")
    previous = await enable(romeo)
    await server.register("juliet")
    say(romeo, "juliet@localhost", "before")
    assert await acked(romeo) in (0, 1)
    server.backend.fail(StorageUnavailable("gone"), times=40)
    say(romeo, "juliet@localhost", "in flight")
    await server.quiet()
    for number in range(200):
        say(romeo, "juliet@localhost", str(number))
    await server.advance(12)
    romeo.cut()
    server.server.session_manager.end(next(iter(server.host.accounts["romeo@localhost"].sessions.values())))
    server.backend._failures.clear()
    await server.advance(5)
    again = server.connect()
    await again.sign_in("romeo")
    again.send(f"<resume xmlns='{SM}' previd='{previous}' h='0'/>")
    answer = await again.receive()
    assert (answer.tag, answer.get("h")) == (f"{{{SM}}}failed", "2"), "the two that are on disk"
