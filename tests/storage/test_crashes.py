"""A crash between any two writes of a store without transactions, and what is there afterwards."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.storage.clocks import FakeClock, turn
from xmppd.errors import StorageUnavailable
from xmppd.storage.api import Entry, LogAppend, Range, Release, Write
from xmppd.storage.group_commit import Limits
from xmppd.storage.memory import MemoryBackend
from xmppd.storage.store import Store

A = "a@example.org"


def write(id: int) -> Write:
    return LogAppend("log", A, Entry(id, "p@example.org", "", 0, b"x"))


async def ledger(atomic: bool, cut: int) -> None:
    """Write ten items of three writes, crash in the middle of the second commit, look at what is left."""
    clock = FakeClock()
    backend = MemoryBackend(clock, atomic)
    store = Store(backend, clock, Limits(rows=9))
    acked: list[int] = []

    def release(id: int) -> Release:
        return _Ack(lambda: acked.append(id))

    things = store.map("count", int)
    backend.hold()
    for id in range(1, 11):
        store.join([write(id), things.put(A, "count", id), things.put(A, str(id), id)], release(id))
    await turn()
    backend.release(1)
    await turn()
    if cut >= 0:
        backend.fail(StorageUnavailable("crash"), written=cut)
    backend.release(1)
    after = Store(backend.survivor(), clock)
    left = {e.id for e in await after.log("log").page(A, Range(), 100)}
    assert set(acked) <= left, "what was acknowledged is there"
    counted = await after.map("count", int).read(A, "count") or 0
    assert counted <= len(left), "a count never runs ahead of its messages"
    again = Store(after.backend, clock)
    for id in range(1, 11):
        await again.commit([write(id), things.put(A, "count", id), things.put(A, str(id), id)])
    assert [e.id for e in await again.log("log").page(A, Range(), 100)] == list(range(1, 11))


class _Ack:
    def __init__(self, then: Callable[[], object]) -> None:
        self.then = then

    def committed(self) -> None:
        self.then()

    def failed(self, error: Exception) -> None:
        raise AssertionError(error)


@pytest.mark.parametrize("cut", range(-1, 10))
async def test_a_crash_between_any_two_writes_loses_nothing_acknowledged(cut: int) -> None:
    await ledger(atomic=False, cut=cut)
