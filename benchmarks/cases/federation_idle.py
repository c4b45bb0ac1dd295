"""What a stream between servers costs that is there and does nothing, and what it costs that there might be one."""

from __future__ import annotations

import asyncio

from ..bench import AT_ONCE, Bench
from ..client import LoadError
from ..federation import NEAR
from ..light_server import LightServer
from ..measure import Memory, cpu_seconds
from ..servers import Xmppd
from .federation import NearClient
from .idle import REST, rest

STREAMS = 1000
WARM = 20
LARGEST = 64.0
"""KiB of a stream."""
UNUSED = 10
"""Seconds in which a server that nobody uses is looked at."""


async def run(bench: Bench) -> None:
    """Growth of the process from one that has had some streams. Each is with another domain, over TLS, proved by the
    certificate of that domain, with XEP-0198 where the server has it. Taken when the server has given back what it
    holds for the busy: the streams that come first, then as many that it opens itself, to the same domains."""
    assert bench.federation is not None
    count = bench.scale.of(STREAMS)
    domains = [f"d{number}.example" for number in range(WARM + count)]
    async with LightServer(bench.federation, bench.server.folder, domains) as light:
        sender = await NearClient.signed_in(bench.server.port, 0)
        await _open(bench, light, domains[:WARM])
        await _call(bench, light, sender, domains[:WARM])
        await rest(bench)
        before = Memory.of(bench.server.pid)
        await _open(bench, light, domains[WARM:])
        await rest(bench)
        came = Memory.of(bench.server.pid)
        await _call(bench, light, sender, domains[WARM:])
        await rest(bench)
        called = Memory.of(bench.server.pid)
        for name, start, end in (("that has come", before, came), ("that it has opened", came, called)):
            resident, private = end.resident - start.resident, end.private - start.private
            bench.figure(f"a stream {name}: growth of resident memory", "KiB", [resident / count], LARGEST)
            bench.figure(f"a stream {name}: growth of private memory", "KiB", [private / count])
        name = f"{count} idle streams each way: CPU per second"
        await bench.rounds(name, "ms/s", REST, lambda: asyncio.sleep(REST), per=1e3, warm_up=False, rounds=1)
        if light.lost:
            raise LoadError(f"{light.lost} streams have ended")
        await bench.close([sender])


async def _open(bench: Bench, light: LightServer, domains: list[str]) -> None:
    port = bench.server.server_port
    await bench.all("streams come", (light.open(domain, NEAR, port) for domain in domains))


async def _call(bench: Bench, light: LightServer, sender: NearClient, domains: list[str]) -> None:
    """Have the server open a stream to each domain, a few at a time. Raises LoadError."""
    for start in range(0, len(domains), AT_ONCE):
        some = domains[start : start + AT_ONCE]
        bench.say(f"streams are opened: {start} of {len(domains)}")
        for domain in some:
            sender.write(f"<message to='x@{domain}' type='chat' id='{domain}'><body>hello</body></message>".encode())
        for _ in range(600):
            if light.taken.issuperset(some):
                break
            await asyncio.sleep(0.1)
        else:
            raise LoadError(f"nothing has come to {set(some) - light.taken}")


async def run_unused(bench: Bench) -> None:
    """The same process with a listener for other servers to which nobody comes, and without one, in turn."""
    server = bench.server
    assert isinstance(server, Xmppd)
    federation = server.federation
    memory: dict[bool, list[float]] = {False: [], True: []}
    spent: dict[bool, list[float]] = {False: [], True: []}
    for number in range(bench.scale.rounds):
        for way in (False, True):
            bench.say(f"{'with' if way else 'without'} a listener: round {number + 1}")
            server.federation = federation if way else None
            server.configure()
            await server.restart()
            await asyncio.sleep(UNUSED / 2)
            memory[way].append(Memory.of(server.pid).resident / 1024)
            before = cpu_seconds(server.pid)
            await asyncio.sleep(UNUSED)
            spent[way].append((cpu_seconds(server.pid) - before) / UNUSED * 1e3)
    for name, unit, values in (("resident memory", "MiB", memory), ("CPU per second", "ms/s", spent)):
        bench.figure(f"{name}, no listener for servers", unit, values[False])
        bench.figure(f"{name}, with one", unit, values[True])
        bench.figure(f"{name}: more", unit, [b - a for a, b in zip(values[False], values[True], strict=True)])
