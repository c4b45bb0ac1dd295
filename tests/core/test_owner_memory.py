"""Owners leave their home and come back: what a host remembers of them is emptied, unless something is under way."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Container
from dataclasses import dataclass

import pytest

from tests.core.parts import Core
from xmppd.cache import Cache
from xmppd.contracts.archive import LOG
from xmppd.contracts.owners import OWNERS_ARRIVED, OWNERS_LEAVING
from xmppd.errors import LocalError, StorageUnavailable
from xmppd.hooks import on
from xmppd.hosts.owner_memory import OwnerMemory
from xmppd.jid import JID
from xmppd.plugin import NoConfig, Plugin
from xmppd.storage.api import NOT_HIDDEN, OwnerDelete

JULIET, ROMEO = "juliet@localhost", "romeo@localhost"
BOTH = frozenset((JULIET, ROMEO))


@pytest.fixture
async def core() -> AsyncIterator[Core]:
    core = await Core().open()
    yield core
    await core.close()


def test_all_that_is_of_an_owner_is_taken_out() -> None:
    memory = OwnerMemory("localhost")
    gone: list[object] = []
    plain: dict[str, int] = memory.owned({JULIET: 1, ROMEO: 2}, leaving=gone.append)
    ordered: OrderedDict[str, int] = memory.owned(OrderedDict([(ROMEO, 1), (JULIET, 2)]))
    some: set[str] = memory.owned({JULIET})
    cache: Cache[str, int] = memory.owned(Cache(10, 10_000))
    cache.put(JULIET, 1)
    pairs: Cache[tuple[str, int], int] = memory.owned(Cache(10, 10_000), pairs=True, leaving=gone.append)
    for key in ((JULIET, 1), (ROMEO, 1), (JULIET, 2)):
        pairs.put(key, 0)
    assert memory.owners() == {JULIET, ROMEO}
    memory.forget(JULIET)
    assert plain == {ROMEO: 2} and ordered == {ROMEO: 1} and not some and not len(cache)
    assert list(pairs) == [(ROMEO, 1)] and gone == [JULIET, (JULIET, 1), (JULIET, 2)]
    memory.drop({JULIET, ROMEO, "nobody@localhost"})
    assert memory.owners() == set() and gone[3:] == [ROMEO, (ROMEO, 1)]


def test_it_may_take_itself_out() -> None:
    """What cancels a timer may drop its entry, too."""
    memory = OwnerMemory("localhost")
    plain: dict[str, int] = {JULIET: 1}
    memory.owned(plain, leaving=plain.pop)
    some: set[str] = {JULIET}
    memory.owned(some, leaving=some.discard)
    memory.forget(JULIET)
    assert not plain and not some


def test_other_domains_have_no_home_here() -> None:
    memory = OwnerMemory("localhost")
    memory.owned({JULIET: 1, "juliet@elsewhere": 1, "localhost": 1, "notlocalhost": 1, "a@notlocalhost": 1})
    assert memory.owners() == {JULIET, "localhost"}


def test_who_stays() -> None:
    memory = OwnerMemory("localhost")
    counts: dict[str, int] = memory.owned({JULIET: 1, ROMEO: 0}, stays=lambda owner: counts[owner] > 0)
    assert memory.staying({JULIET, ROMEO}) == {JULIET} and memory.staying({ROMEO}) == set()
    memory.owned({(ROMEO, 1): 1}, pairs=True, stays=lambda key: key[1] == 1)
    assert memory.staying({JULIET, ROMEO}) == {JULIET, ROMEO}
    memory.drop({JULIET})
    assert counts == {ROMEO: 0}, "a deletion asks nobody"


@dataclass(frozen=True, slots=True)
class Number:
    value: int


class Counting(Plugin[NoConfig]):
    def setup(self) -> None:
        self.numbers = self.host.storage.map("number", Number, cached=True)
        self.notes = self.host.storage.notes(self.numbers)
        self.seen: dict[str, int] = self.host.owned({})
        self.told: list[tuple[str, bool]] = []
        self.fails = False

    @on(OWNERS_LEAVING)
    async def leaving(self, owners: Container[str]) -> None:
        self.told.append(("leaving", JULIET in owners))
        if self.fails:
            raise StorageUnavailable("it is away")
        for owner, count in self.seen.items():
            self.notes.put(owner, "", Number(count))

    @on(OWNERS_ARRIVED)
    async def arrived(self, owners: Container[str]) -> None:
        self.told.append(("arrived", JULIET in owners))
        if self.fails:
            raise StorageUnavailable("it is away")
        stored = await self.numbers.read(JULIET, "")
        self.seen[JULIET] = stored.value if stored is not None else 0


def counting(core: Core) -> Counting:
    plugin = Counting(core.host, NoConfig())
    core.host.add("counting", plugin)
    return plugin


async def test_an_account_leaves_and_comes_back(core: Core) -> None:
    plugin = counting(core)
    account = await core.account()
    [entry] = await core.archive(account, "one")
    log = core.storage.log(LOG)
    assert await log.ends(JULIET, NOT_HIDDEN) == (entry, entry)
    plugin.seen[JULIET] = 3
    assert await core.host.unload({JULIET}) == ({JULIET}, frozenset())
    assert not account.alive and core.host.account(JULIET) is None and not plugin.seen
    assert not core.storage.loaded(JULIET) and JULIET not in core.storage.owners()
    await core.host.arrived({JULIET})
    assert plugin.seen == {JULIET: 3} and plugin.told == [("leaving", True), ("arrived", True)]
    again = await core.host.open_account(account.jid)
    assert again is not None and again is not account and again.released == entry


async def test_the_store_is_asked_anew(core: Core) -> None:
    """Another process may have changed anything meanwhile."""
    plugin = counting(core)
    account = await core.account()
    [entry] = await core.archive(account, "one")
    log = core.storage.log(LOG)
    assert await log.ends(JULIET, NOT_HIDDEN) == (entry, entry)
    await core.host.unload({JULIET})
    other = await Core(core.clock, core.backend).open()
    await other.storage.commit([log.delete(JULIET, [entry]), plugin.numbers.put(JULIET, "", Number(5))])
    await core.host.open_account(account.jid)
    assert await log.ends(JULIET, NOT_HIDDEN) == (0, 0) and plugin.numbers.get(JULIET) == {"": Number(5)}


async def test_only_those_that_are_meant(core: Core) -> None:
    plugin = counting(core)
    juliet, romeo = await core.account(), await core.account("romeo")
    plugin.seen.update(dict.fromkeys(BOTH, 1))
    assert await core.host.unload({ROMEO}) == ({ROMEO}, frozenset())
    assert core.host.account(JULIET) is juliet and juliet.alive and plugin.seen == {JULIET: 1}
    assert core.host.account(ROMEO) is None and not romeo.alive
    assert await core.host.unload({ROMEO}) == (frozenset(), frozenset()), "nothing is known of him"


async def test_who_has_a_session_stays(core: Core) -> None:
    account = await core.account()
    session, _ = core.session(account)
    assert await core.host.unload({JULIET}) == (frozenset(), {JULIET})
    assert account.alive and core.host.account(JULIET) is account and not session.ended
    core.session_manager.end(session)
    assert (await core.host.unload({JULIET})).left == {JULIET}


async def test_who_is_signing_in_stays(core: Core) -> None:
    await core.account()

    class Stream:
        owner = JULIET

    core.streams.add(Stream())
    assert (await core.host.unload({JULIET})).stayed == {JULIET}


async def test_what_waits_is_stored_before(core: Core) -> None:
    plugin = counting(core)
    await core.account()
    plugin.notes.put(JULIET, "", Number(7))
    assert (await core.host.unload({JULIET})).left == {JULIET}
    assert await plugin.numbers.read_stored(JULIET, "") == Number(7)


async def test_for_whom_something_is_under_way_stays(core: Core) -> None:
    """A lock is held, or the working set is pinned."""
    storage = core.storage
    await core.account()
    async with core.host.locks.hold(f"search {JULIET}"):
        assert (await core.host.unload({JULIET})).stayed == {JULIET}
    storage.pin(JULIET)
    assert (await core.host.unload({JULIET})).stayed == {JULIET}
    storage.unpin(JULIET)
    assert (await core.host.unload({JULIET})).left == {JULIET}


async def test_a_write_that_is_not_decided_keeps_its_owner(core: Core) -> None:
    """It has joined behind what the host waits for."""
    plugin = counting(core)
    await core.account()
    done: list[Exception | None] = []

    class Behind:
        def committed(self) -> None:
            core.backend.hold()
            core.storage.join([plugin.numbers.put(JULIET, "", Number(1))], Done())

        def failed(self, error: Exception) -> None:
            raise error

    class Done:
        def committed(self) -> None:
            done.append(None)

        def failed(self, error: Exception) -> None:
            done.append(error)

    core.storage.join([plugin.numbers.put(ROMEO, "", Number(1))], Behind())
    assert core.storage.undecided() == {ROMEO}
    assert (await core.host.unload(BOTH)).stayed == {JULIET}
    assert core.storage.undecided() == {JULIET} and not done
    core.backend.release()
    await core.storage.commit(())
    assert core.storage.undecided() == set() and done == [None]
    assert (await core.host.unload(BOTH)).left == {JULIET}


async def test_who_is_in_use_cannot_be_unloaded(core: Core) -> None:
    await core.account()
    core.storage.pin(JULIET)
    with pytest.raises(LocalError):
        core.storage.unload({JULIET})
    assert core.storage.loaded(JULIET)


async def test_a_store_that_is_away_changes_nothing(core: Core) -> None:
    plugin = counting(core)
    account = await core.account()
    plugin.seen[JULIET], plugin.fails = 1, True
    with pytest.raises(StorageUnavailable):
        await core.host.unload({JULIET})
    assert account.alive and plugin.seen == {JULIET: 1}
    with pytest.raises(StorageUnavailable):
        await core.host.arrived({JULIET})


async def test_a_deleted_account_leaves_nothing(core: Core) -> None:
    plugin = counting(core)
    account = await core.account()
    plugin.seen[JULIET] = 1
    await core.storage.commit([OwnerDelete(JULIET)])
    core.host.forget(JULIET)
    assert not account.alive and not plugin.seen
    assert await core.host.open_account(JID.parse(JULIET)) is None
