"""Pings behind what was written to a client without XEP-0198 (docs/explanation/delivery.md)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from tests.core.parts import Core, Stream
from xmppd.delivery.ping_ack import PAUSE, PingAcknowledger
from xmppd.protocol.ack_queue import OutboundQueue
from xmppd.sessions.session import Session
from xmppd.stanza import Kind, Stanza, parse_stanza


class Phone:
    """A client that was sent entries 1, 2, 3 … of its account's log."""

    def __init__(self, core: Core, session: Session, stream: Stream) -> None:
        self.core, self.session, self.stream = core, session, stream
        self.acknowledger = PingAcknowledger(session)
        self.last = 0

    def wrote(self, count: int = 1) -> list[int]:
        """Entries go out; the socket has not taken them yet."""
        ids = list(range(self.last + 1, self.last + count + 1))
        self.last += count
        for id in ids:
            self.session.account.cursor.mark_in_flight(id)
            self.acknowledger.wrote(id)
        return ids

    def pings(self) -> list[Stanza]:
        return [parse_stanza(data) for data in self.stream.taken() if b"urn:xmpp:ping" in data]

    def answer(self, ping: Stanza) -> None:
        self.stream.last_read = self.core.clock.time
        self.core.host.answered(Stanza(Kind.IQ, "result", self.core.host.jid, self.session.jid, ping.id, b"", ()))

    def has(self, *ids: int) -> bool:
        return all(self.session.account.cursor.is_acknowledged(id) for id in ids)


@pytest.fixture
async def phone() -> AsyncIterator[Phone]:
    core = await Core().open()
    core.limits = replace(core.limits, queue=100)
    account = await core.account()
    account.cursor.first_pending = 0
    yield Phone(core, *core.session(account))
    await core.close()


async def test_a_burst_is_asked_for_once_when_the_socket_has_taken_it(phone: Phone) -> None:
    ids = phone.wrote(3)
    assert phone.pings() == [] and len(phone.acknowledger) == 3
    phone.stream.drain()
    (ping,) = phone.pings()
    assert not phone.has(1)
    phone.answer(ping)
    assert phone.has(*ids) and phone.acknowledger.pending == []


async def test_one_ping_at_a_time_and_a_pause_between_them(phone: Phone) -> None:
    phone.wrote()
    phone.stream.drain()
    (first,) = phone.pings()
    phone.wrote()
    phone.stream.drain()
    assert phone.pings() == []
    assert phone.acknowledger.pending == [1, 2]
    phone.answer(first)
    assert phone.has(1) and phone.pings() == [], "it pauses"
    await phone.core.advance(PAUSE)
    (second,) = phone.pings()
    phone.answer(second)
    assert phone.has(2)


async def test_much_that_waits_is_asked_for_without_a_pause(phone: Phone) -> None:
    phone.wrote()
    phone.stream.drain()
    phone.answer(phone.pings()[0])
    phone.wrote(phone.core.limits.queue // 4)
    phone.stream.drain()
    assert len(phone.pings()) == 1


async def test_a_stop_asks_at_once(phone: Phone) -> None:
    phone.wrote()
    phone.stream.drain()
    phone.answer(phone.pings()[0])
    phone.wrote()
    phone.stream.drain()
    assert phone.pings() == []
    phone.acknowledger.hurry()
    assert len(phone.pings()) == 1


async def test_a_silent_client_is_asked_again(phone: Phone) -> None:
    """The connection may be dead: nothing of it counts as delivered."""
    phone.wrote()
    phone.stream.drain()
    phone.pings()
    await phone.core.advance(phone.core.limits.answer_time)
    assert len(phone.pings()) == 1 and not phone.has(1)


async def test_a_client_that_lives_and_answers_no_pings_is_not_asked_again(phone: Phone) -> None:
    """Then the end of the write counts."""
    phone.wrote()
    phone.stream.drain()
    phone.pings()
    phone.wrote()
    phone.stream.drain()
    await phone.core.advance(phone.core.limits.answer_time - 1)
    phone.stream.last_read = phone.core.clock.time
    await phone.core.advance(1)
    assert phone.has(1, 2)
    phone.wrote()
    assert not phone.has(3)
    phone.stream.drain()
    assert phone.has(3) and phone.pings() == []


async def test_without_an_answer_time_the_end_of_the_write_counts(phone: Phone) -> None:
    phone.core.limits = replace(phone.core.limits, answer_time=0.0)
    phone.wrote()
    phone.stream.drain()
    assert phone.has(1) and phone.pings() == []


async def test_who_closes_its_stream_has_what_its_socket_has_taken(phone: Phone) -> None:
    phone.wrote()
    phone.stream.drain()
    phone.wrote()
    phone.stream.drain()
    phone.wrote()
    phone.acknowledger.stream_closed()
    assert phone.has(1, 2) and phone.acknowledger.pending == [3]


async def test_a_client_that_begins_to_count_counts_the_ping_too(phone: Phone) -> None:
    phone.wrote()
    queue = phone.session.channel.queue = OutboundQueue()
    phone.stream.drain()
    assert len(phone.pings()) == 1 and queue.sent == 1


async def test_nothing_happens_after_the_end(phone: Phone) -> None:
    phone.wrote()
    phone.stream.drain()
    (ping,) = phone.pings()
    phone.core.session_manager.end(phone.session)
    phone.answer(ping)
    assert not phone.has(1)


async def test_a_session_that_waits_for_its_client_asks_nothing(phone: Phone) -> None:
    phone.wrote()
    phone.session.stream = None
    phone.stream.drain()
    assert phone.pings() == [] and phone.acknowledger.pending == [1]
