"""Calls at an exact time."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from xmppd.net import exact_timer, loop
from xmppd.net.loop import RealClock

LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]


async def calls(clock: RealClock, delays: list[float]) -> list[tuple[float, float]]:
    """The delays in the order of the calls, each with how late its call was."""
    found: list[tuple[float, float]] = []
    done = asyncio.Event()

    def called(delay: float, due: float) -> None:
        found.append((delay, time.monotonic() - due))
        if len(found) == len(delays):
            done.set()

    for delay in delays:
        due = time.monotonic() + delay
        clock.call_exactly(delay, lambda delay=delay, due=due: called(delay, due))  # type: ignore[misc]
    async with asyncio.timeout(5):
        await done.wait()
    return found


@pytest.mark.parametrize("make", LOOPS)
def test_in_their_order_and_never_early(make: Callable[[], asyncio.AbstractEventLoop]) -> None:
    with asyncio.Runner(loop_factory=make) as runner:
        found = runner.run(calls(RealClock(), [0.03, 0.01, 0.0301, 0.0, 0.02]))
    assert [delay for delay, _ in found] == [0.0, 0.01, 0.02, 0.03, 0.0301]
    assert all(late >= 0 for _, late in found), found


def test_without_the_system_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact_timer, "AVAILABLE", False)
    with asyncio.Runner() as runner:
        found = runner.run(calls(RealClock(), [0.02, 0.005]))
    assert [delay for delay, _ in found] == [0.005, 0.02]


def test_a_clock_of_two_loops_leaves_no_file() -> None:
    before = set(os.listdir("/proc/self/fd"))
    clock = RealClock()
    for make in LOOPS:
        with asyncio.Runner(loop_factory=make) as runner:
            runner.run(calls(clock, [0.001]))
    del clock
    links = [Path(f"/proc/self/fd/{name}") for name in set(os.listdir("/proc/self/fd")) - before]
    assert not [link for link in links if link.is_symlink() and "timerfd" in os.readlink(link)]


def test_no_thread_wakes_in_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would take the interpreter's lock from whatever the loop does just then."""
    monkeypatch.delattr(loop, "_sleepers")
    with asyncio.Runner() as runner:
        assert len(runner.run(calls(RealClock(), [0.001]))) == 1
