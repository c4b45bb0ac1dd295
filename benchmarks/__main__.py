"""python -m benchmarks: CPU per unit of work, of this server and of Prosody and ejabberd where they are installed."""

from __future__ import annotations

import asyncio
import enum
import platform
import resource
import shutil
import sys
from contextlib import AsyncExitStack, nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from tests import mongo_server

from .bench import Bench, Scale
from .cases import CASES, Case
from .client import LoadError
from .ejabberd import Ejabberd
from .federation import FAR, NEAR, Federation
from .measure import Figure, machine, yardstick
from .profiler import Profiler
from .report import line, table, write_json
from .servers import Prosody, Server, ServerError, Xmppd

FOLDER = Path("var/bench")


class Peer(enum.Enum):
    PROSODY = "prosody"
    EJABBERD = "ejabberd"


PEERS: dict[Peer, type[Server]] = {Peer.PROSODY: Prosody, Peer.EJABBERD: Ejabberd}
console = Console(highlight=False, width=None if sys.stdout.isatty() else 150)
complaints = Console(stderr=True, highlight=False, soft_wrap=True)

_LIST = "\n\n".join(f"{name}: {case.text}" for name, case in CASES.items())


def bench(
    names: Annotated[list[str] | None, typer.Argument(help="The cases to run; all of them when none is named.")] = None,
    json: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file, too.")] = None,
    profile: Annotated[
        str, typer.Option("--profile", help="Run this case under a profiler and show where the time goes.")
    ] = "",
    peer: Annotated[bool, typer.Option("--peer/--no-peer", help="Measure other servers beside, if installed.")] = True,
    against: Annotated[
        list[Peer] | None,
        typer.Option("--against", help="Which other servers; all of them if none is named."),
    ] = None,
    ours: Annotated[bool, typer.Option("--ours/--no-ours", help="Measure this server.")] = True,
    rounds: Annotated[int, typer.Option("--rounds", help="Measured rounds of each case.", min=1)] = 5,
    mongodb: Annotated[
        bool, typer.Option("--mongodb", help="Measure this server on MongoDB's protocol, without what the store costs.")
    ] = False,
    homes: Annotated[int, typer.Option("--homes", help="Homes of this server (option `homes`).", min=1, max=16)] = 1,
    share: Annotated[float, typer.Option("--share", help="Of the full work of a round.", min=0.01, max=100.0)] = 1.0,
) -> None:
    """Measure what work costs the server's process in CPU time: all threads, user and system."""
    chosen = [profile] if profile else list(names or CASES)
    unknown = [name for name in chosen if name not in CASES]
    if unknown:
        complaints.print(f"No such case: {', '.join(unknown)}. There are:\n\n{_LIST}")
        raise typer.Exit(2)
    _more_files()
    versions = {each: PEERS[each].installed() for each in against or Peer} if peer and not profile else {}
    servers: list[type[Server]] = [Xmppd] if ours else []
    servers += [PEERS[each] for each, version in versions.items() if version]
    for each, version in versions.items():
        if not version:
            console.print(f"{PEERS[each].name} is not installed: no figures of it (Debian: apt install {each.value}).")
    about = {
        **machine(),
        "python": platform.python_version(),
        **{each.value: version for each, version in versions.items()},
    }
    console.print("  ".join(f"{key}: {value}" for key, value in about.items() if value))
    run = Run(servers, Scale(1 if profile else rounds, share), Profiler(_profiles()) if profile else None)
    Xmppd.homes = homes
    with mongo_server.running() if mongodb else nullcontext("") as Xmppd.mongodb:
        uvloop.run(run.all(chosen))
    _show(run, about, json)
    if run.failed:
        raise typer.Exit(1)


class Run:
    """The chosen cases, one after the other, each against a fresh process of each server."""

    def __init__(self, servers: list[type[Server]], scale: Scale, profiler: Profiler | None) -> None:
        self.servers = servers
        self.scale = scale
        self.profiler = profiler
        self.figures: dict[str, list[Figure]] = {server.name: [] for server in servers}
        self.failed = False
        self.paces: list[float] = []
        """Milliseconds that a fixed piece of work took, before each case."""

    async def all(self, names: list[str]) -> None:
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        with Progress(*columns, console=console, refresh_per_second=2, transient=True) as progress:
            for name in names:
                self._look_at_machine(progress)
                for kind in self.servers if CASES[name].peers else self.servers[:1]:
                    await self._one(name, kind, progress)

    def _look_at_machine(self, progress: Progress) -> None:
        """What else runs here makes all figures higher: say so."""
        pace = yardstick()
        self.paces.append(pace)
        if pace > 1.2 * min(self.paces):
            progress.console.print(f"The machine is busy: {pace:.0f} ms for what took {min(self.paces):.0f} before.")

    async def _one(self, name: str, kind: type[Server], progress: Progress) -> None:
        case, folder = CASES[name], FOLDER / f"{kind.name.lower()}-{name}"
        shown = progress.add_task(f"{kind.name} {name}: starting")

        def say(text: str) -> None:
            progress.update(shown, description=f"{kind.name} {name}: {text}")

        def done(figure: Figure) -> None:
            self.figures[kind.name].append(figure)
            progress.console.print(line(figure, kind.name))

        try:
            async with AsyncExitStack() as stack:
                stack.callback(say, "stopped")
                federation = await stack.enter_async_context(Federation(folder)) if case.domains else None
                servers = self._servers(kind, case, folder, federation)
                for server in servers:
                    stack.push_async_callback(asyncio.to_thread, server.stop)
                    await server.start()
                stack.callback(say, "stopping")
                await case.run(Bench(name, servers[0], self.scale, say, done, self.profiler, servers[1:], federation))
        except (LoadError, ServerError, OSError, TimeoutError) as error:
            self.failed = True
            complaints.print(f"{kind.name} {name}: failed: {error}", style="red", markup=False)
        finally:
            progress.remove_task(shown)

    def _servers(self, kind: type[Server], case: Case, folder: Path, federation: Federation | None) -> list[Server]:
        """One, or in a federation one for each domain."""
        if federation is None:
            servers = [kind(folder, case.accounts, case.lean)]
        else:
            domains = (NEAR, FAR)[: case.domains]
            servers = [kind(folder / each, case.accounts, case.lean, each, federation) for each in domains]
        if isinstance(servers[0], Xmppd) and self.profiler is not None:
            servers[0].launcher = self.profiler.launcher
        return servers


def _show(run: Run, about: dict[str, Any], json: Path | None) -> None:
    if run.profiler is not None:
        run.profiler.show(console)
        return
    ours, *peers = (server.name for server in run.servers)
    console.print(table(run.figures, ours, peers))
    if json is not None:
        write_json(json, run.figures, {**about, "yardstick_ms": run.paces}, console)


def _profiles() -> Path:
    folder = FOLDER / "profile"
    shutil.rmtree(folder, ignore_errors=True)
    return folder.resolve()


def _more_files() -> None:
    """A connection is an open file, here and in the server, which inherits the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    typer.run(bench)
