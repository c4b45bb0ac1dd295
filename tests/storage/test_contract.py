"""What every kind of store does."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from tests.storage.clocks import LoopClock
from xmppd.errors import LocalError, StorageUnavailable
from xmppd.storage import make_backend
from xmppd.storage.api import (
    DataError,
    Entry,
    LogAppend,
    MapPut,
    OwnerDelete,
    Range,
    StoreError,
    Write,
)
from xmppd.storage.codec import matches
from xmppd.storage.store import Store

A, B, ROOM = "a@example.org", "b@example.org", "room@muc.example.org"


@dataclass(frozen=True)
class Item:
    name: str
    groups: tuple[str, ...] = ()
    key: bytes = b""
    since: datetime | None = None
    extra: dict[str, int] = field(default_factory=dict)


def entry(id: int, peer: str = B, resource: str = "phone", flags: int = 0, body: bytes = b"<m/>") -> Entry:
    return Entry(id, peer, resource, flags, body)


# --- maps ---


async def test_a_record_is_read_as_it_was_written(store: Store) -> None:
    roster = store.map("roster", Item)
    item = Item("Jü\0liet", ("x", "y"), b"\0\xff", datetime(2024, 1, 2, 3, 4, 5, 678901, tzinfo=UTC))
    await store.commit([roster.put(A, B, item), roster.put(A, "c@d", Item("C")), roster.put(B, A, Item("A"))])
    assert await roster.read(A, B) == item
    assert await roster.read_all(A) == {B: item, "c@d": Item("C")}
    assert await roster.read(A, "nobody") is None
    assert await roster.read_all("nobody@example.org") == {}


@pytest.mark.parametrize("key", ["a.b", "$set", "", "\0", "ü", "a b"])
async def test_any_text_is_a_key(store: Store, key: str) -> None:
    things = store.map("things", Item)
    item = Item("n", extra={key: 1, "x": -(2**63)})
    await store.commit([things.put(A, key, item)])
    assert await things.read_all(A) == {key: item}
    await store.commit([things.put(A, key, Item("again")), things.delete(A, "not there")])
    assert await things.read(A, key) == Item("again")
    await store.commit([things.delete(A, key)])
    assert await things.read_all(A) == {}


async def test_writes_take_effect_in_their_order(store: Store) -> None:
    things = store.map("things", Item)
    await store.commit([
        things.put(A, "1", Item("old")),
        things.put(A, "2", Item("old")),
        things.clear(A),
        things.put(A, "2", Item("new")),
        things.put(A, "2", Item("newer")),
        things.put(A, "3", Item("gone")),
        things.delete(A, "3"),
        things.put(B, "1", Item("b")),
    ])  # fmt: skip
    assert await things.read_all(A) == {"2": Item("newer")}
    assert await things.read_all(B) == {"1": Item("b")}


async def test_what_is_put_behind_a_deletion_of_the_same_batch_is_there(store: Store) -> None:
    """Records that were there before, so that the deletion reaches them where they are stored."""
    things, log = store.map("things", Item), store.log("log")
    for owner in (A, B):
        await store.commit([*(things.put(owner, key, Item("old")) for key in "xyz"), log.append(owner, entry(1))])
        await store.commit([things.put(owner, "z", Item("older"))])
    new = [things.put(owner, "x", Item("new")) for owner in (A, B)]
    await store.commit([things.clear(A), OwnerDelete(B), log.append(B, entry(2)), *new, things.delete(A, "z")])
    assert await things.read_all(A) == await things.read_all(B) == {"x": Item("new")}
    assert [each.id for each in await log.page(B, Range(), 10)] == [2]
    await store.commit([things.put(A, "x", Item("newer")), things.put(B, "y", Item("y"))])
    assert await things.read_all(A) == {"x": Item("newer")}
    assert await things.read_all(B) == {"x": Item("new"), "y": Item("y")}


async def test_owners_of_a_domain_in_order_and_in_pages(store: Store) -> None:
    things, other = store.map("things", Item), store.map("other", Item)
    names = [f"u{number}@example.org" for number in range(7)]
    await store.commit([things.put(name, str(key), Item("x")) for name in names for key in range(3)])
    await store.commit([
        things.put("u@example.com", "k", Item("x")),
        things.put("example.org", "k", Item("x")),
        other.put("z@example.org", "k", Item("x")),
    ])  # fmt: skip
    assert await things.owners("example.org") == ["example.org", *names]
    assert await things.owners("example.org", "u1@example.org", 3) == names[2:5]
    await store.commit([things.clear(names[0]), OwnerDelete(names[1])])
    assert await things.owners("example.org", "f") == names[2:]


async def test_all_records_of_a_domain_in_order_and_in_pages(store: Store) -> None:
    """Texts are in the order of their bytes, in all stores."""
    things, other = store.map("things", Item, cached=True), store.map("other", Item)
    owners, keys = ["a@example.org", "b@example.org", "é@example.org"], ["", "Z", "a", "a@b", "é"]
    await store.commit([things.put(owner, key, Item(owner + key)) for owner in owners for key in keys])
    await store.commit([things.put("b@example.com", "k", Item("x")), other.put(owners[0], "k", Item("x"))])
    wanted = [(owner, key, Item(owner + key)) for owner in owners for key in keys]
    assert await things.scan("example.org") == wanted
    for size in (1, 2, 4):
        found: list[tuple[str, str, Item | None]] = []
        while page := await things.scan("example.org", found[-1][:2] if found else ("", ""), size):
            assert len(page) <= size
            found += page
        assert found == wanted
    await store.commit([things.clear(owners[0]), OwnerDelete(owners[1])])
    assert await things.scan("example.org", limit=2) == wanted[10:12]
    assert await things.scan("nowhere") == []


# --- working sets ---


async def test_a_working_set_is_loaded_and_follows_commits(store: Store) -> None:
    roster, blocked = store.map("roster", Item, cached=True), store.map("blocked", Item, cached=True)
    archive = store.map("preferences", Item)
    await store.commit([roster.put(A, B, Item("B")), archive.put(A, "k", Item("k"))])
    assert not store.loaded(A)
    with pytest.raises(LocalError):
        roster.get(A)
    await store.load(A)
    assert store.loaded(A)
    before = roster.get(A)
    assert before == {B: Item("B")}
    assert blocked.get(A) == {}
    await store.commit([roster.put(A, "c@d", Item("C")), roster.delete(A, B), blocked.put(A, "x", Item("X"))])
    assert roster.get(A) == {"c@d": Item("C")}
    assert blocked.get(A) == {"x": Item("X")}
    assert before == {B: Item("B")}, "what was handed out does not change"
    assert await roster.read_all(A) == {"c@d": Item("C")}
    await store.commit([OwnerDelete(A)])
    assert roster.get(A) == {} == blocked.get(A)
    assert await archive.read_all(A) == {}
    with pytest.raises(LocalError):
        archive.get(A)


# --- logs ---

ENTRIES = [
    entry(100, B, "phone", 0, b"<m>0</m>"),
    entry(200, B, "desk", 1, b"<m>1</m>"),
    entry(300, ROOM, "nick", 5, b"<m>2</m>"),
    entry(400, "c@example.org", "", 1, b"<m>3</m>"),
    entry(500, B, "phone", 3, b"<m>\xc3\xbc</m>"),
    entry(600, ROOM, "other nick", 4, b""),
    entry(2**40, B, "phone", 7, b"x" * 100_000),
]
RANGES = [
    Range(),
    Range(after=200),
    Range(before=500),
    Range(after=100, before=600),
    Range(low=200, high=500),
    Range(after=200, low=100, before=500, high=600),
    Range(low=201, high=299),
    Range(after=600, before=100),
    Range(peer=B),
    Range(peer=B, resource="phone"),
    Range(peer=B, resource=""),
    Range(peer="c@example.org", resource=""),
    Range(peer="nobody@example.org"),
    Range(resource="nick"),
    Range(ids=(100, 500, 501, 2**70)),
    Range(ids=(100, 500), after=100),
    Range(ids=()),
    Range(flags=1),
    Range(without=2),
    Range(flags=1, without=6),
    Range(flags=4, without=4),
    Range(peer=B, flags=1, after=200),
    Range(after=2**80),
    Range(before=-(2**80)),
    Range(low=-(2**80), high=2**80),
    Range(after=2**63 - 1),
]


async def test_ids_are_plain_integers(store: Store) -> None:
    """Not a driver's own kind of them, which no other store and no encoder takes."""
    log = store.log("archive")
    await store.commit([log.append(A, item) for item in ENTRIES])
    assert {type(number) for item in await log.page(A, Range(), 100) for number in (item.id, item.flags)} == {int}
    assert type(await log.last_id(A)) is int


async def test_every_filter_in_both_directions_on_pages_of_every_size(store: Store) -> None:
    log = store.log("archive")
    await store.commit([log.append(A, e) for e in reversed(ENTRIES)])
    await store.commit([log.append(B, entry(250, A)), store.log("other").append(A, entry(251, A))])
    for range_ in RANGES:
        wanted = [e for e in ENTRIES if matches(e, range_)]
        assert await log.page(A, range_, 100) == wanted, range_
        assert await log.page(A, range_, 2) == wanted[:2], range_
        assert await log.page(A, range_, 100, backwards=True) == wanted, range_
        assert await log.page(A, range_, 2, backwards=True) == wanted[-2:], range_
        assert await log.count(A, range_) == len(wanted), range_
        assert await log.ends(A, range_) == ((wanted[0].id, wanted[-1].id) if wanted else (0, 0)), range_
        assert await log.count(A, range_, 2) == min(2, len(wanted)), range_
    assert await log.page(A, Range(), 0) == []
    assert await log.count(A, Range(), 0) == 0
    assert await log.last_id(A) == 2**40
    assert await log.last_id("nobody@example.org") == 0
    assert await log.ends("nobody@example.org", Range()) == (0, 0)
    assert await log.page("nobody@example.org", Range(), 10) == []


async def test_the_same_id_again_changes_nothing(store: Store) -> None:
    log = store.log("archive")
    first = [log.append(A, entry(1, body=b"one")), log.append(B, entry(1, body=b"one"))]
    await store.commit(first)
    await store.commit([*first, log.append(A, entry(2)), log.append(A, entry(2)), log.append(A, entry(3))])
    await store.commit([log.append(A, entry(1, body=b"another"))])
    assert [e.id for e in await log.page(A, Range(), 10)] == [1, 2, 3]
    assert (await log.page(A, Range(), 1))[0].body == b"one"


async def test_replace_puts_a_tombstone(store: Store) -> None:
    log = store.log("archive")
    await store.commit([log.append(A, entry(1, B, "phone", 1, b"bad")), log.append(B, entry(1, body=b"bad"))])
    tombstone = entry(1, "other@x", "other", 3, b"<retracted/>")
    await store.commit([log.replace(A, tombstone), log.replace(A, entry(2))])
    assert await log.page(A, Range(), 10) == [entry(1, B, "phone", 3, b"<retracted/>")]
    assert (await log.page(B, Range(), 10))[0].body == b"bad"


async def test_delete_trim_and_owner_delete(store: Store) -> None:
    log, other, things = store.log("archive"), store.log("other"), store.map("things", Item)
    shared = b"<shared/>"
    await store.commit([log.append(o, entry(i, body=shared)) for o in (A, B) for i in range(1, 8)])
    await store.commit([other.append(A, entry(1)), things.put(A, "k", Item("k")), things.put(B, "k", Item("k"))])
    await store.commit([log.delete(A, (2, 4, 99)), log.delete(A, ()), log.trim(A, 4)])
    assert [e.id for e in await log.page(A, Range(), 10)] == [5, 6, 7]
    await store.commit([log.append(A, entry(9)), log.delete(A, (9,)), log.append(A, entry(10)), log.trim(A, 10)])
    assert [e.id for e in await log.page(A, Range(), 10)] == [10]
    await store.commit([OwnerDelete(A), log.append(A, entry(50))])
    assert [e.id for e in await log.page(A, Range(), 10)] == [50]
    assert await other.count(A, Range()) == 0
    assert await things.read_all(A) == {}
    assert [e.body for e in await log.page(B, Range(), 10)] == [shared] * 7
    assert await things.read_all(B) == {"k": Item("k")}


async def test_a_batch_of_many_rows(store: Store) -> None:
    log, things = store.log("archive"), store.map("things", Item)
    writes: list[Write] = [log.append(A, entry(i, f"p{i % 3}@x", body=b"%d" % i)) for i in range(1, 200)]
    writes += [things.put(A, str(i), Item(str(i))) for i in range(150)]
    await store.commit(writes)
    assert [e.body for e in await log.page(A, Range(), 500)] == [b"%d" % i for i in range(1, 200)]
    assert len(await things.read_all(A)) == 150


# --- what cannot be stored ---

POISON: list[Write] = [
    LogAppend("archive", A, Entry(2**63, B, "", 0, b"")),
    LogAppend("archive", A, Entry(5, "\ud800", "", 0, b"")),
    LogAppend("archive", A, Entry(5, B, "\ud800", 0, b"")),
    LogAppend("archive", A, Entry(5, B, "", 256, b"")),
    LogAppend("archive", A, Entry(5, B, "", 0, "text")),  # type: ignore[arg-type]
    LogAppend("archive", "\ud800", entry(5)),
    MapPut("things", A, "\ud800", Item("x")),
    MapPut("things", A, "k", Item("\ud800")),
    MapPut("things", A, "k", object()),
    MapPut("things", A, "k", Item("x", extra={"n": 2**70})),
]


@pytest.mark.parametrize("poison", POISON, ids=range(len(POISON)))
async def test_what_cannot_be_stored_fails_alone(store: Store, poison: Write) -> None:
    log = store.log("archive")
    good = [store.commit([log.append(A, entry(i)), log.append(B, entry(i))]) for i in (1, 2, 3)]
    tasks = [*good[:2], store.commit([log.append(A, entry(9)), poison]), good[2]]
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [type(None), type(None), DataError, type(None)]
    assert [e.id for e in await log.page(A, Range(), 10)] == [1, 2, 3], "all or nothing, even then"
    assert [e.id for e in await log.page(B, Range(), 10)] == [1, 2, 3]


async def test_reading_what_cannot_be_stored_is_no_disaster(store: Store) -> None:
    things = store.map("things", Item)
    await store.commit([things.put(A, "good", Item("x")), MapPut("things", A, "bad", {"name": 5})])
    assert await things.read_all(A) == {"good": Item("x")}
    assert await things.read(A, "bad") is None


async def test_what_is_stored_is_there_after_a_restart(url: str) -> None:
    if url == "memory:":
        pytest.skip("memory forgets")
    for number in (1, 2, 3):
        store = Store(make_backend(url, LoopClock()), LoopClock())
        await store.open()
        things, log = store.map("things", Item), store.log("archive")
        await store.commit([things.put(A, str(number), Item("x")), log.append(A, entry(number, body=b"same"))])
        assert len(await things.read_all(A)) == number == await log.count(A, Range())
        await store.close()
        with pytest.raises(StorageUnavailable):
            store.join([], None)  # type: ignore[arg-type]


async def test_an_unknown_store_is_an_error_with_a_text() -> None:
    for url in ("postgres://x", "sqlite:", "sqlite://", "sqlite:///", "", "x"):
        with pytest.raises(StoreError, match="no store that is known"):
            make_backend(url, LoopClock())
