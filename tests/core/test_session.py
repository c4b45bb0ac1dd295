"""A bound resource: what it counts, and what it waits for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from tests.core.parts import Core, Stream, body
from xmppd.contracts.core import AcknowledgedUpTo
from xmppd.contracts.session_keys import SessionKey
from xmppd.protocol.ack_queue import OutboundQueue
from xmppd.sessions.session import LANE_BOUND, NEVER, REFUSALS, Session
from xmppd.stanza import Stanza, parse_stanza

CARBONS: SessionKey[bool] = SessionKey("test-session-carbons", False)


class Bound:
    def __init__(self, core: Core, session: Session, stream: Stream) -> None:
        self.core, self.session, self.stream = core, session, stream


@pytest.fixture
async def bound() -> AsyncIterator[Bound]:
    core = await Core().open()
    yield Bound(core, *core.session(await core.account()))
    await core.close()


def refusal(id: str = "m") -> Stanza:
    return parse_stanza(f"<message type='error' id='{id}' to='juliet@localhost/phone'/>".encode())


def test_names(bound: Bound) -> None:
    session = bound.session
    assert session.resource == "phone" and session.address == b"juliet@localhost/phone"
    assert session.host is bound.core.host
    assert repr(session) == "<session juliet@localhost/phone attached>"
    session.stream = None
    assert repr(session).endswith("detached>")


def test_values_have_a_default(bound: Bound) -> None:
    assert bound.session[CARBONS] is False
    bound.session[CARBONS] = True
    assert bound.session[CARBONS] is True


@pytest.mark.parametrize(("priority", "served"), [(0, True), (127, True), (-1, False)])
def test_served_means_available_with_a_priority_that_is_not_negative(bound: Bound, priority: int, served: bool) -> None:
    session = bound.session
    session.priority = priority
    assert not session.receives_messages
    session.presence = parse_stanza(b"<presence/>")
    assert session.receives_messages is served


def test_send_and_nonza(bound: Bound) -> None:
    session, stream = bound.session, bound.stream
    session.send(parse_stanza(body("one")))
    session.nonza(b"<r/>")
    assert len(stream.taken()) == 2 and stream.answered_size == 0
    session.channel.pause_writing()
    session.nonza(b"<a/>")
    assert stream.answered_size == len(b"<a/>"), "an answer to a client that does not read is counted"
    session.stream = None
    session.nonza(b"<r/>")
    assert stream.taken() == [b"<a/>"]


def test_what_the_client_was_told(bound: Bound) -> None:
    session, account = bound.session, bound.session.account
    account.released = 5
    bound.core.router.newest = 1 << 60
    session.note_acknowledgement()
    assert session.acknowledged_up_to == AcknowledgedUpTo(5, 1 << 60)


async def test_all_settled_waits_for_every_stanza(bound: Bound) -> None:
    session = bound.session
    await session.all_settled()
    session.received = 2
    waits = [asyncio.ensure_future(session.all_settled()) for _ in range(2)]
    await asyncio.sleep(0)
    session.settled()
    await asyncio.sleep(0)
    assert not any(each.done() for each in waits)
    session.settled()
    await asyncio.gather(*waits)
    assert session.handled == 2


def test_what_waits_for_its_commit_is_charged_to_the_account_and_the_process(bound: Bound) -> None:
    session, memory, pool = bound.session, bound.core.memory, bound.session.account.pool
    session.received, session.incoming_size = 1, 1000
    session.charge_incoming()
    assert session.incoming_charged == memory.incoming == pool.incoming == 1000
    session.incoming_size = 1500
    session.charge_incoming()
    assert memory.incoming == pool.incoming == 1500
    bound.stream.inbox_size = 7
    session.settled()
    assert session.incoming_charged == memory.incoming == pool.incoming == 0
    assert session.incoming_size == 7, "what is read and not even parsed counts on"


def test_a_session_is_heavy_while_many_of_its_bytes_wait(bound: Bound) -> None:
    session = bound.session
    session.incoming_size = bound.core.limits.incoming_size + 1
    assert not session.incoming_full, "all of it is handled"
    session.received = 1
    assert session.incoming_full
    session.incoming_size = 1
    assert not session.incoming_full
    bound.core.memory.configure(400, 400)
    session.charge_incoming()
    session.incoming_size = 201
    session.charge_incoming()
    assert session.incoming_full, "of all together too much waits"


def test_a_throttled_stream_is_read_again_when_half_of_the_lane_is_free(bound: Bound) -> None:
    session = bound.session
    session.received, session.throttled = LANE_BOUND, True
    for _ in range(LANE_BOUND // 2):
        session.settled()
    assert session.throttled and bound.stream.reliefs == 0
    session.settled()
    assert not session.throttled and bound.stream.reliefs == 1


# ---- refusals


def test_a_refusal_is_not_covered_until_the_client_has_it(bound: Bound) -> None:
    """No count that a later stream is told covers the stanza: else nobody would ever hear of the refusal."""
    session = bound.session
    queue = session.channel.queue = OutboundQueue()
    session.counter = object()  # type: ignore[assignment]
    session.refusing(2)
    assert session.refusals == [(2, NEVER)] and session.accounted(5) == 1
    session.refuse(2, refusal())
    assert session.refusals == [(2, 1)] and session.accounted(5) == 1
    assert bound.stream.taken()[-1] == b"<r xmlns='urn:xmpp:sm:3'/>"
    queue.acknowledge(1)
    assert session.accounted(5) == 5 and session.refusals == []


def test_a_refusal_after_the_end_is_never_covered(bound: Bound) -> None:
    session = bound.session
    session.channel.queue = OutboundQueue()
    session.ended = True
    session.refuse(3, refusal())
    assert session.accounted(10) == 2
    assert session.accounted(3 + REFUSALS) == 3 + REFUSALS, "so many stanzas later it holds the count back no more"


def test_a_refusal_without_acknowledgements_is_only_sent(bound: Bound) -> None:
    session = bound.session
    session.refusing(1)
    session.refuse(1, refusal())
    assert session.refusals is None and session.accounted(1) == 1
    assert len(bound.stream.taken()) == 1


def test_limits_are_those_of_now(bound: Bound) -> None:
    session = bound.session
    session.received, session.incoming_size = 1, 100
    bound.core.limits = replace(bound.core.limits, incoming_size=50)
    assert session.incoming_full
