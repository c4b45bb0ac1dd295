"""What a case gets to work with: a running server, rounds that are measured, progress that is shown."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, TypeVar

from .client import Client
from .federation import Federation
from .measure import Figure, cpu_seconds, loop_seconds
from .profiler import Profiler
from .servers import Server

T = TypeVar("T")
AT_ONCE = 20
"""So many clients sign in at the same time."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is done: `rounds` measured ones, each with `share` of the full work."""

    rounds: int = 5
    share: float = 1.0

    def of(self, count: int) -> int:
        return max(1, int(count * self.share))


class Bench:
    """One run of one case against one server. `say` shows what goes on; `done` gets each figure as it is known.
    `others`: what that server talks to, if the case has that, in a `federation`."""

    def __init__(
        self,
        case: str,
        server: Server,
        scale: Scale,
        say: Callable[[str], None],
        done: Callable[[Figure], None],
        profiler: Profiler | None = None,
        others: Sequence[Server] = (),
        federation: Federation | None = None,
    ) -> None:
        self.case = case
        self.others = others
        self.federation = federation
        self.server = server
        self.scale = scale
        self.say = say
        self.done = done
        self.profiler = profiler

    async def rounds(
        self,
        name: str,
        unit: str,
        units: int,
        work: Callable[[], Awaitable[object]],
        target: float | None = None,
        per: float = 1e6,
        warm_up: bool = True,
        rounds: int = 0,
    ) -> None:
        """Measure `work`, which does `units` units, several times after a warm-up. `per`: units of a second."""
        figure = Figure(self.case, name, unit, target=target)
        loops: list[float] = []
        if warm_up:
            self.say(f"{name}: warming up")
            await work()
        gc.collect()
        for number in range(rounds or self.scale.rounds):
            self.say(f"{name}: round {number + 1}")
            spent, loop = await self._spent(name, units, work)
            figure.values.append(spent / units * per)
            loops.append(loop / units * per)
        figure.loop = median(loops)
        self.done(figure)

    async def compared(
        self, name: str, unit: str, units: int, works: Mapping[str, Callable[[], Awaitable[object]]], target: float
    ) -> None:
        """Measure two ways to do the same, in turns, so that what disturbs one disturbs the other. `target`: so many
        times as much may the second cost as the first."""
        figures = {way: Figure(self.case, f"{name}, {way}", unit) for way in works}
        for work in works.values():
            self.say(f"{name}: warming up")
            await work()
        for number in range(self.scale.rounds):
            for way, work in works.items():
                self.say(f"{name}, {way}: round {number + 1}")
                spent, _ = await self._spent(f"{name}, {way}", units, work)
                figures[way].values.append(spent / units * 1e6)
        for figure in figures.values():
            self.done(figure)
        first, second = figures.values()
        ratios = [other / one for one, other in zip(first.values, second.values, strict=True)]
        self.figure(f"{name}: the second to the first", "ratio", ratios, target)

    async def _spent(self, name: str, units: int, work: Callable[[], Awaitable[object]]) -> tuple[float, float]:
        """CPU seconds of the server, and of its event loop's thread, for `work`."""
        pid = self.server.pid
        if self.profiler is not None:
            await self.profiler.begin(self.server)
        before, loop_before = cpu_seconds(pid), loop_seconds(pid)
        await work()
        spent, loop = cpu_seconds(pid) - before, loop_seconds(pid) - loop_before
        if self.profiler is not None:
            await self.profiler.end(self.server, f"{self.case}: {name}", units)
        return spent, loop

    async def spent_by_all(self, name: str, units: int, work: Callable[[], Awaitable[object]]) -> list[float]:
        """CPU microseconds of the server, and of each of the others, for each unit of `work`."""
        before = [cpu_seconds(other.pid) for other in self.others]
        spent, _ = await self._spent(name, units, work)
        others = (cpu_seconds(other.pid) - was for other, was in zip(self.others, before, strict=True))
        return [each / units * 1e6 for each in (spent, *others)]

    def figure(self, name: str, unit: str, values: Iterable[float], target: float | None = None) -> None:
        """Something else that was measured."""
        self.done(Figure(self.case, name, unit, list(values), target))

    # ---- clients

    async def all(self, what: str, works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
        """Run them all, a few at a time, in order of their results."""
        gate, list_of = asyncio.Semaphore(AT_ONCE), list(works)
        finished = 0

        async def one(work: Coroutine[Any, Any, T]) -> T:
            nonlocal finished
            async with gate:
                result = await work
            finished += 1
            if finished % 50 == 0:
                self.say(f"{what}: {finished} of {len(list_of)}")
            return result

        return await asyncio.gather(*map(one, list_of))

    async def clients(
        self,
        count: int,
        first: int = 0,
        present: bool = True,
        tls: bool = False,
        kind: type[Client] = Client,
        server: Server | None = None,
    ) -> list[Client]:
        """Signed in, available, every broadcast of presence behind them. `server`: another than that of the case."""
        server = server or self.server
        port, trust = (server.tls_port, server.trust) if tls else (server.port, None)

        async def one(number: int) -> Client:
            client = await kind.signed_in(port, number, tls=trust)
            if present:
                await client.appear()
            return client

        return await self.all("signing in", map(one, range(first, first + count)))

    async def close(self, clients: Iterable[Client]) -> None:
        for client in clients:
            client.sink = None
        await self.all("signing out", (client.close() for client in clients))
