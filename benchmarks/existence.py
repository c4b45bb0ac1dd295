"""Whether a stranger can tell by the time of an answer that an account exists: `python -m benchmarks.existence`.

For each kind of question the answers about accounts that exist and about names that do not are timed in turn, and the
area under the ROC curve is given: 0.5 is a guess, 1 is certainty. Below 0.55 is meant to be (ADR 0007). The machine
should be quiet, and a few hundredths are chance.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import random
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

from .client import DOMAIN, Client
from .servers import Xmppd

ACCOUNTS: Final = 4000
FIRST: Final = 2000
"""Names from here on are asked for, all of the same length; those below ACCOUNTS exist."""
SASL: Final = "urn:ietf:params:xml:ns:xmpp-sasl"
QUESTIONS: Final = {
    "vcard": "<vCard xmlns='vcard-temp'/>",
    "ping": "<ping xmlns='urn:xmpp:ping'/>",
    "disco#info": "<query xmlns='http://jabber.org/protocol/disco#info'/>",
    "disco#items": "<query xmlns='http://jabber.org/protocol/disco#items'/>",
    "roster": "<query xmlns='jabber:iq:roster'/>",
}


def area(there: Sequence[float], absent: Sequence[float]) -> float:
    """Under the ROC curve: how often one that is there takes longer than one that is not; at least 0.5."""
    ranked = sorted([(value, 1) for value in there] + [(value, 0) for value in absent])
    below, wins = 0, 0.0
    for _, exists in ranked:
        if exists:
            wins += below
        else:
            below += 1
    found = wins / (len(there) * len(absent))
    return max(found, 1 - found)


async def timed(ask: Callable[[str], Awaitable[float]], pairs: Sequence[tuple[int, int]]) -> tuple[float, float, float]:
    """The area, and the medians in milliseconds."""
    taken: tuple[list[float], list[float]] = ([], [])
    for pair in pairs:
        for which in random.sample((0, 1), 2):
            taken[which].append(await ask(f"u{pair[which]}"))
    there, absent = (sorted(each)[len(each) // 2] * 1000 for each in taken)
    return area(*taken), there, absent


async def by_iq(client: Client, payload: str, name: str) -> float:
    before = time.perf_counter()
    await client.iq("get", payload, to=f"{name}@{DOMAIN}")
    taken = time.perf_counter() - before
    await client.settled()
    return taken


async def by_scram(port: int, name: str) -> float:
    client = await Client.connect(port)
    client.write(client.opening)
    await client.expect(b"</stream:features>")
    first = base64.b64encode(f"n,,n={name},r=0123456789abcdef".encode()).decode()
    before = time.perf_counter()
    client.write(f"<auth xmlns='{SASL}' mechanism='SCRAM-SHA-256'>{first}</auth>".encode())
    await client.expect(b"</challenge>")
    taken = time.perf_counter() - before
    await client.close()
    return taken


async def measure(count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        server = Xmppd(Path(folder) / "xmppd", ACCOUNTS)
        await server.start()
        try:
            pairs = [(FIRST + number, ACCOUNTS + number) for number in range(count)]
            for state in ("cold", "warm"):
                for kind, payload in QUESTIONS.items():
                    if state == "cold":
                        await server.restart()
                    client = await Client.signed_in(server.port, 0)
                    say(kind, state, await timed(lambda name: by_iq(client, payload, name), pairs))  # noqa: B023
                    await client.close()
                if state == "cold":
                    await server.restart()
                else:  # in memory by their own sessions
                    for there, _ in pairs[:: max(1, count // 100)]:
                        await (await Client.signed_in(server.port, there)).close()
                asked = pairs if state == "cold" else pairs[:: max(1, count // 100)] * max(1, count // 100)
                say("SCRAM", state, await timed(lambda name: by_scram(server.port, name), asked))
        finally:
            server.stop()


def say(kind: str, state: str, found: tuple[float, float, float]) -> None:
    curve, there, absent = found
    print(f"{kind:12} {state:5} AUC {curve:.3f}   there {there:6.2f} ms   absent {absent:6.2f} ms", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="questions of each kind about each of the two")
    asyncio.run(measure(min(parser.parse_args().count, ACCOUNTS - FIRST)))
