"""The cache of working sets: sharing, races with commits, bounds."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from tests.storage.clocks import FakeClock, turn
from xmppd.errors import LocalError, StorageUnavailable
from xmppd.storage.api import MapPut, OwnerDelete, Write
from xmppd.storage.backend import Row
from xmppd.storage.memory import MemoryBackend
from xmppd.storage.store import Store

A = "a@example.org"


@dataclass(frozen=True)
class Item:
    name: str


class SlowBackend(MemoryBackend):
    """A store in memory whose reads take their picture at once and give it back when told."""

    def __init__(self) -> None:
        super().__init__(FakeClock())
        self.gate: asyncio.Event | None = None
        self.loads: list[str] = []

    async def load(self, owner: str, maps: Sequence[str]) -> list[Row[Any]]:
        self.loads.append(owner)
        rows = await super().load(owner, maps)
        if self.gate is not None:
            await self.gate.wait()
        return rows


@pytest.fixture
def backend() -> SlowBackend:
    return SlowBackend()


@pytest.fixture
def store(backend: SlowBackend) -> Store:
    return Store(backend, backend.clock, max_owners=100)


async def test_those_who_ask_meanwhile_share_one_read(store: Store, backend: SlowBackend) -> None:
    things = store.map("m", Item, cached=True)
    backend.gate = asyncio.Event()
    tasks = [asyncio.create_task(store.load(A)) for _ in range(5)]
    await turn()
    tasks[0].cancel()
    backend.gate.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert backend.loads == [A]
    assert things.get(A) == {}
    await store.load(A)
    assert backend.loads == [A], "nothing stored is remembered too"


@pytest.mark.parametrize(
    ("writes", "left"),
    [
        ([MapPut("m", A, "k", Item("new"))], {"k": "new", "old": "old"}),
        ([MapPut("m", A, "k", Item("new")), MapPut("m", A, "k", Item("newer"))], {"k": "newer", "old": "old"}),
        ([OwnerDelete(A)], {}),
        ([OwnerDelete(A), MapPut("m", A, "k", Item("new"))], {"k": "new"}),
        ([MapPut("other", A, "k", Item("new"))], {"old": "old"}),
    ],
)
async def test_a_commit_while_the_read_is_on_its_way_is_not_lost(
    store: Store, backend: SlowBackend, writes: list[Write], left: dict[str, str]
) -> None:
    things = store.map("m", Item, cached=True)
    await store.commit([things.put(A, "old", Item("old"))])
    backend.gate = asyncio.Event()
    loading = asyncio.create_task(store.load(A))
    await turn()
    await store.commit(writes)
    assert not store.loaded(A)
    backend.gate.set()
    await loading
    assert {key: item.name for key, item in things.get(A).items()} == left


async def test_an_error_reaches_all_who_wait_and_the_next_reads_again(store: Store, backend: SlowBackend) -> None:
    store.map("m", Item, cached=True)
    backend.unreachable = True
    results = await asyncio.gather(store.load(A), store.load(A), return_exceptions=True)
    assert [type(result) for result in results] == [StorageUnavailable] * 2
    backend.unreachable = False
    await store.load(A)
    assert store.loaded(A)


async def test_the_least_recently_used_go_first_and_pinned_ones_stay(store: Store) -> None:
    things = store.map("m", Item, cached=True)
    owners = [f"u{number}@example.org" for number in range(150)]
    store.pin(owners[0])
    store.pin(owners[0])
    for owner in owners[:100]:
        await store.load(owner)
    assert store.loaded(owners[1]), "asking counts as a use"
    for owner in owners[100:]:
        await store.load(owner)
    assert store.loaded(owners[0]) and store.loaded(owners[1])
    assert [owner for owner in owners[2:] if not store.loaded(owner)] == owners[2:51]
    with pytest.raises(LocalError):
        things.get(owners[2])
    store.unpin(owners[0])
    await store.commit([things.put(owners[0], "k", Item("x"))])
    assert things.get(owners[0]) == {"k": Item("x")}
    store.unpin(owners[0])
    with pytest.raises(LocalError):
        store.unpin(owners[0])


async def test_bytes_are_bounded_too(backend: SlowBackend) -> None:
    store = Store(backend, backend.clock, max_owners=10_000, max_bytes=1_000_000)
    things = store.map("m", Item, cached=True)
    owners = [f"u{number}@example.org" for number in range(200)]
    await store.commit([things.put(owner, "k", Item("x" * 5_000)) for owner in owners])
    for owner in owners:
        await store.load(owner)
    kept = sum(store.loaded(owner) for owner in owners)
    assert 80 < kept < 110
    assert store._resident._idle_bytes == sum(store._resident._idle.values())


async def test_what_grows_by_commits_is_counted(backend: SlowBackend) -> None:
    store = Store(backend, backend.clock, max_owners=10_000, max_bytes=1_000_000)
    things = store.map("m", Item, cached=True)
    owners = [f"u{number}@example.org" for number in range(200)]
    for owner in owners:
        await store.load(owner)
    for owner in owners:
        await store.commit([things.put(owner, "k", Item("x" * 5_000))])
    await store.load("one.more@example.org")
    assert sum(store.loaded(owner) for owner in owners) < 110


async def test_what_takes_the_place_of_a_record_is_counted_and_what_goes_is_not(backend: SlowBackend) -> None:
    store = Store(backend, backend.clock, max_owners=1000, max_bytes=500_000)
    things = store.map("m", Item, cached=True)
    for number in range(100):
        await store.load(f"u{number}@example.org")
    for size in (10, 100_000, 10):
        await store.commit([things.put("u99@example.org", "k", Item("x" * size))])
    await store.commit([things.put("u98@example.org", "k", Item("x" * 100_000)), things.delete("u98@example.org", "k")])
    await store.commit([things.put("u97@example.org", "k", Item("x" * 100_000)), things.clear("u97@example.org")])
    await store.load("other@example.org")
    assert store.loaded("u0@example.org"), "nothing large is there any more"
    for number in range(90, 94):
        await store.commit([things.put(f"u{number}@example.org", "k", Item("x"))])
        await store.commit([things.put(f"u{number}@example.org", "k", Item("x" * 100_000))])
    await store.load("another@example.org")
    assert not store.loaded("u1@example.org") and store.loaded("u99@example.org")


async def test_an_unreadable_record_is_skipped_and_logged(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    things = store.map("m", Item, cached=True)
    await store.commit([MapPut("m", A, "bad", {"name": 1}), things.put(A, "good", Item("x"))])
    await store.load(A)
    assert things.get(A) == {"good": Item("x")}
    assert "'bad'" in caplog.text and A in caplog.text


async def test_builtin_types_may_be_put(store: Store) -> None:
    things = store.map("m", Item, cached=True)
    await store.load(A)
    await store.commit([MapPut("m", A, "k", {"name": "x"})])
    assert things.get(A) == {"k": Item("x")}


async def test_a_map_that_comes_later_is_loaded_with_the_next_use(store: Store) -> None:
    first = store.map("m", Item, cached=True)
    store.pin(A)
    await store.load(A)
    second = store.map("n", Item, cached=True)
    assert not store.loaded(A)
    await store.load(A)
    assert first.get(A) == {} == second.get(A)


async def test_a_map_is_declared_one_way(store: Store) -> None:
    assert store.map("m", Item) is store.map("m", Item)
    with pytest.raises(LocalError):
        store.map("m", Item, cached=True)
    with pytest.raises(LocalError):
        store.map("m", int)
