"""What is owed to an account, kept small whatever one device leaves behind (docs/explanation/delivery.md)."""

from __future__ import annotations

from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

import xmppd.delivery.cursor as module
from tests.core.test_delivery import Reader, bodies, enable, restarted, say
from tests.core.test_memory import session
from tests.harness import Harness
from xmppd.delivery.cursor import Cursor, Mailbox
from xmppd.delivery.cursor_writer import LOG
from xmppd.storage.api import Flags, Range

SMALL = "limits: {queue: 10, ask_every: 5, per_connection: {stanzas: 0}, per_account: {stanzas: 0}}"


def size(mailbox: Mailbox) -> int:
    record = mailbox.record()
    return len(record.settled) + 3 * len(record.ranges)


async def lagging(server: Harness, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any, Any, Any, str]:
    """Romeo, and two devices of Juliet's: a phone that is away, and a laptop."""
    monkeypatch.setattr(module, "MANY", 20)
    monkeypatch.setattr("xmppd.delivery.cursor_writer.MANY", 20)
    romeo = await server.login("romeo")
    phone = await server.login("juliet", "phone", presence=True)
    id = await enable(phone)
    laptop = await server.login("juliet", "laptop", presence=True)
    await enable(laptop)
    mailbox = session(server, laptop).account.mailbox
    mailbox.merge_at = 20
    return romeo, phone, laptop, mailbox, id


@pytest.mark.server(more=SMALL)
async def test_one_device_lags_and_another_acknowledges(server: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cursor does not grow with what the laptop has had; the phone gets all when it comes back, once."""
    romeo, phone, laptop, mailbox, id = await lagging(server, monkeypatch)
    await phone.receive_all()
    phone.cut()
    reader = Reader(laptop)
    await reader.read()
    got: list[str] = []
    for number in range(200):
        say(romeo, "juliet@localhost", str(number))
        got += await reader.read()
        assert size(mailbox) <= 30
    assert got == [str(number) for number in range(200)]
    behind = Range(after=mailbox.position, flags=Flags.INCOMING)
    assert await server.storage.log(LOG).count("juliet@localhost", behind) <= 60
    again = server.connect()
    await again.sign_in("juliet")
    again.send(f"<resume xmlns='urn:xmpp:sm:3' previd='{id}' h='1'/>")
    reader, found = Reader(again), list[str]()
    reader.h = 1
    for _ in range(60):
        found += await reader.read()
    assert found == [str(number) for number in range(200)]


@pytest.mark.server(more=SMALL)
async def test_what_one_device_alone_is_owed_stays_owed(server: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message to the full JID of the phone, which never acknowledges, amid what the laptop has: ranges, which outlive
    a crash, and the next session gets that message and no other."""
    romeo, phone, laptop, mailbox, _ = await lagging(server, monkeypatch)
    reader = Reader(laptop)
    await reader.read()
    for number in range(150):
        if number in (3, 40, 90):
            say(romeo, phone.jid, f"for the phone {number}")
        say(romeo, "juliet@localhost", str(number))
        await reader.read()
        assert size(mailbox) <= 40
    assert len(mailbox.ranges) >= 2
    assert mailbox.taken() >= 140
    await server.advance(2)
    after = await restarted(server)
    try:
        fresh = await after.login("juliet", "tablet")
        fresh.send("<presence/>")
        found = bodies(await fresh.receive_all())
        assert found == ["for the phone 3", "for the phone 40", "for the phone 90"]
    finally:
        await after.stop()


@pytest.mark.parametrize("seed", range(20))
def test_merging_changes_nothing_but_the_form(seed: int) -> None:
    random = Random(seed)
    account: Any = SimpleNamespace(released=1000)
    account.host = SimpleNamespace(delivery=SimpleNamespace(touched=lambda _: None, merge=lambda _: None))
    mailbox = Mailbox(account)
    ids = sorted(random.sample(range(1, 1000), 200))
    mailbox.restore(Cursor(0), 1000)
    held = set(random.sample(ids, 10))
    mailbox.wait(ids[random.randrange(5)])
    for id in held:
        mailbox.hold(id)
    settled = {id for id in ids if id not in held and random.random() < 0.9}
    waiting = set(ids) - settled - held
    order = list(settled)
    random.shuffle(order)
    for place, id in enumerate(order):
        mailbox.settle((id,))
        if place % 50 == 49:
            after, until, step = mailbox.unmerged(), max(mailbox.settled, default=0), random.randrange(1, 60)
            while after < until:
                page = [id for id in ids if after < id <= until][:step]
                end = page[-1] if len(page) == step else until
                mailbox.merge(after, end, page)
                after = end
            assert len(mailbox.ranges) <= len(ids) - place
        known = Mailbox(account)
        known.restore(mailbox.record(), 1000)
        for each in ids:
            assert known.is_settled(each) == mailbox.is_settled(each) == (each in order[: place + 1]), each
    assert {id for id in ids if mailbox.owed(id)} == waiting
    first = min(waiting | held)
    assert mailbox.position < first
    assert mailbox.gap and mailbox.gap <= min(waiting)


def test_too_many_ranges_are_given_up_from_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every other entry waits: rather sent once more than a record without a bound, and never lost."""
    monkeypatch.setattr(module, "RANGES", 10)
    account: Any = SimpleNamespace(released=100)
    account.host = SimpleNamespace(delivery=SimpleNamespace(touched=lambda _: None, merge=lambda _: None))
    mailbox = Mailbox(account)
    mailbox.restore(Cursor(0), 100)
    mailbox.settle(range(2, 101, 2))
    mailbox.merge(0, 100, list(range(1, 101)))
    assert len(mailbox.ranges) == 10 and not mailbox.settled
    assert mailbox.gap == 1
    assert [id for id in range(1, 101) if not mailbox.owed(id)] == list(range(82, 101, 2))
