"""Sessions come and go: binding, detaching, resuming, the end, and room in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from tests.core.parts import Core, Stream, body, texts
from xmppd.contracts.sessions import (
    SESSION_BOUND,
    SESSION_ENDED,
    SESSION_RESTORED,
    SESSION_RESUMED,
    STREAM_LOST,
)
from xmppd.errors import BadRequest, ResourceConstraint
from xmppd.hooks import on
from xmppd.plugin import NoConfig, Plugin
from xmppd.sessions.account import Account
from xmppd.sessions.manager import SessionManager, unread_seconds
from xmppd.sessions.session import Session


class Witness(Plugin[NoConfig]):
    """Remembers what it is told."""

    def setup(self) -> None:
        self.seen: list[tuple[str, str]] = []

    @on(SESSION_BOUND)
    def bound(self, session: Session) -> None:
        self.seen.append(("bound", session.resource))

    @on(STREAM_LOST)
    def lost(self, session: Session) -> None:
        self.seen.append(("lost", session.resource))

    @on(SESSION_RESUMED)
    def resumed(self, session: Session) -> None:
        self.seen.append(("resumed", session.resource))

    @on(SESSION_RESTORED)
    def restored(self, session: Session) -> None:
        self.seen.append(("restored", session.resource))

    @on(SESSION_ENDED)
    def ended(self, session: Session) -> None:
        self.seen.append(("ended", session.resource))


@pytest.fixture
async def core() -> AsyncIterator[Core]:
    core = await Core().open()
    core.host.add("witness", Witness(core.host, NoConfig()))
    yield core
    await core.close()


@pytest.fixture
async def account(core: Core) -> Account:
    return await core.account()


@pytest.fixture
def manager(core: Core) -> SessionManager:
    return core.session_manager


def seen(core: Core) -> list[tuple[str, str]]:
    witness: Any = core.host.plugins["witness"]
    found, witness.seen = witness.seen, []
    return list(found)


# ---- binding


def test_bind_gives_the_wanted_resource_or_one_of_its_own(
    core: Core, account: Account, manager: SessionManager
) -> None:
    one = manager.bind(account, "phone", Stream(core.clock))
    other = manager.bind(account, "", Stream(core.clock))
    assert one.resource == "phone" and len(other.resource) >= 8
    assert set(account.sessions.values()) == {one, other}
    assert seen(core) == [("bound", "phone"), ("bound", other.resource)]


def test_bind_refuses_what_is_no_resource(core: Core, account: Account, manager: SessionManager) -> None:
    with pytest.raises(BadRequest):
        manager.bind(account, "\0", Stream(core.clock))
    assert account.sessions == {}


def test_the_newer_stream_takes_the_resource(core: Core, account: Account, manager: SessionManager) -> None:
    former, stream = core.session(account)
    newer, _ = core.session(account)
    assert stream.ended == ("conflict", "replaced by a new stream")
    assert former.ended and account.sessions == {"phone": newer}
    assert seen(core) == [("bound", "phone"), ("ended", "phone"), ("bound", "phone")], "its client is there: not lost"


def test_with_too_many_sessions_the_detached_one_that_ends_first_goes(
    core: Core, account: Account, manager: SessionManager
) -> None:
    core.limits = replace(core.limits, sessions=2)
    first, second = core.session(account, "first")[0], core.session(account, "second")[0]
    with pytest.raises(ResourceConstraint):
        core.session(account, "third")
    for session, seconds in ((first, 60.0), (second, 30.0)):
        session.resumable = seconds
        manager.detach(session)
    core.session(account, "third")
    assert second.ended and not first.ended


# ---- detached


def test_a_lost_connection_ends_a_session_that_cannot_be_resumed(
    core: Core, account: Account, manager: SessionManager
) -> None:
    session, _ = core.session(account)
    session.channel.pause_writing()
    manager.detach(session)
    assert session.ended and not session.channel.paused
    assert seen(core) == [("bound", "phone"), ("lost", "phone"), ("ended", "phone")]


async def test_a_session_waits_for_its_client_and_no_longer(
    core: Core, account: Account, manager: SessionManager
) -> None:
    session, _ = core.session(account)
    session.resumable = 60.0
    manager.detach(session)
    assert session in manager.detached and session.stream is None
    await core.advance(59)
    manager.sweep()
    assert not session.ended
    await core.advance(1)
    manager.sweep()
    assert session.ended and not manager.detached and account.sessions == {}


def test_a_new_stream_takes_a_session_over(core: Core, account: Account, manager: SessionManager) -> None:
    session, former = core.session(account)
    stream = Stream(core.clock)
    manager.attach(session, stream)
    manager.resumed(session)
    assert former.ended is not None and former.ended[0] == "conflict"
    assert session.stream is stream and core.counts.resumed == 1
    session.resumable = 60.0
    manager.detach(session)
    manager.attach(session, Stream(core.clock))
    assert not manager.detached
    assert ("resumed", "phone") in seen(core)


def test_leave_and_restore_tell_nobody_that_it_was_away(core: Core, account: Account, manager: SessionManager) -> None:
    session, _ = core.session(account)
    session.resumable = 60.0
    manager.detach(session)
    seen(core)
    manager.leave(session)
    assert session.ended and account.sessions == {} and seen(core) == []
    again = Session(account, session.jid)
    manager.restore(again, 30.0)
    assert account.sessions == {"phone": again} and seen(core) == [("restored", "phone")]
    assert manager.detached[again] == core.clock.monotonic() + 30.0


# ---- the end


def test_the_end_comes_once(core: Core, account: Account, manager: SessionManager) -> None:
    session, stream = core.session(account)
    session.delivered = 3
    manager.end(session)
    manager.end(session)
    assert stream.closed and stream.ended is None and core.counts.delivered == 3
    assert seen(core) == [("bound", "phone"), ("ended", "phone")]


def test_a_stream_that_the_server_ends_with_an_error_is_lost(
    core: Core, account: Account, manager: SessionManager
) -> None:
    session, stream = core.session(account)
    manager.end(session, "resource-constraint", "too much")
    assert stream.ended == ("resource-constraint", "too much")
    assert ("lost", "phone") in seen(core)


async def test_what_it_did_not_acknowledge_goes_to_another_session(
    core: Core, account: Account, manager: SessionManager
) -> None:
    laptop, stream = core.session(account, "laptop", acks=True)
    laptop.presence = object()  # type: ignore[assignment]
    laptop.channel.start()
    phone, _ = core.session(account, "phone", acks=True)
    phone.channel.start()
    await core.idle()
    (id,) = await core.archive(account, "one", to="juliet@localhost/phone")
    phone.channel.send(body("one"), id)
    stream.taken()
    manager.end(phone)
    await core.idle()
    assert texts(stream.taken()) == ["one"]
    assert account.cursor.in_flight == {id: 1}


async def test_a_request_that_nobody_will_answer_is_answered_with_an_error(
    core: Core, account: Account, manager: SessionManager
) -> None:
    """A local client asked; what others asked is their server's matter, and answers need none."""
    session, _ = core.session(account, acks=True)
    get = "<iq type='get' id='{0}' from='romeo@localhost/hall' to='juliet@localhost/phone'><x xmlns='urn:x'/></iq>"
    session.channel.send(get.format("asked").encode(), 0)
    session.channel.send(b"<iq type='result' id='answer' from='romeo@localhost/hall' to='juliet@localhost/phone'/>", 0)
    session.channel.send(b"<iq type='get' id='own' to='juliet@localhost/phone'><x xmlns='urn:x'/></iq>", 0)
    session.channel.send(body("message"), 0)
    manager.end(session)
    assert [(each.id, each.type) for each in core.router.delivered] == [("asked", "error")]


# ---- room in memory


def test_the_session_that_holds_most_and_does_not_read_ends(
    core: Core, account: Account, manager: SessionManager
) -> None:
    core.memory.configure(1 << 40, 3000)
    heavy, light = core.session(account, "heavy")[0], core.session(account, "light")[0]
    core.clock.time += 30
    heavy.channel.share.take(2500)
    light.channel.share.take(1000)
    manager.make_room(account.pool)
    assert heavy.ended and not light.ended
    assert account.pool.used == core.memory.used == 1000 and not account.pool.pressed
    assert core.counts.memory_full == 0, "that counts for the process"


async def test_of_the_process_the_account_that_holds_most_pays(core: Core, account: Account) -> None:
    core.memory.configure(3000, 1 << 40)
    romeo = await core.account("romeo")
    mine, his = core.session(account)[0], core.session(romeo)[0]
    mine.channel.share.take(1000)
    his.channel.share.take(2500)
    core.session_manager.make_room(core.memory)
    assert his.ended and not mine.ended and core.counts.memory_full == 1


def test_below_the_limit_nobody_ends(core: Core, account: Account, manager: SessionManager) -> None:
    session, _ = core.session(account)
    session.channel.share.take(1000)
    account.pool.pressed = True
    manager.make_room(account.pool)
    assert not session.ended and not account.pool.pressed


def test_how_long_a_client_has_not_read(core: Core, account: Account) -> None:
    session, stream = core.session(account, acks=True)
    session.channel.last_progress = stream.last_read = core.clock.time
    core.clock.time += 10
    assert unread_seconds(session) == 20.0, "it took nothing for 10 s, and was silent for 10 s"
    session.channel.send(body("one"), 0)
    assert unread_seconds(session) == 10.0, "nothing has waited for longer"
    session.stream = None
    core.clock.step(4)
    assert unread_seconds(session) == 8.0
