"""Sessions, presence and rooms outlive a graceful restart (docs/explanation/delivery.md)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

import xmppd.sessions.snapshots as module
from tests.core.parts import Core, body
from tests.core.test_delivery import SM, Reader, acked, bodies, enable, say
from tests.harness import Client, Element, FakeClock, Harness, xml
from xmppd.contracts.session_keys import SessionKey
from xmppd.sessions.session import Session
from xmppd.sessions.snapshots import SessionSnapshots
from xmppd.storage.memory import MemoryBackend
from xmppd.storage.store import Store

ROOM = "garden@conference.localhost"
NICK: SessionKey[str] = SessionKey("test-snapshot-nick", "", durable=True)
TYPING: SessionKey[bool] = SessionKey("test-snapshot-typing", False)
CARBONS = "<enable xmlns='urn:xmpp:carbons:2'/>"


async def again(server: Harness, seconds: float = 5) -> Harness:
    """Stopped gracefully, and started on the same disk `seconds` later."""
    await server.stop()
    clock = FakeClock(server.clock.wall + seconds)
    backend = server.backend.survivor()
    backend.clock = clock
    return await Harness(store=Store(backend, clock), clock=clock).start()


async def resume(server: Harness, user: str, previous: str, h: int) -> tuple[Client, Element]:
    client = server.connect()
    await client.sign_in(user)
    client.send(f"<resume xmlns='{SM}' previd='{previous}' h='{h}'/>")
    return client, await client.receive()


async def befriend(server: Harness, one: str, two: str) -> None:
    from xmppd.contracts.roster import ROSTER, RosterItem

    roster = server.host.service(ROSTER)
    for mine, other in ((one, two), (two, one)):
        await server.register(mine)
        await server.host.open_account(server.host.jid.of(mine, "localhost"))
        writes = roster.write(f"{mine}@localhost", f"{other}@localhost", RosterItem(subscription="both"))
        await server.storage.commit(writes)


async def test_a_session_is_resumed_after_a_restart(server: Harness) -> None:
    """Counters, queue, carbons and presence; what was sent and not acknowledged comes again, once."""
    await befriend(server, "romeo", "juliet")
    romeo = await server.login("romeo")
    juliet = await server.login("juliet", "phone")
    await juliet.iq(CARBONS, "set")
    previous = await enable(juliet)
    juliet.send("<presence><show>away</show></presence>")
    reader = Reader(juliet)
    await reader.read()
    say(juliet, "romeo@localhost", "before")
    for number in range(3):
        say(romeo, "juliet@localhost", str(number))
    await reader.read(ack=False)
    assert await acked(juliet) == 2
    second = await again(server)
    try:
        assert juliet.closed
        session = second.host.accounts["juliet@localhost"].sessions["phone"]
        assert session.presence is not None
        romeo = await second.login("romeo")
        romeo.send("<presence/>")
        found = [each for each in await romeo.receive_all() if each.get("from") == "juliet@localhost/phone"]
        assert found and found[0].findtext("{jabber:client}show") == "away", "nobody sees it go"
        say(romeo, "juliet@localhost", "3")
        await second.quiet()
        client, answer = await resume(second, "juliet", previous, reader.h - 2)
        assert answer.tag == f"{{{SM}}}resumed", xml(answer)
        assert answer.get("h") == "2"
        got = await client.receive_all()
        assert bodies(got) == ["1", "2", "3"]
        tablet = await second.login("juliet", "tablet")
        say(tablet, "romeo@localhost", "copied")
        copies = [each for each in await client.receive_all() if each.find("{urn:xmpp:carbons:2}sent") is not None]
        assert len(copies) == 1
        assert await acked(client) == 2
    finally:
        await second.stop()


async def test_a_lagging_session_reads_on_after_a_restart(server: Harness) -> None:
    romeo = await server.login("romeo")
    juliet = await server.login("juliet", "phone")
    previous = await enable(juliet)
    juliet.send("<presence/>")
    reader = Reader(juliet)
    await reader.read()
    server.server.limits = server.server.limits.__class__(
        **{name: getattr(server.server.limits, name) for name in server.server.limits.__slots__} | {"queue": 10}
    )
    for number in range(40):
        say(romeo, "juliet@localhost", str(number))
    await server.quiet()
    second = await again(server)
    try:
        client, answer = await resume(second, "juliet", previous, reader.h)
        assert answer.tag == f"{{{SM}}}resumed"
        reader.client = client
        got: list[str] = []
        for _ in range(10):
            got += await reader.read()
        assert got == [str(number) for number in range(40)]
    finally:
        await second.stop()


async def test_what_is_not_resumed_in_time_is_delivered_elsewhere(server: Harness) -> None:
    romeo = await server.login("romeo")
    juliet = await server.login("juliet", "phone")
    previous = await enable(juliet)
    juliet.send("<presence/>")
    await Reader(juliet).read()
    say(romeo, "juliet@localhost", "one")
    await server.quiet()
    second = await again(server, seconds=4000)
    try:
        assert not second.host.accounts.get("juliet@localhost") or not second.host.accounts["juliet@localhost"].sessions
        client, answer = await resume(second, "juliet", previous, 1)
        assert answer.tag == f"{{{SM}}}failed"
        await client.bind("phone")
        client.send("<presence/>")
        assert bodies(await client.receive_all()) == ["one"]
    finally:
        await second.stop()


async def test_a_session_without_resumption_leaves(server: Harness) -> None:
    await befriend(server, "romeo", "juliet")
    juliet = await server.login("juliet", "phone")
    previous = await enable(juliet)
    juliet.send("<presence/>")
    reader = Reader(juliet)
    await reader.read()
    romeo = await server.login("romeo", "orchard")
    romeo.send("<presence/>")
    await reader.read()
    second = await again(server)
    try:
        client, answer = await resume(second, "juliet", previous, reader.h)
        assert answer.tag == f"{{{SM}}}resumed"
        found = await client.receive_all()
        assert [(each.get("from"), each.get("type")) for each in found if each.tag.endswith("presence")] == [
            ("romeo@localhost/orchard", "unavailable")
        ]
    finally:
        await second.stop()


async def test_a_room_does_not_see_a_restart(server: Harness) -> None:
    """A temporary room, too: who can be resumed keeps the seat, who cannot leaves for all to see."""
    juliet = await server.login("juliet", "phone")
    previous = await enable(juliet)
    reader = Reader(juliet)
    juliet.send(f"<presence to='{ROOM}/Julia'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
    await reader.read()
    unlock = "<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'/></query>"
    await juliet.iq(unlock, "set", to=ROOM)
    reader.h += 1
    romeo = await server.login("romeo", "orchard")
    romeo.send(f"<presence to='{ROOM}/Romeo'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
    await romeo.receive_all()
    await reader.read()
    second = await again(server)
    try:
        client, answer = await resume(second, "juliet", previous, reader.h)
        assert answer.tag == f"{{{SM}}}resumed"
        found = await client.receive_all()
        shown = [(each.get("from"), each.get("type")) for each in found if each.tag.endswith("presence")]
        assert shown == [(f"{ROOM}/Romeo", "unavailable")]
        romeo = await second.login("romeo", "orchard")
        romeo.send(f"<presence to='{ROOM}/Romeo'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
        joined = [each.get("from") for each in await romeo.receive_all() if each.tag.endswith("presence")]
        assert joined == [f"{ROOM}/Julia", f"{ROOM}/Romeo"]
        client.send(f"<message to='{ROOM}' type='groupchat'><body>still here</body></message>")
        assert bodies(await romeo.receive_all()) == ["still here"]
    finally:
        await second.stop()


async def test_a_seat_whose_session_is_over_is_given_up(server: Harness) -> None:
    juliet = await server.login("juliet", "phone")
    await enable(juliet)
    juliet.send(f"<presence to='{ROOM}/Julia'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
    await server.quiet()
    second = await again(server, seconds=4000)
    try:
        rooms = second.server.hosts["conference.localhost"].plugins["muc"].rooms
        assert "garden" not in rooms.directory, "the temporary room is empty and gone"
    finally:
        await second.stop()


async def test_a_kill_after_a_restart_is_told_exactly(server: Harness) -> None:
    """The kept session ends with the second process; its count is still known."""
    await server.register("juliet")
    romeo = await server.login("romeo", "orchard")
    previous = await enable(romeo)
    say(romeo, "juliet@localhost", "one")
    await server.quiet()
    second = await again(server)
    clock = FakeClock(second.clock.wall + 5)
    backend = second.backend.survivor()
    backend.clock = clock
    third = await Harness(store=Store(backend, clock), clock=clock).start()
    try:
        _, answer = await resume(third, "romeo", previous, 0)
        assert (answer.tag, answer.get("h")) == (f"{{{SM}}}failed", "1")
    finally:
        await third.stop()
        await second.stop()


async def test_a_clock_that_was_set_back_keeps_no_session_for_ever(server: Harness) -> None:
    juliet = await server.login("juliet", "phone", presence=True)
    await enable(juliet)
    second = await again(server, -30 * 86_400.0)
    try:
        assert second.host.accounts["juliet@localhost"].sessions
        await second.advance(float(second.server.limits.resume_time) + 5)
        assert not second.host.accounts["juliet@localhost"].sessions
    finally:
        await second.stop()


# ---- the store alone


@pytest.fixture
async def core() -> AsyncIterator[Core]:
    core = await Core().open()
    yield core
    await core.close()


async def detached(core: Core, *resources: str) -> list[Session]:
    account = await core.account()
    made = []
    for resource in resources:
        session, _ = core.session(account, resource, acks=True)
        session.resumable = 60.0
        session.channel.send(body(resource), 0)
        core.session_manager.detach(session)
        made.append(session)
    return made


async def after_restart(core: Core) -> Core:
    backend = core.backend
    assert isinstance(backend, MemoryBackend)
    return await Core(core.clock, backend.survivor()).open()


def snapshots(core: Any) -> SessionSnapshots:
    return SessionSnapshots(core)


async def test_durable_values_outlive_the_process(core: Core) -> None:
    """Those that are not durable do not, nor those of a plugin that is not there any more."""
    (session,) = await detached(core, "phone")
    session[NICK], session[TYPING] = "Juliet", True
    session.values["of-nobody"] = 3  # type: ignore[index]
    await snapshots(core).store()
    assert session.ended and core.host.account("juliet@localhost").sessions == {}  # type: ignore[union-attr]
    after = await after_restart(core)
    await snapshots(after).restore(after.host)
    again = after.host.session_of(session.jid)
    assert again[NICK] == "Juliet" and again[TYPING] is False and again.resumable == 60.0
    assert again.channel.queue.sent == 1
    assert await snapshots(after).stored.read_all("juliet@localhost") == {}, "they are there once"
    await after.close()


async def test_one_that_the_store_refuses_takes_no_other_with_it(core: Core, caplog: pytest.LogCaptureFixture) -> None:
    good, bad = await detached(core, "good", "bad")
    good.lane = bad.lane
    bad.values = {}
    bad[NICK] = 1 << 80  # type: ignore[assignment]
    await snapshots(core).store()
    assert good.ended and not bad.ended and "cannot be stored" in caplog.text
    after = await after_restart(core)
    await snapshots(after).restore(after.host)
    assert set(after.host.account("juliet@localhost").sessions) == {"good"}  # type: ignore[union-attr]
    await after.close()


async def test_one_that_cannot_be_read_is_left_out(core: Core, caplog: pytest.LogCaptureFixture) -> None:
    await detached(core, "good", "bad")
    await snapshots(core).store()
    stored = snapshots(core).stored
    record = await stored.read("juliet@localhost", "bad")
    assert record is not None
    await core.storage.commit([stored.put("juliet@localhost", "bad", replace(record, presence="<not-xml"))])
    after = await after_restart(core)
    await snapshots(after).restore(after.host)
    account = after.host.account("juliet@localhost")
    assert account is not None and set(account.sessions) == {"good"}
    assert "cannot be read" in caplog.text
    await after.close()


async def test_time_goes_on_while_the_server_is_down(core: Core) -> None:
    await detached(core, "phone")
    await snapshots(core).store()
    core.clock.step(61)
    after = await after_restart(core)
    await snapshots(after).restore(after.host)
    assert after.host.account("juliet@localhost").sessions == {}  # type: ignore[union-attr]
    await after.close()


async def test_they_are_stored_in_batches_with_a_bound(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = await detached(core, *"abcde")
    monkeypatch.setattr(module, "AT_ONCE", 2)
    assert [len(some) for some in module._chunks(sessions)] == [2, 2, 1]
    monkeypatch.setattr(module, "AT_ONCE_BYTES", 1)
    assert [len(some) for some in module._chunks(sessions)] == [1] * 5
    commits = core.backend.commits
    await snapshots(core).store()
    assert core.backend.commits == commits + 5
