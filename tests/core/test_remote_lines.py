"""Whatever other servers do: each handover is told at most once, what waits is not lost, and the order stays.
Streams are ours or theirs, with one line or several on each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.core.test_server_out import Told
from tests.harness import FakeClock
from xmppd.background import Background
from xmppd.config import FederationConfig
from xmppd.errors import StreamError
from xmppd.jid import JID
from xmppd.net.dns import NoSuchDomain
from xmppd.stanza import Stanza
from xmppd.streams.remote_bounds import LINE
from xmppd.streams.remote_failures import Failures
from xmppd.streams.remote_lines import TRIES, RemoteLines
from xmppd.streams.server_out import Refused

DOMAINS = ("one.example", "two.example")
PAIRS = (("localhost", DOMAINS[0]), ("localhost", DOMAINS[1]), ("rooms.localhost", DOMAINS[0]))
"""Ours and theirs. The last one is a component's."""


class Stream:
    """A stream to another server, as its line sees it."""

    def __init__(self, managed: bool, remote: str = "", outgoing: bool = True) -> None:
        self.managed = managed
        self.remote = remote
        self.outgoing = outgoing
        self.used = 0.0
        self.slow = self.closed = False
        self.leaving = False
        """As `ServerStream.carry` has it, nothing is put on it any more."""
        self.written: list[tuple[int, int]] = []
        """Numbers, and as which stanza XEP-0198 counts it; 0: it does not."""
        self.counted = 0
        self.acknowledged = 0
        self.on_acknowledged: Callable[[int], None] = lambda count: None
        self.on_room: Callable[[], None] = lambda: None
        self.on_end: Callable[[str], None] = lambda why: None

    def write(self, data: bytes) -> None:
        assert not self.closed and not self.slow
        self.counted += self.managed
        if data.startswith(b"<message"):
            number = int(data.partition(b"id='")[2].partition(b"'")[0])
            self.written.append((number, self.counted if self.managed else 0))

    def request(self) -> None:
        assert self.managed and not self.closed

    def lose(self) -> None:
        if not self.closed:
            self.closed = True
            self.on_end("lost")

    def leave(self) -> None:
        self.lose()

    def abort(self) -> None:
        """Nobody reads on."""

    def fail(self, error: StreamError) -> None:
        self.lose()

    def too_high(self, count: int, sent: int) -> None:
        self.lose()


class World:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.background = Background(self.clock)
        self.calls: list[tuple[str, bool, asyncio.Future[Any]]] = []
        self.streams: list[Stream] = []
        self.pairs: dict[str, tuple[str, str]] = {}
        """Of what was handed over, by its id."""
        self.told: list[Told] = []
        self.pings: list[Callable[[Stanza | None], None]] = []
        self.losses = 0
        self.gentle = True
        """Nothing has happened for which what waits may fail."""
        host = SimpleNamespace(domain="localhost", jid=JID.parse("localhost"), expect=self.expect)
        router = SimpleNamespace(routes=SimpleNamespace(hosts=lambda: [host]))
        server: Any = SimpleNamespace(clock=self.clock, router=router)
        self.config = FederationConfig()
        connect: Any = self.connect
        self.lines = RemoteLines(
            server, self.background, self.config, connect, Failures(self.clock), lambda *_, **__: None
        )

    def expect(self, to: JID, answered: Callable[[Stanza | None], None], within: float) -> str:
        self.pings.append(answered)
        return "ping"

    async def connect(self, local: str, remote: str, alone: bool) -> Stream:
        future: asyncio.Future[Stream] = asyncio.get_running_loop().create_future()
        self.calls.append((remote, alone, future))
        return await future

    async def settle(self) -> None:
        for _ in range(6):
            await asyncio.sleep(0)

    # ---- what can happen

    async def send(self, pair: tuple[str, str], patient: bool) -> None:
        told = Told(str(len(self.told)), patient, f"bob@{pair[1]}")
        self.told.append(told)
        self.pairs[told.id] = pair
        self.lines.send(*pair, told)

    async def answer_call(self, outcome: str) -> None:
        if not self.calls:
            return
        remote, alone, future = self.calls.pop(0)
        shared = [each for each in self.streams if each.remote == remote and self.lines.is_shared(each)]  # type: ignore[arg-type]
        if outcome == "shared" and shared and not alone:
            future.set_result(shared[0])
        elif outcome in ("managed", "plain", "closed", "shared"):
            stream = Stream(outcome != "plain", remote)
            stream.closed = outcome == "closed"
            if not stream.closed:
                self.streams.append(stream)
            future.set_result(stream)
        else:
            self.gentle &= outcome != "unknown"
            errors = {"unknown": NoSuchDomain("x"), "refused": Refused("x"), "reset": OSError("x")}
            future.set_exception(errors.get(outcome, RuntimeError("a bug")))

    async def called(self, pair: tuple[str, str]) -> None:
        """The other server has opened a stream that goes both ways; XEP-0198 comes later, if at all."""
        stream: Any = Stream(False, pair[1], outgoing=False)
        self.streams.append(stream)
        self.lines.carry(*pair, stream)

    async def proves_more(self, pair: tuple[str, str]) -> None:
        for stream in self.streams:
            if not stream.outgoing and not stream.closed and not stream.leaving:
                carrier: Any = stream
                self.lines.carry(*pair, carrier)

    async def enable(self) -> None:
        for stream in self.streams:
            stream.managed = True

    async def let_go(self) -> None:
        for stream in self.streams:
            carrier: Any = stream
            self.lines.let_go(carrier)
            stream.leaving = True

    async def acknowledge(self, count: int) -> None:
        for stream in self.streams:
            if stream.managed and not stream.closed:
                stream.acknowledged += min(count, stream.counted - stream.acknowledged)
                stream.on_acknowledged(stream.acknowledged)

    async def acknowledge_too_much(self) -> None:
        for stream in self.streams:
            if stream.managed:
                stream.on_acknowledged(stream.counted + 1)
        self.losses += 1

    async def pong(self) -> None:
        pings, self.pings = self.pings, []
        for ping in pings:
            ping(None)

    async def lose(self) -> None:
        self.losses += 1
        for stream in self.streams:
            stream.lose()

    async def slow(self) -> None:
        for stream in self.streams:
            stream.slow = True

    async def hold(self, pair: tuple[str, str]) -> None:
        """What comes is not written."""
        await self.slow()
        for _ in range(3):
            await self.send(pair, True)

    async def room(self) -> None:
        for stream in self.streams:
            if stream.slow and not stream.closed:
                stream.slow = False
                stream.on_room()

    async def time(self, seconds: float) -> None:
        end = self.clock.monotonic() + seconds
        if seconds > 100:
            self.gentle = False
        while (callback := self.clock.due(end)) is not None:
            callback()
            await self.settle()
        self.lines.sweep(self.clock.monotonic())

    async def block(self, domains: tuple[str, ...]) -> None:
        self.gentle &= not domains
        self.lines.configure(replace(self.config, block=domains))

    # ---- what holds

    def check(self) -> None:
        lines = self.lines
        waits = 0
        for line in lines.all:
            numbers = [int(item.handover.id) for item in (*line.written, *line.waiting)]  # type: ignore[attr-defined]
            assert numbers == sorted(numbers), "the order is another one"
            carrier = line.load.carrier if line.load is not None else None
            assert not line.empty or carrier is not None or line.connecting, "it is not forgotten"
            if line.waiting and carrier is None and not lines.stopping:
                assert line.connecting or line.timer is not None, "nobody connects"
            if carrier is not None and not carrier.closed and not carrier.slow and not line.careful:
                assert not line.waiting, "it could be written"
            if line.careful and line.load is not None:
                assert len(line.load.lines) == 1, "it is not alone"
            assert not (line.written and carrier is None) and line.uncounted <= len(line.written)
            waits += len(numbers)
        bounds = lines.bounds
        assert bounds.waiting == waits
        items = [item for line in lines.all for item in (*line.written, *line.waiting)]
        assert bounds.size == sum(item.size for item in items) + LINE * len(lines.all)
        assert bounds.kept == sum(item.handover.patient for item in items)
        assert sum(bounds.sizes.values()) == sum(item.size for item in items)
        kept = {item.handover.id for item in items}  # type: ignore[attr-defined]
        for told in self.told:
            assert len(told.calls) == (0 if told.id in kept else 1), (told.id, told.calls)
            if told.patient and self.gentle and self.losses < TRIES:
                assert told.calls in ([], ["delivered"]), told.calls
        confirmed: set[int] = set()
        for stream in self.streams:
            for pair in PAIRS:
                numbers = [number for number, _ in stream.written if self.pairs[str(number)] == pair]
                assert numbers == sorted(numbers)
            confirmed |= {number for number, place in stream.written if place <= stream.acknowledged}
        for told in self.told:
            if told.calls == ["delivered"] and self.pairs[told.id][0] == "localhost":
                assert int(told.id) in confirmed, "nobody has said that it is there"


outcomes = st.sampled_from(
    ["managed", "managed", "managed", "shared", "shared", "plain", "closed", "refused", "reset", "fault", "unknown"]
)
steps = st.one_of(
    st.tuples(st.just("send"), st.sampled_from(PAIRS), st.booleans()),
    st.tuples(st.just("send"), st.just(PAIRS[0]), st.just(True)),
    st.tuples(st.just("hold"), st.just(PAIRS[0])),
    st.tuples(st.sampled_from(["called", "proves_more"]), st.sampled_from(PAIRS)),
    st.tuples(st.just("answer_call"), outcomes),
    st.tuples(st.just("answer_call"), st.just("managed")),
    st.tuples(st.just("acknowledge"), st.integers(0, 4)),
    st.tuples(st.sampled_from(["acknowledge_too_much", "pong", "lose", "slow", "room", "enable", "let_go"])),
    st.tuples(st.just("time"), st.sampled_from([0.5, 2.0, 5.0, 30.0, 90.0, 700.0, 4000.0])),
    st.tuples(st.just("block"), st.sampled_from([(), DOMAINS[:1]])),
)


async def run(script: list[tuple[Any, ...]]) -> None:
    world = World()
    try:
        for name, *arguments in script:
            act: Callable[..., Awaitable[None]] = getattr(world, name)
            await act(*arguments)
            await world.settle()
            world.check()
        await world.block(())
        for _ in range(300):  # from now on all goes well
            await world.answer_call("managed")
            await world.room()
            await world.settle()
            await world.acknowledge(1000)
            await world.pong()
            await world.time(3.0)
            await world.settle()
        world.check()
        assert all(told.calls for told in world.told) and world.lines.bounds.waiting == 0
        for stream in world.streams:
            if not stream.outgoing:  # theirs are for them to end
                stream.lose()
        await world.time(700.0)
        assert world.lines.bounds.size == 0 and not world.lines.all and not world.lines._loads and not world.lines._ways
        await world.lines.close(0.0)
    finally:
        await world.background.close()


ONE = ("localhost", "one.example")
SLOW_AND_ASKED = [("send", ONE, True), ("called", ONE), ("send", ONE, True), ("hold", ONE), ("pong",)]


@settings(max_examples=300, deadline=None)
@given(st.lists(steps, max_size=40))
@example(SLOW_AND_ASKED)
def test_whatever_happens(script: list[tuple[Any, ...]]) -> None:
    asyncio.run(run(script))


@settings(max_examples=100, deadline=None)
@given(st.lists(steps, max_size=25), st.lists(steps, max_size=10))
def test_a_stop_in_the_middle(before: list[tuple[Any, ...]], after: list[tuple[Any, ...]]) -> None:
    """Behind it nothing is called twice, and nothing is tried."""

    async def play() -> None:
        world = World()
        for name, *arguments in before:
            await getattr(world, name)(*arguments)
            await world.settle()
        await world.lines.close(0.0)
        calls = len(world.calls)
        for name, *arguments in after:
            await getattr(world, name)(*arguments)
            await world.settle()
        assert all(len(told.calls) <= 1 for told in world.told)
        assert len(world.calls) <= calls
        await world.background.close()

    asyncio.run(play())
