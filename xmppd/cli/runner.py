"""Where operations run: in the server that runs here, or on its store while it does not."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, NoReturn, Protocol, TypeVar
from urllib.parse import unquote

import msgspec

from ..admin.accounts import Accounts
from ..admin.control import ControlClient
from ..admin.operations import AccountOperations
from ..admin.registry import Answer, Operations
from ..config import SQLITE, ServerConfig, without_password
from ..contracts.admin import Code, Needs, OperationError
from ..hosts.loader import PluginError, known_types, with_accounts
from ..net.loop import RealClock
from ..storage import open_storage
from ..storage.api import StoreError
from .common import Exit, complaints, fail, printable

T = TypeVar("T")
STATUS: Final[Mapping[Code, Exit]] = {Code.NOT_RUNNING: Exit.UNREACHABLE, Code.UNAVAILABLE: Exit.UNREACHABLE}
"""How a command ends; NOT_DONE for all others."""


class Runner(Protocol):
    async def answer(self, name: str, given: Mapping[str, Any], host: str = "") -> Answer:
        """Raises OperationError."""


@asynccontextmanager
async def runner(config: ServerConfig, needs: Needs) -> AsyncIterator[Runner]:
    """The running server, or its store. Raises OperationError, StoreError."""
    client = await ControlClient.connect(config.control_socket)
    if client is not None:
        try:
            yield client
        finally:
            client.close()
        return
    if needs is Needs.SERVER:
        raise OperationError(f"no server is running here ({config.control_socket})", Code.NOT_RUNNING)
    if config.storage == "memory:":
        raise OperationError("the store is in memory and the server does not run: there is nothing to change")
    clock = RealClock()
    if needs is Needs.NOTHING or not is_new(config):
        which = _which_store(config)
        storage = await open_storage(config.storage, clock)
        complaints.print(f"The server does not run; {which}.", markup=False)
    else:
        storage = await open_storage("memory:", clock)
        where = without_password(config.storage)
        complaints.print(f"The server does not run, and its store, {where}, is not there.", markup=False)
    try:
        yield stopped(config, Accounts(storage, clock))
    finally:
        await storage.close()


def stopped(config: ServerConfig, accounts: Accounts) -> Operations:
    """What can be done while the server does not run. Raises OperationError."""
    try:
        domains = with_accounts(config.hosts, known_types(config))
    except PluginError as error:
        raise OperationError(str(error)) from error
    operations = Operations(domains, live=False)
    for domain in operations.domains:
        operations.add(AccountOperations(accounts, domain), domain)
    return operations


def do(config: ServerConfig, needs: Needs, work: Callable[[Runner], Awaitable[T]], json: bool = False) -> T:
    """Run it, or end the program with what is wrong; `json`: for programs."""

    async def go() -> T:
        async with runner(config, needs) as found:
            return await work(found)

    try:
        return asyncio.run(go())
    except OperationError as error:
        refuse(error, json)
    except StoreError as error:
        refuse(OperationError(str(error), Code.UNAVAILABLE), json)
    except BrokenPipeError:
        raise  # who reads what is printed has seen enough; Typer ends the program
    except OSError as error:
        refuse(OperationError(f"cannot be done: {error}"), json)


def refuse(error: OperationError, json: bool) -> NoReturn:
    """End the program."""
    text = str(error)
    if json:
        text = msgspec.json.encode({"error": {"code": error.code, "text": printable(text)}}).decode()
    fail(text, STATUS.get(error.code, Exit.NOT_DONE))


def is_new(config: ServerConfig) -> bool:
    """Whether its store is a file that is not there."""
    return config.storage.startswith(SQLITE) and not os.path.lexists(unquote(config.storage.removeprefix(SQLITE)))


def _which_store(config: ServerConfig) -> str:
    """So that nobody adds people to a store that no server uses."""
    where = without_password(config.storage)
    return f"the new store {where} is made" if is_new(config) else f"this is about its store, {where}"
