"""What initial presence starts: the hook, and the delivery of what is owed (docs/explanation/delivery.md)."""

from __future__ import annotations

import pytest

from tests.harness import Client, Harness
from xmppd.contracts.sessions import AVAILABLE
from xmppd.delivery.cursor_writer import LOG
from xmppd.plugin import NO_CONFIG, NoConfig, Plugin, Session, on
from xmppd.storage.api import Entry, Flags, Range

JULIET = "juliet@localhost"
FIRST = 1_000_000


def entry(number: int, flags: int = Flags.INCOMING) -> Entry:
    body = f"<message to='{JULIET}' from='romeo@localhost/r' type='chat'><body>{number}</body></message>"
    return Entry(FIRST + number, "romeo@localhost", "r", flags, body.encode())


async def owed(server: Harness, *entries: Entry) -> None:
    """As if they had come while nobody was there."""
    await server.register("juliet")
    log = server.storage.log(LOG)
    await server.storage.commit([log.append(JULIET, each) for each in entries])
    account = server.host.account(JULIET)
    if account is not None:
        account.last_id = account.released = entries[-1].id


async def bodies(client: Client) -> list[int]:
    found = [element.findtext("{jabber:client}body") for element in await client.receive_all()]
    return [int(text) for text in found if text is not None]


async def position(server: Harness) -> int:
    """How far the stored cursor is."""
    await server.advance(2)
    cursor = server.host.cursor_writer.cursors.get(JULIET).get("")
    return cursor.position if cursor is not None else 0


async def test_what_is_owed_comes_after_the_presence(server: Harness) -> None:
    await owed(server, *(entry(number) for number in range(1, 121)))
    juliet = await server.login("juliet", "balcony")
    await juliet.silence()
    juliet.send("<presence/>")
    assert (await juliet.receive()).tag == "{jabber:client}presence"
    assert await bodies(juliet) == list(range(1, 121))
    assert await position(server) == FIRST + 120


async def test_a_negative_priority_gets_nothing_until_it_is_raised(server: Harness) -> None:
    await owed(server, entry(1))
    juliet = await server.login("juliet", "balcony")
    juliet.send("<presence><priority>-1</priority></presence>")
    assert await bodies(juliet) == []
    juliet.send("<presence><priority>0</priority></presence>")
    assert await bodies(juliet) == [1]
    juliet.send("<presence><show>away</show></presence>")
    assert await bodies(juliet) == []


async def test_later_presence_starts_nothing_anew(server: Harness) -> None:
    juliet = await server.login("juliet", "balcony", presence=True)
    account = server.host.account(JULIET)
    channel = account.sessions["balcony"].channel
    online_since = channel.due_after
    account.released = account.next_id()
    juliet.send("<presence><show>away</show></presence>")
    await juliet.receive_all()
    assert channel.due_after == online_since
    juliet.send("<presence type='unavailable'/><presence/>")
    await juliet.receive_all()
    assert channel.due_after > online_since


@pytest.mark.parametrize("read", [0, 2])
async def test_who_has_read_the_archive_gets_what_came_later(server: Harness, read: int) -> None:
    await owed(server, entry(1), entry(2), entry(3))
    juliet = await server.login("juliet", "balcony")
    session = server.host.account(JULIET).sessions["balcony"]
    session.channel.archive_read = FIRST + read if read else 0
    juliet.send("<presence/>")
    assert await bodies(juliet) == ([3] if read else [1, 2, 3])
    assert await position(server) == FIRST + 3
    assert ("balcony" in server.host.account(JULIET).cursor.readers) is bool(read)


async def test_who_has_read_it_all_settles_it(server: Harness) -> None:
    await owed(server, entry(1), entry(2))
    juliet = await server.login("juliet", "balcony")
    server.host.account(JULIET).sessions["balcony"].channel.archive_read = FIRST + 2
    juliet.send("<presence/>")
    assert await bodies(juliet) == []
    assert await position(server) == FIRST + 2
    other = await server.login("juliet", "chamber", presence=False)
    other.send("<presence/>")
    assert await bodies(other) == []


@pytest.mark.in_memory
async def test_a_reader_of_last_time_takes_the_backlog_over(server: Harness) -> None:
    """Also before it has queried; another resource would get it."""
    await owed(server, entry(1))
    juliet = await server.login("juliet", "balcony")
    server.host.account(JULIET).sessions["balcony"].channel.archive_read = FIRST + 1
    juliet.send("<presence/>")
    await juliet.receive_all()
    juliet.close()
    await server.quiet()
    cursor = server.host.account(JULIET).cursor
    await owed(server, entry(2), entry(3))
    cursor.mark_pending(FIRST + 2)
    again = await server.login("juliet", "balcony")
    again.send("<presence/>")
    assert await bodies(again) == []
    assert await position(server) == FIRST + 3


async def test_hidden_entries_come_to_readers_too(server: Harness) -> None:
    """No archive shows them; they go when they are acknowledged."""
    hidden = Flags.INCOMING | Flags.HIDDEN
    await owed(server, entry(1), entry(2, hidden), entry(3), entry(4, hidden), entry(5))
    juliet = await server.login("juliet", "balcony")
    server.host.account(JULIET).sessions["balcony"].channel.archive_read = FIRST + 4
    juliet.send("<presence/>")
    assert await bodies(juliet) == [2, 4, 5]
    assert await position(server) == FIRST + 5
    page = await server.storage.log(LOG).page(JULIET, Range(), 10)
    assert [each.id - FIRST for each in page] == [1, 3, 5]


async def test_the_cursor_waits_for_a_hidden_entry(server: Harness) -> None:
    """It was sent and not acknowledged when the connection broke: the next device gets it."""
    hidden = Flags.INCOMING | Flags.HIDDEN
    await owed(server, entry(1, hidden), entry(2))
    juliet = await server.login("juliet", "balcony")
    server.host.account(JULIET).sessions["balcony"].channel.archive_read = FIRST + 2
    juliet.link.stalled = True
    juliet.send("<presence/>")
    await server.quiet()
    assert await position(server) < FIRST + 1
    juliet.cut()
    await server.quiet()
    other = await server.login("juliet", "chamber")
    other.send("<presence/>")
    assert await bodies(other) == [1]
    assert await position(server) == FIRST + 2


async def test_the_hook_is_told_once_per_appearance(server: Harness) -> None:
    """After the broadcast."""
    seen: list[tuple[str, int]] = []
    juliet = await server.login("juliet", "balcony")

    class Watching(Plugin[NoConfig]):
        @on(AVAILABLE)
        def appears(self, session: Session) -> None:
            seen.append((session.resource, len(juliet.inbox)))

    server.host.add("watching", Watching(server.host, NO_CONFIG))
    juliet.send("<presence/>")
    await juliet.receive_all()
    juliet.send("<presence><show>away</show></presence>")
    await juliet.receive_all()
    assert seen == [("balcony", 1)]
    juliet.send("<presence type='unavailable'/>")
    await juliet.receive_all()
    juliet.send("<presence/>")
    await juliet.receive_all()
    assert seen == [("balcony", 1)] * 2
