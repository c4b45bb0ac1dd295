"""A delivery channel over a restart: in the state in which it was, with all that waits."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
import pytest

from tests.core.parts import Core, Stream, body, presence, texts
from xmppd.delivery.snapshot import ChannelSnapshot, restore, snapshot
from xmppd.delivery.states import AVAILABLE, State
from xmppd.sessions.account import Account
from xmppd.sessions.session import Session
from xmppd.stanza import parse_stanza


@pytest.fixture
async def core() -> AsyncIterator[Core]:
    core = await Core().open()
    yield core
    await core.close()


@pytest.fixture
async def account(core: Core) -> Account:
    return await core.account()


def restarted(account: Account, session: Session) -> tuple[Session, ChannelSnapshot]:
    """The same session after a restart, by way of what is stored."""
    stored = msgspec.convert(msgspec.to_builtins(snapshot(session.channel)), ChannelSnapshot)
    account.cursor.in_flight.clear()
    again = Session(account, session.jid)
    restore(again.channel, stored)
    assert snapshot(again.channel) == stored, "nothing is lost the second time either"
    return again, stored


@pytest.mark.parametrize(
    ("state", "after"),
    [
        (State.LIVE, State.LIVE),
        (State.UNAVAILABLE, State.UNAVAILABLE),
        (State.LAGGING, State.LAGGING),
        (State.CATCHING_UP, State.LAGGING),
        (State.UNAVAILABLE_LAGGING, State.UNAVAILABLE_LAGGING),
    ],
)
async def test_the_state(core: Core, account: Account, state: State, after: State) -> None:
    """Nobody reads for a client that is away."""
    session, _ = core.session(account, acks=True)
    if state in AVAILABLE:
        session.channel.start()
        await core.idle()
    session.channel.enter(state)
    again, _ = restarted(account, session)
    assert again.channel.state is after
    assert again.channel.available is (state in AVAILABLE)
    assert again.channel.live is (after in (State.LIVE, State.UNAVAILABLE))


async def test_what_is_not_acknowledged_with_its_count(core: Core, account: Account) -> None:
    session, _ = core.session(account, acks=True)
    session.channel.start()
    (one,) = await core.archive(account, "one")
    session.channel.send(body("one"), one)
    session.channel.send(presence().data, 0)
    (hidden,) = await core.archive(account, "hidden", hidden=True)
    session.channel.send(body("hidden"), hidden)
    session.channel.acknowledge(1)
    account.cursor.transient.clear()
    account.cursor.transient.add(hidden)
    again, _ = restarted(account, session)
    queue = again.channel.queue
    assert queue is not None and (queue.acknowledged, queue.asked, queue.sent) == (1, 1, 3)
    assert list(queue.items) == list(session.channel.queue.items)  # type: ignore[union-attr]
    assert account.cursor.in_flight == {hidden: 1} and hidden in account.cursor.transient
    assert again.channel.position == session.channel.position
    assert again.channel.high_water == session.channel.high_water
    assert again.channel.due_after == session.channel.due_after


async def test_an_empty_queue_keeps_its_count(core: Core, account: Account) -> None:
    session, _ = core.session(account, acks=True)
    session.channel.send(body("one"), 0)
    session.channel.acknowledge(1)
    again, _ = restarted(account, session)
    assert again.channel.queue is not None and again.channel.queue.acknowledged == 1


async def test_what_waits_in_memory_comes_when_the_client_is_back(core: Core, account: Account) -> None:
    """Carbons too, which are in flight meanwhile."""
    session, _ = core.session(account, acks=True)
    session.channel.start()
    await core.idle()
    session.channel.pause_writing()
    session.channel.send(body("transient"), 0)
    (id,) = await core.archive(account, "carbon")
    session.channel.copy(body("carbon"), id, parse_stanza(body("carbon")))
    again, stored = restarted(account, session)
    assert stored.held_stamps == (0, id) and account.cursor.in_flight == {id: 1}
    assert again.channel.state is State.LAGGING
    stream = again.stream = Stream(core.clock)
    again.channel.go_on()
    await core.idle()
    assert texts(stream.taken()) == ["transient", "carbon"] and again.channel.state is State.LIVE


async def test_who_was_away_is_sent_what_came_since(core: Core, account: Account) -> None:
    """It reads its archive once on a stream, and has done so: what another device got meanwhile is due to it."""
    session, _ = core.session(account, acks=True)
    session.channel.read_by_client(account.released + 1)
    session.channel.start()
    await core.idle()
    session.channel.leave()
    away = session.channel.due_after
    again, stored = restarted(account, session)
    assert (stored.since, stored.left) == (0, away) and again.channel.due_after == away


async def test_what_it_got_while_unavailable_is_remembered(core: Core, account: Account) -> None:
    session, _ = core.session(account, acks=True)
    (id,) = await core.archive(account, "mine")
    session.channel.send(body("mine"), id)
    again, _ = restarted(account, session)
    assert again.channel.already_sent == {id}


async def test_a_record_of_an_older_version(core: Core, account: Account) -> None:
    """Without times, and with fields that there are no more."""
    old = {"acknowledged": 2, "queue": [body("one").decode()], "stamps": [5], "held": [body("two").decode()],
           "since": 4, "reached": 5, "returning": True}  # fmt: skip
    session = Session(account, account.jid.with_resource("phone"))
    restore(session.channel, msgspec.convert(old, ChannelSnapshot))
    assert session.channel.state is State.LAGGING and session.channel.queue is not None
    assert list(session.channel.queue.items) == [(body("one"), 5, 5)]
    assert session.channel.waiting() == [(body("two"), 0)]


async def test_a_record_that_does_not_fit_together(core: Core, account: Account) -> None:
    """Nothing of it is taken: an entry that is in flight to nobody would never be delivered."""
    session = Session(account, account.jid.with_resource("phone"))
    with pytest.raises(ValueError, match="zip"):
        restore(session.channel, ChannelSnapshot(0, queue=("<message/>", "<message/>"), stamps=(5,)))
    assert account.cursor.in_flight == {} and session.channel.share.used == 0
