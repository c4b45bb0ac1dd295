"""What waits for a device after messages have moved in, and what does not."""

from __future__ import annotations

import pytest

from tests.harness.clock import FakeClock
from xmppd.delivery.cursor import CursorRecord
from xmppd.delivery.cursor_check import form_problems, is_acknowledged
from xmppd.moving.delivered import moved_cursor
from xmppd.storage.api import Entry, Flags
from xmppd.storage.memory import MemoryBackend
from xmppd.storage.store import Store

OWNER = "romeo@localhost"
INCOMING = int(Flags.INCOMING)


@pytest.mark.parametrize(("position", "ranges", "log", "waiting", "archived", "pending"), [
    # a new account: all that came is read
    (1000, (), [], (), (10, 20, 30), ()),
    # something waited: what is behind it, and was read, does not wait
    (1000, (), [10, 20, 30, 40], (20,), (), (20,)),
    (1000, (), [10, 20, 30, 40], (10, 30), (), (10, 30)),
    # an account that was never used here: nothing of what comes waits, what waits here does
    (0, (), [15], (), (10, 20), (15,)),
    (0, (), [], (), (10, 20), ()),
    # an account in use: what waits here goes on waiting, what is acknowledged stays so
    (12, ((30, 30, 1),), [10, 20, 30, 40], (), (25, 50), (20, 40)),
    (12, ((30, 30, 1),), [10, 20, 30, 40], (5,), (), (5, 20, 40)),
    # nothing has come
    (12, ((30, 30, 1),), [20, 30], (), (3,), (20,)),
])  # fmt: skip
async def test_cursors(
    position: int,
    ranges: tuple[tuple[int, int, int], ...],
    log: list[int],
    waiting: tuple[int, ...],
    archived: tuple[int, ...],
    pending: tuple[int, ...],
) -> None:
    clock = FakeClock()
    store = Store(MemoryBackend(clock), clock)
    await store.open()
    archive = store.log("archive")
    await store.commit([archive.append(OWNER, Entry(id, "a@b", "", INCOMING, b"<message/>")) for id in log])
    found = await moved_cursor(CursorRecord(position, (), ("phone",), ranges), archive, OWNER, waiting, archived)
    assert form_problems(found) == []
    assert found.readers == ("phone",)
    every = sorted({*log, *waiting, *archived})
    assert tuple(id for id in every if not is_acknowledged(found, id)) == pending
    await store.close()
