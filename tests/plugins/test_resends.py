"""What a client sends again after a broken stream (docs/explanation/delivery.md)."""

from __future__ import annotations

import pytest

from tests.core.test_delivery import acked, bodies, enable, restarted
from tests.harness import Client, Harness

DELAY = "<delay xmlns='urn:xmpp:delay' stamp='2026-01-01T00:00:00Z'/>"
ACTIVE = "<active xmlns='http://jabber.org/protocol/chatstates'/>"
LONG = "3f7c2a51-8d0e-4b8e-a6a2-5c9f0e1d2b3a"


def say(client: Client, text: str, id: str, more: str = "", to: str = "juliet@localhost", origin: str = "") -> None:
    if origin:
        more += f"<origin-id xmlns='urn:xmpp:sid:0' id='{origin}'/>"
    client.send(f"<message to='{to}' type='chat' id='{id}'><body>{text}</body>{more}</message>")


async def archive(server: Harness, owner: str = "juliet@localhost") -> int:
    from xmppd.storage.api import Range

    return await server.storage.log("archive").count(owner, Range())


@pytest.mark.parametrize(
    ("id", "origin", "again"),
    [
        (LONG, "", DELAY),
        ("1", LONG, DELAY + ACTIVE),
        ("7", "", DELAY),
        ("7", "", ACTIVE),
    ],
)
async def test_a_resend_after_a_broken_stream_is_recognised(server: Harness, id: str, origin: str, again: str) -> None:
    juliet = await server.login("juliet", presence=True)
    romeo = await server.login("romeo", "orchard")
    await enable(romeo)
    say(romeo, "art thou there?", id, origin=origin)
    assert bodies(await juliet.receive_all()) == ["art thou there?"]
    romeo.cut()
    romeo = await server.login("romeo", "balcony")
    await enable(romeo)
    say(romeo, "art thou there?", id, again, origin=origin)
    assert bodies(await juliet.receive_all()) == []
    assert await archive(server) == 1
    assert await archive(server, "romeo@localhost") == 1
    romeo.send("<r xmlns='urn:xmpp:sm:3'/>")
    assert (await romeo.receive()).get("h") == "1", "it is acknowledged"
    say(romeo, "art thou there?", id, again, origin=origin)
    assert bodies(await juliet.receive_all()) == ["art thou there?"], "once: the next one is meant"


@pytest.mark.parametrize(
    ("text", "id", "to"),
    [
        ("another text", "7", "juliet@localhost"),
        ("art thou there?", "8", "juliet@localhost"),
        ("art thou there?", "7", "nurse@localhost"),
    ],
)
async def test_what_is_not_the_same_is_not_swallowed(server: Harness, text: str, id: str, to: str) -> None:
    """Bots count their ids from 1 after a restart."""
    await server.register("nurse")
    await server.register("juliet")
    romeo = await server.login("romeo")
    say(romeo, "art thou there?", "7")
    await server.quiet()
    before = await archive(server, "romeo@localhost")
    romeo.cut()
    romeo = await server.login("romeo")
    say(romeo, text, id, to=to)
    await server.quiet()
    assert await archive(server, "romeo@localhost") == before + 1


@pytest.mark.in_memory
async def test_after_a_goodbye_nothing_is_a_resend(server: Harness) -> None:
    await server.register("juliet")
    first = await server.login("romeo")
    first.close()
    await server.quiet()
    romeo = await server.login("romeo")
    say(romeo, "x", LONG)
    await server.quiet()
    romeo.close()
    await server.quiet()
    romeo = await server.login("romeo")
    say(romeo, "x", LONG)
    await server.quiet()
    assert await archive(server) == 2


async def test_a_resend_is_recognised_after_a_kill(server: Harness) -> None:
    await server.register("juliet")
    romeo = await server.login("romeo")
    say(romeo, "stored", LONG)
    await server.quiet()
    server.backend.hold()
    say(romeo, "lost", LONG[::-1])
    await server.quiet()
    second = await restarted(server)
    try:
        romeo = await second.login("romeo")
        say(romeo, "stored", LONG, DELAY)
        say(romeo, "lost", LONG[::-1], DELAY)
        juliet = await second.login("juliet")
        juliet.send("<presence/>")
        assert bodies(await juliet.receive_all()) == ["stored", "lost"]
        assert await archive(second) == 2
    finally:
        await second.stop()
        server.backend.release()


@pytest.mark.server(plugins={"resends": {"messages": 5, "minutes": 2, "most": 40}})
@pytest.mark.parametrize(
    ("others", "pause", "jump", "stored"),
    [(30, 0, 0, 1), (30, 10, 0, 2), (3, 100, 0, 1), (50, 0, 0, 2), (30, 0, 90_000, 1), (30, 0, -90_000, 1)],
)
async def test_another_device_has_sent_much_meanwhile(
    server: Harness, others: int, pause: int, jump: int, stored: int
) -> None:
    """The last ones count, however old, and those of the minutes before the newest, up to a bound; also when the clock
    is set (`jump`)."""
    await server.register("juliet")
    romeo = await server.login("romeo", "phone")
    say(romeo, "from the phone", LONG)
    await server.quiet()
    second = await restarted(server)
    try:
        laptop = await second.login("romeo", "laptop")
        second.clock.wall += jump
        for number in range(others):
            await second.advance(pause)
            say(laptop, "from the laptop", f"{number:032d}")
        await second.quiet()
        third = await restarted(second)
        try:
            romeo = await third.login("romeo", "phone")
            say(romeo, "from the phone", LONG, DELAY)
            await third.quiet()
            assert await archive(third) == others + stored
        finally:
            await third.stop()
    finally:
        await second.stop()


async def test_a_message_on_its_way_to_the_disk_counts(server: Harness) -> None:
    """The new stream waits until the batches of the broken one are decided."""
    await server.register("juliet")
    romeo = await server.login("romeo")
    server.backend.hold()
    say(romeo, "on its way", LONG)
    await server.quiet()
    romeo.cut()
    client = server.connect()
    await client.sign_in("romeo")
    client.send("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")
    await client.silence()
    server.backend.release()
    assert (await client.receive()).get("type") == "result"
    say(client, "on its way", LONG, DELAY)
    await server.quiet()
    assert await archive(server) == 1


async def test_a_stream_that_takes_the_place_of_the_broken_one(server: Harness) -> None:
    """The same resource again: the session that waited for its client ends in the middle of the new one's binding."""
    juliet = await server.login("juliet", presence=True)
    romeo = await server.login("romeo", "phone")
    await enable(romeo)
    say(romeo, "art thou there?", LONG)
    assert bodies(await juliet.receive_all()) == ["art thou there?"]
    romeo.cut()
    await server.quiet()
    romeo = await server.login("romeo", "phone")
    say(romeo, "art thou there?", LONG, DELAY)
    assert bodies(await juliet.receive_all()) == []
    assert await archive(server) == 1


@pytest.mark.parametrize(("id", "kept"), [(LONG, 1), ("7", 2)])
@pytest.mark.in_memory
async def test_a_device_that_comes_back_after_another_one_has_come_and_gone(
    server: Harness, id: str, kept: int
) -> None:
    """Nobody knows after a kill whose streams broke. A short id is not believed so late: bots count from 1."""
    await server.register("juliet")
    romeo = await server.login("romeo", "phone")
    say(romeo, "stored", id)
    await server.quiet()
    second = await restarted(server)
    try:
        desk = await second.login("romeo", "desk")
        desk.close()
        await second.quiet()
        phone = await second.login("romeo", "phone")
        say(phone, "stored", id, DELAY)
        await second.quiet()
        assert await archive(second) == kept
    finally:
        await second.stop()


async def test_what_may_come_again_does_not_stay_in_memory(server: Harness) -> None:
    """Ten minutes after the last binding it is forgotten, and looked up again for a device that comes later."""
    await server.register("juliet")
    romeo = await server.login("romeo", "phone")
    say(romeo, "stored", LONG)
    await server.quiet()
    second = await restarted(server)
    try:
        desk = await second.login("romeo", "desk")
        plugin = second.host.plugins["resends"]
        assert plugin.expects("romeo@localhost")
        await second.advance(700)
        assert not plugin.expects("romeo@localhost")
        phone = await second.login("romeo", "phone")
        say(phone, "stored", LONG, DELAY)
        await second.quiet()
        assert await archive(second) == 1
        desk.close()
    finally:
        await second.stop()


# ---- a new message is never taken for an old one

DOOR = "door opened"


@pytest.mark.parametrize(
    ("counts", "told", "more", "origin", "stored"),
    [
        (True, True, "", "", 2),  # a bot that counts from 1 says the same again, and means it
        (True, True, ACTIVE, "", 2),
        (True, False, "", "", 1),  # its client cannot know that the first one is stored
        (True, True, DELAY, "", 1),  # it says itself that it is an old one
        (False, False, "", "", 2),  # nobody is told anything without XEP-0198
        (False, False, DELAY, "", 1),
        (True, True, "", "o1", 1),  # an origin-id is unique, whatever its length
        (False, False, "", "o1", 1),
    ],
)
async def test_a_short_id_needs_a_reason(
    server: Harness, counts: bool, told: bool, more: str, origin: str, stored: int
) -> None:
    juliet = await server.login("juliet", presence=True)
    for resource in ("", "other"):
        bot = await server.login("bot", f"bot{resource}")
        if counts:
            await enable(bot)
        say(bot, DOOR, "1", more if resource else "", origin=origin)
        await server.quiet()
        if told and not resource:
            assert await acked(bot) == 1
        await server.quiet()
        bot.cut()
        await server.advance(60)
    assert await archive(server, "bot@localhost") == stored
    assert bodies(await juliet.receive_all()) == [DOOR] * stored


async def test_an_acknowledgement_covers_what_it_counts(server: Harness) -> None:
    """The first of two was told, the second was on its way to the disk."""
    await server.register("juliet")
    bot = await server.login("bot", "bot")
    await enable(bot)
    say(bot, "one", "1")
    await server.quiet()
    server.backend.hold()
    say(bot, "two", "2")
    assert await acked(bot) == 1
    bot.cut()
    server.backend.release()
    bot = await server.login("bot", "bot")
    say(bot, "two", "2")
    say(bot, "one", "1")
    await server.quiet()
    assert await archive(server, "bot@localhost") == 3


@pytest.mark.parametrize("killed", [False, True])
async def test_who_is_told_the_count_means_what_it_says(server: Harness, killed: bool) -> None:
    """<failed h=…/> is exact, so nothing of what is stored is sent again (XEP-0198 section 5)."""
    await server.register("juliet")
    bot = await server.login("bot", "bot")
    previous = await enable(bot)
    say(bot, DOOR, "1")
    await server.quiet()
    bot.cut()
    second = server
    if killed:
        second = await restarted(server)
    else:
        await server.advance(4000)  # the session is over
    try:
        bot = second.connect()
        await bot.sign_in("bot")
        bot.send(f"<resume xmlns='urn:xmpp:sm:3' previd='{previous}' h='0'/>")
        assert (await bot.receive()).get("h") == "1"
        await bot.bind("bot")
        say(bot, DOOR, "1")
        await second.quiet()
        assert await archive(second, "bot@localhost") == 2
    finally:
        if killed:
            await second.stop()


async def test_a_resumed_session_has_nothing_to_say_again(server: Harness) -> None:
    """<resumed h=…/> is exact, too."""
    await server.register("juliet")
    bot = await server.login("bot", "bot")
    previous = await enable(bot)
    say(bot, DOOR, "1")
    await server.quiet()
    bot.cut()
    bot = server.connect()
    await bot.sign_in("bot")
    bot.send(f"<resume xmlns='urn:xmpp:sm:3' previd='{previous}' h='0'/>")
    assert (await bot.receive()).get("h") == "1"
    other = await server.login("bot", "other")
    say(other, DOOR, "1")
    say(bot, DOOR, "1")
    bot.cut()
    await server.quiet()
    bot = await server.login("bot", "third")
    say(bot, DOOR, "1")
    await server.quiet()
    assert await archive(server, "bot@localhost") == 3, "the last one may be that of the stream that broke just now"


async def test_the_order_of_a_lost_stream_is_remembered_while_something_is_in_it(server: Harness) -> None:
    """Accounts that never come back leave nothing behind."""
    resends = server.host.plugins["resends"]
    await server.register("juliet")
    for number in range(5):
        client = await server.login(f"user{number}")
        say(client, "adieu", "1")
        client.cut()
    romeo = await server.login("romeo")
    server.backend.hold()
    say(romeo, "adieu", "1")
    romeo.cut()
    await server.quiet()
    assert len(resends.broken) == 6
    for _ in range(3):
        resends.sweep()
    assert list(resends.broken) == ["romeo@localhost"], "its message is on its way"
    server.backend.release()
    await server.advance(150)
    assert not len(resends.broken) and resends.broken.used == 0
