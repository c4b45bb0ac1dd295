"""Signing in: TLS 1.3 with a certificate on P-256, SCRAM-SHA-256, binding, and the end of the stream.

Then all of it in one step (XEP-0388, XEP-0386), with stream management and carbons, beside handshakes of the same TLS
library in a process of its own, round by round in turn.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Final

from ..bench import Bench
from ..client import Client, LoadError
from ..measure import cpu_seconds
from ..servers import Xmppd

ACCOUNTS = 100
OF_HANDSHAKE: Final = 1.6
BEYOND: Final = 0.5
"""Milliseconds. A sign-in in one step costs at most OF_HANDSHAKE times a handshake, and this; one by a token that
resumes a stream, a handshake and this."""
_TOKEN: Final = re.compile(rb"<token[^>]* token='([^']+)'")
_ID: Final = re.compile(rb"<enabled[^>]* id='([^']+)'")


async def run(bench: Bench) -> None:
    """The client has kept its salted password, as clients do, and resumes no TLS session."""
    server, tls = bench.server, bench.server.trust

    async def one(number: int) -> None:
        client = await Client.signed_in(server.tls_port, number, tls=tls, scram=True)
        await client.close()

    async def work() -> None:
        await bench.all("signing in", map(one, range(ACCOUNTS)))

    await bench.rounds("TLS, SCRAM-SHA-256, binding, closing", "ms/sign-in", ACCOUNTS, work, per=1e3)
    if isinstance(server, Xmppd):
        await _in_one_step(bench)


async def _in_one_step(bench: Bench) -> None:
    server, tls = bench.server, bench.server.trust

    async def signing_in(number: int) -> None:
        client = await Client.connect(server.tls_port, tls)
        await client.sign_in_at_once(f"u{number}")
        await client.close()

    def kept(found: re.Match[bytes] | None) -> str:
        if found is None:
            raise LoadError("no token, or nothing to resume")
        return found[1].decode()

    async def first(number: int) -> tuple[str, str]:
        client = await Client.connect(server.tls_port, tls)
        answer = await client.sign_in_at_once(f"u{number}", want_token=True)
        client.drop()
        return kept(_TOKEN.search(answer)), kept(_ID.search(answer))

    known = await bench.all("getting tokens", map(first, range(ACCOUNTS, 2 * ACCOUNTS)))

    async def coming_back(number: int) -> None:
        token, id = known[number]
        client = await Client.connect(server.tls_port, tls)
        answer = await client.sign_in_at_once(f"u{ACCOUNTS + number}", previous=id, token=token)
        if b"<resumed" not in answer:
            raise LoadError(f"not resumed: {answer!r}")
        await client.hang_up()

    with _handshakes(bench) as (pid, port):

        async def shaking_hands(number: int) -> None:
            client = await Client.connect(port, tls)
            await client.hang_up()

        ways: dict[str, tuple[int, Callable[[int], Awaitable[None]]]] = {
            "a TLS handshake and nothing else": (pid, shaking_hands),
            "TLS, sign-in in one step, stream management, carbons, closing": (server.pid, signing_in),
            "TLS, a token, the stream is resumed, broken": (server.pid, coming_back),
        }
        spent: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(bench.scale.rounds + 1):
            for name, (process, one) in ways.items():
                bench.say(f"{name}: round {number}" if number else f"{name}: warming up")
                profiler = bench.profiler if number and process == server.pid else None
                if profiler is not None:
                    await profiler.begin(server)
                before = cpu_seconds(process)
                await bench.all(name, (one(each) for each in range(ACCOUNTS)))  # type: ignore[misc]
                if number:
                    spent[name].append((cpu_seconds(process) - before) / ACCOUNTS * 1e3)
                if profiler is not None:
                    await profiler.end(server, name, ACCOUNTS)
    bare = median(next(iter(spent.values())))
    for (name, values), times in zip(spent.items(), (0.0, OF_HANDSHAKE, 1.0), strict=True):
        bench.figure(name, "ms/sign-in", values, times * bare + BEYOND if times else None)


@contextmanager
def _handshakes(bench: Bench) -> Iterator[tuple[int, int]]:
    """Yields the pid and the port of a process that does TLS handshakes only. Raises LoadError."""
    command = [sys.executable, "-m", "benchmarks.bare_tls", str(bench.server.chain), str(bench.server.key)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise LoadError("the process for bare handshakes did not start")
        yield process.pid, int(line)
    finally:
        process.kill()
        process.wait()
