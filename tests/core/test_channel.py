"""The states of a delivery channel: each row of its table, and what is sent in each state."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from tests.core.parts import Core, Stream, body, presence, texts
from xmppd.delivery.channel import DeliveryChannel
from xmppd.delivery.states import AVAILABLE, SENDING, TRANSITIONS, Action, Event, State
from xmppd.protocol.ack_queue import HandledTooHigh
from xmppd.sessions.account import Account
from xmppd.sessions.session import Session
from xmppd.stanza import iq, parse_stanza


class Scene:
    """Juliet's phone, which acknowledges (XEP-0198), and what it takes to bring its channel into a state."""

    def __init__(self, core: Core, account: Account, acks: bool = True) -> None:
        self.core, self.account = core, account
        self.session: Session
        self.stream: Stream
        self.session, self.stream = core.session(account, "phone", acks)
        self.channel: DeliveryChannel = self.session.channel

    async def enter(self, state: State) -> None:
        """By events alone."""
        channel = self.channel
        if state in AVAILABLE:
            channel.start()
            await self.core.idle()
        if state in (State.LAGGING, State.UNAVAILABLE_LAGGING):
            channel.pause_writing()
            channel.send(body("waiting"), 0)
        if state is State.CATCHING_UP:
            await self.core.archive(self.account, "read")
            self.account.cursor.mark_pending(self.account.released)
            self.backend.hold_reads()
            channel.catch_up()
            await self.backend.asked.wait()
        self.stream.taken()
        assert channel.state is state

    @property
    def backend(self) -> Any:
        return self.core.backend

    async def release(self, text: str, to: str = "") -> int:
        """A message comes as it does when its commit is in."""
        (id,) = await self.core.archive(self.account, text, to=to)
        self.channel.send(body(text, to or self.account.bare), id)
        return id

    def acknowledge(self) -> None:
        """The client has all that it was sent."""
        assert self.channel.queue is not None
        self.channel.acknowledge(self.channel.queue.sent)

    def sent(self) -> list[str]:
        return texts(self.stream.taken())


@pytest.fixture
async def core() -> AsyncIterator[Core]:
    core = await Core().open()
    yield core
    await core.close()


@pytest.fixture
async def scene(core: Core) -> Scene:
    return Scene(core, await core.account())


# ---- the table


def test_the_table_knows_every_state_and_event() -> None:
    assert {state for state, _ in TRANSITIONS} == {state for state, _ in TRANSITIONS.values()} == set(State)
    assert {event for _, event in TRANSITIONS} == set(Event)
    assert {action for _, actions in TRANSITIONS.values() for action in actions} == set(Action)


def test_who_reads_the_log_starts_in_one_state_and_stops_on_every_way_out() -> None:
    for (state, _), (after, actions) in TRANSITIONS.items():
        assert (Action.READ_LOG in actions) == (after is State.CATCHING_UP)
        assert (Action.STOP_READING in actions) == (state is State.CATCHING_UP)


def test_what_waited_is_sent_on_every_way_from_waiting_to_sending() -> None:
    for (state, event), (after, actions) in TRANSITIONS.items():
        assert (Action.SEND_WAITING in actions) == (state not in SENDING and after in SENDING), (state, event)


def test_availability_changes_by_its_events_alone() -> None:
    for (state, event), (after, _) in TRANSITIONS.items():
        if event is Event.AVAILABLE:
            assert state not in AVAILABLE and after in AVAILABLE
        elif event is Event.UNAVAILABLE:
            assert state in AVAILABLE and after not in AVAILABLE
        else:
            assert (state in AVAILABLE) == (after in AVAILABLE)


@pytest.mark.parametrize(("state", "event"), sorted(product(State, Event), key=str))
async def test_an_event_leads_where_the_table_says(scene: Scene, state: State, event: Event) -> None:
    """Also: one without a row changes nothing."""
    await scene.enter(state)
    channel = scene.channel
    reading, reads = channel.catching_up, scene.backend.reads
    channel.on(event)
    after, actions = TRANSITIONS.get((state, event), (state, ()))
    assert channel.state is after
    assert channel.live is (after in SENDING)
    assert channel.available is (after in AVAILABLE)
    assert (channel.catching_up is None) == (after is not State.CATCHING_UP)
    if not actions:
        assert channel.catching_up is reading and scene.backend.reads == reads
    assert (scene.sent() == ["waiting"]) == (Action.SEND_WAITING in actions and state is not State.CATCHING_UP)
    scene.backend.release_reads()


# ---- the rows, one by one, as they come about


async def test_unavailable_available_live(scene: Scene) -> None:
    scene.channel.start()
    assert scene.channel.state is State.LIVE
    await scene.release("one")
    assert scene.sent() == ["one"]
    assert scene.channel.position == scene.channel.high_water == scene.account.released


async def test_unavailable_no_room_lagging(scene: Scene) -> None:
    """What has no log entry waits; an entry for its full JID stays in the log."""
    channel = scene.channel
    channel.pause_writing()
    assert channel.state is State.UNAVAILABLE
    channel.send(body("transient"), 0)
    assert channel.state is State.UNAVAILABLE_LAGGING
    id = await scene.release("entry", to=scene.session.jid.full)
    assert scene.sent() == [] and texts([data for data, _ in channel.waiting()]) == ["transient"]
    assert scene.account.cursor.first_pending == id
    assert scene.core.counts.lagging == 1


async def test_unavailable_lagging_room_unavailable(scene: Scene) -> None:
    channel = scene.channel
    await scene.enter(State.UNAVAILABLE_LAGGING)
    channel.resume_writing()
    assert channel.state is State.UNAVAILABLE
    assert scene.sent() == ["waiting"]
    assert channel.waiting() == [] and channel.share.used == channel.queue.size  # type: ignore[union-attr]


async def test_unavailable_lagging_available_lagging(scene: Scene) -> None:
    """It reads the log as soon as there is room, then it sends what waited."""
    channel = scene.channel
    await scene.core.archive(scene.account, "before")
    scene.account.cursor.mark_pending(scene.account.released)
    await scene.enter(State.UNAVAILABLE_LAGGING)
    channel.start()
    assert channel.state is State.LAGGING
    channel.resume_writing()
    assert channel.state is State.CATCHING_UP
    await scene.core.idle()
    assert channel.state is State.LIVE
    assert scene.sent() == ["before", "waiting"]


async def test_live_unavailable(scene: Scene) -> None:
    """Nothing more of the log is sent, but for what is for its full JID."""
    await scene.enter(State.LIVE)
    scene.channel.leave()
    assert scene.channel.state is State.UNAVAILABLE
    id = await scene.release("for me", to=scene.session.jid.full)
    assert scene.sent() == ["for me"]
    assert scene.channel.already_sent == {id}
    scene.channel.leave()
    assert scene.channel.state is State.UNAVAILABLE


async def test_live_backlog_lagging_room_catching_up_caught_up(scene: Scene) -> None:
    """Another session did not acknowledge an entry: this one reads it."""
    await scene.enter(State.LIVE)
    (id,) = await scene.core.archive(scene.account, "given back")
    scene.account.cursor.mark_pending(id)
    scene.channel.catch_up()
    assert scene.channel.state is State.CATCHING_UP  # there was room at once
    await scene.core.idle()
    assert scene.channel.state is State.LIVE
    assert scene.sent() == ["given back"]
    assert scene.core.counts.lagging == 0


async def test_live_without_backlog_stays_live(scene: Scene) -> None:
    await scene.enter(State.LIVE)
    reads = scene.backend.reads
    scene.account.cursor.first_pending = 0
    scene.channel.catch_up()
    await scene.core.idle()
    assert scene.channel.state is State.LIVE and scene.backend.reads == reads


async def test_backlog_without_room_waits_for_it(scene: Scene) -> None:
    await scene.enter(State.LIVE)
    scene.channel.pause_writing()
    await scene.core.archive(scene.account, "given back")
    scene.account.cursor.mark_pending(scene.account.released)
    scene.channel.catch_up()
    assert scene.channel.state is State.LAGGING
    scene.channel.resume_writing()
    await scene.core.idle()
    assert scene.sent() == ["given back"] and scene.channel.state is State.LIVE


async def test_live_no_room_lagging(scene: Scene) -> None:
    """The queue is full (`limits.queue`): from there on the log is the queue."""
    await scene.enter(State.LIVE)
    for text in "abcdef":
        await scene.release(text)
    assert scene.channel.state is State.LAGGING
    assert scene.sent() == ["a", "b", "c", "d"]
    assert scene.core.counts.lagging == 1
    scene.acknowledge()
    assert scene.channel.state is State.CATCHING_UP
    await scene.core.idle()
    assert scene.channel.state is State.LIVE
    assert scene.sent() == ["e", "f"]


async def test_lagging_unavailable(scene: Scene) -> None:
    """What waits is sent when there is room; the entries are due to it when it comes again."""
    await scene.enter(State.LIVE)
    for text in "abcdef":
        await scene.release(text)
    scene.channel.send(presence().data, 0, presence())
    scene.channel.leave()
    assert scene.channel.state is State.UNAVAILABLE_LAGGING
    scene.acknowledge()
    assert scene.channel.state is State.UNAVAILABLE
    assert scene.sent() == ["a", "b", "c", "d"]
    scene.channel.start()
    await scene.core.idle()
    assert scene.sent() == ["e", "f"]


async def test_catching_up_unavailable(scene: Scene) -> None:
    """What the store gives after that is not sent, nor taken for sent."""
    await scene.enter(State.CATCHING_UP)
    scene.channel.leave()
    assert scene.channel.state is State.UNAVAILABLE
    scene.backend.release_reads()
    await scene.core.idle()
    assert scene.sent() == []
    assert scene.account.cursor.first_pending == scene.account.released
    scene.channel.start()
    await scene.core.idle()
    assert scene.sent() == ["read"]


async def test_catching_up_unavailable_available(scene: Scene) -> None:
    """It leaves and comes while the store is asked: two readings are on their way, and one of them counts."""
    await scene.enter(State.CATCHING_UP)
    scene.channel.leave()
    scene.channel.start()
    assert scene.channel.state is State.CATCHING_UP
    scene.backend.release_reads()
    await scene.core.idle()
    assert scene.channel.state is State.LIVE
    assert scene.sent() == ["read"]


async def test_catching_up_no_room_lagging(scene: Scene) -> None:
    ids = await scene.core.archive(scene.account, *"abcdef")
    scene.account.cursor.mark_pending(ids[0])
    scene.channel.start()
    assert scene.channel.state is State.CATCHING_UP
    await scene.core.idle()
    assert scene.channel.state is State.LAGGING
    assert scene.sent() == ["a", "b", "c", "d"]
    assert scene.channel.position == ids[3]
    scene.acknowledge()
    await scene.core.idle()
    assert scene.channel.state is State.LIVE
    assert scene.sent() == ["e", "f"]
    assert scene.core.counts.lagging == 0


async def test_catching_up_backlog_reads_again_from_there(scene: Scene) -> None:
    """An entry is given back while a page behind it is read: the page is read anew, nothing comes twice."""
    (early,) = await scene.core.archive(scene.account, "early")
    scene.account.cursor.mark_in_flight(early)  # another session has it
    await scene.core.archive(scene.account, "late")
    scene.account.cursor.first_pending = scene.account.released
    scene.backend.hold_reads()
    scene.channel.start()
    await scene.backend.asked.wait()
    scene.account.cursor.unmark_in_flight((early,))
    scene.channel.catch_up()
    assert scene.channel.state is State.CATCHING_UP
    scene.backend.release_reads()
    await scene.core.idle()
    assert scene.sent() == ["early", "late"]
    assert scene.channel.state is State.LIVE


async def test_catching_up_with_a_store_that_is_away(scene: Scene) -> None:
    await scene.core.archive(scene.account, "one")
    scene.account.cursor.mark_pending(scene.account.released)
    scene.backend.unreachable = True
    scene.channel.start()
    await scene.core.idle()
    assert scene.channel.state is State.LAGGING
    scene.backend.unreachable = False
    await scene.core.advance(1.9)
    assert scene.sent() == []
    await scene.core.advance(0.2)
    assert scene.sent() == ["one"] and scene.channel.state is State.LIVE


async def test_at_a_stop_the_log_keeps_what_is_in_it(scene: Scene) -> None:
    await scene.enter(State.LAGGING)
    scene.core.stopping = True
    scene.channel.resume_writing()
    assert scene.channel.state is State.LAGGING


# ---- what is due to whom


async def test_what_came_before_its_presence_and_another_session_has_is_not_sent(scene: Scene) -> None:
    (id,) = await scene.core.archive(scene.account, "on the laptop")
    scene.account.cursor.mark_in_flight(id)
    scene.channel.start()
    await scene.core.idle()
    assert scene.sent() == []


async def test_what_came_while_it_lagged_is_due_though_another_session_has_it(scene: Scene) -> None:
    await scene.enter(State.LAGGING)
    (mine,) = await scene.core.archive(scene.account, "for both")
    (other,) = await scene.core.archive(scene.account, "for the laptop alone", to="juliet@localhost/laptop")
    for id in (mine, other):
        scene.account.cursor.mark_in_flight(id)
    scene.channel.resume_writing()
    await scene.core.idle()
    assert scene.sent() == ["for both", "waiting"]


async def test_a_carbon_that_was_sent_or_waits_is_not_sent_from_the_log(scene: Scene) -> None:
    await scene.enter(State.LAGGING)
    (id,) = await scene.core.archive(scene.account, "carbon")
    scene.account.cursor.mark_in_flight(id)  # the laptop, whose message it is
    stanza = parse_stanza(body("carbon"))
    scene.channel.copy(body("carbon"), id, stanza)
    assert id in scene.channel.pending()
    scene.channel.resume_writing()
    await scene.core.idle()
    assert scene.sent() == ["waiting", "carbon"]


async def test_a_carbon_while_it_is_unavailable_is_remembered(scene: Scene) -> None:
    (id,) = await scene.core.archive(scene.account, "carbon")
    stanza = parse_stanza(body("carbon"))
    scene.channel.copy(body("carbon"), id, stanza)
    scene.channel.copy(body("carbon"), 0, stanza)
    assert scene.channel.already_sent == {id} and scene.sent() == ["carbon", "carbon"]
    scene.channel.archive_read = id - 1
    scene.channel.start()
    await scene.core.idle()
    assert scene.sent() == [] and scene.channel.already_sent is None


async def test_what_is_remembered_as_sent_has_a_bound(scene: Scene) -> None:
    for text in "abcdefgh":
        await scene.release(text, to=scene.session.jid.full)
        scene.acknowledge()
    assert scene.channel.already_sent is not None
    assert len(scene.channel.already_sent) == scene.core.limits.queue


async def test_who_has_read_its_archive_gets_what_came_later_and_the_transient_entries(scene: Scene) -> None:
    await scene.core.archive(scene.account, "shown")
    (hidden,) = await scene.core.archive(scene.account, "hidden", hidden=True)
    scene.channel.read_by_client(scene.account.released)
    await scene.core.archive(scene.account, "later")
    scene.account.cursor.mark_pending(1)
    scene.channel.start()
    await scene.core.idle()
    assert scene.sent() == ["hidden", "later"]
    assert hidden in scene.account.cursor.transient
    assert scene.account.cursor.readers == ("phone",)
    scene.channel.read_by_client(scene.account.released + 1)
    assert scene.channel.archive_read < scene.account.released


async def test_a_resource_that_read_its_archive_last_time_takes_the_backlog_over_once(scene: Scene) -> None:
    await scene.core.archive(scene.account, "in the archive")
    scene.account.cursor.mark_pending(1)
    scene.account.cursor.reads_archive("phone")
    scene.channel.start()
    await scene.core.idle()
    assert scene.sent() == [] and scene.channel.archive_read == scene.account.released
    scene.channel.leave()
    await scene.core.archive(scene.account, "while away")
    scene.channel.start()
    await scene.core.idle()
    assert scene.sent() == ["while away"]


# ---- sending


async def test_without_acknowledgements_a_ping_asks(core: Core) -> None:
    scene = Scene(core, await core.account(), acks=False)
    scene.channel.start()
    await scene.release("one")
    scene.stream.drain()
    written = scene.stream.taken()
    assert texts(written) == ["one"] and b"urn:xmpp:ping" in written[-1]
    assert scene.channel.pending() == [scene.account.released]
    scene.channel.stream_closed()
    assert scene.channel.pending() == []
    assert scene.account.cursor.is_acknowledged(scene.account.released)


async def test_with_nothing_to_look_at_it_writes_at_once(core: Core) -> None:
    scene = Scene(core, await core.account(), acks=False)
    scene.channel.send(b"<presence/>", 0)
    assert scene.stream.taken() == [b"<presence/>"] and scene.session.delivered == 1
    scene.session.stream = None
    scene.channel.send(b"<presence/>", 0)
    assert scene.session.delivered == 2
    await scene.release("nobody is there")
    assert scene.account.cursor.in_flight == {}


async def test_an_acknowledgement_is_asked_for(scene: Scene) -> None:
    scene.channel.start()
    await scene.core.idle()
    scene.stream.taken()
    scene.channel.send(b"<message>" + b"x" * (64 << 10) + b"</message>", 0)
    assert scene.stream.taken()[-1] == b"<r xmlns='urn:xmpp:sm:3'/>"
    scene.channel.ask()
    assert scene.stream.taken() == []
    await scene.release("one")
    scene.channel.ask_before_stop()
    assert scene.stream.taken()[-1] == b"<r xmlns='urn:xmpp:sm:3'/>"


async def test_an_acknowledged_entry_is_delivered(scene: Scene) -> None:
    scene.channel.start()
    id = await scene.release("one")
    assert scene.channel.pending() == [id] and scene.account.cursor.in_flight == {id: 1}
    scene.core.clock.time += 5
    scene.acknowledge()
    assert scene.channel.pending() == [] and scene.account.cursor.is_acknowledged(id)
    assert scene.channel.last_progress == scene.core.clock.time


async def test_a_client_that_comes_back_goes_on_where_it_was(scene: Scene) -> None:
    """XEP-0198 section 5: what it has not acknowledged is sent again. It cannot go back behind what it acknowledged,
    and it cannot have what was never sent."""
    channel, stream = scene.channel, scene.stream
    await scene.enter(State.LIVE)
    for text in ("one", "two", "three"):
        channel.send(body(text), 0)
    assert channel.resume(2)
    stream.taken()
    channel.send_again()
    written = b"".join(stream.taken())
    assert b"three" in written and b"two" not in written
    assert written.endswith(b"<r xmlns='urn:xmpp:sm:3'/>")
    assert (channel.sent_log_ids(), [data for data, _ in channel.sent()]) == ((2, (0,)), [body("three")])
    assert not channel.resume(1)
    with pytest.raises(HandledTooHigh) as raised:
        channel.resume(4)
    assert (raised.value.h, raised.value.sent) == (4, 3)


async def test_nobody_comes_back_who_did_not_acknowledge(core: Core) -> None:
    session, _ = core.session(await core.account("romeo"), "tablet", acks=False)
    assert not session.channel.resume(0)
    assert session.channel.sent() == []
    session.channel.enable_acknowledgements()
    assert session.channel.resume(0)


async def test_what_comes_again_says_how_late_it_is(scene: Scene) -> None:
    scene.channel.start()
    await scene.release("one")
    scene.core.clock.step(60)
    (again,) = scene.channel.unacknowledged()
    assert again.count(b"urn:xmpp:delay") == 1
    iq = b"<iq type='result' id='1'/>"
    assert scene.channel.late(iq, 1) == iq
    assert scene.channel.late(body("now"), scene.channel.now()) == body("now")


async def test_a_trace_is_touched_once(scene: Scene) -> None:
    scene.channel.trace = lambda: scene.core.host.cursor_writer.cursors.put(scene.account.bare, "trace", None)  # type: ignore[arg-type]
    scene.channel.start()
    await scene.release("one")
    assert scene.channel.untraced


async def test_a_refusal_waits_for_nothing(scene: Scene) -> None:
    await scene.enter(State.LAGGING)
    assert scene.channel.refuse(body("refused")) == 1
    assert scene.sent() == ["refused"]
    for _ in range(2 * scene.core.limits.queue):
        scene.channel.refuse(body("refused"))
    assert scene.session.ended and scene.core.counts.overflows == 1


async def test_a_refusal_without_acknowledgements(core: Core) -> None:
    scene = Scene(core, await core.account(), acks=False)
    assert scene.channel.refuse(body("refused")) == 0
    assert scene.sent() == ["refused"]


class Gate:
    """Holds back presence, as client state indication does (XEP-0352)."""

    def __init__(self) -> None:
        self.delayed: list[bytes] = []

    def __call__(self, data: bytes, log_id: int, stanza: Any) -> bool:
        if data.startswith(b"<presence"):
            self.delayed.append(data)
            return True
        return False

    def flush(self) -> None:
        self.delayed.clear()

    def waiting(self) -> list[tuple[bytes, int]]:
        return [(data, 7) for data in self.delayed]


async def test_a_gate_is_told_first(scene: Scene) -> None:
    scene.channel.gate = Gate()
    scene.channel.send(b"<presence/>", 0)
    scene.channel.send(body("through"), 0)
    assert scene.sent() == ["through"]
    assert scene.channel.waiting() == [(b"<presence/>", 7)]


async def test_a_carbon_that_waited_while_it_was_unavailable_is_remembered(scene: Scene) -> None:
    await scene.enter(State.UNAVAILABLE_LAGGING)
    (id,) = await scene.core.archive(scene.account, "carbon")
    scene.account.cursor.mark_in_flight(id)  # the laptop, whose message it is
    scene.channel.copy(body("carbon"), id, parse_stanza(body("carbon")))
    scene.channel.resume_writing()
    assert scene.sent() == ["waiting", "carbon"]
    assert scene.channel.already_sent == {id} and scene.account.cursor.in_flight == {id: 2}


async def test_a_stop_asks_clients_without_acknowledgements(core: Core) -> None:
    scene = Scene(core, await core.account(), acks=False)
    core.limits = replace(core.limits, queue=100)
    scene.channel.ask_before_stop()
    scene.channel.stream_closed()
    scene.channel.start()
    await scene.release("one")
    scene.stream.drain()
    (ping,) = [data for data in scene.stream.taken() if b"urn:xmpp:ping" in data]
    core.host.answered(iq("result", parse_stanza(ping).id, sender=scene.session.jid))
    await scene.release("two")
    scene.stream.drain()
    assert texts(scene.stream.taken()) == ["two"], "it pauses between two pings"
    scene.channel.ask_before_stop()
    assert b"urn:xmpp:ping" in scene.stream.taken()[-1]


async def test_what_its_socket_did_not_take_fills_the_queue_of_a_client_without_acknowledgements(core: Core) -> None:
    scene = Scene(core, await core.account(), acks=False)
    scene.channel.start()
    for text in "abcdef":
        await scene.release(text)
    assert scene.channel.state is State.LAGGING
    assert scene.sent() == ["a", "b", "c", "d"]


async def test_a_second_start_changes_nothing(scene: Scene) -> None:
    await scene.enter(State.LIVE)
    due_after = scene.channel.due_after
    await scene.core.archive(scene.account, "later")
    scene.channel.start()
    assert scene.channel.state is State.LIVE and scene.channel.due_after == due_after
    scene.channel.leave()
    scene.channel.catch_up()
    assert scene.channel.state is State.UNAVAILABLE
