"""What WebSocket (RFC 7395) costs above TCP: the same messages and the same idle sessions on both, in one process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ..bench import Bench
from ..client import Client
from ..load import NOT_KEPT, Pairs
from ..measure import Memory
from ..socket_client import SocketClient
from .idle import FRIENDS, make_contacts, rest, session

PAIRS = 25
"""Of each kind."""
ACCOUNTS = 4 * PAIRS
MESSAGES = 10_000
"""Of one round."""
TIMES = 1.3
"""So many times as much may a message cost."""
SESSIONS = 1000
"""Of each kind."""
IDLE_ACCOUNTS = SESSIONS + 20
ABOVE = 12.0
"""KiB that a session may take above one over TCP."""


async def run(bench: Bench) -> None:
    """At saturation: every pair keeps 20 messages under way. No TLS."""
    for name, extra in (("not archived", NOT_KEPT), ("archived on both sides", "")):
        clients = {
            "TCP": await _clients(bench, Client, 0),
            "WebSocket": await _clients(bench, SocketClient, 2 * PAIRS),
        }
        count = bench.scale.of(MESSAGES) // PAIRS * PAIRS
        works = {way: _work(Pairs(some, extra), count) for way, some in clients.items()}
        await bench.compared(name, "µs/message", count, works, TIMES)
        for some in clients.values():
            await bench.close(some)


def _work(pairs: Pairs, count: int) -> Callable[[], Awaitable[None]]:
    return lambda: pairs.run(count)


async def _clients(bench: Bench, kind: type[Client], first: int) -> list[Client]:
    port = bench.server.port if kind is Client else bench.server.web_port

    async def one(number: int) -> Client:
        client = await kind.signed_in(port, number)
        await client.appear()
        return client

    return await bench.all("signing in", map(one, range(first, first + 2 * PAIRS)))


async def run_idle(bench: Bench) -> None:
    """As the case `idle`, over TCP and over WebSocket, each in a fresh process."""
    count = bench.scale.of(SESSIONS) // FRIENDS * FRIENDS
    await make_contacts(bench, count)
    sizes: list[float] = []
    for kind in (Client, SocketClient):
        await bench.server.restart()
        numbers = range(SESSIONS, IDLE_ACCOUNTS)
        await bench.close(await bench.all("warming up", [session(bench, number, kind) for number in numbers]))
        await rest(bench)
        before = Memory.of(bench.server.pid).resident
        clients = await bench.all("signing in", [session(bench, number, kind) for number in range(count)])
        await rest(bench)
        sizes.append((Memory.of(bench.server.pid).resident - before) / count)
        await bench.close(clients)
    tcp, socket = sizes
    bench.figure("a session over TCP", "KiB", [tcp])
    bench.figure("a session over WebSocket", "KiB", [socket])
    bench.figure("WebSocket above TCP", "KiB", [socket - tcp], ABOVE)
