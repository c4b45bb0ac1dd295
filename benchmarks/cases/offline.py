"""Messages to accounts without a session: they are stored, and nobody is told."""

from __future__ import annotations

from ..bench import Bench
from ..client import Client, user
from ..load import chat

SENDERS = 50
ACCOUNTS = 2 * SENDERS
MESSAGES = 5_000
"""Of one round."""
WINDOW = 20


async def run(bench: Bench) -> None:
    """Each sender writes to a recipient of its own; a ping behind every burst is answered when all of it is stored."""
    clients = await bench.clients(SENDERS)
    bursts = max(1, bench.scale.of(MESSAGES) // SENDERS // WINDOW)
    sent = 0

    async def one(client: Client, template: bytes) -> None:
        nonlocal sent
        for _ in range(bursts):
            client.write(b"".join(template % (sent + number, b"-") for number in range(WINDOW)))
            sent += WINDOW
            await client.settled()

    templates = [chat(user(SENDERS + number)) for number in range(SENDERS)]

    async def work() -> None:
        await bench.all("storing", map(one, clients, templates))

    units = bursts * WINDOW * SENDERS
    await bench.rounds("stored for an account that is not signed in", "µs/message", units, work, 100.0)
    await bench.close(clients)
