"""Acknowledged means on disk, as the kernel sees it; and a disk whose flush fails (D02, D06)."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.process.client import SM, Wire, body
from tests.process.server import ServerProcess, configuration

pytestmark = pytest.mark.skipif(
    shutil.which("strace") is None and os.environ.get("CI") != "true",
    reason="THE ORDER OF FLUSHES IS NOT TESTED: no strace",
)
CALLS = "fdatasync,fsync,write,writev,sendto,sendmsg"


@pytest.fixture
async def process(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    """Without TLS, so that the calls can be read."""
    server = ServerProcess(tmp_path, configuration(listeners=[{"address": "127.0.0.1", "port": 0, "tls": "none"}]))
    await server.start()
    await server.account("romeo", "juliet")
    yield server
    server.kill()


@contextmanager
def traced(process: ServerProcess, output: Path, *options: str) -> Iterator[None]:
    """strace holds on to all threads of the server."""
    line = ["strace", "-f", "-p", str(process.pid), "-s", "400", "-o", str(output), *options]
    tracer = subprocess.Popen(line, stderr=subprocess.PIPE)
    try:
        assert tracer.stderr is not None
        os.set_blocking(tracer.stderr.fileno(), True)
        assert b"attached" in tracer.stderr.readline(), "strace may not trace here"
        yield
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.wait(10)


def message(number: int) -> str:
    return f"<message to='juliet@localhost' type='chat' id='m{number}'><body>b{number}</body></message>"


async def test_the_flush_comes_before_the_ack(process: ServerProcess, tmp_path: Path) -> None:
    """T43: between what is written to the store for a message and the bytes of its <a/> a flush has succeeded."""
    output = tmp_path / "calls"
    async with await Wire.login(process.port("none"), "romeo", tls="none") as romeo:
        await romeo.enable()
        with traced(process, output, "-e", f"trace={CALLS}"):
            for number in range(1, 6):
                romeo.send(message(number))
                await romeo.acknowledged(number)
    calls = output.read_text()
    for number in range(1, 6):
        told = re.search(rf"<a xmlns='{SM}' h='{number}'/>", calls)
        before = re.search(rf"<a xmlns='{SM}' h='{number - 1}'/>", calls)
        assert told is not None
        since = calls[before.end() if before is not None else 0 : told.start()]
        flushes = re.findall(r"(?:fdatasync|fsync)(?:\(\d+\)| resumed>\)) += 0", since)
        assert flushes, f"h={number} was told without a flush:\n{since[-2000:]}"


async def test_a_flush_that_fails_acknowledges_nothing(process: ServerProcess, tmp_path: Path) -> None:
    """T45: the error of the disk is no success: neither ack nor delivery, the sender is told, the log says why; when
    the disk is well again, so is the server."""
    juliet = await Wire.login(process.port("none"), "juliet", tls="none")
    romeo = await Wire.login(process.port("none"), "romeo", tls="none")
    async with juliet, romeo:
        juliet.send("<presence/>")
        await romeo.enable()
        romeo.send(message(1))
        await romeo.acknowledged(1)
        assert body(await juliet.find("message")) == "b1"
        with traced(process, tmp_path / "calls", "-e", f"trace={CALLS}", "-e", "inject=fdatasync,fsync:error=EIO"):
            romeo.send(message(2) + f"<r xmlns='{SM}'/>")
            await process.logged("the store fails", 20)
            answer = await romeo.find(f"{{{SM}}}a")
            assert answer.get("h") == "1", "not on disk"
            with pytest.raises((TimeoutError, AssertionError)):
                await juliet.find("message", within=1.0)
            with pytest.raises((TimeoutError, AssertionError)):
                await romeo.find(f"{{{SM}}}a", within=0.5, h="2")
        # The commit is tried again, or was refused: one of both, and never silence.
        romeo.send(message(3) + f"<r xmlns='{SM}'/>")
        async with asyncio.timeout(30):
            while (await romeo.find(f"{{{SM}}}a")).get("h") != "3":
                await asyncio.sleep(0.2)
                romeo.send(f"<r xmlns='{SM}'/>")
        assert body(await juliet.find("message")) in ("b2", "b3")
