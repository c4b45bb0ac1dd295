"""Listeners, addresses, the engine and the clock."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import uvloop

from xmppd.net.address import is_loopback, network, plain
from xmppd.net.engine import Engine, Timing
from xmppd.net.listen import Listener
from xmppd.net.loop import RealClock, open_file_limit, run

from .net_support import PATIENCE, Peer, Recorder, echo, event_loop_policy, serving

__all__ = ["event_loop_policy"]

QUICK = Timing(close=0.1, sweep=0.02)


# ---- the listener


async def test_too_many_from_one_address(tmp_path: Path) -> None:
    async with serving(tmp_path, per_address=2) as here:
        first, server = await here.connect()
        await here.connect()
        for _ in range(3):
            refused = await here.peer()
            assert await refused.receive() == b""
            refused.close()
        assert (len(here.receivers), here.listener.refused) == (2, 3)
        first.close()
        await server.seen("lost")
        await here.connect()
        assert len(here.listener.connections) == 2


async def test_files_are_left_for_others(tmp_path: Path) -> None:
    async with serving(tmp_path) as here:
        here.listener._most = 1
        _, server = await here.connect()
        refused = await here.peer()
        assert await refused.receive() == b""
        assert here.listener.refused == 1
        assert "lost" not in server.events


OUT_OF_FILES = """
import asyncio, os, resource, sys, uvloop
from tests.core.net_support import Recorder
from xmppd.net.listen import Listener
from xmppd.net.loop import RealClock

def greet():
    me = Recorder()
    me.on_connected = lambda me: me.link.write(b"hello")
    return me

async def main():
    listener = Listener(RealClock(), None, "none", 1000)
    await listener.start("127.0.0.1", 0, greet)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 20, 4096))
    print(listener.port, flush=True)
    await asyncio.Event().wait()

asyncio.Runner(loop_factory=uvloop.new_event_loop if sys.argv[1] == "uvloop" else None).run(main())
"""


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
async def test_out_of_files_and_back(loop: str) -> None:
    """T42: the limit is hit in `accept` itself; who comes later is served."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", OUT_OF_FILES, loop, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        assert process.stdout is not None
        port = int(await process.stdout.readline())
        many = [await Peer.connect(port) for _ in range(40)]
        assert await many[0].exactly(5) == b"hello"
        for peer in many:
            peer.close()
        async with asyncio.timeout(PATIENCE):
            while await (await Peer.connect(port)).rest_or_reset(5) != b"hello":  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    finally:
        process.kill()
        await process.wait()


async def test_refusals_are_logged_once_a_minute(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(tmp_path, per_address=0) as here:
        for _ in range(5):
            assert await (await here.peer()).receive() == b""
    assert [record.message for record in caplog.records if record.levelno == logging.WARNING] == [
        "connections refused (1 so far): 127.0.0.1 has 0 connections"
    ]


async def test_stop_accepting_keeps_who_is_there(tmp_path: Path) -> None:
    async with serving(tmp_path) as here:
        here.set_up = echo
        peer, _ = await here.connect()
        here.listener.stop_accepting()
        await asyncio.sleep(0.01)
        with pytest.raises(ConnectionError):
            await here.peer()
        await peer.send(b"x")
        assert await peer.exactly(1) == b"x"


async def test_accepted_by_the_kernel_only(tmp_path: Path) -> None:
    async with serving(tmp_path) as here:
        here.set_up = lambda me: here.listener.stop_accepting()
        sockets = [socket.create_connection(("127.0.0.1", here.listener.port)) for _ in range(2)]
        loop = asyncio.get_running_loop()
        for each in sockets:
            each.setblocking(False)
        async with asyncio.timeout(PATIENCE):
            with suppress(ConnectionError):  # when the kernel closed it with the listening socket
                assert await loop.sock_recv(sockets[1], 1) == b""
        assert len(here.receivers) == 1
        for each in sockets:
            each.close()


async def test_close_waits_for_the_peers(tmp_path: Path) -> None:
    async with serving(tmp_path) as here:
        peers = [await here.connect() for _ in range(3)]
        closing = asyncio.create_task(here.listener.close())
        for peer, _ in peers:
            assert await peer.rest() == b""
        assert not closing.done()
        for peer, _ in peers:
            peer.close()
        async with asyncio.timeout(2):
            await closing
        assert [server.events[-1] for _, server in peers] == ["lost"] * 3


async def test_two_listeners_may_share_a_port() -> None:
    clock = RealClock()
    first, second = Listener(clock), Listener(clock)
    await first.start("127.0.0.1", 0, Recorder, reuse_port=True)
    await second.start("127.0.0.1", first.port, Recorder, reuse_port=True)
    assert first._engine is second._engine
    with pytest.raises(OSError):
        await Listener(clock).start("127.0.0.1", first.port, Recorder)
    await first.close()
    await second.close()


async def test_ipv6(tmp_path: Path) -> None:
    made: list[Recorder] = []

    def greet(me: Recorder) -> None:
        me.link.write(b"hello")
        me.link.close()

    def make() -> Recorder:
        made.append(Recorder())
        made[-1].on_connected = greet
        return made[-1]

    listener = Listener(RealClock())
    try:
        await listener.start("::1", 0, make)
    except OSError:
        pytest.skip("this machine has no IPv6")
    reader, writer = await asyncio.open_connection("::1", listener.port)
    assert await reader.read() == b"hello"
    assert (made[0].link.peer, made[0].link.loopback) == ("::1", True)
    writer.close()
    await listener.close()


def test_addresses() -> None:
    assert plain("::ffff:192.0.2.1") == "192.0.2.1"
    assert plain("::ffff:1") == "::ffff:1"
    assert plain("192.0.2.1") == "192.0.2.1"
    assert is_loopback("127.8.9.1") and is_loopback("::1")
    assert not is_loopback("192.0.2.1") and not is_loopback("fe80::1%eth0")
    assert network("192.0.2.1") == "192.0.2.1"
    assert network("2001:db8:1:2:3:4:5:6") == network("2001:db8:1:2::9") == "2001:db8:1:2::/64"
    assert network("2001:db8:1:3::9") != network("2001:db8:1:2::9")
    assert network("fe80::1%eth0") == "fe80::/64"


# ---- the engine and the clock


async def test_an_idle_engine_has_no_timer(tmp_path: Path) -> None:
    async with serving(tmp_path, timing=QUICK) as here:
        peer, server = await here.connect()
        engine = here.listener._engine
        assert engine._timer is None
        server.link.close()
        assert engine._timer is not None
        peer.close()
        await server.seen("lost")
        await asyncio.sleep(3 * QUICK.sweep)
        assert engine._timer is None
        assert engine.open == 0


async def test_one_engine_per_clock() -> None:
    one, other = RealClock(), RealClock()
    assert Engine.of(one) is Engine.of(one)
    assert Engine.of(one) is not Engine.of(other)


def test_run_is_on_uvloop_and_raises_the_limit() -> None:
    async def main() -> tuple[type, float, float]:
        clock = RealClock()
        called: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        before = clock.monotonic()
        clock.call_later(0.01, lambda: called.set_result(clock.monotonic()))
        clock.call_later(0.005, lambda: called.set_result(0.0)).cancel()
        return type(asyncio.get_running_loop()), await called - before, clock.now()

    before = open_file_limit()
    loop, slept, now = run(main())
    assert issubclass(loop, uvloop.Loop)
    assert slept >= 0.009
    assert now > 1_700_000_000
    assert open_file_limit() >= before
