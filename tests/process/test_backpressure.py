"""A reader that does not read, one that does not acknowledge, a sender that outruns the disk (T38, M03, Q06); a herd
that comes back at once (T53, D17). A real process, its memory as the system counts it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.process.client import SM, Wire, body
from tests.process.server import ServerProcess, configuration

SENDERS = 4
MIB = 1 << 20
LIMITS = {
    "per_connection": {"stanzas": 1_000_000, "stanzas_burst": 1_000_000, "bytes": "1 GiB", "bytes_burst": "1 GiB"},
    "per_account": {"stanzas": 1_000_000, "stanzas_burst": 1_000_000, "bytes": "1 GiB", "bytes_burst": "1 GiB"},
    "resume_time": "1 hour",
    "connections_per_address": 2000,
}
NO_QUOTA = {"limits": {"waiting_messages": 0, "waiting_size": 0}}


@pytest.fixture
async def process(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    listeners = [{"address": "127.0.0.1", "port": 0, "tls": "none"}]
    server = ServerProcess(tmp_path, configuration(listeners=listeners, plugins=NO_QUOTA, limits=LIMITS))
    await server.start()
    await server.account("juliet", "nurse", *(f"romeo{number}" for number in range(SENDERS)))
    yield server
    server.kill()
    assert "Traceback" not in server.log, server.log


def memory(process: ServerProcess) -> int:
    """Resident bytes of its own; pages of the store's file that the system keeps do not count."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) * 1024


async def send_many(process: ServerProcess, to: str, sender: int, first: int, count: int) -> None:
    """Numbered messages, with a window of 500, as an ordinary client library has it."""
    async with await Wire.login(process.port("none"), f"romeo{sender}", tls="none") as wire:
        await wire.enable()
        for sent in range(first, first + count):
            wire.send(f"<message to='{to}@localhost' type='chat' id='{sent}'><body>{sender} {sent}</body></message>")
            if (sent - first) % 500 == 499 or sent == first + count - 1:
                await wire.acknowledged(sent - first + 1, within=60)


async def send_all(process: ServerProcess, to: str, first: int, count: int) -> None:
    await asyncio.gather(*(send_many(process, to, sender, first, count) for sender in range(SENDERS)))


async def collect(wire: Wire, count: int) -> list[str]:
    """Messages that come, all acknowledged."""
    found: list[str] = []
    handled = 0
    while len(found) < count:
        element = await wire.receive(30)
        if element.tag.startswith("{jabber:client}"):
            handled += 1
            if element.tag == "{jabber:client}message":
                found.append(body(element))
        if element.tag == f"{{{SM}}}r":
            wire.send(f"<a xmlns='{SM}' h='{handled}'/>")
    return found


@pytest.mark.timeout(420)
@pytest.mark.parametrize("reads", [True, False], ids=["does not acknowledge", "does not read"])
@pytest.mark.parametrize("many", [20_000, pytest.param(100_000, marks=pytest.mark.trial)])
async def test_messages_to_one_who_is_stuck(process: ServerProcess, reads: bool, many: int) -> None:
    """T38: what it is owed is in the archive, not in memory; a new device gets all of it, once, in order.

    What grows with the number of messages is seen with many of them: by `make faults`."""
    stuck = await Wire.login(process.port("none"), "juliet", resource="stuck", tls="none")
    await stuck.enable()
    stuck.send("<presence/>")

    async def only_read() -> None:
        while True:
            await stuck.receive(600)

    reading = asyncio.create_task(only_read()) if reads else None
    await send_all(process, "juliet", 0, 1_000)
    await send_all(process, "nurse", 0, 3 * many // SENDERS)  # fills what the store may take for its cache
    warm = memory(process)
    await send_all(process, "juliet", 1_000, many // SENDERS - 1_000)
    grown = memory(process) - warm
    assert grown < 24 * MIB, f"{grown / MIB:.0f} MiB more for {many:,} messages"
    if reading is not None:
        reading.cancel()
    stuck.cut()
    fine = await Wire.login(process.port("none"), "juliet", resource="stuck", tls="none")
    async with fine:
        await fine.enable()
        fine.send("<presence/>")
        found = await collect(fine, many)
    for sender in range(SENDERS):
        mine = [int(text.split()[1]) for text in found if text.startswith(f"{sender} ")]
        assert mine == list(range(many // SENDERS)), f"of {sender}: {len(mine)}"
    assert memory(process) - warm < 32 * MIB


async def test_a_sender_that_outruns_the_disk_is_slowed_by_tcp(process: ServerProcess) -> None:
    """It never waits for an acknowledgement: the server stops reading before it holds more than a few MiB."""
    async with await Wire.login(process.port("none"), "romeo0", tls="none") as wire:
        await wire.enable()
        before, peak = memory(process), 0
        text = "x" * 2000
        for number in range(20_000):
            wire.send(f"<message to='juliet@localhost' type='chat' id='{number}'><body>{text}</body></message>")
            if number % 200 == 0:
                await wire._writer.drain()
                peak = max(peak, memory(process))
        await wire.acknowledged(20_000, within=90)
    assert peak - before < 96 * MIB, f"{(peak - before) / MIB:.0f} MiB of 40 were held"


async def test_a_herd_comes_back_at_once(process: ServerProcess) -> None:
    """T53, D17: all sign in after a restart, none is refused, and none waits for a minute."""
    count = 300
    await process.account(*(f"user{number}" for number in range(count)))
    await process.stop()
    await process.start()
    begun = time.monotonic()

    async def one(number: int) -> None:
        async with await Wire.login(process.port("none"), f"user{number}", tls="none") as wire:
            await wire.enable()
            answer = await wire.iq("<query xmlns='urn:xmpp:mam:2'/>", "set")
            assert answer.get("type") == "result"

    await asyncio.gather(*map(one, range(count)))
    assert time.monotonic() - begun < 60, "the promise is a minute; on an idle machine it takes a few seconds"
