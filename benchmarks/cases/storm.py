"""A server's network comes back, and all clients with it: 10,000 at once, while 20 people go on chatting.

The clients have streams to resume; TLS and SASL2 with the resumption in the same step. Who is refused, or whose
connection ends, tries again after up to a second, as clients do.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import subprocess
import sys
import time
from typing import Final

from ..bench import Bench
from ..client import Client, LoadError
from ..measure import cpu_seconds, percentile

COUNT: Final = 10_000
ONLOOKERS: Final = 20
ACCOUNTS: Final = COUNT + ONLOOKERS
P99: Final = 250.0
"""Milliseconds that people who are signed in wait, at most, in 99 of 100 cases."""
AGAIN: Final = 1.0
_ID: Final = re.compile(rb"<enabled[^>]* id='([^']+)'")


class Storm:
    def __init__(self, bench: Bench, count: int) -> None:
        self.bench = bench
        self.count = count
        self.tries = self.resumed = 0
        self.clients: list[Client] = []

    async def first(self, number: int) -> tuple[Client, str]:
        """Signs in. Returns the client and its SM-ID."""
        client = await Client.connect(self.bench.server.tls_port, self.bench.server.trust)
        found = _ID.search(await client.sign_in_at_once(f"u{number}"))
        if found is None:
            raise LoadError("nothing to resume")
        return client, found[1].decode()

    async def again(self, number: int, id: str) -> None:
        """Comes back, however often it has to try."""
        chance = random.Random(number)
        while True:
            self.tries += 1
            try:
                client = await Client.connect(self.bench.server.tls_port, self.bench.server.trust)
                answer = await client.sign_in_at_once(f"u{number}", previous=id)
            except (OSError, LoadError):
                await asyncio.sleep(chance.uniform(0, AGAIN))
                continue
            self.resumed += b"<resumed" in answer
            self.clients.append(client)
            return


async def run(bench: Bench) -> None:
    count = bench.scale.of(COUNT)
    storm = Storm(bench, count)
    found = await bench.all("signing in", map(storm.first, range(count)))
    for client, _ in found:
        client.drop()
    await asyncio.sleep(1)
    process = await asyncio.to_thread(_look_on, bench, count)
    try:
        before, began = cpu_seconds(bench.server.pid), time.perf_counter()
        bench.say("all come back")
        await asyncio.gather(*(storm.again(number, id) for number, (_, id) in enumerate(found)))
        seconds, spent = time.perf_counter() - began, cpu_seconds(bench.server.pid) - before
        output, _ = await asyncio.to_thread(process.communicate, "")
        told = json.loads(output)
    finally:
        process.kill()
        process.wait()
    waits = told["waits"]
    bench.figure(f"until {count} clients are back", "s", [seconds])
    bench.figure("tries of a client", "tries", [storm.tries / count])
    bench.figure("streams that were resumed", "of 1", [storm.resumed / count])
    bench.figure("CPU for a client that comes back", "ms", [spent / count * 1e3])
    bench.figure("answers to who was signed in: median", "ms", [percentile(waits, 50)])
    bench.figure("answers to who was signed in: 99 of 100 within", "ms", [percentile(waits, 99)], P99)
    bench.figure("people who were thrown out", "people", [float(told["thrown_out"])], 0.0)
    for client in storm.clients:
        client.drop()


def _look_on(bench: Bench, first: int) -> subprocess.Popen[str]:
    server = bench.server
    command = [sys.executable, "-m", "benchmarks.onlookers"]
    arguments = [str(server.tls_port), str(server.chain), str(first), str(ONLOOKERS)]
    process = subprocess.Popen([*command, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    if process.stdout.readline() != "ready\n":
        raise LoadError("the onlookers could not sign in")
    return process
