"""After a crash a client's own count says what it was sent (XEP-0198 section 5; docs/explanation/delivery.md)."""

from __future__ import annotations

from plugins.stream_management import Sent
from tests.core.test_delivery import SM, Reader, bodies, enable, restarted, say
from tests.harness import Client, Element, Harness
from xmppd.contracts.archive import LOG
from xmppd.delivery.cursor_writer import CursorWriter
from xmppd.storage.api import Flags, Range


async def back(server: Harness, previous: str, h: int) -> tuple[Client, Element]:
    """Juliet's client tries to resume, cannot, and begins anew."""
    juliet = server.connect()
    await juliet.sign_in("juliet")
    juliet.send(f"<resume xmlns='{SM}' previd='{previous}' h='{h}'/>")
    answer = await juliet.receive()
    assert answer.tag == f"{{{SM}}}failed"
    await juliet.bind("phone")
    await enable(juliet)
    juliet.send("<presence/>")
    return juliet, answer


async def prepared(server: Harness) -> tuple[Client, Client, str, Reader]:
    romeo = await server.login("romeo")
    juliet = await server.login("juliet", "phone")
    previous = await enable(juliet)
    juliet.send("<presence/>")
    reader = Reader(juliet)
    await reader.read()
    return romeo, juliet, previous, reader


async def test_what_the_count_covers_is_not_sent_again(server: Harness) -> None:
    """The trace rides with the next batch: what that batch itself brings is all that may come again."""
    romeo, _, previous, reader = await prepared(server)
    for number in range(4):
        say(romeo, "juliet@localhost", str(number))
        await server.quiet()
    romeo.send("<message to='juliet@localhost/phone' type='chat'><active xmlns='urn:xmpp:chat'/></message>")
    await reader.read(ack=False)
    second = await restarted(server)
    try:
        juliet, _ = await back(second, previous, reader.h)
        assert bodies(await juliet.receive_all()) in ([], ["3"])
    finally:
        await second.stop()


async def test_after_a_quiet_moment_nothing_is_sent_again(server: Harness) -> None:
    romeo, _, previous, reader = await prepared(server)
    for number in range(4):
        say(romeo, "juliet@localhost", str(number))
    await reader.read(ack=False)
    await server.advance(CursorWriter.QUIET)
    second = await restarted(server)
    try:
        juliet, _ = await back(second, previous, reader.h)
        assert bodies(await juliet.receive_all()) == []
        say(await second.login("romeo"), "juliet@localhost", "new")
        assert bodies(await juliet.receive_all()) == ["new"]
    finally:
        await second.stop()


async def test_what_the_client_has_not_got_is_sent(server: Harness) -> None:
    """Its count ends before the last two."""
    romeo, _, previous, reader = await prepared(server)
    for number in range(4):
        say(romeo, "juliet@localhost", str(number))
    await reader.read(ack=False)
    await server.advance(CursorWriter.QUIET)
    second = await restarted(server)
    try:
        juliet, _ = await back(second, previous, reader.h - 2)
        assert bodies(await juliet.receive_all()) == ["2", "3"]
    finally:
        await second.stop()


async def test_acknowledged_since_the_trace(server: Harness) -> None:
    """The cursor goes with the trace that does not name them any more."""
    romeo, _, previous, reader = await prepared(server)
    say(romeo, "juliet@localhost", "0")
    await reader.read(ack=True)
    say(romeo, "juliet@localhost", "1")
    await server.quiet()
    say(romeo, "juliet@localhost", "2")
    await reader.read(ack=False)
    second = await restarted(server)
    try:
        juliet, _ = await back(second, previous, reader.h)
        assert bodies(await juliet.receive_all()) == ["2"]
    finally:
        await second.stop()


async def test_hidden_entries_are_deleted_then(server: Harness) -> None:
    romeo, _, previous, reader = await prepared(server)
    romeo.send(
        "<message to='juliet@localhost' type='chat'><body>once</body>"
        "<no-permanent-store xmlns='urn:xmpp:hints'/></message>"
    )
    await reader.read(ack=False)
    await server.advance(CursorWriter.QUIET)
    second = await restarted(server)
    try:
        juliet, _ = await back(second, previous, reader.h)
        assert bodies(await juliet.receive_all()) == []
        await second.advance(CursorWriter.QUIET)
        left = await second.storage.log(LOG).page("juliet@localhost", Range(flags=Flags.HIDDEN), 10)
        assert left == []
    finally:
        await second.stop()


async def test_anothers_count_says_nothing(server: Harness) -> None:
    romeo, _, previous, reader = await prepared(server)
    say(romeo, "juliet@localhost", "0")
    await reader.read(ack=False)
    await server.advance(CursorWriter.QUIET)
    second = await restarted(server)
    try:
        other = second.connect()
        await second.register("romeo")
        await other.sign_in("romeo")
        other.send(f"<resume xmlns='{SM}' previd='{previous}' h='{reader.h}'/>")
        assert (await other.receive()).tag == f"{{{SM}}}failed"
        juliet = await second.login("juliet", presence=False)
        juliet.send("<presence/>")
        assert bodies(await juliet.receive_all()) == ["0"]
    finally:
        await second.stop()


async def test_a_long_queue_is_written_now_and_then(server: Harness) -> None:
    """Not for each stanza that joins it, and in the end as it is."""
    romeo, juliet, previous, reader = await prepared(server)
    sent = server.storage.map("stream-sent", Sent)
    seen = set()
    for number in range(150):
        say(romeo, "juliet@localhost", str(number))
        await server.quiet()
        stored = await sent.read("juliet@localhost", previous)
        seen.add(len(stored.stamps) if stored is not None else 0)
    assert len(seen) < 60
    await reader.read(ack=False)
    await server.advance(3 * CursorWriter.QUIET)
    second = await restarted(server)
    try:
        juliet, _ = await back(second, previous, reader.h)
        assert bodies(await juliet.receive_all()) == []
    finally:
        await second.stop()
