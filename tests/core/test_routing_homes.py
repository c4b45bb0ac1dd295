"""Which home an owner has, and what two of them decide in turn."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from lxml import etree

from tests.harness import Client, Harness, condition
from tests.harness.clock import FakeClock
from tests.harness.homes import HOMES
from xmppd.contracts.archive import LOG
from xmppd.contracts.core import Account
from xmppd.contracts.routing import Inbound
from xmppd.errors import StorageUnavailable
from xmppd.jid import JID
from xmppd.routing import transaction
from xmppd.routing.homes import SLOTS, Homes, slot_of
from xmppd.routing.outbox import AGAIN
from xmppd.stanza import Stanza
from xmppd.storage.api import Range, Send
from xmppd.storage.store import Store

BODY = "{jabber:client}body"
homes = Homes(2)


def one_at(home: int, name: str) -> str:
    """A localpart whose account has that home."""
    return next(each for number in range(99) if homes.of(f"{(each := f'{name}{number}')}@localhost") == home)


A, B, NEAR = one_at(0, "romeo"), one_at(1, "juliet"), one_at(0, "nurse")


MORE = "homes: 2" if HOMES == 1 else ""


@pytest.fixture
async def two() -> Harness:
    return await Harness(more=MORE).start()


async def said_and_not_heard(two: Harness) -> None:
    """A has said "one" to B, which is committed; what B's home makes of it hangs."""
    romeo = await two.login(A)
    await two.register(B)
    two.backend.hold()
    say(romeo, B, "one")
    await two.quiet()
    two.backend.release(1)
    await two.quiet()


def say(client: Client, to: str, body: str) -> None:
    client.send(f"<message to='{to}@localhost' type='chat' id='{body}'><body>{body}</body></message>")


async def texts(server: Harness, owner: str) -> list[str]:
    entries = await server.storage.log(LOG).page(f"{owner}@localhost", Range(), 1000)
    return [str(etree.fromstring(each.body).findtext("{*}body")) for each in entries]


async def away(server: Harness, owner: str) -> None:
    """An account that is not in memory."""
    await server.register(owner)
    server.host.forget(f"{owner}@localhost")
    server.storage.unload({f"{owner}@localhost"})


async def after_a_crash(server: Harness) -> Harness:
    clock = FakeClock(server.clock.now() + 5)
    backend = server.backend.survivor()
    backend.clock = clock
    return await Harness(more=MORE, store=Store(backend, clock), clock=clock).start()


def test_slots_are_spread() -> None:
    """Also of names that differ in one digit."""
    names = [f"u{number}@example.org" for number in range(40_000)]
    found = Counter(slot_of(name) for name in names)
    assert len(found) == SLOTS and max(found.values()) < 40
    pairs = sum(homes.of(one) != homes.of(other) for one, other in zip(names[::2], names[1::2], strict=True))
    assert 9_000 < pairs < 11_000


@pytest.mark.parametrize("commits", range(4))
async def test_a_crash_between_the_two_decisions(two: Harness, commits: int) -> None:
    """Once it is committed at the sender's home it arrives, once."""
    await two.register(B)
    romeo = await two.login(A)
    two.backend.hold()
    say(romeo, B, "one")
    for _ in range(commits):
        await two.quiet()
        two.backend.release(1)
    after = await after_a_crash(two)
    await after.quiet()
    kept = ["one"] if commits else []
    assert (await texts(after, A), await texts(after, B)) == (kept, kept)
    assert await after.storage.unheard("localhost") == []
    await after.stop()
    await two.stop()


async def test_order_and_acknowledgement(two: Harness) -> None:
    """What is kept and what is not, to both homes, from one client: each recipient gets it in order."""
    romeo, juliet, nurse = await two.login(A), await two.login(B, presence=True), await two.login(NEAR, presence=True)
    for number in range(20):
        for to in (B, NEAR):
            say(romeo, to, str(number))
            romeo.send(
                f"<message to='{to}@localhost' type='chat'>"
                "<composing xmlns='http://jabber.org/protocol/chatstates'/></message>"
            )
    for client in (juliet, nurse):
        got = [each.findtext(BODY) for each in await client.receive_all()]
        assert got == [text for number in range(20) for text in (str(number), None)]
    assert await texts(two, A) == [str(number) for number in range(20) for _ in (B, NEAR)]
    await two.stop()


async def test_what_cannot_be_decided_is_sent_again_in_order(two: Harness) -> None:
    """Her account cannot be read; his messages are acknowledged, and wait."""
    await two.register(B)
    two.host.forget(f"{B}@localhost")
    romeo = await two.login(A)
    two.storage.unload({f"{B}@localhost"})
    two.backend.unreachable = True
    say(romeo, B, "one")
    await two.quiet()
    two.backend.unreachable = False
    say(romeo, B, "two")
    await two.quiet()
    assert await texts(two, B) == [] and await texts(two, A) == ["one", "two"]
    assert [each.to for each in await two.storage.unheard("localhost")] == [f"{B}@localhost"] * 2
    await two.advance(AGAIN + 1)
    assert await texts(two, B) == ["one", "two"]
    assert await two.storage.unheard("localhost") == []
    outbox = two.server.router.outbox
    assert (outbox._lines, outbox._owners, outbox._size) == ({}, {}, 0)
    await two.stop()


async def test_a_refusal_comes_back(two: Harness) -> None:
    """Nobody is there: the error is kept until the sender's home has it, and tells the client."""
    romeo = await two.login(A)
    say(romeo, B, "one")
    answer = await romeo.receive()
    assert (answer.get("id"), condition(answer)) == ("one", "service-unavailable")
    assert answer.get("from") == f"{B}@localhost"
    assert await two.storage.unheard("localhost") == []
    await two.stop()


async def test_too_much_that_waits_is_refused(two: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xmppd.routing.outbox.WORDS", 3)
    await two.register(B)
    romeo = await two.login(A)
    two.storage.unload({f"{B}@localhost"})
    two.host.forget(f"{B}@localhost")
    two.backend.unreachable = True
    for number in range(5):
        say(romeo, B, str(number))
        await two.quiet()
    errors = [(each.get("id"), condition(each)) for each in await romeo.receive_all()]
    assert errors == [("3", "resource-constraint"), ("4", "resource-constraint")]
    two.backend.unreachable = False
    await two.advance(AGAIN + 1)
    assert await texts(two, B) == ["0", "1", "2"]
    say(romeo, B, "5")
    await two.quiet()
    assert await texts(two, B) == ["0", "1", "2", "5"]
    await two.stop()


async def test_a_store_that_refuses_the_second_decision(two: Harness) -> None:
    """It stays in the store, and is tried again; the first decision stands."""
    juliet, romeo = await two.login(B, presence=True), await two.login(A)
    two.backend.hold()
    say(romeo, B, "one")
    await two.quiet()
    two.backend.release(1)
    two.backend.fail(StorageUnavailable("gone"), 1_000)
    two.backend.release()
    await two.advance(two.storage.limits.commit_timeout + 3)
    assert await juliet.receive_all() == []
    two.backend._failures.clear()
    await two.advance(AGAIN + 5)
    assert [each.findtext(BODY) for each in await juliet.receive_all()] == ["one"]
    assert await texts(two, B) == ["one"]
    assert await two.storage.unheard("localhost") == []
    await two.stop()


async def test_nothing_is_decided_before_what_could_not_be(two: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """One read of her account fails, the next would not."""
    romeo = await two.login(A)
    await away(two, B)
    open_account, tried = two.host.open_account, []

    async def fails_once(jid: JID) -> Account | None:
        tried.append(jid)
        if len(tried) == 1:
            raise StorageUnavailable("gone")
        return await open_account(jid)

    monkeypatch.setattr(two.host, "open_account", fails_once)
    for body in ("one", "two", "three"):
        say(romeo, B, body)
    await two.advance(AGAIN / 2)
    say(romeo, B, "four")
    assert await texts(two, B) == []
    await two.advance(AGAIN)
    assert await texts(two, B) == ["one", "two", "three", "four"]
    assert await two.storage.unheard("localhost") == []
    await two.stop()


async def test_a_start_in_two_attempts_reads_it_once(two: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store goes away between the sendings of one host and those of the next."""
    await said_and_not_heard(two)
    unheard, asked = Store.unheard, []

    async def fails_once(self: Store, domain: str, *page: Any) -> list[Send]:
        asked.append(domain)
        if domain == "conference.localhost" and asked.count(domain) == 1:
            raise StorageUnavailable("gone")
        return await unheard(self, domain, *page)

    monkeypatch.setattr(Store, "unheard", fails_once)
    after = await after_a_crash(two)
    [line] = after.server.router.outbox._lines.values()
    await after.server._restore()
    assert asked.count("conference.localhost") > 1 and len(line.words) <= 1
    await after.quiet()
    assert await texts(after, B) == ["one"]
    await after.stop()
    await two.stop()


async def test_a_release_that_fails_holds_up_nothing(two: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    romeo = await two.login(A)
    await away(two, B)
    release, released = transaction.release_inbound, []

    def fails_once(event: Inbound) -> Stanza | None:
        released.append(event)
        if len(released) == 1:
            raise RuntimeError("a mistake")
        return release(event)

    monkeypatch.setattr(transaction, "release_inbound", fails_once)
    romeo.send(f"<message to='{B}@localhost' type='headline'><body>lost</body></message>")
    say(romeo, B, "one")
    await two.quiet()
    assert await texts(two, B) == ["one"]
    assert two.server.router.own_orders.pending == {}
    await two.stop()


async def test_a_bound_for_all_that_waits(two: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds for who has nothing waiting, too."""
    monkeypatch.setattr("xmppd.routing.outbox.TOTAL", 1000)
    romeo, nurse = await two.login(A), await two.login(NEAR)
    await away(two, B)
    two.backend.unreachable = True
    say(romeo, B, "x" * 1000)
    await two.quiet()
    say(nurse, B, "one")
    assert [condition(each) for each in await nurse.receive_all()] == ["resource-constraint"]
    two.backend.unreachable = False
    await two.advance(AGAIN + 1)
    assert await texts(two, B) == ["x" * 1000]
    await two.stop()


async def test_what_is_sent_again_is_stored_as_it_was(two: Harness) -> None:
    await said_and_not_heard(two)
    after = await after_a_crash(two)
    await after.quiet()
    first, second = [(await after.storage.log(LOG).page(f"{each}@localhost", Range(), 9))[0] for each in (A, B)]
    assert first.body == second.body
    await after.stop()
    await two.stop()


async def test_who_outruns_the_other_home_is_read_no_more(two: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that says more than the recipient's home commits waits, and is refused nothing."""
    monkeypatch.setattr("xmppd.routing.outbox.CROWD", 50_000)
    await two.register(B)
    romeo = await two.login(A)
    session = two.server.routes.session(JID.parse(str(romeo.jid)))
    assert session is not None
    two.backend.hold()
    for number in range(150):
        say(romeo, B, f"{number} " + "x" * 100)
    await two.quiet()
    before = session.received
    two.backend.release(1)
    await two.quiet()
    outbox = two.server.router.outbox
    assert outbox.crowds == 1
    for number in range(150, 300):
        say(romeo, B, f"{number} " + "x" * 100)
    await two.quiet()
    assert session.received <= before + 1
    two.backend.release()
    await two.quiet()
    assert [text.partition(" ")[0] for text in await texts(two, B)] == [str(number) for number in range(300)]
    assert not await romeo.receive_all()
    assert (outbox.crowds, outbox._lines, outbox._owners, outbox._size) == (0, {}, {}, 0)
    await two.stop()


async def test_a_bound_for_all_that_is_on_its_way(two: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Questions to many who have to be read first, and the store takes its time."""
    monkeypatch.setattr("xmppd.routing.order.TOTAL", 3000)
    romeo = await two.login(A)
    open_account, go_on = two.host.open_account, asyncio.Event()

    async def waits(jid: JID) -> Account | None:
        await go_on.wait()
        return await open_account(jid)

    monkeypatch.setattr(two.host, "open_account", waits)
    for number in range(5):
        question = f"<query xmlns='urn:example:q'>{'x' * 1000}</query>"
        romeo.send(f"<iq type='get' id='{number}' to='{one_at(1, f'somebody{number}-')}@localhost'>{question}</iq>")
    orders = two.server.router.own_orders
    assert orders.size < 3000
    early = {each.get("id"): condition(each) for each in await romeo.receive_all()}
    assert early == {each: "resource-constraint" for each in ("2", "3", "4")}
    go_on.set()
    late = {each.get("id"): condition(each) for each in await romeo.receive_all()}
    assert late == {each: "service-unavailable" for each in ("0", "1")}
    assert (orders.size, orders.pending) == (0, {})
    await two.stop()
