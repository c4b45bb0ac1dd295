"""xmppd run, xmppd check."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import shlex
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from ..admin.control import ControlServer, ensure_free
from ..config import ClientListenerConfig, ConfigError, ServerConfig, effective, find_config, problem_at
from ..contracts.admin import OperationError
from ..contracts.registration import REGISTRATION
from ..errors import LocalError
from ..hosts.loader import PluginError
from ..net.engine import Engine
from ..net.loop import RealClock
from ..net.loop import run as run_loop
from ..net.standstill import Standstill
from ..net.tls import fingerprint
from ..observe.logs import configure
from ..server.federation_warnings import federation_warnings
from ..server.library_advice import advice
from ..server.listeners import ListenError, reason
from ..server.reload import Reloader, certificate_problems, load_certificates
from ..server.server import Server, server_secret, store_secret
from ..storage import LINGER, make_storage
from ..storage.api import StoreError
from ..storage.group_commit import Limits
from ..storage.memory import MemoryBackend
from ..storage.store import Store
from .beforehand import runs, taken, unusable
from .common import ConfigOption, Exit, configuration, console, fail

log = logging.getLogger("xmppd")

SWITCH_INTERVAL = 0.0005
"""The writer thread and the loop share the interpreter; short turns keep both going (measured)."""


TakeOverOption = Annotated[
    bool,
    typer.Option(
        "--take-over",
        help="Take the database from a server that still has it: that one ends. Nothing acknowledged is lost.",
    ),
]


def run(config: ConfigOption = None, take_over: TakeOverOption = False) -> None:
    """Run the server until SIGTERM or SIGINT; SIGHUP reads the configuration and the certificates again."""
    loaded = configuration(config)
    path = find_config(config, os.environ)
    try:
        _open_log(loaded, path)
        run_loop(_serve(loaded, path, take_over))
    except (PluginError, ConfigError, LocalError) as error:
        fail(str(error), Exit.WRONG)
    except StoreError as error:
        fail(str(error), Exit.UNREACHABLE)
    except OperationError as error:
        fail(str(error))
    except OSError as error:
        fail(f"cannot start: {error}")


def _open_log(config: ServerConfig, path: Path) -> None:
    """Raises ConfigError with all that is wrong, when it cannot be opened."""
    try:
        configure(config.log)
    except OSError as error:
        problem = problem_at(path, ("log", "file"), f"{config.log.file} cannot be opened: {reason(error)}")
        raise ConfigError(unusable(config, path) or [problem]) from error


async def _serve(config: ServerConfig, path: Path, take_over: bool) -> None:
    """From nothing to a running server, and back at SIGTERM. What fails on the way is undone."""
    ended = _signals()
    sys.setswitchinterval(SWITCH_INTERVAL)
    for text in (*advice(), *map(str, federation_warnings(config, path))):
        log.warning("%s", text)
    if problems := [*certificate_problems(config, path), *unusable(config, path)]:
        raise ConfigError(problems)
    await ensure_free(config.control_socket)
    if problems := taken(config, path):
        raise ConfigError(problems)
    server = await _made(config, path, take_over)
    reloader = Reloader(server, path)
    server.operations.add(reloader)
    server.operations.add(server.numbers)
    control = ControlServer(config.control_socket, server.operations)
    if server.storage.backend.shared:
        Standstill(Engine.of(server.clock), server.clock, server.storage.confirm)
    try:
        await server.start()
        await _listen(server, path)
        await control.start()
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reloader.soon)
        _freeze()
        if server.ready:
            log.info("ready; commands are taken at %s", config.control_socket)
        else:
            log.warning("not ready; the store does not answer, so nobody can sign in until it does")
            server.on_ready = lambda: log.info("ready; the store answers")
        _welcome(config, server, path)
        await ended.wait()
        log.info("stopping")
    finally:
        await control.stop()
        await reloader.stop()
        await server.stop()
    log.info("stopped")


async def _made(config: ServerConfig, path: Path, take_over: bool) -> Server:
    """The server with its plugins, its store opened; a mistake in a plugin leaves nothing behind."""
    clock = RealClock()
    store = config.store
    bounds = Limits(linger=LINGER, commit_timeout=float(store.patience), queue_size=store.queue)
    storage = make_storage(config.storage, clock, bounds, max_bytes=store.cache, take_over=take_over)
    storage.on_over = _taken_over
    server = Server(config, storage, clock, secret=server_secret(config.var))  # plugins make keys of it when they load
    load_plugins(server, path)
    try:
        await storage.open()
    except StoreError as error:
        raise StoreError(str(problem_at(path, ("storage",), str(error)))) from error
    try:
        server.certificates = load_certificates(config, path=path, types=server.host_types)
        store_secret(config.var, server.secret)
    except BaseException:
        await storage.close()
        raise
    return server


def _taken_over(why: str) -> None:
    """Another server decides about these accounts. What this one could still say may be wrong, so it says nothing: the
    connections end with the process, without a word. The log has said why."""
    logging.shutdown()
    os._exit(Exit.TAKEN_OVER)


def load_plugins(server: Server, path: Path) -> None:
    """Raises PluginError with its place in the file, ConfigError, LocalError."""
    try:
        server.load_plugins()
    except PluginError as error:
        raise PluginError(str(problem_at(path, error.where, str(error))) if error.where else str(error)) from error


async def _listen(server: Server, path: Path) -> None:
    """Open the listeners. Raises ConfigError with the line of the one that cannot be opened."""
    try:
        await server.listen()
    except ListenError as error:
        where = server.config.listener_place(error.number)
        raise ConfigError([problem_at(path, where, str(error))]) from error


def _freeze() -> None:
    """A full collection costs 27 ms at 20,000 sessions: what is here now is here to stay."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)


def _signals() -> asyncio.Event:
    """Set at SIGTERM and SIGINT, from now on: one that comes while the server starts ends it in order too.

    SIGHUP does not end it: what it asks for is what a start does.
    """
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    loop.add_signal_handler(signal.SIGHUP, lambda: log.info("SIGHUP: the server is starting, nothing to reload yet"))
    return ended


def _welcome(config: ServerConfig, server: Server, path: Path) -> None:
    domain = server.default_host.domain
    opened = server.listeners.configured
    ports = ", ".join(f"{each.address}:{listener.port} ({each.label})" for each, listener in opened)
    console.print(f"\n[bold]xmppd serves {', '.join(server.hosts)}[/bold] on {ports}\n", soft_wrap=True)
    clients = server.listeners.of(ClientListenerConfig)
    if not server.default_host.has_accounts or not clients:
        why = "No listener is for clients" if server.default_host.has_accounts else "No host is of type accounts"
        console.print(f"{why}: nobody can sign in here.\n", soft_wrap=True)
        return
    for line in (*_in_the_browser(server), f"Add an account:   {_command()} user add romeo@{domain}{_named(path)}"):
        console.print(line, markup=False, emoji=False, highlight=False, soft_wrap=True)
    console.print(f"In the client:    address romeo@{domain}, server {clients[0][0].address}, ", end="")
    console.print(f"port {clients[0][1].port}")
    certificate, _ = config.certificate_files(domain)
    with suppress(OSError, ValueError):
        found = fingerprint(certificate)
        if found is not None:
            for line in (
                f"Its certificate:  {certificate}, signed by itself; clients ask whether it is right:",
                f"                  SHA-256 {found}",
                "                  Dino does not ask: docs/howto/certificates.md, To trust the test certificate",
            ):  # as it is: a fingerprint is full of names of emoji (:CD:)
                console.print(line, markup=False, emoji=False, highlight=False, soft_wrap=True)
    console.print()


def _in_the_browser(server: Server) -> list[str]:
    """Where people chat in the browser, if a plugin has put a page at `/`."""
    host = server.default_host
    address = server.url(host.domain, "/")
    if not address or "GET" not in host.http_routes.routes(("",)):
        return []
    registration = host.find(REGISTRATION)
    how = "with an account"
    if registration is not None and registration.for_everybody:
        how = 'to make an account choose "Create an account" there'
    return [f"In the browser:   {address} ({how})"]


def _command() -> str:
    """What a person types here to run this program."""
    program = sys.argv[0]
    if os.path.basename(program) != "xmppd":  # python -m xmppd
        return f"{_typed(sys.executable)} -m xmppd"
    return _typed(program)


def _typed(program: str) -> str:
    """A program as it is typed in this folder: its name if the shell finds it, else its path."""
    name = os.path.basename(program)
    return name if shutil.which(name) == os.path.abspath(program) else shlex.quote(os.path.relpath(program))


def _named(path: Path) -> str:
    """The option that says which configuration, where it is not the one that is found here without being named."""
    with suppress(ConfigError):
        if find_config(None, {}) == path:
            return ""
    return f" --config {shlex.quote(str(path))}"


def check(
    config: ConfigOption = None,
    print_: Annotated[bool, typer.Option("--print", help="Print the effective configuration.")] = False,
) -> None:
    """Validate the configuration as `run` does: plugins are set up, certificates read, addresses and folders tried."""
    loaded = configuration(config)
    path = find_config(config, os.environ)
    try:
        problems = [*certificate_problems(loaded, path), *unusable(loaded, path)]
        if not runs(loaded):
            problems += taken(loaded, path)
        options = asyncio.run(_set_up(loaded, path))
        if problems:
            raise ConfigError(problems)
    except (PluginError, ConfigError, LocalError) as error:
        said = str(error) if isinstance(error, ConfigError) else "\n".join([*map(str, problems), str(error)])
        fail(said, Exit.WRONG)
    if print_:
        print(effective(loaded, options), end="")
    else:
        for text in (*advice(), *map(str, federation_warnings(loaded, path))):
            console.print(f"Warning: {text}", highlight=False, markup=False, soft_wrap=True)
        console.print("The configuration is valid.")


async def _set_up(config: ServerConfig, path: Path) -> dict[str, dict[str, Any]]:
    """The options of all plugins, by domain and name, after every plugin was set up on a store in memory. Raises
    PluginError, ConfigError, LocalError."""
    clock = RealClock()
    server = Server(config, Store(MemoryBackend(clock), clock), clock)
    load_plugins(server, path)
    return {
        host.domain: {name: plugin.config for name, plugin in host.plugins.items()} for host in server.hosts.values()
    }
