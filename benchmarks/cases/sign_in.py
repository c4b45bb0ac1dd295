"""Signing in: TLS 1.3 with a certificate on P-256, SCRAM-SHA-256, binding, and the end of the stream."""

from __future__ import annotations

from ..bench import Bench
from ..client import Client

ACCOUNTS = 100


async def run(bench: Bench) -> None:
    """The client has kept its salted password, as clients do, and resumes no TLS session."""
    server, tls = bench.server, bench.server.trust

    async def one(number: int) -> None:
        client = await Client.signed_in(server.tls_port, number, tls=tls, scram=True)
        await client.close()

    async def work() -> None:
        await bench.all("signing in", map(one, range(ACCOUNTS)))

    await bench.rounds("TLS, SCRAM-SHA-256, binding, closing", "ms/sign-in", ACCOUNTS, work, per=1e3)
