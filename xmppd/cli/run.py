"""xmppd run, xmppd reload, xmppd check."""

from __future__ import annotations

import asyncio
import gc
import ipaddress
import logging
import os
import shlex
import shutil
import signal
import socket
import sys
from collections.abc import Awaitable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote

import typer

from ..config import SQLITE, ConfigError, Problem, ServerConfig, effective, find_config, problem_at
from ..control import ControlServer, ensure_free
from ..errors import LocalError
from ..libraries import advice
from ..loader import PluginError
from ..net.loop import RealClock
from ..net.loop import run as run_loop
from ..net.metrics import MetricsListener
from ..net.tls import fingerprint
from ..observe.exposition import CONTENT_TYPE, Exposition
from ..observe.logs import configure
from ..operations import OperationError, Operations
from ..reload import Reloader, certificate_problems, load_certificates
from ..server import ListenError, Server, server_secret
from ..storage import GATHER, open_storage
from ..storage.api import StoreError
from ..storage.commits import Limits
from ..storage.memory import MemoryBackend
from ..storage.store import Store
from .common import ConfigOption, Exit, ask_server, configuration, console, fail

log = logging.getLogger("xmppd")

SWITCH_INTERVAL = 0.0005
"""The writer thread and the loop share the interpreter; short turns keep both going (measured)."""


def run(config: ConfigOption = None) -> None:
    """Run the server until SIGTERM or SIGINT; SIGHUP reads the configuration and the certificates again."""
    loaded = configuration(config)
    path = find_config(config, os.environ)
    try:
        configure(loaded.log)
        run_loop(_serve(loaded, path))
    except (PluginError, ConfigError, LocalError) as error:
        fail(str(error), Exit.WRONG)
    except StoreError as error:
        fail(str(error), Exit.UNREACHABLE)
    except OperationError as error:
        fail(str(error))
    except OSError as error:
        fail(f"cannot start: {error}")


async def _serve(config: ServerConfig, path: Path) -> None:
    """From nothing to a running server, and back at SIGTERM. What fails on the way is undone."""
    ended = _signals()
    sys.setswitchinterval(SWITCH_INTERVAL)
    for text in advice():
        log.warning("%s", text)
    if problems := list(_unusable(config, path)):
        raise ConfigError(problems)
    await ensure_free(config.control_socket)
    clock = RealClock()
    certificates = load_certificates(config, path=path)
    secret = server_secret(config.var)
    store = config.store
    bounds = Limits(gather=GATHER, patience=float(store.patience), queue_size=store.queue)
    storage = await open_storage(config.storage, clock, bounds, max_bytes=store.cache)
    try:
        server = Server(config, storage, clock, certificates, secret)
        server.load_plugins()
    except BaseException:
        await storage.close()
        raise
    domains = [host.domain for host in server.hosts.values() if host.has_accounts]
    reloader = Reloader(server, path)
    numbers = Exposition(server)
    more = {"reload": reloader.command, "metrics": numbers.command}
    control = ControlServer(config.control_socket, Operations(server.accounts, domains, more))
    scraped = MetricsListener(numbers.text, CONTENT_TYPE)
    try:
        await server.start()
        await _listen(server, path)
        await control.start()
        if config.metrics.port is not None:
            await _bound(scraped.start(config.metrics.address, config.metrics.port), path, ("metrics", "port"))
            log.info("metrics at http://%s:%d/metrics", config.metrics.address, scraped.port)
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
        await scraped.stop()
        await reloader.stop()
        await server.stop()
    log.info("stopped")


async def _listen(server: Server, path: Path) -> None:
    """Open the listeners. Raises ConfigError with the line of the one that cannot be opened."""
    try:
        await server.listen()
    except ListenError as error:
        where = ("listeners", error.number)
        raise ConfigError([problem_at(path, where, str(error))]) from error


async def _bound(work: Awaitable[None], path: Path, where: tuple[str, ...]) -> None:
    """Open a port that an option names. Raises ConfigError with its line."""
    try:
        await work
    except OSError as error:
        raise ConfigError([problem_at(path, where, f"cannot be opened: {error.strerror or error}")]) from error


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
    ports = ", ".join(
        f"{each.address}:{listener.port} ({each.tls})"
        for each, listener in zip(config.listeners, server.listeners, strict=True)
    )
    console.print(f"\n[bold]xmppd serves {', '.join(server.hosts)}[/bold] on {ports}\n", soft_wrap=True)
    command = f"{_command()} user add romeo@{domain}{_named(path)}"
    console.print(f"Add an account:   {command}", markup=False, emoji=False, highlight=False, soft_wrap=True)
    console.print(f"In the client:    address romeo@{domain}, server {config.listeners[0].address}, ", end="")
    console.print(f"port {server.listeners[0].port}")
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


def reload(config: ConfigOption = None) -> None:
    """Let the running server read its configuration and certificates again."""
    for line in ask_server(configuration(config), "reload"):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def check(
    config: ConfigOption = None,
    print_: Annotated[bool, typer.Option("--print", help="Print the effective configuration.")] = False,
) -> None:
    """Validate the configuration as `run` does: plugins are set up, certificates read, addresses and folders tried."""
    loaded = configuration(config)
    path = find_config(config, os.environ)
    try:
        problems = [*certificate_problems(loaded, path), *_unusable(loaded, path)]
        options = asyncio.run(_set_up(loaded))
        if problems:
            raise ConfigError(problems)
    except (PluginError, ConfigError, LocalError) as error:
        said = str(error) if isinstance(error, ConfigError) else "\n".join([*map(str, problems), str(error)])
        fail(said, Exit.WRONG)
    if print_:
        print(effective(loaded, options), end="")
    else:
        for text in advice():
            console.print(f"Warning: {text}", highlight=False, markup=False, soft_wrap=True)
        console.print("The configuration is valid.")


async def _set_up(config: ServerConfig) -> dict[str, dict[str, Any]]:
    """The options of all plugins, by domain and name, after every plugin was set up on a store in memory. Raises
    PluginError, ConfigError, LocalError."""
    clock = RealClock()
    server = Server(config, Store(MemoryBackend(clock), clock), clock)
    server.load_plugins()
    return {
        host.domain: {name: plugin.config for name, plugin in host.plugins.items()} for host in server.hosts.values()
    }


def _unusable(config: ServerConfig, path: Path) -> Iterable[Problem]:
    """Addresses that this machine does not have, and folders that cannot be written. Ports are not tried: the server
    may be running."""
    for number, each in enumerate(config.listeners):
        error = _not_ours(each.address)
        if error:
            yield problem_at(path, ("listeners", number, "address"), error)
    if config.metrics.port is not None and (error := _not_ours(config.metrics.address)):
        yield problem_at(path, ("metrics", "address"), error)
    folders = [("var", config.var)]
    if config.storage.startswith(SQLITE):
        folders.append(("storage", Path(unquote(config.storage.removeprefix(SQLITE))).parent))
    for option, folder in folders:
        there = next((each for each in (folder, *folder.parents) if each.exists()), folder)
        if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
            yield problem_at(path, (option,), f"{folder} cannot be written by this user")


def _not_ours(address: str) -> str:
    """Why nobody can listen on an IP address here, "" if they can."""
    ip = ipaddress.ip_address("127.0.0.1" if address == "localhost" else address)
    with socket.socket(socket.AF_INET6 if ip.version == 6 else socket.AF_INET) as probe:
        try:
            probe.bind((str(ip), 0))
        except OSError as error:
            return f"{address} cannot be listened on: {error.strerror or error}"
    return ""
