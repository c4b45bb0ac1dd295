"""xmppd run, xmppd reload, xmppd check."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from ..config import ConfigError, ServerConfig, effective, find_config
from ..control import ControlServer, ensure_free
from ..errors import LocalError
from ..libraries import advice
from ..loader import PluginError, choose, discover
from ..net.loop import RealClock
from ..net.loop import run as run_loop
from ..net.metrics import MetricsListener
from ..net.tls import CertificateError
from ..observe.exposition import CONTENT_TYPE, Exposition
from ..observe.logs import configure
from ..operations import OperationError, Operations
from ..reload import Reloader, load_certificates
from ..server import Server, server_secret
from ..storage import open_storage
from ..storage.api import StoreError
from .common import ConfigOption, ask_server, configuration, console, fail

log = logging.getLogger("xmppd")

SWITCH_INTERVAL = 0.0005
"""The writer thread and the loop share the interpreter; short turns keep both going (measured)."""


def run(config: ConfigOption = None) -> None:
    """Run the server until SIGTERM or SIGINT; SIGHUP reads the configuration and the certificates again."""
    loaded = configuration(config)
    try:
        configure(loaded.log)
        run_loop(_serve(loaded, find_config(config, os.environ)))
    except (PluginError, ConfigError, LocalError, StoreError, CertificateError, OperationError) as error:
        fail(str(error), 2)
    except OSError as error:
        fail(f"cannot start: {error}", 1)


async def _serve(config: ServerConfig, path: Path) -> None:
    """From nothing to a running server, and back at SIGTERM. What fails on the way is undone."""
    ended = _signals()
    sys.setswitchinterval(SWITCH_INTERVAL)
    for text in advice():
        log.warning("%s", text)
    await ensure_free(config.control_socket)
    clock = RealClock()
    certificates = load_certificates(config)
    secret = server_secret(config.var)
    storage = await open_storage(config.storage, clock)
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
        await server.listen()
        await control.start()
        if config.metrics.port is not None:
            await scraped.start(config.metrics.address, config.metrics.port)
            log.info("metrics at http://%s:%d/metrics", config.metrics.address, scraped.port)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reloader.soon)
        _freeze()
        log.info("ready; commands are taken at %s", config.control_socket)
        _welcome(config, server)
        await ended.wait()
        log.info("stopping")
    finally:
        await control.stop()
        await scraped.stop()
        await reloader.stop()
        await server.stop()
    log.info("stopped")


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


def _welcome(config: ServerConfig, server: Server) -> None:
    domain = server.default_host.domain
    ports = ", ".join(
        f"{each.address}:{listener.port} ({each.tls})"
        for each, listener in zip(config.listeners, server.listeners, strict=True)
    )
    console.print(f"\n[bold]xmppd serves {', '.join(server.hosts)}[/bold] on {ports}\n")
    command = "xmppd" if shutil.which("xmppd") else os.path.relpath(sys.argv[0])
    console.print(f"Add an account:   {command} user add romeo@{domain}")
    console.print(f"In the client:    address romeo@{domain}, server {config.listeners[0].address}, ", end="")
    console.print(f"port {server.listeners[0].port}, accept the self-signed certificate\n")


def reload(config: ConfigOption = None) -> None:
    """Let the running server read its configuration and certificates again."""
    for line in ask_server(configuration(config), "reload"):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def check(
    config: ConfigOption = None,
    print_: Annotated[bool, typer.Option("--print", help="Print the effective configuration.")] = False,
) -> None:
    """Validate the configuration, plugins and their options included."""
    loaded = configuration(config)
    try:
        found = discover(loaded.plugin_path)
        options = {
            domain: {chosen.name: options for chosen, options in choose(host, domain, found)}
            for domain, host in loaded.hosts.items()
        }
    except (PluginError, ConfigError) as error:
        fail(str(error), 2)
    if print_:
        print(effective(loaded, options), end="")
    else:
        for text in advice():
            console.print(f"Warning: {text}", highlight=False, markup=False, soft_wrap=True)
        console.print("The configuration is valid.")
