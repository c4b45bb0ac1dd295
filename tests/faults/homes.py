"""Where the server of a trial runs: how a process ends, and the next one begins, in the same place or in another one
that takes the database from it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from .ledger import Ledger
from .line import Line
from .process import Process

if TYPE_CHECKING:
    from .client import Actor
    from .trial import Plan

TAKEN_OVER = 6
"""The exit status of a server whose database another one has taken."""
ENDS_WITHIN = 10.0
"""Seconds in which it must have noticed, from when it can run and reach the database and the other one is ready."""
CHECKED = 300.0
"""Seconds for a look at the whole store: test servers of MongoDB's protocol read each collection from end to end."""
SEAL = b"\x10seal\x00"
"""In the documents that seal a journal: a 32-bit number of this name (BSON)."""


class Homes:
    """`process` is the one that decides; `failed` looks whether a client has seen what it must not."""

    def __init__(
        self, folder: Path, plan: Plan, ledger: Ledger, chance: random.Random, failed: Callable[[], None]
    ) -> None:
        self._folder, self._plan, self._ledger, self._chance, self._failed = folder, plan, ledger, chance, failed
        self._lines: dict[Process, Line] = {}
        self.actors: list[Actor] = []
        self.process: Process
        self._other: Process | None = None

    @property
    def port(self) -> int:
        """Where clients connect."""
        return self.process.open_port

    async def open(self) -> None:
        """Make the places. Nothing is started."""
        self.process = await self._place(self._folder)
        if self._plan.moves:
            self._other = await self._place(self._folder / "other")

    async def _place(self, folder: Path) -> Process:
        plan = self._plan
        if not plan.moves:
            return Process(folder, plan.storage, plan.tls, plan.build)
        line = Line(plan.storage)
        await line.start()
        process = Process(folder, line.uri, plan.tls, plan.build)
        self._lines[process] = line
        return process

    async def close(self) -> None:
        for process in filter(None, (self.process, self._other)):
            process.kill()
        for line in self._lines.values():
            await line.stop()

    def schedule(self) -> list[str]:
        """How all processes of the trial end, in order; and when they only stand still."""
        plan = self._plan
        ends = ["kill"] * plan.kills
        if plan.moves:
            ends += ["pause"] * plan.pauses + ["take-over"] * plan.takeovers + ["deaf"] * plan.deaf
            ends += ["still"] * plan.stills
            self._chance.shuffle(ends)
        found: list[str] = []
        for end in ends:
            while self._chance.random() < plan.stops:
                found.append("stop")
            found.append(end)
        return found

    async def end(self, how: str) -> None:
        steps: dict[str, Callable[[], Awaitable[None]]] = {
            "kill": self._kill,
            "stop": self._stop,
            "pause": self._pause,
            "take-over": self._take_over,
            "deaf": self._cut_answers,
            "still": self._stand_still,
        }
        await steps[how]()
        self.clean_log()

    def clean_log(self) -> None:
        """No program error, and nothing committed that could not be applied."""
        for process in filter(None, (self.process, self._other)):
            for bad in ("Traceback", "the database refuses", "entries were not stored"):
                assert bad not in process.log, process.log

    async def check_store(self) -> None:
        """What the process has left is right, however it has ended."""
        outcome = await self.process.cli("store", "check", within=CHECKED)
        self._ledger.checks += 1
        if outcome.status:
            self._ledger.store += outcome.text.splitlines()

    # ---- in the same place

    async def _kill(self) -> None:
        """SIGKILL. With a line to the database, every second time what was sent last comes when another one runs."""
        line = self._lines.get(self.process)
        late = line is not None and self._chance.random() < 0.5
        if line is not None and late:
            line.hold()
            await asyncio.sleep(self._chance.uniform(0.0, 0.1))
        await self.process.crash()
        self._ledger.ends.append("kill")
        if line is not None and late:
            self._ledger.counts["of them, commands came late"] += 1
            asyncio.get_running_loop().call_later(self._chance.uniform(0.0, 4.0), line.let_go)
        await self._begin()

    async def _stop(self) -> None:
        await self.process.stop(within=40)
        self._ledger.ends.append("stop")
        await self._begin()

    async def _begin(self) -> None:
        self.clean_log()
        if self._chance.random() < self._plan.looks:
            await self.check_store()
        await self.process.start()

    async def _stand_still(self) -> None:
        """SIGSTOP and SIGCONT: it goes on, whoever has kept its connection keeps its stream."""
        self.process.pause()
        begun = time.monotonic()
        await self._wait(self._chance.uniform(*self._plan.pause))
        self.process.go_on()
        self._ledger.stills.append((begun, time.monotonic()))
        await asyncio.sleep(1.0)
        assert await self.process.ends(0) is None, f"it has ended:\n{self.process.log}"

    # ---- in another one

    async def _pause(self) -> None:
        """SIGSTOP; another one takes over; SIGCONT. Half of the clients stay where they are, and wait."""
        until = time.monotonic() + self._chance.uniform(*self._plan.pause)
        self.process.pause()
        await self._wait(self._chance.uniform(0.0, 2.0))
        await self._succeed()
        former = self._move("pause", leave=0.5)
        await self._wait(until - time.monotonic())
        former.go_on()
        await self._must_end(former)

    async def _take_over(self) -> None:
        """Of a process that lives, at full load; its successor is slow, now and then, just when it seals."""
        if self._chance.random() < self._plan.slow_seals:
            self._lines[self._next].trap(SEAL, self._chance.uniform(1.0, 3.0))
        await self._succeed()
        await self._must_end(self._move("take-over"))

    async def _cut_answers(self) -> None:
        """What the process tells the database arrives, and it hears nothing: every third time for so long that it
        refuses what comes."""
        line = self._lines[self.process]
        line.deaf = True
        await self._wait(self._chance.uniform(11, 14) if self._chance.random() < 0.33 else self._chance.uniform(0, 4))
        await self._succeed()
        former = self._move("deaf")
        await self._wait(self._chance.uniform(0.0, 3.0))
        line.heal()
        await self._must_end(former)

    @property
    def _next(self) -> Process:
        assert self._other is not None
        return self._other

    async def _succeed(self) -> None:
        """Start the next one, which insists; one in five is killed on its way, and begins anew."""
        if self._chance.random() < 0.2:
            self._next.begin("--take-over")
            if await self._next.ends(self._chance.uniform(0.4, 2.5)) is None:
                self._ledger.counts["of them, killed on the way"] += 1
            await self._next.crash()
        self._next.begin("--take-over")
        await self._next.ready()

    def _move(self, how: str, leave: float = 0.0) -> Process:
        """Clients connect to the next one from now on; those that are connected stay, all but a part of them. Returns
        the former one."""
        former, self.process = self.process, self._next
        self._other = former
        self._ledger.ends.append(how)
        for actor in self.actors:
            actor.port = self.port
            if not actor.online or self._chance.random() < leave:
                actor.cut()
        return former

    async def _must_end(self, former: Process) -> None:
        """It notices by itself, and says nothing more: what it still said the ledger knows."""
        begun = time.monotonic()
        status = await former.ends(ENDS_WITHIN)
        self._ledger.noticed.append(time.monotonic() - begun)
        if status != TAKEN_OVER:
            self._ledger.outlived.append(f"{self._ledger.ends[-1]}: {'it runs' if status is None else status}")
        await former.crash()

    async def _wait(self, seconds: float) -> None:
        """Some clients lose their connections meanwhile."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            await asyncio.sleep(min(left, self._chance.uniform(0.2, 0.8)))
            self._failed()
            if self._chance.random() < 0.3:
                self._chance.choice(self.actors).cut()
