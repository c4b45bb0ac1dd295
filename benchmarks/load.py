"""Load: pairs that keep a window full, a steady rate, and the goal that ends a round."""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from collections import deque
from collections.abc import Callable, Sequence

from .client import END_OF_MESSAGE, WAIT, Client, Counter, LoadError

NOT_KEPT = "<no-store xmlns='urn:xmpp:hints'/><no-permanent-store xmlns='urn:xmpp:hints'/>"
TEXT = "But, soft! what light through yonder window breaks?"
_BODY = re.compile(rb"<body>(\d+)")


def chat(to: str, extra: str = "", type: str = "chat") -> bytes:
    """A message as clients send it, with places for a number (the id) and bytes (the begin of the body)."""
    text = (
        f"<message to='{to}' type='{type}' id='bench-%08x'><body>%b {TEXT}</body>"
        f"<request xmlns='urn:xmpp:receipts'/><markable xmlns='urn:xmpp:chat-markers:0'/>{extra}</message>"
    )
    return text.encode()


class Goal:
    """So many are to arrive in this round. Waits as long as something goes on."""

    def __init__(self) -> None:
        self.left = 0
        self._reached: asyncio.Future[None] | None = None

    def arrived(self, count: int) -> None:
        self.left -= count
        if self.left <= 0 and self._reached is not None and not self._reached.done():
            self._reached.set_result(None)

    async def reach(self, count: int, begin: Callable[[], None]) -> None:
        """Raises LoadError when nothing has come for a long time."""
        self.left = count
        reached = self._reached = asyncio.get_running_loop().create_future()
        begin()
        while not reached.done():
            before = self.left
            await asyncio.wait((reached,), timeout=WAIT)
            if not reached.done() and self.left == before:
                raise LoadError(f"{self.left} of {count} did not arrive")


class Pair:
    """One sends to the other and keeps `window` messages under way."""

    def __init__(self, sender: Client, template: bytes, goal: Goal, window: int, managed: bool = False) -> None:
        self.sender = sender
        self.template = template
        self.goal = goal
        self.window = window
        self.to_send = 0
        self._numbers = itertools.count()
        self._ask = [b"<r xmlns='urn:xmpp:sm:3'/>"] if managed else []

    def begin(self, count: int) -> None:
        self.to_send = count
        self.send(self.window)

    def send(self, count: int) -> None:
        count = min(count, self.to_send)
        if count <= 0:
            return
        self.to_send -= count
        template, numbers = self.template, self._numbers
        self.sender.write_all([template % (next(numbers), b"-") for _ in range(count)] + self._ask)

    def arrived(self, count: int) -> None:
        """At the other end: send as many again."""
        if self.to_send:
            self.send(count)
        self.goal.arrived(count)


class Pairs:
    """`clients` in twos: the even ones send to the odd ones."""

    def __init__(self, clients: Sequence[Client], extra: str = "", window: int = 20, managed: bool = False) -> None:
        self.goal = Goal()
        self.pairs: list[Pair] = []
        for sender, receiver in zip(clients[::2], clients[1::2], strict=True):
            template = chat(receiver.jid.partition("/")[0], extra)
            pair = Pair(sender, template, self.goal, window, managed)
            Counter(receiver, pair.arrived, managed)
            if managed:
                Counter(sender, _nothing, managed)
            self.pairs.append(pair)

    async def run(self, count: int) -> None:
        """`count` messages, as fast as they are delivered. Raises LoadError."""
        each = count // len(self.pairs)

        def begin() -> None:
            for pair in self.pairs:
                pair.begin(each)

        await self.goal.reach(each * len(self.pairs), begin)


class Steady:
    """The same in twos at a steady rate; what a message took from end to end is in its body."""

    def __init__(self, clients: Sequence[Client], extra: str = "") -> None:
        self.goal = Goal()
        self.latencies: list[float] = []
        """Milliseconds."""
        self._senders = [
            (sender, chat(receiver.jid.partition("/")[0], extra))
            for sender, receiver in zip(clients[::2], clients[1::2], strict=True)
        ]
        self._numbers = itertools.count()
        for receiver in clients[1::2]:
            self._listen(receiver)

    def _listen(self, client: Client) -> None:
        rest = b""

        def take(data: bytes) -> None:
            nonlocal rest
            now = time.perf_counter_ns()
            whole, end, rest = (rest + data).rpartition(END_OF_MESSAGE)
            sent = _BODY.findall(whole) if end else []
            self.latencies.extend((now - int(each)) / 1e6 for each in sent)
            self.goal.arrived(len(sent))

        client.sink = take

    async def run(self, rate: int, seconds: float) -> None:
        """`rate` messages a second, one sender after the other. Raises LoadError."""
        pacing: list[asyncio.Task[None]] = []
        count = int(rate * seconds)
        await self.goal.reach(count, lambda: pacing.append(asyncio.ensure_future(self._pace(rate, count))))
        await pacing[0]

    async def _pace(self, rate: int, count: int) -> None:
        began, sent = time.perf_counter(), 0
        senders = itertools.cycle(self._senders)
        while sent < count:
            due = min(count, int((time.perf_counter() - began) * rate))
            for client, template in itertools.islice(senders, due - sent):
                client.write(template % (next(self._numbers), b"%d" % time.perf_counter_ns()))
            sent = max(sent, due)
            await asyncio.sleep(0.001)


class SteadyAcks(Steady):
    """The same with XEP-0198 on both sides: `latencies` are from a message to the <a/> that covers it."""

    def __init__(self, clients: Sequence[Client], extra: str = "") -> None:
        super().__init__(clients, extra)
        for sender, receiver in zip(clients[::2], clients[1::2], strict=True):
            Counter(receiver, self.goal.arrived, managed=True)
            self._wait_for_acks(sender)
        self._senders = [(sender, template + b"<r xmlns='urn:xmpp:sm:3'/>") for sender, template in self._senders]

    def _wait_for_acks(self, client: Client) -> None:
        times: deque[int] = deque()
        covered, rest = 0, b""
        write = client.write

        def sending(data: bytes) -> None:
            if data.startswith(b"<message"):
                times.append(time.perf_counter_ns())
            write(data)

        def take(data: bytes) -> None:
            nonlocal covered, rest
            now = time.perf_counter_ns()
            seen = rest + data
            told = [int(each) for each in _ACK.findall(seen)]
            rest = seen[-60:]
            for _ in range(max(told, default=covered) - covered):
                self.latencies.append((now - times.popleft()) / 1e6)
            covered = max([covered, *told])

        client.write = sending  # type: ignore[method-assign]
        client.sink = take


_ACK = re.compile(rb"<a xmlns='urn:xmpp:sm:3' h='(\d+)'/>")


def _nothing(_: int) -> None:
    """Who only sends is told nothing."""
