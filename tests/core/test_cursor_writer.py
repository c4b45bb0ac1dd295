"""How cursors, and what clients were sent, come to the disk."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

import xmppd.delivery.cursor_writer as module
from tests.core.parts import Core, body
from xmppd.delivery.cursor import CursorRecord
from xmppd.delivery.cursor_writer import LOG, CursorMove, CursorWriter
from xmppd.errors import StorageUnavailable
from xmppd.protocol.ack_queue import OutboundQueue
from xmppd.sessions.account import Account
from xmppd.storage.api import DataError, Range, Write

QUIET = CursorWriter.QUIET


@pytest.fixture
async def core() -> AsyncIterator[Core]:
    core = await Core().open()
    yield core
    await core.close()


@pytest.fixture
async def account(core: Core) -> Account:
    return await core.account()


async def stored(core: Core, account: Account) -> CursorRecord | None:
    found: CursorRecord | None = await core.host.cursor_writer.cursors.read_stored(account.bare, "")
    return found


async def test_in_quiet_times_a_cursor_is_stored_a_moment_later(core: Core, account: Account) -> None:
    (id,) = await core.archive(account, "one")
    account.cursor.first_pending = 0
    account.cursor.acknowledge([id])
    assert account.cursor.dirty and await stored(core, account) is None
    await core.advance(QUIET)
    record = await stored(core, account)
    assert record is not None and record.position == id and not account.cursor.dirty


async def test_it_goes_along_with_a_batch(core: Core, account: Account) -> None:
    (id,) = await core.archive(account, "one")
    account.cursor.first_pending = 0
    account.cursor.acknowledge([id])
    await core.archive(account, "two")
    assert await stored(core, account) is not None


async def test_flush_stores_all_that_moved(core: Core, account: Account) -> None:
    account.cursor.reads_archive("phone")
    await core.host.cursor_writer.flush()
    record = await stored(core, account)
    assert record is not None and record.readers == ("phone",)


async def test_a_transient_entry_is_deleted_once_it_is_acknowledged(core: Core, account: Account) -> None:
    (id,) = await core.archive(account, "hidden", hidden=True)
    account.cursor.acknowledge([id])
    assert core.host.cursor_writer.forgotten == {account.cursor: {id}}
    await core.advance(QUIET)
    assert await core.storage.log(LOG).page(account.bare, Range(), 10) == []
    assert core.host.cursor_writer.forgotten == {}


async def test_a_batch_that_was_refused_is_made_again(core: Core, account: Account) -> None:
    (id,) = await core.archive(account, "hidden", hidden=True)
    account.cursor.acknowledge([id])
    move = CursorMove(core.host.cursor_writer, account.cursor)
    writes = move.writes()
    assert len(writes) == 2 and not account.cursor.dirty
    move.failed(True)
    assert account.cursor.dirty
    assert len(move.writes()) == 2


async def test_of_a_deleted_account_nothing_is_written(core: Core, account: Account) -> None:
    account.cursor.reads_archive("phone")
    core.host.forget(account.bare)
    assert CursorMove(core.host.cursor_writer, account.cursor).writes() == []


async def test_what_a_client_was_sent_is_written_beside_the_cursor(core: Core, account: Account) -> None:
    """And again when the batch failed."""
    session, _ = core.session(account, acks=True)
    traces = core.storage.map("trace", int)

    def trace() -> Write:
        return traces.put(account.bare, "phone", len(session.channel.queue or ()))

    session.channel.trace = trace
    session.channel.start()
    await core.idle()
    (id,) = await core.archive(account, "one")
    session.channel.send(body("one"), id)
    assert session.channel.untraced
    move = CursorMove(core.host.cursor_writer, account.cursor)
    assert traces.put(account.bare, "phone", 1) in move.writes() and not session.channel.untraced
    move.failed(True)
    assert session.channel.untraced
    await core.advance(QUIET)
    assert await traces.read(account.bare, "phone") == 1


async def test_a_long_queue_is_written_less_often_and_in_the_end(
    core: Core, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For each stanza that joins it that would cost more than the stanza."""
    monkeypatch.setattr(module, "LONG", 4)
    session, _ = core.session(account, acks=True)
    traces = core.storage.map("trace", int)
    channel = session.channel
    channel.trace = lambda: traces.put(account.bare, "phone", channel.queue.sent)  # type: ignore[union-attr]
    queue = channel.queue = OutboundQueue()
    for number in range(100):
        queue.append(b"<message/>", number + 1, 1)
    channel.traced, channel.untraced = 90, True
    assert CursorMove(core.host.cursor_writer, account.cursor).writes() == []
    assert channel.untraced
    await core.advance(2 * QUIET)
    assert await traces.read(account.bare, "phone") == 100 and not channel.untraced


async def test_merge_makes_ranges_of_what_is_acknowledged(core: Core, account: Account) -> None:
    ids = await core.archive(account, *map(str, range(20)))
    account.cursor.mark_pending(ids[0])
    account.cursor.acknowledge(ids[1:])
    core.host.cursor_writer.merge(account.cursor)
    core.host.cursor_writer.merge(account.cursor)
    await core.idle()
    assert account.cursor.ranges == [(ids[1], ids[-1], 19)]
    assert account.cursor.acknowledged == set()
    assert account.cursor.merge_at == module.MANY


async def test_merge_with_a_store_that_is_away_changes_nothing(core: Core, account: Account) -> None:
    ids = await core.archive(account, "one", "two")
    account.cursor.acknowledge(ids[1:])
    core.backend.unreachable = True
    core.host.cursor_writer.merge(account.cursor)
    await core.idle()
    core.backend.unreachable = False
    assert account.cursor.ranges == [] and account.cursor.is_acknowledged(ids[1])


async def test_merge_starts_nothing_at_a_stop(core: Core, account: Account) -> None:
    ids = await core.archive(account, "one", "two")
    account.cursor.acknowledge(ids[1:])
    core.stopping = True
    core.host.cursor_writer.merge(account.cursor)
    await core.idle()
    assert account.cursor.ranges == []


async def test_overflow_ends_the_session(core: Core, account: Account) -> None:
    session, stream = core.session(account)
    core.host.cursor_writer.overflow(session)
    assert session.ended and core.counts.overflows == 1
    assert stream.ended is not None and stream.ended[0] == "resource-constraint"


@pytest.mark.parametrize("error", [StorageUnavailable("away"), DataError("poison")])
async def test_a_cursor_that_could_not_be_stored_is_stored_later(
    core: Core, account: Account, error: Exception
) -> None:
    account.cursor.reads_archive("phone")
    core.backend.fail(error)
    await core.advance(QUIET)
    account.cursor.reads_archive("tablet")
    await core.advance(module.REFUSED + 2 * QUIET)
    record = await stored(core, account)
    assert record is not None and record.readers == ("phone", "tablet")
