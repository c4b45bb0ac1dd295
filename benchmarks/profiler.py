"""Where the time goes: the server's event loop under cProfile, switched on for the measured rounds only.

    python -m benchmarks.profiler FOLDER run --config FILE

runs `xmppd` so that SIGUSR1 switches the profiler on and SIGUSR2 switches it off and writes FOLDER/NUMBER.pstats.
cProfile makes small functions look dearer than they are, and sees the first thread only.
"""

from __future__ import annotations

import asyncio
import cProfile
import pstats
import runpy
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from .servers import Server

TOP = 45
WAIT = 30.0


class Profiler:
    """The load's side. `results`: (what was measured, its units, file)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.results: list[tuple[str, int, Path]] = []
        self._count = 0

    @property
    def launcher(self) -> tuple[str, ...]:
        """What runs the server (see `Xmppd`)."""
        return ("-m", "benchmarks.profiler", str(self.folder))

    async def begin(self, server: Server) -> None:
        server.signal(signal.SIGUSR1)
        await _appears(self.folder / f"{self._count}.on")

    async def end(self, server: Server, what: str, units: int) -> None:
        server.signal(signal.SIGUSR2)
        path = self.folder / f"{self._count}.pstats"
        await _appears(path)
        self._count += 1
        self.results.append((what, units, path))

    def show(self, console: Console) -> None:
        """Of each measurement the last round, in microseconds per unit."""
        last = {what: (units, path) for what, units, path in self.results}
        for what, (units, path) in last.items():
            console.print(_table(what, units, path))


async def _appears(path: Path) -> None:
    deadline = time.monotonic() + WAIT
    there = path.exists
    while not there():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the profiler did not write {path}")
        await asyncio.sleep(0.01)


def _table(what: str, units: int, path: Path) -> Table:
    stats = pstats.Stats(str(path))
    rows = [
        (own, cumulative, calls, where)
        for where, (_, calls, own, cumulative, _) in stats.stats.items()  # type: ignore[attr-defined]
    ]
    total = sum(own for own, *_ in rows)
    table = Table(title=f"{what}: {total / units * 1e6:.1f} µs per unit under the profiler", title_justify="left")
    for column in ("own µs", "with calls µs", "calls"):
        table.add_column(column, justify="right")
    table.add_column("function")
    for own, cumulative, calls, (file, line, name) in sorted(rows, reverse=True)[:TOP]:
        place = name if file == "~" else f"{_short(file)}:{line} {name}"
        micro = 1e6 / units
        table.add_row(f"{own * micro:.2f}", f"{cumulative * micro:.2f}", f"{calls / units:.2f}", place)
    return table


def _short(file: str) -> str:
    try:
        return str(Path(file).relative_to(Path.cwd()))
    except ValueError:
        return "/".join(Path(file).parts[-2:])


def main() -> None:
    """The server's side."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    profile, count = cProfile.Profile(), 0

    def on(*_: object) -> None:
        nonlocal profile
        profile = cProfile.Profile()
        (folder / f"{count}.on").touch()
        profile.enable()

    def off(*_: object) -> None:
        nonlocal count
        profile.disable()
        part = folder / f"{count}.part"
        profile.dump_stats(part)
        part.rename(folder / f"{count}.pstats")
        count += 1

    signal.signal(signal.SIGUSR1, on)
    signal.signal(signal.SIGUSR2, off)
    sys.argv[:] = ["xmppd", *sys.argv[2:]]
    runpy.run_module("xmppd", run_name="__main__")


if __name__ == "__main__":
    main()
