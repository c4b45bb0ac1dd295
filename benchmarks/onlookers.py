"""python -m benchmarks.onlookers PORT CHAIN FIRST COUNT: people who are signed in while others make the server busy.

Each asks the server for an answer every quarter of a second. Prints "ready"; at the end of the input it prints the
waits of all, in milliseconds, and how many of the people were thrown out.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import time
from contextlib import suppress
from typing import Final

import uvloop

from .client import Client, LoadError

EVERY: Final = 0.25


async def look_on(port: str, chain: str, first: str, count: str) -> None:
    trust = ssl.create_default_context(cafile=chain)
    numbers = range(int(first), int(first) + int(count))
    clients = [await Client.signed_in(int(port), number, tls=trust) for number in numbers]
    waits: list[float] = []

    async def ask(client: Client, delay: float) -> None:
        await asyncio.sleep(delay)
        with suppress(LoadError):
            while True:
                began = time.perf_counter()
                await client.settled()
                waits.append((time.perf_counter() - began) * 1e3)
                await asyncio.sleep(EVERY)

    asking = [asyncio.create_task(ask(client, EVERY * at / len(clients))) for at, client in enumerate(clients)]
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    for task in asking:
        task.cancel()
    print(json.dumps({"waits": waits, "thrown_out": sum(client.lost.done() for client in clients)}), flush=True)


if __name__ == "__main__":
    uvloop.run(look_on(*sys.argv[1:5]))
