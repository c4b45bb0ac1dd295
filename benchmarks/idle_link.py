"""python -m benchmarks.idle_link: what an idle connection costs in memory, without any XMPP on it.

The listener runs alone in a process of its own; the clients are in this one. The figure is the growth of the server
process's private memory, read from the system, for so many connections after some warm-up.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import resource
import ssl
import tempfile
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from xmppd.contracts.link import Link
from xmppd.net.listen import Listener, TlsMode
from xmppd.net.loop import RealClock, run
from xmppd.net.tls import Certificates

WARM_UP = 200
AT_ONCE = 50
REPLY = 40_000
"""Bytes the server sends once on each connection, with `--used`: an archive page, say."""


class Silent:
    """As little as a protocol can be."""

    __slots__ = ("link", "used")

    def __init__(self, used: bool) -> None:
        self.used = used
        self.link: Link | None = None

    def connected(self, link: Link) -> None:
        self.link = link

    def data_received(self, data: bytes) -> None:
        if self.link is not None:
            self.link.write(b"x" * REPLY if self.used else b"x")

    def secured(self) -> None: ...

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...

    def connection_lost(self, error: Exception | None) -> None:
        self.link = None


def private(pid: int) -> int:
    """KiB that this process alone holds."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Private_Dirty"):
            return int(line.split()[1])
    raise OSError("no figure of private memory")


def serve(pipe: Pipe, mode: TlsMode, used: bool, stock_loop: bool) -> None:
    """The server process: says its port, collects garbage when asked."""

    async def main() -> None:
        certificates = Certificates()
        with tempfile.TemporaryDirectory() as folder:
            certificates.add("localhost", Path(folder, "c"), Path(folder, "k"), self_signed=True)
        listener = Listener(RealClock(), certificates, mode, per_address=1_000_000)
        await listener.start("127.0.0.1", 0, lambda: Silent(used))
        pipe.send(listener.port)
        loop = asyncio.get_running_loop()
        asked = asyncio.Event()
        loop.add_reader(pipe.fileno(), asked.set)
        while True:
            await asked.wait()
            asked.clear()
            while pipe.poll():
                if pipe.recv() == "stop":
                    return
                gc.collect()
                pipe.send(len(listener.connections))

    with asyncio.Runner() if stock_loop else asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


async def connect(port: int, context: ssl.SSLContext | None, reply: int) -> asyncio.StreamWriter:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    writer.write(b"x")
    await reader.readexactly(reply)
    return writer


async def connect_all(port: int, mode: TlsMode, reply: int, count: int) -> list[asyncio.StreamWriter]:
    context = None
    if mode == "direct":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    made: list[asyncio.StreamWriter] = []
    while len(made) < count:
        some = min(AT_ONCE, count - len(made))
        made += await asyncio.gather(*(connect(port, context, reply) for _ in range(some)))
    return made


def measure(mode: TlsMode, used: bool, stock_loop: bool, count: int) -> float:
    """KiB of private memory for each connection."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs, mode, used, stock_loop))
    process.start()
    assert process.pid is not None
    port = ours.recv()
    pid = process.pid

    def settled(expected: int) -> int:
        ours.send("collect")
        held = ours.recv()
        if held != expected:
            raise RuntimeError(f"{held} connections instead of {expected}")
        return private(pid)

    async def main() -> float:
        reply = REPLY if used else 1
        first = await connect_all(port, mode, reply, WARM_UP)
        before = settled(WARM_UP)
        rest = await connect_all(port, mode, reply, count)
        after = settled(WARM_UP + count)
        for writer in (*first, *rest):
            writer.transport.abort()
        return (after - before) / count

    try:
        return run(main())
    finally:
        ours.send("stop")
        process.join(10)


def bench(
    count: Annotated[int, typer.Option("--count", help="Connections that are measured.", min=100)] = 1000,
    stock_loop: Annotated[bool, typer.Option("--stock-loop", help="asyncio's own loop instead of uvloop.")] = False,
) -> None:
    """Print KiB of private memory per idle connection: plain, TLS, and TLS that has sent 40 KB once."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if files != resource.RLIM_INFINITY and files < count + WARM_UP + 100:
        raise typer.BadParameter(f"only {files} files may be open")
    print(f"{count} idle connections on {'asyncio' if stock_loop else 'uvloop'}, {ssl.OPENSSL_VERSION}")
    kinds: list[tuple[str, TlsMode, bool]] = [
        ("plain", "none", False),
        ("TLS", "direct", False),
        ("TLS, 40 KB sent", "direct", True),
    ]
    for name, mode, used in kinds:
        print(f"{name:16} {measure(mode, used, stock_loop, count):6.1f} KiB each")


if __name__ == "__main__":
    typer.run(bench)
