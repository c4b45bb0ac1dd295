"""xmppd store check: is what the store holds right?"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from ..admin.control import ControlClient
from ..config import ConfigError, ServerConfig, find_config, without_password
from ..contracts.admin import Code, OperationError
from ..errors import LocalError, MalformedJid, StorageUnavailable
from ..hosts.loader import PluginError
from ..jid import JID
from ..net.loop import RealClock
from ..storage import make_backend
from ..storage.api import StoreError
from .common import ConfigOption, Exit, complaints, configuration, console, fail, printable
from .runner import is_new, refuse

if TYPE_CHECKING:
    from ..server.store_check import Finding, StoreChecker

LISTED: Final = 10_000
"""So many findings of a level are listed for a program."""
PREFIX: Final = {"problem": "", "note": "note: ", "unread": ""}


def check(
    config: ConfigOption = None,
    owner: Annotated[
        str, typer.Option(help="Look at this account, room or domain only.", metavar="JID", show_default=False)
    ] = "",
    storage: Annotated[
        str,
        typer.Option(help="Look at this store instead: a copy, while the server runs on its own.", metavar="URL"),
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="For programs: one JSON object.")] = False,
) -> None:
    """Check the store of a stopped server: entries, records, counts and cursors against each other. Changes nothing.

    Exit status: 0 nothing is wrong, 1 something is, 3 it cannot be read, or a server uses it.
    """
    loaded = configuration(config)
    path = find_config(config, os.environ)
    try:
        owner = JID.parse(owner).bare if owner else ""
    except MalformedJid as error:
        fail(f"{owner}: {error}", Exit.WRONG)
    if storage:
        loaded = replace(loaded, storage=storage)
    logging.getLogger("xmppd").setLevel(logging.CRITICAL)  # what there is to say is said here
    findings: dict[str, list[Finding]] = {"problem": [], "note": [], "unread": []}

    def report(finding: Finding) -> None:
        if not as_json:
            print(printable(f"{PREFIX[finding.level]}{finding.text()}"), flush=True)
        elif len(findings[finding.level]) < LISTED:
            findings[finding.level].append(finding)

    try:
        with complaints.status("…") as status:
            checker = asyncio.run(
                _checked(loaded, path, report, lambda what: status.update(printable(what)), owner, not storage)
            )
    except OperationError as error:
        refuse(error, as_json)
    except (PluginError, ConfigError, LocalError) as error:
        fail(str(error), Exit.WRONG)
    _conclude(checker, findings, as_json)


async def _checked(
    config: ServerConfig,
    path: Path,
    report: Callable[[Finding], None],
    progress: Callable[[str], None],
    owner: str,
    beside: bool,
) -> StoreChecker:
    """Raises OperationError, PluginError, ConfigError, LocalError."""
    from ..server.server import Server, server_secret
    from ..server.store_check import StoreChecker
    from ..storage.listed import ListedStore
    from .run import load_plugins

    await _ensure_readable(config, beside)
    clock = RealClock()
    try:
        store = ListedStore(make_backend(config.storage, clock), clock)
        server = Server(config, store, clock, secret=server_secret(config.var))
        load_plugins(server, path)
        await store.backend.open()
    except (StoreError, StorageUnavailable) as error:
        raise OperationError(f"the store cannot be read: {error}", Code.UNAVAILABLE) from error
    try:
        checker = StoreChecker(server, store, report, progress, owner, beside)
        await checker.run()
    finally:
        await store.close()
    return checker


async def _ensure_readable(config: ServerConfig, own: bool) -> None:
    """`own`: it is the server's store. Raises OperationError."""
    where = without_password(config.storage)
    if config.storage == "memory:":
        raise OperationError("the store is in memory: there is nothing to look at", Code.UNAVAILABLE)
    if is_new(config):
        raise OperationError(f"the store cannot be read: {where} is not there", Code.UNAVAILABLE)
    client = await ControlClient.connect(config.control_socket) if own else None
    if client is not None:
        client.close()
        raise OperationError(
            f"a server runs on {where}: stop it, or make a copy and look at that (--storage)", Code.UNAVAILABLE
        )


def _conclude(checker: StoreChecker, findings: dict[str, list[Finding]], as_json: bool) -> None:
    """Say what it comes to, and end the program."""
    import msgspec

    counts = checker.counts
    looked_at = {name: counts[name] for name in ("accounts", "records", "entries", "sendings")}
    found = {f"{level}s" if level != "unread" else level: counts[level] for level in findings}
    if as_json:
        listed = {
            level: [{"owner": each.owner, "where": each.where, "what": each.what} for each in some]
            for level, some in findings.items()
        }
        whole = {
            "looked_at": looked_at,
            "found": found,
            "problems": listed["problem"],
            "notes": listed["note"],
            "unread": listed["unread"],
        }
        print(msgspec.json.encode(whole).decode())
    else:
        seen = ", ".join(f"{number:,} {name}" for name, number in looked_at.items())
        told = ", ".join(f"{number:,} {name}" for name, number in found.items() if number) or "nothing is wrong"
        console.print(f"Looked at {seen}: {told}.", highlight=False, soft_wrap=True)
    raise typer.Exit(Exit.UNREACHABLE if counts["unread"] else Exit.NOT_DONE if counts["problem"] else Exit.DONE)
