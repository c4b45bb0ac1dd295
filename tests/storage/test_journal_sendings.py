"""Sendings and the journal: it holds them while they are new, `sendings` holds what nobody hears."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from bson import Binary

from tests.storage.clocks import LoopClock
from tests.storage.test_journal import B, Shifted, backend, db, held_up, ids, killed, write
from tests.storage.test_mongodb import A, entry
from xmppd.storage import make_backend, open_storage
from xmppd.storage.api import NOT_SENT, DataError, Heard, LogAppend, LogDelete, LogTrim, OwnerDelete, Send, StoreError
from xmppd.storage.journal import sendings
from xmppd.storage.journal.backend import JournalBackend
from xmppd.storage.journal.batch import FORMAT, decode, encode
from xmppd.storage.journal.rounds import Committed
from xmppd.storage.journal.sendings import NUMBER, Sendings, statements, unheard
from xmppd.storage.journal.statements import ROOM, DeleteSendings, ForgetSendings, InsertSendings
from xmppd.storage.mongodb import statements as mongodb

__all__ = ["db"]
SENDINGS = (InsertSendings, DeleteSendings, ForgetSendings)


def send(number: int = 1) -> Send:
    return Send(A, B, b"<m>%d</m>" % number)


def decided(sending: Send, id: int) -> tuple[LogAppend, Heard]:
    return LogAppend("log", B, entry(id), sending.source), Heard(B, A, sending.source)


async def left(store: JournalBackend) -> list[bytes]:
    return [each.data for each in await store.unheard("example.org", NOT_SENT, 100)]


class Opened:
    """A journal with a clock that a test turns. `ran`: the statements that were carried out."""

    def __init__(self, uri: str) -> None:
        self.clock = Shifted()
        made = make_backend(uri, self.clock)
        assert isinstance(made, JournalBackend)
        self.store = made
        self.ran: list[Any] = []
        whole = made.documents.run

        async def run(statement: Any) -> Any:
            answer = await whole(statement)
            self.ran.append(statement)
            return answer

        made.documents.run = run  # type: ignore[method-assign]

    async def open(self) -> JournalBackend:
        await self.store.open()
        assert self.store._chores is not None
        self.store._chores.cancel()  # what they do each second, a test does when it wants
        return self.store

    @property
    def of_sendings(self) -> list[str]:
        return [type(each).__name__ for each in self.ran if isinstance(each, SENDINGS)]


def lows(documents: list[Any]) -> list[tuple[int, int]]:
    return [(each["_id"] - ROOM, each["low"]) for each in documents]


# ---- in calm


@pytest.mark.mongodb
async def test_in_calm_the_journal_is_all_that_is_written(mongodb_database: str, db: Any) -> None:
    opened = Opened(mongodb_database)
    store = await opened.open()
    for number in range(1, 9):
        sending = send(number)
        await write(store, LogAppend("log", A, entry(number)), sending)
        assert sending.source == (ROOM + 2 * number - 1, 1)
        await write(store, *decided(sending, number))
    assert await ids(store, B) == list(range(1, 9))
    await store._park()
    assert opened.of_sendings == []
    assert await db["sendings"].count_documents({}) == 0
    assert store.backlog == (0, 0)
    numbers = lows([each async for each in db["journal"].find().sort("_id", 1)])
    assert all(n - low <= 3 for n, low in numbers)
    await store.close()


@pytest.mark.mongodb
async def test_the_journal_stays_as_long_as_it_holds_what_is_not_heard(mongodb_database: str, db: Any) -> None:
    opened = Opened(mongodb_database)
    store = await opened.open()
    await write(store, LogAppend("log", A, entry(1)))
    first, second = send(1), send(2)
    await write(store, first, second)
    for number in range(3, 10):
        await write(store, LogAppend("log", A, entry(number)))
        await store._seen(None)
    assert store.backlog == (2, 2 * (NUMBER + len(first.data)))
    await store._remove_applied()
    found = lows([each async for each in db["journal"].find().sort("_id", 1)])
    assert found[0][0] == 2 and {low for n, low in found if n > 4} == {2}
    await write(store, *decided(second, 10))
    await write(store, LogAppend("log", A, entry(11)))
    await store._remove_applied()
    assert (await db["journal"].find().sort("_id", 1).to_list(1))[0]["_id"] == ROOM + 2, "one is not heard"
    await write(store, *decided(first, 12))
    await store._seen(None)
    await write(store, LogAppend("log", A, entry(13)))
    await store._remove_applied()
    assert lows([each async for each in db["journal"].find()]) == [(13, 13)]
    assert store.backlog[0] <= 1
    await store.close()


# ---- what nobody hears


@pytest.mark.mongodb
async def test_what_nobody_hears_is_put_where_it_may_stay(mongodb_database: str, db: Any) -> None:
    opened = Opened(mongodb_database)
    store, clock = await opened.open(), opened.clock
    sent = [send(number) for number in range(20)]
    for each in sent:
        await write(store, each, LogAppend("log", A, entry(int(each.data[3:-4]) + 1)))
    await write(store, *decided(sent[7], 1))
    clock.shift += 9
    await store._park()
    assert opened.of_sendings == []
    clock.shift += 2
    await store._park()
    assert set(opened.of_sendings) == {"InsertSendings"}
    wanted = [each for each in sent if each is not sent[7]]
    assert await left(store) == [each.data for each in wanted]
    assert await db["sendings"].count_documents({}) == 19
    assert store.backlog == (0, 0)
    await write(store, LogAppend("log", A, entry(100)))
    await store._remove_applied()
    assert lows([each async for each in db["journal"].find()]) == [(22, 22)]
    for number, each in enumerate(wanted):
        assert not await store.was_heard(B, "log", each.source)
        await write(store, *decided(each, 10 + number))
        assert await store.was_heard(B, "log", each.source)
        assert await left(store) == [each.data for each in wanted[number + 1 :]]
    assert await db["sendings"].count_documents({"gone": None}) == 0
    await killed(store)
    second = backend(mongodb_database)
    await second.open()
    assert await left(second) == []
    assert await ids(second, B) == [1, *range(10, 29)]
    await second.close()


@pytest.mark.mongodb
async def test_what_is_heard_while_it_is_put_there(mongodb_database: str, db: Any) -> None:
    """The deletion waits for the insert."""
    opened = Opened(mongodb_database)
    store = await opened.open()
    first, second = send(1), send(2)
    await write(store, first, second)
    await store._seen(None)
    opened.clock.shift += 11
    whole, go = store.documents.run, asyncio.Event()

    async def slow(statement: Any) -> Any:
        if isinstance(statement, InsertSendings):
            await go.wait()
        return await whole(statement)

    store.documents.run = slow  # type: ignore[method-assign]
    parking = asyncio.create_task(store._park())
    await asyncio.sleep(0.1)
    await write(store, *decided(first, 1))
    assert store._lowest(store._mine, store._applier) == 1  # type: ignore[arg-type]
    go.set()
    await parking
    assert await left(store) == [second.data]
    assert opened.of_sendings == ["InsertSendings", "DeleteSendings"]
    await store.close()


@pytest.mark.mongodb
async def test_what_was_heard_just_before_is_not_put_there(mongodb_database: str) -> None:
    """While the journal is read again."""
    opened = Opened(mongodb_database)
    store = await opened.open()
    first, second = send(1), send(2)
    await write(store, first, second)
    opened.clock.shift += 11
    find = store.documents.find

    async def slow(*args: Any, **more: Any) -> Any:
        store.documents.find = find  # type: ignore[method-assign]
        found = await find(*args, **more)
        await write(store, *decided(first, 1))
        return found

    store.documents.find = slow  # type: ignore[method-assign]
    await store._park()
    assert await left(store) == [second.data]
    assert opened.of_sendings == ["InsertSendings"]
    await store.close()


@pytest.mark.mongodb
async def test_a_journal_that_a_new_primary_does_not_know_yet_is_read_later(mongodb_database: str) -> None:
    opened = Opened(mongodb_database)
    store = await opened.open()
    first = send()
    await write(store, LogAppend("log", A, entry(1)))
    await write(store, first)
    opened.clock.shift += 11
    find = store.documents.find

    async def older(*args: Any, **more: Any) -> Any:
        return [each for each in await find(*args, **more) if each["_id"] != first.source[0]]

    store.documents.find = older  # type: ignore[method-assign]
    await store._park()
    assert opened.of_sendings == []
    assert store._lowest(store._mine, store._applier) <= 2  # type: ignore[arg-type]
    store.documents.find = find  # type: ignore[method-assign]
    await store._park()
    assert await left(store) == [first.data]
    await store.close()


@pytest.mark.mongodb
async def test_more_than_may_wait_is_put_there_at_once(mongodb_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who hears it must be able to commit that."""
    monkeypatch.setattr(sendings, "MOST", 3)
    opened = Opened(mongodb_database)
    store = await opened.open()
    sent = [send(number) for number in range(8)]
    for each in sent:
        await write(store, each)
    await store._park()
    assert await left(store) == [each.data for each in sent[:5]]
    assert store._sendings.backlog[0] == 3
    monkeypatch.setattr(sendings, "MOST_BYTES", 1)
    await store._park()
    assert len(await left(store)) == 8
    await store.close()


@pytest.mark.mongodb
async def test_one_that_the_database_refuses_is_told_and_holds_nothing_up(
    mongodb_database: str, db: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    document = mongodb.sending_document

    def documented(row: Send) -> Any:
        if row.data == b"<m>2</m>":
            raise DataError("refused")
        return document(row)

    monkeypatch.setattr(mongodb, "sending_document", documented)
    opened = Opened(mongodb_database)
    store = await opened.open()
    for number in (1, 2, 3):
        await write(store, send(number))
    opened.clock.shift += 11
    await store._park()
    assert await left(store) == [b"<m>1</m>", b"<m>3</m>"]
    assert store.backlog == (0, 0)
    assert [each["_id"] - ROOM async for each in db["refused"].find()] == [2]
    assert "refuses a sending of a@example.org of batch" in caplog.text
    await store.close()


# ---- a crash, a take-over


@pytest.mark.mongodb
@pytest.mark.parametrize("parked", [False, True])
async def test_who_takes_over_finds_what_is_not_heard(mongodb_database: str, db: Any, parked: bool) -> None:
    opened = Opened(mongodb_database)
    store = await opened.open()
    sent = [send(number) for number in range(6)]
    for each in sent:
        await write(store, each)
    await write(store, *decided(sent[0], 1))
    if parked:
        opened.clock.shift += 11
        await store._park()
    whole = store.documents.run

    async def never(statement: Any) -> Any:
        await asyncio.Event().wait()

    store.documents.run = never  # type: ignore[method-assign]
    await write(store, *decided(sent[1], 2))  # committed, not applied
    await write(store, send(6))
    await killed(store)
    store.documents.run = whole  # type: ignore[method-assign]
    for _ in range(2):
        second = backend(mongodb_database)
        await second.open()
        assert await left(second) == [b"<m>%d</m>" % number for number in (2, 3, 4, 5, 6)]
        assert await ids(second, B) == [1, 2]
        found = await second.unheard("example.org", NOT_SENT, 100)
        assert [each.source for each in found[:4]] == [each.source for each in sent[2:]]
        assert await second.unheard("example.com", NOT_SENT, 100) == []
        assert [await second.was_heard(B, "log", each.source) for each in sent] == [True] * 2 + [False] * 4
        await killed(second)
    third = backend(mongodb_database)
    await third.open()
    for number, each in enumerate(await third.unheard("example.org", NOT_SENT, 100)):
        await write(third, LogAppend("log", B, entry(10 + number), each.source), Heard(B, A, each.source))
    assert await left(third) == []
    await killed(third)
    fourth = backend(mongodb_database)
    await fourth.open()
    assert await left(fourth) == []
    assert await ids(fourth, B) == [1, 2, 10, 11, 12, 13, 14]
    await fourth.close()


@pytest.mark.mongodb
async def test_statements_that_come_late_and_twice_change_nothing(mongodb_database: str) -> None:
    """Every one that was ever sent is carried out once more, in any order."""
    opened = Opened(mongodb_database)
    store = await opened.open()
    sent = [send(number) for number in range(4)]
    for each in sent:
        await write(store, each)
    opened.clock.shift += 11
    await store._park()
    await write(store, *decided(sent[0], 1), *decided(sent[2], 2))
    await write(store, LogDelete("log", B, (1,)))
    await write(store, LogTrim("log", B, 2), OwnerDelete(A))
    await store._seen(None)

    async def state() -> Any:
        heard = [await store.was_heard(B, "log", each.source) for each in sent]
        return await left(store), await ids(store, B), heard

    before = await state()
    assert before == ([sent[1].data, sent[3].data], [2], [True, False, True, False])
    ran = list(opened.ran)
    for statement in [*ran, *reversed(ran)]:
        await store.documents.run(statement)
        assert await state() == before
    await store.close()


@pytest.mark.mongodb
async def test_the_place_of_what_was_heard_is_kept_for_an_hour(mongodb_database: str, db: Any) -> None:
    """An insert that the database carries out late would be sent again at the next start, which may be days later."""
    opened = Opened(mongodb_database)
    store, clock = await opened.open(), opened.clock
    first = send()
    await write(store, first)
    clock.shift += 11
    await store._park()
    await write(store, *decided(first, 1))
    await store._seen(None)
    clock.shift += 61
    assert store._deletions is not None
    assert await store._deletions.sweep() == 0
    late = next(each for each in opened.ran if isinstance(each, InsertSendings))
    await store.documents.run(late)
    assert await left(store) == []
    clock.shift += 3700
    assert await store._deletions.sweep() == 1
    assert await db["sendings"].count_documents({}) == 0
    assert await db["deleted"].count_documents({}) == 0
    await store.close()


# ---- what was heard


@pytest.mark.mongodb
async def test_whether_it_was_heard_waits_for_what_is_committed(mongodb_database: str) -> None:
    store = await open_storage(mongodb_database, LoopClock())
    _, go = held_up(store)
    first, second = send(1), send(2)
    await store.commit([first, second])
    await store.commit(decided(first, 1))
    asking = asyncio.create_task(store.was_heard(B, "log", first.source))
    await asyncio.sleep(0.1)
    assert not asking.done()
    go.set()
    assert await asking
    assert not await store.was_heard(B, "log", second.source)
    assert not await store.was_heard(A, "log", first.source), "another's"
    assert not await store.was_heard(B, "other", first.source), "in another log"
    await store.close()


# ---- numbers and bytes


def batch(n: int, *writes: Any) -> Committed:
    return Committed(ROOM + n, ROOM + n, n, writes)


def test_what_is_remembered_is_numbers() -> None:
    made = Sendings(LoopClock())
    first, second, third = send(1), send(2), send(3)
    batches = [batch(1, first), batch(2, second, entry(1), third)]
    for each in batches:
        made.committed(each)
    assert [each.source for each in (first, second, third)] == [(ROOM + 1, 0), (ROOM + 2, 0), (ROOM + 2, 2)]
    assert made.lowest == ROOM + 1 and made.backlog[0] == 3
    later = batch(3, *(Heard(B, A, source) for source in (first.source, third.source, (ROOM + 2, 1), (5, 5))))
    made.committed(later)
    assert later.parked == [(ROOM + 2, 1), (5, 5)], "of those nothing is known here"
    assert made.lowest == ROOM + 2 and made.backlog[0] == 1
    made.committed(batch(4, Heard(B, A, second.source)))
    assert made.lowest is None and made.backlog == (0, 0)


def test_what_a_sealed_journal_has_left() -> None:
    sent = [send(number) for number in range(3)]
    made = Sendings(LoopClock())
    batches = [batch(1, *sent), batch(2, Heard(B, A, (ROOM + 1, 1)), Heard(B, A, (7, 7)))]
    for each in batches:
        made.committed(each)
    assert unheard(batches) == [sent[0], sent[2]]
    assert unheard([]) == []


def test_a_statement_takes_so_much(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = [Send(A, B, b"x" * size) for size in (5 << 20, 5 << 20, 1, 9 << 20, *[1] * 10)]
    assert [len(each) for each in statements(sent)] == [1, 2, 1, 10]
    monkeypatch.setattr(sendings, "ROWS", 4)
    assert [len(each) for each in statements(sent)] == [1, 2, 1, 4, 4, 2]
    assert list(statements([])) == []


def test_a_batch_and_back() -> None:
    sending, heard = send(), Heard(A, B, (ROOM * 3 + 7, 9))
    made_of_it, plain = LogAppend("log", B, entry(1), (ROOM + 2, 3)), LogAppend("log", A, entry(2))
    writes = [plain, sending, heard, made_of_it]
    document = {"_id": ROOM + 5, "format": FORMAT, "batch": Binary(encode(writes))}
    back = decode(document)
    assert back == [plain, Send(A, B, sending.data, (ROOM + 5, 1)), heard, made_of_it]
    assert type(back[2].source) is tuple  # type: ignore[union-attr]
    before = {"_id": ROOM + 5, "format": 1, "batch": Binary(encode([plain]))}
    assert decode(before) == [plain]
    with pytest.raises(StoreError, match="newer version"):
        decode({**document, "format": FORMAT + 1})
