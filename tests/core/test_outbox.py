"""What two owners agree on is two decisions; a crash between them loses neither."""

from __future__ import annotations

import asyncio

import pytest

from tests.harness import Harness
from tests.harness.clock import FakeClock
from tests.plugins.test_presence_subscriptions import JULIET, ROMEO, friends, heard, item, person, send
from xmppd.errors import StorageUnavailable
from xmppd.routing.outbox import AGAIN
from xmppd.storage.store import Store


async def after_a_crash(server: Harness) -> Harness:
    clock = FakeClock(server.clock.wall + 5)
    backend = server.backend.survivor()
    backend.clock = clock
    return await Harness(store=Store(backend, clock), clock=clock).start()


async def unheard(server: Harness) -> list[str]:
    """To whom something is said that is not heard."""
    return [each.to for each in await server.storage.unheard("localhost")]


def side(server: Harness, owner: str, contact: str) -> str:
    """The subscription, with who waits for an answer."""
    found = item(server, owner, contact)
    if found is None:
        return "none"
    return (
        found.subscription + " ask" * bool(found.ask) + " asked" * bool(found.request is not None and not found.listed)
    )


@pytest.mark.parametrize("commits", range(4))
async def test_a_crash_while_a_subscription_ends(server: Harness, commits: int) -> None:
    """Whatever was on the disk, the two contact lists agree after the next start; and nobody need sign in for that."""
    romeo, _ = await friends(server)
    await server.quiet()
    server.backend.hold()
    send(romeo, "unsubscribe", JULIET)
    for _ in range(commits):
        await server.quiet()
        server.backend.release(1)
    after = await after_a_crash(server)
    await after.quiet()
    for owner in (ROMEO, JULIET):
        await after.storage.load(owner)
    ended = commits > 0
    assert side(after, ROMEO, JULIET) == ("from" if ended else "both")
    assert side(after, JULIET, ROMEO) == ("to" if ended else "both")
    await after.advance(5)
    await after.quiet()
    assert await unheard(after) == []
    await after.stop()
    server.backend.release()


async def test_what_was_done_does_not_come_again_behind_something_newer(server: Harness) -> None:
    """The end of a subscription is done, and its record still there; then a new one begins; then the process dies."""
    romeo, juliet = await friends(server)
    await server.quiet()
    send(romeo, "unsubscribe", JULIET)
    await server.quiet()
    send(romeo, "subscribe", JULIET)
    await server.quiet()
    await heard(juliet)
    send(juliet, "subscribed", ROMEO)
    await server.quiet()
    after = await after_a_crash(server)
    await after.quiet()
    for owner in (ROMEO, JULIET):
        await after.storage.load(owner)
    assert (side(after, ROMEO, JULIET), side(after, JULIET, ROMEO)) == ("both", "both")
    await after.stop()


async def test_the_words_go_when_they_are_done(server: Harness) -> None:
    romeo = await person(server, "romeo", "orchard")
    juliet = await person(server, "juliet", "balcony")
    send(romeo, "subscribe", JULIET)
    await server.quiet()
    assert await heard(juliet) == [f"subscribe {ROMEO}"]
    assert await unheard(server) == []
    outbox = server.server.router.outbox
    assert (outbox._lines, outbox._owners, outbox._size) == ({}, {}, 0)


async def test_a_recipient_that_cannot_be_read_gets_it_later(server: Harness) -> None:
    """The sender is told nothing: it is kept."""
    await server.register("juliet")
    await server.quiet()
    after = await after_a_crash(server)  # in which she is not in memory
    romeo = await person(after, "romeo", "orchard")
    after.backend.unreachable = True
    send(romeo, "subscribe", JULIET)
    await after.quiet()
    assert not [each for each in await heard(romeo) if each.startswith("error")]
    assert await _stored(after) == [JULIET]
    after.backend.unreachable = False
    await after.advance(AGAIN + 1)
    await after.quiet()
    await after.storage.load(JULIET)
    asked = item(after, JULIET, ROMEO)
    assert asked is not None and asked.pending_in
    await after.advance(2)
    await after.quiet()
    assert await unheard(after) == []
    await after.stop()


async def test_what_must_be_sent_again_does_not_come_behind_the_next(server: Harness) -> None:
    """She cannot be read when he ends his subscription, and can be when he asks for it anew: the end comes first."""
    await friends(server)
    await server.quiet()
    after = await after_a_crash(server)  # in which she is not in memory
    romeo = await person(after, "romeo", "orchard")
    after.backend.unreachable = True
    send(romeo, "unsubscribe", JULIET)
    await after.quiet()
    after.backend.unreachable = False
    send(romeo, "subscribe", JULIET)
    await after.quiet()
    assert await unheard(after) == [JULIET, JULIET]
    await after.advance(AGAIN + 1)
    await after.quiet()
    await after.storage.load(JULIET)
    asked = item(after, JULIET, ROMEO)
    assert asked is not None and asked.pending_in and asked.subscription == "to"
    assert side(after, ROMEO, JULIET) == "from ask"
    await after.stop()


async def _stored(server: Harness) -> list[str]:
    server.backend.unreachable = False
    try:
        return await unheard(server)
    finally:
        server.backend.unreachable = True


async def test_a_decision_that_is_not_stored_says_nothing(server: Harness) -> None:
    romeo = await person(server, "romeo", "orchard")
    juliet = await person(server, "juliet", "balcony")
    server.backend.fail(StorageUnavailable("gone"), 1_000)
    send(romeo, "subscribe", JULIET)
    await server.advance(server.storage.limits.commit_timeout + 3)
    await server.quiet()
    assert not server.storage.available
    assert await heard(juliet) == []
    server.backend._failures.clear()
    await server.advance(30)
    await asyncio.sleep(0)
    await server.quiet()
    assert await unheard(server) == []
