"""Files over HTTP (XEP-0363), beside a handler of aiohttp alone in a process of its own, round by round in turn."""

from __future__ import annotations

import asyncio
import re
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final
from urllib.parse import urlsplit

from .. import transfer
from ..bench import Bench
from ..client import DOMAIN, Client, LoadError
from ..measure import Memory, cpu_seconds

ACCOUNTS: Final = 60
SIZE: Final = 100_000_000
LARGE: Final = 1_000_000_000
AT_ONCE: Final = 1000
STALLED: Final = 100
BOUND: Final = 2.0
"""At least half of what the bare handler reaches."""
LATER: Final = 0.5
"""Seconds between two looks at the memory."""
_URL: Final = re.compile(rb"<(put|get) url=['\"]([^'\"]+)['\"]")


@dataclass(frozen=True, slots=True)
class Bare:
    """The peer: aiohttp alone."""

    pid: int
    http: int
    https: int
    folder: Path


@contextmanager
def bare(bench: Bench) -> Iterator[Bare]:
    folder = bench.server.folder / "bare"
    folder.mkdir()
    files = (folder, bench.server.chain, bench.server.key)
    command = [sys.executable, "-m", "benchmarks.bare_http", *map(str, files)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        ports = process.stdout.readline().split()
        if len(ports) != 2:
            raise LoadError("the bare handler did not start")
        yield Bare(process.pid, int(ports[0]), int(ports[1]), folder)
    finally:
        process.kill()
        process.wait()


async def slot(client: Client, size: int) -> tuple[str, str]:
    """The paths to put and to get. Raises LoadError."""
    answer = await client.iq(
        "get",
        f"<request xmlns='urn:xmpp:http:upload:0' filename='a.mp4' size='{size}' content-type='video/mp4'/>",
        f"upload.{DOMAIN}",
        "</iq>",
    )
    found = {name: urlsplit(url.decode()) for name, url in _URL.findall(answer)}
    if len(found) != 2:
        raise LoadError(f"no slot: {answer!r}")
    return f"{found[b'put'].path}?{found[b'put'].query}", found[b"get"].path


def _measured(pid: int, work: Callable[[], float]) -> tuple[float, float]:
    before = cpu_seconds(pid)
    seconds = work()
    return seconds, cpu_seconds(pid) - before


class Compared:
    """What ours and the bare handler needed for the same, in turn."""

    def __init__(self, bench: Bench, size: int) -> None:
        self.bench = bench
        self.size = size
        self.ours: list[tuple[float, float]] = []
        self.theirs: list[tuple[float, float]] = []

    async def round(self, ours: Callable[[], float], pid: int, theirs: Callable[[], float], warm_up: bool) -> None:
        profiler = self.bench.profiler if not warm_up else None
        if profiler is not None:
            await profiler.begin(self.bench.server)
        found = await asyncio.to_thread(_measured, self.bench.server.pid, ours)
        if profiler is not None:
            await profiler.end(self.bench.server, self.bench.case, self.size // 1_000_000)
        beside = await asyncio.to_thread(_measured, pid, theirs)
        if not warm_up:
            self.ours.append(found)
            self.theirs.append(beside)

    def tell(self, what: str) -> None:
        rate = self.size / 1e6
        self.bench.figure(f"{what}", "MB/s", [rate / seconds for seconds, _ in self.ours])
        self.bench.figure(f"{what}: by the bare handler", "MB/s", [rate / seconds for seconds, _ in self.theirs])
        self.bench.figure(f"{what}: CPU", "ms/100 MB", [cpu * 1e11 / self.size for _, cpu in self.ours])
        for at, name in enumerate(("time", "CPU")):
            ours, theirs = ([each[at] for each in found] for found in (self.ours, self.theirs))
            ratio = median(ours) / median(theirs)
            self.bench.figure(f"{what}: {name}, times the bare handler's", "×", [ratio], BOUND)


async def run_upload(bench: Bench) -> None:
    clients = await bench.clients(STALLED // 2, present=False)
    with bare(bench) as peer:
        for what, ours, theirs, tls in _ways(bench, peer):
            size = bench.scale.of(SIZE)
            compared = Compared(bench, size)
            for number in range(bench.scale.rounds + 1):
                bench.say(f"{what}: round {number}")
                put, _ = await slot(clients[0], size)
                await compared.round(
                    partial(transfer.upload, ours, put, size, tls),
                    peer.pid,
                    partial(transfer.upload, theirs, "/a", size, tls),
                    number == 0,
                )
            compared.tell(f"100 MB put, {what}")
    await _large(bench, clients[0])
    await _stalled(bench, clients)
    await bench.close(clients)


def _ways(bench: Bench, peer: Bare) -> list[tuple[str, int, int, ssl.SSLContext | None]]:
    server = bench.server
    return [("http", server.web_port, peer.http, None), ("https", server.web_tls_port, peer.https, server.trust)]


async def _large(bench: Bench, client: Client) -> None:
    """The memory of the process while 1 GB comes in."""
    size = bench.scale.of(LARGE)
    put, _ = await slot(client, size)
    before = Memory.of(bench.server.pid).resident
    with _watched(bench.server.pid) as peak:
        await asyncio.to_thread(transfer.upload, bench.server.web_port, put, size, None)
    bench.figure("1 GB put: growth of resident memory at the peak", "MiB", [(max(peak) - before) / 1024], 16.0)


async def _stalled(bench: Bench, clients: list[Client]) -> None:
    """Clients that stand still in the middle of an upload, and somebody who is in a hurry."""
    pid, port = bench.server.pid, bench.server.web_port
    with ExitStack() as opened:
        before = Memory.of(pid).resident
        for number in range(STALLED):
            put, _ = await slot(clients[number % len(clients)], SIZE)
            peer = opened.enter_context(transfer.connect(port))
            head = f"PUT {put} HTTP/1.1\r\nHost: {DOMAIN}\r\nContent-Length: {SIZE}\r\n\r\n"
            peer.sendall(head.encode() + bytes(300_000))
        times = []
        for _ in range(bench.scale.rounds):
            put, _ = await slot(clients[0], 1_000_000)
            times.append(await asyncio.to_thread(transfer.upload, port, put, 1_000_000, None))
        bench.figure(f"1 MB put beside {STALLED} that stand still", "ms", [each * 1e3 for each in times])
        held = (Memory.of(pid).resident - before) / STALLED
        bench.figure("one that stands still: growth of resident memory", "KiB", [held], 400.0)


async def run_download(bench: Bench) -> None:
    (client,) = await bench.clients(1, present=False)
    size = bench.scale.of(SIZE)
    put, get = await slot(client, size)
    await asyncio.to_thread(transfer.upload, bench.server.web_port, put, size, None)
    with bare(bench) as peer:
        (peer.folder / "a").write_bytes(bytes(size))
        for what, ours, theirs, tls in _ways(bench, peer):
            for path in ("/a", "/file/a"):
                compared = Compared(bench, size)
                for number in range(bench.scale.rounds + 1):
                    bench.say(f"{what}: round {number}")
                    await compared.round(
                        partial(transfer.download, ours, get, size, tls),
                        peer.pid,
                        partial(transfer.download, theirs, path, size, tls),
                        number == 0,
                    )
                compared.tell(f"100 MB fetched, {what}" + (" (beside FileResponse)" if path != "/a" else ""))
    await _many(bench, get, size)
    await bench.close([client])


async def _many(bench: Bench, path: str, size: int) -> None:
    """Clients that fetch at once, and read nothing until all have asked."""
    pid, count = bench.server.pid, bench.scale.of(AT_ONCE)
    before = Memory.of(pid).resident
    with ExitStack() as opened, _watched(pid) as peak:
        peers = []
        for number in range(count):
            bench.say(f"at once: {number}")
            peer = opened.enter_context(transfer.connect(bench.server.web_port, buffer=8192))
            transfer.ask(peer, path)
            peers.append(peer)
        await asyncio.sleep(2)
        first = [await asyncio.to_thread(peer.recv, 12) for peer in peers]
        if first != [b"HTTP/1.1 200"] * count:
            raise LoadError(f"{sum(each != b'HTTP/1.1 200' for each in first)} were not answered")
        await asyncio.to_thread(_drain, peers, bench.scale.of(1_000_000))
    bench.figure(
        f"{count} downloads at once: growth of memory at the peak", "MiB", [(max(peak) - before) / 1024], 128.0
    )
    await asyncio.sleep(15)
    after = Memory.of(pid).resident
    bench.figure(f"{count} downloads at once: growth of memory behind them", "MiB", [(after - before) / 1024], 64.0)


def _drain(peers: list[transfer.socket.socket], each: int) -> None:
    """Read so much from each, in turn."""
    for _ in range(0, each, 1 << 16):
        for peer in peers:
            peer.recv(1 << 16)


@contextmanager
def _watched(pid: int) -> Iterator[list[int]]:
    """The resident memory of a process, KiB, looked at again and again."""
    seen = [Memory.of(pid).resident]
    over = threading.Event()

    def look() -> None:
        while not over.wait(LATER):
            seen.append(Memory.of(pid).resident)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()
        seen.append(Memory.of(pid).resident)
