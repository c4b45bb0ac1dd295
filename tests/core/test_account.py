"""An account in memory: its sessions and the ids of its log."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.core.parts import Core
from xmppd.sessions.account import Account


@pytest.fixture
async def core() -> AsyncIterator[Core]:
    core = await Core().open()
    yield core
    await core.close()


@pytest.fixture
async def account(core: Core) -> Account:
    return await core.account()


async def test_ids_are_the_time_and_rise_when_the_clock_is_set_back(core: Core, account: Account) -> None:
    first = account.next_id()
    assert first == int(core.clock.now() * 1_000_000)
    assert account.next_id() == first + 1, "two in the same microsecond"
    core.clock.step(-3600)
    assert account.next_id() == first + 2
    core.clock.step(7200)
    assert account.next_id() == int(core.clock.now() * 1_000_000)


async def test_sessions_by_resource(core: Core, account: Account) -> None:
    phone, _ = core.session(account, "phone")
    tablet, _ = core.session(account, "tablet")
    assert account.sessions == {"phone": phone, "tablet": tablet}
    assert account.available() == []
    phone.presence = object()  # type: ignore[assignment]
    assert account.available() == [phone]
    account.remove(phone)
    assert account.sessions == {"tablet": tablet}
    account.add(phone)
    assert account.sessions["phone"] is phone
    assert repr(account) == "<account juliet@localhost 2 sessions>"


async def test_what_waits_for_its_sessions_counts_for_it(core: Core, account: Account) -> None:
    phone, tablet = core.session(account, "phone")[0], core.session(account, "tablet")[0]
    phone.channel.share.take(10)
    tablet.channel.share.take(5)
    assert account.pool.used == core.memory.used == 15
    assert set(account.pool.sessions.values()) == {phone, tablet}
