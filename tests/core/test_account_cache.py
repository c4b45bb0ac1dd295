"""The accounts in memory: loaded once, dropped when nobody uses them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

import xmppd.sessions.account_cache as module
from tests.core.parts import Core
from xmppd.contracts.sessions import ACCOUNT_LOADED
from xmppd.delivery.cursor_writer import LOG
from xmppd.errors import StorageUnavailable
from xmppd.hooks import on
from xmppd.jid import JID
from xmppd.plugin import NoConfig, Plugin
from xmppd.sessions.account import Account
from xmppd.storage.memory import MemoryBackend

JULIET = JID.parse("juliet@localhost")


class Witness(Plugin[NoConfig]):
    """Takes its time when an account is loaded."""

    def setup(self) -> None:
        self.loaded: list[str] = []

    @on(ACCOUNT_LOADED)
    async def account_loaded(self, account: Account) -> None:
        await asyncio.sleep(0)
        self.loaded.append(account.bare)


@pytest.fixture
async def core() -> AsyncIterator[Core]:
    core = await Core().open()
    yield core
    await core.close()


def witness(core: Core) -> Witness:
    plugin = Witness(core.host, NoConfig())
    core.host.add("witness", plugin)
    return plugin


async def test_loading_twice_at_once_gives_one_account(core: Core) -> None:
    await core.account()
    core.host.forget(JULIET.bare)
    seen = witness(core)
    assert not core.host.ready(JULIET.bare) and core.host.account(JULIET.bare) is None
    one, other = await asyncio.gather(core.host.open_account(JULIET), core.host.open_account(JULIET))
    assert one is other is core.host.account(JULIET.bare) and one is not None
    assert core.host.ready(JULIET.bare) and seen.loaded == [JULIET.bare]
    assert await core.host.open_account(JULIET.with_resource("phone")) is one


async def test_that_there_is_no_account_is_known_too(core: Core) -> None:
    assert await core.host.open_account(JID.parse("nobody@localhost")) is None
    assert core.host.ready("nobody@localhost") and core.host.accounts == {"nobody@localhost": None}


async def test_who_gives_up_waiting_does_not_end_the_loading_of_others(core: Core) -> None:
    await core.account()
    core.host.forget(JULIET.bare)
    witness(core)
    impatient = asyncio.ensure_future(core.host.open_account(JULIET))
    patient = asyncio.ensure_future(core.host.open_account(JULIET))
    await asyncio.sleep(0)
    impatient.cancel()
    assert await patient is core.host.account(JULIET.bare)


async def test_a_forgotten_account_is_not_alive(core: Core) -> None:
    account = await core.account()
    core.host.forget(JULIET.bare)
    core.host.forget(JULIET.bare)
    assert not account.alive and core.host.account(JULIET.bare) is None


async def test_the_ids_go_on_behind_the_log_and_the_cursor(core: Core) -> None:
    account = await core.account()
    ids = await core.archive(account, "one", "two")
    account.cursor.first_pending = 0
    account.cursor.acknowledge(ids)
    await core.storage.commit([core.storage.log(LOG).delete(account.bare, ids)])
    backend = core.backend
    assert isinstance(backend, MemoryBackend)
    core.clock.step(-3600)
    after = await Core(core.clock, backend.survivor()).open()
    again = await after.host.open_account(JULIET)
    assert again is not None and again.last_id == again.released == ids[-1]
    assert again.cursor.position == ids[-1] and again.cursor.first_pending == 0
    assert again.next_id() > ids[-1]
    await after.close()


async def test_a_store_that_is_away(core: Core) -> None:
    core.backend.unreachable = True
    with pytest.raises(StorageUnavailable):
        await core.host.open_account(JULIET)
    core.backend.unreachable = False
    assert await core.host.open_account(JULIET) is None, "it is asked again"


async def test_sessions_by_full_jid(core: Core) -> None:
    session, _ = core.session(await core.account())
    assert core.host.session_of(session.jid) is session
    assert core.host.session_of(session.jid.with_resource("tablet")) is None
    assert core.host.session_of(JID.parse("nobody@localhost/phone")) is None


async def test_too_many_are_dropped_but_for_those_in_use(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BOUND", 20)
    bound, dirty, behind, idle = [await core.account(f"user{number}") for number in range(4)]
    core.session(bound)
    dirty.cursor.dirty = True
    behind.next_id()
    for number in range(100):
        await core.host.open_account(JID.parse(f"nobody{number}@localhost"))
    assert len(core.host.accounts) <= 21
    assert {bound.bare, dirty.bare, behind.bare} <= set(core.host.accounts)
    assert idle.bare not in core.host.accounts
