"""What is in no log and waits for room: in order, bounded, the last presence of each sender."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from tests.core.parts import Core, body, presence, texts
from xmppd.contracts.messages import Idle
from xmppd.contracts.routing import MESSAGE_RULES
from xmppd.delivery.unlogged_queue import UnloggedQueue
from xmppd.plugin import NoConfig, Plugin
from xmppd.sessions.session import Session
from xmppd.stanza import parse_stanza

STATE = b"<message from='romeo@localhost/hall' type='chat'><active xmlns='http://jabber.org/protocol/chatstates'/></message>"


class Rules(Plugin[NoConfig]):
    """A chat state is of the moment."""

    provides = (MESSAGE_RULES,)

    def policy(self, stanza: Any) -> Any:
        return SimpleNamespace(idle=Idle.LATEST if b"chatstates" in stanza.data else Idle.NOW)


@pytest.fixture
async def core() -> AsyncIterator[Core]:
    core = await Core().open()
    core.host.add("rules", Rules(core.host, NoConfig()))  # type: ignore[arg-type]
    yield core
    await core.close()


@pytest.fixture
async def session(core: Core) -> Session:
    return core.session(await core.account(), acks=True)[0]


@pytest.fixture
def queue(session: Session) -> UnloggedQueue:
    return UnloggedQueue(session, session.channel.share)


def test_in_order_with_the_time_of_each(queue: UnloggedQueue, session: Session) -> None:
    queue.put(body("one"), None, 1)
    queue.put(body("two"), None, 2)
    assert [(texts([data]), at, log_id) for data, at, log_id in queue.all()] == [(["one"], 1, 0), (["two"], 2, 0)]
    assert queue.size == session.channel.share.used == len(body("one")) + len(body("two"))
    assert len(queue.empty()) == 2
    assert len(queue) == queue.size == session.channel.share.used == 0


def test_the_last_presence_of_each_sender_alone(queue: UnloggedQueue, session: Session) -> None:
    for show in ("away", "xa", "dnd"):
        stanza = presence(show=show)
        queue.put(stanza.data, stanza, 1)
    other = presence("nurse@localhost/kitchen")
    queue.put(other.data, other, 1)
    assert [b"dnd" in data for data, _, _ in queue.all()] == [True, False]
    assert queue.size == session.channel.share.used == sum(len(data) for data, _, _ in queue.all())


def test_a_probe_or_subscription_is_no_presence_that_replaces(queue: UnloggedQueue) -> None:
    for _ in range(2):
        stanza = parse_stanza(b"<presence type='subscribe' from='romeo@localhost' to='juliet@localhost'/>")
        queue.put(stanza.data, stanza, 1)
    assert len(queue) == 2


def test_a_carbon_is_in_flight_while_it_waits(queue: UnloggedQueue, session: Session) -> None:
    cursor = session.account.cursor
    queue.put(body("carbon"), None, 1, log_id=7)
    assert cursor.in_flight == {7: 1} and queue.log_ids == {7}
    queue.empty()
    assert queue.log_ids == set(), "who takes it out sends it, and says so to the cursor"


def test_chat_states_are_dropped_when_it_is_full(queue: UnloggedQueue, core: Core, session: Session) -> None:
    for number in range(core.limits.queue):
        queue.put(body(str(number)), None, 1)
    queue.put(STATE, parse_stanza(STATE), 1)
    queue.put(STATE, None, 1)
    assert core.counts.dropped == 2 and len(queue) == core.limits.queue and not session.ended


def test_a_presence_still_takes_the_place_of_a_former_one(queue: UnloggedQueue, core: Core, session: Session) -> None:
    first = presence()
    queue.put(first.data, first, 1)
    for number in range(core.limits.queue - 1):
        queue.put(body(str(number)), None, 1)
    again = presence(show="away")
    queue.put(again.data, again, 2)
    assert len(queue) == core.limits.queue and queue.all()[-1][1] == 2 and not session.ended


@pytest.mark.parametrize("limit", ["queue", "queue_size"])
def test_anything_else_beyond_the_bound_ends_the_session(
    queue: UnloggedQueue, core: Core, session: Session, limit: str
) -> None:
    """Its client must know that it has missed something."""
    stream: Any = session.stream
    core.limits = replace(core.limits, **{limit: 1})
    queue.put(body("fits"), None, 1)
    queue.put(body("does not"), None, 1)
    assert session.ended and core.counts.overflows == 1
    assert stream.ended[0] == "resource-constraint"
