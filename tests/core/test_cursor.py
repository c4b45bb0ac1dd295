"""The delivery cursor stays small whatever one device leaves behind (docs/explanation/delivery.md)."""

from __future__ import annotations

from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

import xmppd.delivery.cursor as module
from tests.core.test_budget import session
from tests.core.test_delivery import Reader, bodies, enable, restarted, say
from tests.harness import Harness
from xmppd.delivery.cursor import CursorRecord, DeliveryCursor
from xmppd.delivery.cursor_writer import LOG
from xmppd.storage.api import Flags, Range

SMALL = "limits: {queue: 10, ask_every: 5, per_connection: {stanzas: 0}, per_account: {stanzas: 0}}"


def size(cursor: DeliveryCursor) -> int:
    record = cursor.record()
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
    cursor = session(server, laptop).account.cursor
    cursor.merge_at = 20
    return romeo, phone, laptop, cursor, id


@pytest.mark.server(more=SMALL)
async def test_one_device_lags_and_another_acknowledges(server: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cursor does not grow with what the laptop has had; the phone gets all when it comes back, once."""
    romeo, phone, laptop, cursor, id = await lagging(server, monkeypatch)
    await phone.receive_all()
    phone.cut()
    reader = Reader(laptop)
    await reader.read()
    got: list[str] = []
    for number in range(200):
        say(romeo, "juliet@localhost", str(number))
        got += await reader.read()
        assert size(cursor) <= 30
    assert got == [str(number) for number in range(200)]
    behind = Range(after=cursor.position, flags=Flags.INCOMING)
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
    romeo, phone, laptop, cursor, _ = await lagging(server, monkeypatch)
    reader = Reader(laptop)
    await reader.read()
    for number in range(150):
        if number in (3, 40, 90):
            say(romeo, phone.jid, f"for the phone {number}")
        say(romeo, "juliet@localhost", str(number))
        await reader.read()
        assert size(cursor) <= 40
    assert len(cursor.ranges) >= 2
    assert cursor.taken() >= 140
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
    account.host = SimpleNamespace(cursor_writer=SimpleNamespace(touched=lambda _: None, merge=lambda _: None))
    cursor = DeliveryCursor(account)
    ids = sorted(random.sample(range(1, 1000), 200))
    cursor.restore(CursorRecord(0), 1000)
    held = set(random.sample(ids, 10))
    cursor.mark_pending(ids[random.randrange(5)])
    for id in held:
        cursor.mark_in_flight(id)
    settled = {id for id in ids if id not in held and random.random() < 0.9}
    waiting = set(ids) - settled - held
    order = list(settled)
    random.shuffle(order)
    for place, id in enumerate(order):
        cursor.acknowledge((id,))
        if place % 50 == 49:
            after, until, step = cursor.unmerged(), max(cursor.acknowledged, default=0), random.randrange(1, 60)
            while after < until:
                page = [id for id in ids if after < id <= until][:step]
                end = page[-1] if len(page) == step else until
                cursor.merge(after, end, page)
                after = end
            assert len(cursor.ranges) <= len(ids) - place
        known = DeliveryCursor(account)
        known.restore(cursor.record(), 1000)
        for each in ids:
            assert known.is_acknowledged(each) == cursor.is_acknowledged(each) == (each in order[: place + 1]), each
    assert {id for id in ids if cursor.is_pending(id)} == waiting
    first = min(waiting | held)
    assert cursor.position < first
    assert cursor.first_pending and cursor.first_pending <= min(waiting)


def test_too_many_ranges_are_given_up_from_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every other entry waits: rather sent once more than a record without a bound, and never lost."""
    monkeypatch.setattr(module, "RANGES", 10)
    account: Any = SimpleNamespace(released=100)
    account.host = SimpleNamespace(cursor_writer=SimpleNamespace(touched=lambda _: None, merge=lambda _: None))
    cursor = DeliveryCursor(account)
    cursor.restore(CursorRecord(0), 100)
    cursor.acknowledge(range(2, 101, 2))
    cursor.merge(0, 100, list(range(1, 101)))
    assert len(cursor.ranges) == 10 and not cursor.acknowledged
    assert cursor.first_pending == 1
    assert [id for id in range(1, 101) if not cursor.is_pending(id)] == list(range(82, 101, 2))


# ---- the life of an entry


class Known:
    """A cursor of an account whose log has entries 1 to 10."""

    def __init__(self) -> None:
        self.touched = 0
        self.forgotten: list[int] = []
        self.account: Any = SimpleNamespace(released=10)
        self.account.host = SimpleNamespace(cursor_writer=self)
        self.cursor = DeliveryCursor(self.account)
        self.cursor.restore(None, 0)

    def moved(self, cursor: DeliveryCursor) -> None:
        self.touched += 1

    def forget(self, cursor: DeliveryCursor, id: int) -> None:
        self.forgotten.append(id)

    def merge(self, cursor: DeliveryCursor) -> None:
        raise AssertionError("so few are not merged")


@pytest.fixture
def known() -> Known:
    made = Known()
    made.account.host.cursor_writer = SimpleNamespace(touched=made.moved, forget=made.forget, merge=made.merge)
    return made


def test_what_is_acknowledged_in_order_is_one_position(known: Known) -> None:
    cursor = known.cursor
    for id in (1, 2, 3):
        cursor.mark_in_flight(id)
    cursor.acknowledge([1])
    assert (cursor.position, cursor.acknowledged, cursor.in_flight) == (1, set(), {2: 1, 3: 1})
    cursor.acknowledge([3])
    assert (cursor.position, cursor.acknowledged) == (1, {3}), "2 is in flight"
    assert cursor.taken() == 2
    cursor.acknowledge([2])
    assert (cursor.position, cursor.acknowledged, cursor.taken()) == (3, set(), 0)
    assert known.touched == 1 and cursor.dirty, "noted once until it is stored"
    assert cursor.record() == CursorRecord(3)


def test_an_entry_that_two_sessions_have_is_pending_when_both_gave_it_up(known: Known) -> None:
    cursor = known.cursor
    cursor.mark_in_flight(1)
    cursor.mark_in_flight(1)
    cursor.unmark_in_flight([1, 7])
    assert not cursor.is_pending(1) and cursor.first_pending == 0
    cursor.unmark_in_flight([1])
    assert cursor.is_pending(1) and cursor.first_pending == 1


def test_what_is_acknowledged_does_not_go_in_flight_again(known: Known) -> None:
    cursor = known.cursor
    cursor.mark_in_flight(2)
    cursor.acknowledge([1, 3])
    for id in (1, 3):
        cursor.mark_in_flight(id)
        assert cursor.is_acknowledged(id) and not cursor.is_pending(id)
    assert cursor.in_flight == {2: 1}


def test_the_first_pending_entry_holds_the_position_back(known: Known) -> None:
    cursor = known.cursor
    cursor.mark_pending(4)
    cursor.mark_pending(2)
    cursor.mark_pending(3)
    assert cursor.first_pending == 2
    cursor.acknowledge([1, 5])
    assert (cursor.position, cursor.acknowledged) == (1, {5})
    cursor.read(1, 6)
    assert cursor.first_pending == 7 and cursor.position == 5
    cursor.read(6, 10)
    assert cursor.first_pending == 0, "the log is read to its end"


def test_a_page_that_begins_behind_the_first_pending_entry_says_nothing_of_it(known: Known) -> None:
    known.cursor.mark_pending(2)
    known.cursor.read(2, 10)
    assert known.cursor.first_pending == 2


def test_a_transient_entry_is_deleted_once(known: Known) -> None:
    known.cursor.transient.update((1, 2))
    known.cursor.acknowledge([1])
    known.cursor.acknowledge([1])
    assert known.forgotten == [1] and known.cursor.transient == {2}


def test_a_device_has_read_its_archive_up_to_there(known: Known) -> None:
    cursor = known.cursor
    cursor.mark_pending(2)
    cursor.mark_in_flight(7)
    cursor.acknowledge([4, 9])
    cursor.acknowledge_until(5)
    assert (cursor.position, cursor.acknowledged, cursor.first_pending) == (5, {9}, 6)
    cursor.acknowledge_until(3)
    assert cursor.position == 5, "it does not go back"


def test_ranges_before_the_position_go(known: Known) -> None:
    cursor = known.cursor
    cursor.restore(CursorRecord(0, (), (), ((2, 3, 2), (6, 8, 3))), 10)
    cursor.acknowledge_until(4)
    assert cursor.ranges == [(6, 8, 3)] and cursor.taken() == 3
    assert cursor.is_acknowledged(7) and not cursor.is_acknowledged(9)
    assert cursor.record().last == 8


def test_resources_that_read_the_archive_are_remembered_and_bounded(known: Known) -> None:
    cursor = known.cursor
    for number in range(module.READERS + 3):
        cursor.reads_archive(f"device{number}")
        cursor.reads_archive(f"device{number}")
    assert len(cursor.readers) == module.READERS and "device0" not in cursor.readers
    cursor.dirty = False
    cursor.reads_no_archive("device0")
    assert not cursor.dirty
    cursor.reads_no_archive("device5")
    assert "device5" not in cursor.readers and cursor.dirty


@pytest.mark.parametrize(("last_id", "first_pending"), [(5, 0), (9, 6)])
def test_after_loading_what_lies_behind_the_position_may_be_pending(
    known: Known, last_id: int, first_pending: int
) -> None:
    known.cursor.restore(CursorRecord(5, readers=("phone",)), last_id)
    assert known.cursor.first_pending == first_pending and known.cursor.readers == ("phone",)
