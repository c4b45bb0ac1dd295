"""One-to-one messages: 50 senders, 50 receivers, one session each, no TLS."""

from __future__ import annotations

from ..bench import Bench
from ..client import Client, LoadError
from ..load import NOT_KEPT, Pairs, Steady, SteadyAcks
from ..measure import percentile

PAIRS = 50
ACCOUNTS = 2 * PAIRS
MESSAGES = 10_000
"""Of one round."""
RATE = 2_000
SECONDS = 5.0


async def run(bench: Bench) -> None:
    """At saturation: every pair keeps 20 messages under way."""
    await _saturate(bench, "not archived", NOT_KEPT, 40.0)
    await _saturate(bench, "archived on both sides", "", 100.0)
    await _saturate(bench, "archived, with acknowledgements (XEP-0198)", "", None, managed=True)
    await _saturate(bench, "the same over TLS, 10 under way", "", 130.0, managed=True, tls=True, window=10)


async def _saturate(
    bench: Bench,
    name: str,
    extra: str,
    target: float | None,
    managed: bool = False,
    tls: bool = False,
    window: int = 20,
) -> None:
    clients = await bench.clients(ACCOUNTS, tls=tls)
    if managed:
        await bench.all("acknowledgements", (client.manage() for client in clients))
    pairs = Pairs(clients, extra, window, managed)
    count = bench.scale.of(MESSAGES)
    await bench.rounds(name, "µs/message", count // PAIRS * PAIRS, lambda: pairs.run(count), target)
    await check(clients, kept=not extra)
    await bench.close(clients)


async def check(clients: list[Client], kept: bool) -> None:
    """Both sides have it in their archive, or neither. Raises LoadError."""
    for client in clients[:2]:
        client.sink = None
        found = await client.archived()
        if bool(found) is not kept:
            raise LoadError(f"{found} messages in the archive of {client.jid}")


async def run_steady(bench: Bench) -> None:
    """At a steady rate a turn of the loop and a commit are paid by few messages: this is the dear end."""
    await _steady(bench, f"not archived, {RATE}/s", NOT_KEPT, 120.0)
    await _steady(bench, f"archived on both sides, {RATE}/s", "", 220.0)
    await _steady_acks(bench, f"archived, acknowledged, over TLS, {RATE}/s")


async def _steady_acks(bench: Bench, name: str) -> None:
    """What a sender waits for its acknowledgement."""
    clients = await bench.clients(ACCOUNTS, tls=True)
    await bench.all("acknowledgements", (client.manage() for client in clients))
    load = SteadyAcks(clients)
    seconds = SECONDS * min(1.0, bench.scale.share)
    slowest: list[float] = []

    async def work() -> None:
        load.latencies.clear()
        await load.run(RATE, seconds)
        slowest.append(percentile(load.latencies, 99))

    await bench.rounds(name, "µs/message", int(RATE * seconds), work, None, rounds=3)
    await check(clients, kept=True)
    bench.figure(f"{name}: acknowledgement, 99 of 100 below", "ms", slowest[1:], 50.0)
    await bench.close(clients)


async def _steady(bench: Bench, name: str, extra: str, target: float) -> None:
    clients = await bench.clients(ACCOUNTS)
    load = Steady(clients, extra)
    seconds = SECONDS * min(1.0, bench.scale.share)
    medians: list[float] = []
    slowest: list[float] = []

    async def work() -> None:
        load.latencies.clear()
        await load.run(RATE, seconds)
        medians.append(percentile(load.latencies, 50))
        slowest.append(percentile(load.latencies, 99))

    await bench.rounds(name, "µs/message", int(RATE * seconds), work, target, rounds=3)
    await check(clients, kept=not extra)
    bench.figure(f"{name}: latency, median", "ms", medians[1:])
    bench.figure(f"{name}: latency, 99 of 100 below", "ms", slowest[1:], 20.0)
    await bench.close(clients)
