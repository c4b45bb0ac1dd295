"""xmppd user: accounts, in the running server or in its store."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from getpass import getpass
from pathlib import Path
from typing import Annotated, TypeVar
from urllib.parse import unquote

import typer
from rich.progress import track

from ..admin.accounts import Accounts
from ..admin.control import ControlClient
from ..admin.operations import OperationError, Operations, Runner
from ..config import SQLITE, ServerConfig, without_password
from ..net.loop import RealClock
from ..storage import open_storage
from ..storage.api import StoreError
from .common import ConfigOption, Exit, complaints, configuration, console, fail

T = TypeVar("T")
users = typer.Typer(help="Add, list, change and delete accounts.", no_args_is_help=True)

Address = Annotated[str, typer.Argument(help="The account, as name@domain.", metavar="JID")]
Password = Annotated[str | None, typer.Option("--password", "-p", help="Asked for when not given.")]


@asynccontextmanager
async def _runner(config: ServerConfig, adds: bool) -> AsyncIterator[Runner]:
    """The running server, or its store while it does not run. `adds`: a store that is not there yet is made."""
    client = await ControlClient.connect(config.control_socket)
    if client is not None:
        try:
            yield client
        finally:
            client.close()
        return
    if config.storage == "memory:":
        raise OperationError("the store is in memory and the server does not run: there is nothing to change")
    clock = RealClock()
    if adds or not _is_new(config):
        told = _which_store(config)
        storage = await open_storage(config.storage, clock)
        complaints.print(f"The server does not run; {told}.", markup=False)
    else:
        storage = await open_storage("memory:", clock)
        where = without_password(config.storage)
        complaints.print(f"The server does not run, and its store, {where}, is not there.", markup=False)
    domains = [domain for domain, host in config.hosts.items() if host.has_accounts]
    try:
        yield Operations(Accounts(storage, clock), domains)
    finally:
        await storage.close()


def _is_new(config: ServerConfig) -> bool:
    return config.storage.startswith(SQLITE) and not os.path.lexists(unquote(config.storage.removeprefix(SQLITE)))


def _which_store(config: ServerConfig) -> str:
    """So that nobody adds people to a store that no server uses."""
    where = without_password(config.storage)
    return f"the new store {where} is made" if _is_new(config) else f"this is about its store, {where}"


def _do(config: Path | None, work: Callable[[Runner], Awaitable[T]], adds: bool = False) -> T:
    loaded = configuration(config)

    async def go() -> T:
        async with _runner(loaded, adds) as runner:
            return await work(runner)

    try:
        return asyncio.run(go())
    except OperationError as error:
        fail(str(error))
    except StoreError as error:
        fail(str(error), Exit.UNREACHABLE)
    except OSError as error:
        fail(f"cannot be done: {error}")


def _asked(password: str | None) -> str:
    if password is not None:
        return password
    first = getpass("Password: ")
    if getpass("Again: ") != first:
        fail("The two are not the same.")
    return first


@users.command()
def add(jid: Address, password: Password = None, config: ConfigOption = None) -> None:
    """Add an account."""
    chosen = _asked(password)
    done = _do(config, lambda runner: runner.run("user add", {"jid": jid, "password": chosen}), adds=True)
    console.print(f"Added {done}.", highlight=False)


@users.command()
def passwd(jid: Address, password: Password = None, config: ConfigOption = None) -> None:
    """Set a new password; sessions signed in with the old one end."""
    chosen = _asked(password)
    done = _do(config, lambda runner: runner.run("user passwd", {"jid": jid, "password": chosen}))
    console.print(f"Changed the password of {done}.", highlight=False)


@users.command("del")
def delete(jid: Address, config: ConfigOption = None) -> None:
    """Delete an account and everything it owns."""
    done = _do(config, lambda runner: runner.run("user del", {"jid": jid}))
    console.print(f"Deleted {done}.", highlight=False)


@users.command()
def release(jid: Address, config: ConfigOption = None) -> None:
    """Give the name of a deleted account free before its quarantine ends (option `quarantine` of the host)."""
    done = _do(config, lambda runner: runner.run("user release", {"jid": jid}))
    console.print(f"{done} can be added again.", highlight=False)


@users.command("list")
def list_(
    domain: Annotated[str, typer.Argument(help="The domain.", metavar="DOMAIN")], config: ConfigOption = None
) -> None:
    """List the accounts of a domain."""

    async def all_of(runner: Runner) -> None:
        after = ""
        while page := await runner.run("user list", {"domain": domain, "after": after}):
            for name in page:
                print(name)
            after = page[-1]

    _do(config, all_of)


@users.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="Lines `jid password`; empty ones and those with # are passed over.")],
    config: ConfigOption = None,
) -> None:
    """Add many accounts."""
    try:
        lines = file.read_text("utf-8").splitlines()
    except OSError as error:
        fail(f"{file}: {error.strerror or error}", Exit.WRONG)
    except UnicodeDecodeError as error:
        at = error.object[: error.start].count(b"\n") + 1
        fail(f"{file}:{at}: not in UTF-8", Exit.WRONG)
    wanted: list[tuple[int, str, str]] = []
    refused: list[str] = []
    lines_with_people = 0
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        lines_with_people += 1
        jid, *password = line.split(maxsplit=1)
        if password:
            wanted.append((number, jid, password[0].strip()))
        else:
            refused.append(f"{file}:{number}: expected `jid password`")

    async def add_all(runner: Runner) -> None:
        for number, jid, password in track(wanted, "Importing", console=console):
            try:
                await runner.run("user add", {"jid": jid, "password": password})
            except OperationError as error:
                refused.append(f"{file}:{number}: {error}")

    _do(config, add_all, adds=True)
    console.print(f"Added {lines_with_people - len(refused)} of {lines_with_people} accounts.", highlight=False)
    if refused:
        fail("\n".join(refused))
