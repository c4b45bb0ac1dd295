"""xmppd import, xmppd export: moving in and out."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from ..admin.control import ControlClient
from ..config import ConfigError, ServerConfig, find_config, without_password
from ..contracts.admin import Code, OperationError
from ..errors import LocalError, MalformedJid, StorageUnavailable
from ..hosts.loader import PluginError
from ..jid import JID
from ..moving.addresses import Renamed
from ..moving.events import Event, Source
from ..moving.exporter import Exporter, Reader
from ..moving.importer import Existing, Importer
from ..moving.report import Report
from ..moving.sources import UnknownSource, open_source
from ..net.loop import RealClock
from ..storage import open_storage
from ..storage.api import StoreError
from .common import ConfigOption, Exit, complaints, configuration, console, fail, printable
from .runner import is_new, refuse

if TYPE_CHECKING:
    from ..server.server import Server

SHOWN: Final = 50
"""Characters of what is being taken."""


def import_(
    sources: Annotated[
        list[Path],
        typer.Argument(
            help="A file of XEP-0227, one of `ejabberdctl dump`, Prosody's data folder, or its SQLite database.",
            metavar="SOURCE…",
        ),
    ],
    config: ConfigOption = None,
    host: Annotated[
        list[str] | None,
        typer.Option("--host", help="A domain that has another name here; for each one.", metavar="OLD=NEW"),
    ] = None,
    existing: Annotated[
        Existing,
        typer.Option(
            help="An account that is there: merge adds what it lacks, replace lets what comes win, skip passes it over."
        ),
    ] = Existing.MERGE,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and change nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs: the report as one JSON object.")] = False,
) -> None:
    """Take accounts, their data, and rooms from another server: people keep their passwords.

    The server must not run. May be repeated: nothing is taken twice. Exit status: 0 all is carried, 1 something is
    not (the report says what), 2 the source is none, 3 the store is not free.
    """
    loaded = configuration(config)
    renamed = _renamed(host or ())
    try:
        opened = [open_source(source) for source in sources]
    except UnknownSource as error:
        fail(str(error), Exit.WRONG)
    report = Report(dry_run)

    async def work() -> None:
        async with stopped_server(loaded, find_config(config, os.environ), dry_run) as server:
            for (what, source), path in zip(opened, sources, strict=True):
                if not as_json:
                    console.print(f"Reading {path}: {what}.", highlight=False, markup=False)
                with _shown(source, quiet=as_json) as progress:
                    importer = Importer(server.hosts, server.accounts, report, renamed, existing, progress.tell)
                    await importer.run(progress.counted(source.events()))

    _run(work, as_json, lambda: _tell(report, as_json))
    _tell(report, as_json)
    raise typer.Exit(Exit.DONE if report.complete else Exit.NOT_DONE)


def export(
    folder: Annotated[Path, typer.Argument(help="Where to write; made if it is not there, else it must be empty.")],
    config: ConfigOption = None,
    host: Annotated[
        list[str] | None, typer.Option("--host", help="Write this domain only; may be repeated.", metavar="DOMAIN")
    ] = None,
    account: Annotated[
        list[str] | None,
        typer.Option("--account", help="Write this account (or room) only; may be repeated.", metavar="JID"),
    ] = None,
    jsonl: Annotated[
        bool, typer.Option("--jsonl/--no-jsonl", help="Write archives as lines of JSON, too.", show_default=True)
    ] = True,
    reader: Annotated[
        Reader, typer.Option("--for", help="Who is to read the files: ejabberd wants SCRAM keys written otherwise.")
    ] = Reader.ANY,
    storage: Annotated[
        str,
        typer.Option(
            help="Write what this store holds instead: a copy, while the server runs on its own.", metavar="URL"
        ),
    ] = "",
) -> None:
    """Write accounts, their data, and rooms into files that other servers read (XEP-0227), archives also as JSON.

    The files hold the keys and messages of people: only the user who runs this can read them.
    """
    loaded = configuration(config)
    if storage:
        loaded = replace(loaded, storage=storage)
    wanted = [*_domains(host or ()), *_addresses(account or ())]
    folder = _empty(folder)
    found: list[Exporter] = []

    async def work() -> None:
        async with stopped_server(loaded, find_config(config, os.environ), False, not storage) as server:
            await _check_wanted(server, wanted)
            with complaints.status("…") as status:
                exporter = Exporter(
                    server.hosts, server.accounts, folder, wanted, jsonl, reader,
                    lambda owner: status.update(printable(owner[:SHOWN])),
                )  # fmt: skip
                found.append(exporter)
                await exporter.run()

    _run(work, False, lambda: None)
    exporter = found[0]
    told = ", ".join(f"{number:,} {what}" for what, number in exporter.counts.items()) or "nothing"
    console.print(f"Wrote {told} to {folder}.", highlight=False, markup=False, soft_wrap=True)
    if exporter.problems:
        fail("\n".join(exporter.problems))


def _run(work: Callable[[], Coroutine[Any, Any, None]], as_json: bool, interrupted: Callable[[], None]) -> None:
    """Run it, or end the program with what is wrong."""
    logging.getLogger("xmppd").setLevel(logging.CRITICAL)  # what there is to say is said here
    try:
        asyncio.run(_interruptible(work()))
    except asyncio.CancelledError:
        interrupted()
        fail("interrupted: run it again to go on", Exit.INTERRUPTED)
    except OperationError as error:
        refuse(error, as_json)
    except (StoreError, StorageUnavailable) as error:
        interrupted()
        refuse(OperationError(f"the store cannot be used: {error}; run it again to go on", Code.UNAVAILABLE), as_json)
    except (PluginError, ConfigError, LocalError) as error:
        fail(str(error), Exit.WRONG)
    except OSError as error:
        refuse(OperationError(f"cannot be done: {error.filename or ''}: {error.strerror or error}"), as_json)


async def _interruptible(work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.ensure_future(work)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    await task


@asynccontextmanager
async def stopped_server(config: ServerConfig, path: Path, reading: bool, own: bool = True) -> AsyncIterator[Server]:
    """A server whose plugins are set up and not started, over its store. While one runs on that store it is refused:
    what is written past the memory of a running server, it would not know of. `reading`: nothing is written, so no
    store is made. `own`: it is the store of the configuration.

    Raises OperationError, StoreError, PluginError, ConfigError, LocalError.
    """
    from ..server.server import Server, server_secret, store_secret
    from .run import load_plugins

    if config.storage == "memory:":
        raise OperationError("the store is in memory: there is nothing to move", Code.UNAVAILABLE)
    client = await ControlClient.connect(config.control_socket) if own else None
    if client is not None:
        client.close()
        where = without_password(config.storage)
        raise OperationError(f"a server runs on {where}: stop it first", Code.UNAVAILABLE)
    if not own and is_new(config):
        raise OperationError(f"{without_password(config.storage)} is not there", Code.UNAVAILABLE)
    clock = RealClock()
    storage = await open_storage("memory:" if reading and is_new(config) else config.storage, clock)
    try:
        if not storage.available:
            raise StorageUnavailable("the database does not answer")
        server = Server(config, storage, clock, secret=server_secret(config.var))
        load_plugins(server, path)
        if own and not reading:
            store_secret(config.var, server.secret)  # what plugins seal with it, the first start must be able to open
        yield server
    finally:
        await storage.close()


# ---- what is given


def _renamed(pairs: Iterable[str]) -> Renamed:
    found: dict[str, str] = {}
    for pair in pairs:
        old, equals, new = pair.partition("=")
        if not equals:
            fail(f"--host {pair}: expected OLD=NEW", Exit.WRONG)
        found[_domains([old])[0]] = _domains([new])[0]
    return Renamed(found)


def _domains(texts: Iterable[str]) -> list[str]:
    return [jid.domain for jid in _jids(texts, lambda jid: jid.is_domain, "a domain")]


def _addresses(texts: Iterable[str]) -> list[str]:
    return [jid.bare for jid in _jids(texts, lambda jid: bool(jid.local) and not jid.resource, "name@domain")]


def _jids(texts: Iterable[str], fits: Callable[[JID], bool], what: str) -> list[JID]:
    """Ends the command where one does not fit."""
    found = []
    for text in texts:
        try:
            jid = JID.parse(text)
        except MalformedJid as error:
            fail(f"{text}: {error}", Exit.WRONG)
        if not fits(jid):
            fail(f"{text}: expected {what}", Exit.WRONG)
        found.append(jid)
    return found


def _empty(folder: Path) -> Path:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(folder.iterdir()):
            fail(f"{folder}: it is not empty", Exit.WRONG)
    except OSError as error:
        fail(f"{folder}: {error.strerror or error}", Exit.WRONG)
    return folder


async def _check_wanted(server: Server, wanted: Iterable[str]) -> None:
    """Raises OperationError."""
    for each in wanted:
        jid = JID.parse(each)
        host = server.hosts.get(jid.domain)
        if host is None:
            raise OperationError(f"{each}: this server has no such host", Code.INVALID)
        if jid.local and host.has_accounts and not await server.accounts.exists(jid):
            raise OperationError(f"{each}: there is no such account", Code.NOT_FOUND)


# ---- what is shown


class _Shown:
    """A bar, on a terminal: how far a source is read."""

    def __init__(self, source: Source, quiet: bool) -> None:
        self._source = source
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
        )
        self._bar = Progress(*columns, console=complaints, disable=quiet or not complaints.is_terminal)
        self._task = self._bar.add_task("…", total=source.size or None)

    def __enter__(self) -> _Shown:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def tell(self, what: str) -> None:
        self._bar.update(self._task, description=printable(what)[:SHOWN])

    def counted(self, events: Iterable[Event]) -> Any:
        for event in events:
            self._bar.update(self._task, completed=self._source.position, total=self._source.size or None)
            yield event


def _shown(source: Source, quiet: bool) -> _Shown:
    return _Shown(source, quiet)


def _tell(report: Report, as_json: bool) -> None:
    if as_json:
        print(msgspec.json.encode(report.as_json()).decode())
    else:
        print(printable("\n".join(report.lines())))
