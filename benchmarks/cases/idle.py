"""What a session costs that is there and does nothing: TLS, a roster, presence seen by three contacts."""

from __future__ import annotations

import asyncio
import itertools

from ..bench import AT_ONCE, Bench
from ..client import Client, user
from ..measure import Memory

SESSIONS = 1000
ACCOUNTS = SESSIONS + 20
FRIENDS = 4
"""Groups of so many see each other's presence."""
REST = 20
"""Seconds until a server has given back what it holds for the busy only."""


async def run(bench: Bench) -> None:
    """The growth of resident memory from a server that has seen sign-ins to one with all sessions.

    The contacts are made by an earlier process, as what that leaves behind is not a session's.
    """
    count = bench.scale.of(SESSIONS) // FRIENDS * FRIENDS
    await make_contacts(bench, count)
    await bench.server.restart()
    warm = await bench.all("warming up", (session(bench, number) for number in range(SESSIONS, ACCOUNTS)))
    await bench.close(warm)
    await rest(bench)
    before = Memory.of(bench.server.pid)
    clients = await bench.all("signing in", (session(bench, number) for number in range(count)))
    await rest(bench)
    after = Memory.of(bench.server.pid)
    bench.figure("a session: growth of resident memory", "KiB", [(after.resident - before.resident) / count], 40.0)
    bench.figure("a session: growth of private memory", "KiB", [(after.private - before.private) / count])
    bench.figure("the process without sessions: resident", "MiB", [before.resident / 1024])
    await bench.rounds(
        f"{count} idle sessions: CPU per second",
        "ms/s",
        REST,
        lambda: asyncio.sleep(REST),
        per=1e3,
        warm_up=False,
        rounds=1,
    )
    await bench.close(clients)


async def make_contacts(bench: Bench, count: int) -> None:
    """The first `count` accounts become contacts in groups of `FRIENDS`."""
    for start in range(0, count, AT_ONCE):
        bench.say(f"making contacts: {start} of {count}")
        clients = await bench.clients(min(AT_ONCE, count - start), start)
        await _befriend(clients, start)
        await bench.close(clients)


async def session(bench: Bench, number: int, kind: type[Client] = Client) -> Client:
    """Over TLS, available, with its roster."""
    server = bench.server
    port = server.tls_port if kind is Client else server.web_tls_port
    client = await kind.signed_in(port, number, tls=server.trust)
    await client.iq("get", "<query xmlns='jabber:iq:roster'/>")
    await client.appear()
    return client


async def _befriend(clients: list[Client], first: int) -> None:
    """Everybody asks the others of the group, then everybody agrees (RFC 6121 section 3.1)."""
    for type in ("subscribe", "subscribed"):
        for start in range(0, len(clients), FRIENDS):
            for one, other in itertools.permutations(range(start, start + FRIENDS), 2):
                clients[one].write(f"<presence type='{type}' to='{user(first + other)}'/>".encode())
        for client in clients:
            await client.settled()


async def rest(bench: Bench) -> None:
    """Wait until the server has given back what it holds for the busy only."""
    for second in range(REST):
        bench.say(f"waiting until the server rests: {REST - second} s")
        await asyncio.sleep(1)
