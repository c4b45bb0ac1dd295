"""The composition root: configuration → storage → hosts → plugins → listeners, and the way back."""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Awaitable, Callable
from functools import cached_property, partial
from pathlib import Path
from secrets import token_bytes, token_urlsafe
from typing import TYPE_CHECKING, Any

from ..admin.accounts import Accounts
from ..admin.operations import AccountOperations
from ..admin.registry import Operations
from ..admin.remote_domains import RemoteDomainOperations
from ..background import Background
from ..clock import Clock
from ..config import Problem, RawOptions, ServerConfig, options_path
from ..contracts.sessions import RESTORED
from ..errors import LocalError, MalformedJid, StorageUnavailable
from ..hosts.host import Host
from ..hosts.loader import Found, PluginError, choose, discover, host_types, what_failed
from ..jid import prepare_domain
from ..memory.budget import MemoryBudget
from ..memory.heap import Trimmer
from ..net.http_client import Poster
from ..net.http_server import HttpServer
from ..observe.metrics import Counts
from ..plugin import CORE_TYPES, HostType
from ..routing.answer_times import AnswerTimes
from ..routing.homes import Homes
from ..routing.router import Router
from ..routing.routes import Routes
from ..sessions.manager import SessionManager
from ..sessions.snapshots import SessionSnapshots
from ..storage.store import Store
from ..streams.components import Components
from ..streams.rate_limits import Hashing, RateLimiter, SignInGuard
from ..streams.websocket import WebSockets
from .core_routes import core_routes
from .exposition import Exposition
from .http_site import url
from .idle import IdleSweep
from .limits import runtime_limits
from .listeners import Listeners
from .shutdown import StreamShutdown
from .web_streams import offered

if TYPE_CHECKING:
    from ..contracts.link import Port, Receiver
    from ..net.tls import Certificates
    from ..net.tls_context import ServerContext
    from ..plugin import Plugin
    from ..streams.client import ClientStream
    from ..streams.remote_domains import RemoteDomains

log = logging.getLogger("xmppd")

SAY_AGAIN = 60.0
"""Seconds between two warnings about the same thing that is still so."""
START_AGAIN = 1.0
"""Seconds until a host whose plugins could not read the store tries again."""
STOP_WITHIN = 5.0
"""Seconds that work under way may take at a stop."""
STOP_ALL_WITHIN = 12.0
"""Seconds for all steps of a stop after the streams are closed; then each step has LAST_STEP seconds."""
LAST_STEP = 0.3


class Server:
    """Everything that runs in one process."""

    def __init__(
        self,
        config: ServerConfig,
        storage: Store,
        clock: Clock,
        certificates: Certificates | None = None,
        secret: bytes | None = None,
    ) -> None:
        self.config = config
        self.storage = storage
        self.clock = clock
        self.limits = runtime_limits(config.limits)
        self.rate_limiter = RateLimiter(clock, config.limits)
        self.guard = SignInGuard(clock, config.limits.sign_in)
        self.trimmer = Trimmer()
        self.hashing = Hashing()
        self.memory = MemoryBudget(config.limits.memory, config.limits.account_memory, config.limits.after_sign_in.size)
        self.certificates = certificates
        self.secret = secret or token_bytes(32)
        self.counts = Counts()
        self.poster = Poster(config.outgoing.allowed, float(config.outgoing.timeout))
        self.hosts: dict[str, Host] = {}
        self.routes = Routes(Homes(config.homes))
        self.background = Background(clock)
        self.router = Router(storage, self.routes, self.background)
        self.answer_times = AnswerTimes(clock)
        self.session_manager = SessionManager(self)
        self.memory.on_pressure = lambda pool: clock.call_soon(partial(self.session_manager.make_room, pool))
        self.streams: set[ClientStream] = set()
        self.stopping = False
        self.listeners = Listeners(self)
        self.numbers = Exposition(self)
        self.http = HttpServer(clock, self.memory)
        self.web_sockets = WebSockets(clock)
        self.http_routes = core_routes(self, self.numbers)
        self.found: dict[str, Found] = {}
        self.host_types: dict[str, HostType] = dict(CORE_TYPES)
        for domain, host_config in config.hosts.items():
            host = Host(self, domain, host_config.type, storage, clock, host_config.admins, host_config.quarantine)
            self.hosts[host.domain] = host
            self.routes.add_host(host)
        self.components = Components(self, config.components)
        self.remote_domains: RemoteDomains | None = None
        self.accounts = Accounts(storage, clock, self.hosts, self.session_manager)
        homes = [host for host in self.hosts.values() if host.has_accounts]
        self.operations = Operations(host.domain for host in homes)
        for host in homes:
            self._add_account_operations(host)
        self.snapshots = SessionSnapshots(self)
        self._started: list[tuple[Host, str]] = []
        self._said_waiting: dict[str, float] = {}
        self.on_ready: Callable[[], None] | None = None
        """Called once, when a server that was started before its store answered is ready at last."""
        self.idle = IdleSweep(self)

    def _remote_domains(self) -> RemoteDomains | None:
        """Other servers, if a listener is for them."""
        config, certificates = self.config.federation, self.certificates
        if certificates is None or not self.config.talks_to_others:
            return None
        from .federation import make_remote_domains  # the others do without what that needs

        made = self.routes.elsewhere.servers = make_remote_domains(self, config, certificates)
        return made

    @cached_property
    def default_host(self) -> Host:
        """The first one with accounts, or the first of all."""
        return next((host for host in self.hosts.values() if host.has_accounts), next(iter(self.hosts.values())))

    # ---- start and stop

    def load_plugins(self) -> None:
        """Find, check and make the plugins of all hosts. Raises PluginError, ConfigError, LocalError."""
        self.found = discover(self.config.plugin_path)
        self.host_types = host_types(self.found)
        for domain, host_config in self.config.hosts.items():
            host = self.hosts[domain]
            if host_config.type in self.host_types:
                self._become(host, self.host_types[host_config.type])
            for found, options in choose(host_config, domain, self.found):
                plugin = self._made(host, found, options)
                host.add(found.name, plugin)
                self.operations.add(plugin, host.domain)
            self.routes.add_host(host)
            self._check_routes(host)

    def _become(self, host: Host, kind: HostType) -> None:
        """Give a host the abilities of its type, which a plugin may have brought."""
        new_home = kind.has_accounts and not host.has_accounts
        host.become(kind)
        if new_home:
            self.operations.domains |= {host.domain}
            self._add_account_operations(host)

    def _add_account_operations(self, host: Host) -> None:
        self.operations.add(AccountOperations(self.accounts, host.domain, host), host.domain)
        self.operations.add(RemoteDomainOperations(self, host), host.domain)

    def _check_routes(self, host: Host) -> None:
        """Raises LocalError: a plugin answers what the server itself does."""
        try:
            for route in host.http_routes.all:
                self.http_routes.check(route)
        except ValueError as error:
            raise LocalError(str(error)) from None

    def _made(self, host: Host, found: Found, options: Any) -> Plugin[Any]:
        try:
            return found.cls(host, options)
        except (Exception, SystemExit) as error:
            raise self._unusable(host, found.name, "cannot be set up", error) from error

    def _unusable(self, host: Host, name: str, what: str, error: BaseException) -> PluginError:
        """The place in the configuration, the plugin and its own line: for the administrator and for the author."""
        raw = self.config.hosts[host.domain].plugins.get(name, RawOptions())
        why = what_failed(error)
        message = f"this plugin {what}: {why}"
        return PluginError(str(Problem(raw.file, raw.line, options_path(host.domain, name), message)))

    async def start(self) -> None:
        """Start the plugins. Listeners open with `listen`. Raises PluginError."""
        if not self._started and not any(host.plugins for host in self.hosts.values()):
            self.load_plugins()
        self.remote_domains = self._remote_domains()
        for host in self.hosts.values():
            await self._start_plugins(host)
        await self._restore()
        self.idle.start()

    async def _restore(self) -> None:
        """All plugins run: bring back the sessions that outlived the last process, then take clients."""
        waiting = [host for host in self.hosts.values() if host.ready_to_start and not host.started]
        if not all(host.ready_to_start for host in self.hosts.values()):
            return
        try:
            if self.accounts.remover is not None:
                await self.accounts.remover.open()
            for host in waiting:
                if host.has_accounts:
                    await self.snapshots.restore(host)
                await self.router.outbox.read(host)
        except StorageUnavailable as error:
            self._say_waiting("nothing is taken yet: the sessions wait for the store", error)
            self.clock.call_later(START_AGAIN, lambda: self.default_host.background.spawn(self._restore(), "restore"))
            return
        for host in waiting:
            await host.tell_and_wait(RESTORED, host.jid)
            host.started = True
        for host in waiting:
            self.router.outbox.send_again(host)
        if waiting and self.ready and self.on_ready is not None:
            self.on_ready()
        if self.accounts.remover is not None:
            self.accounts.remover.start()

    def _say_waiting(self, what: str, error: Exception) -> None:
        """Once, and again each minute while it lasts."""
        now = self.clock.monotonic()
        if now >= self._said_waiting.get(what, now):
            self._said_waiting[what] = now + SAY_AGAIN
            log.warning("%s (%s)", what, error)

    @property
    def ready(self) -> bool:
        """Every host takes clients and stanzas."""
        return all(host.started for host in self.hosts.values())

    async def _start_plugins(self, host: Host) -> None:
        """Start its plugins; those that need the store, and what uses them, begin when it answers."""
        for name, plugin in host.plugins.items():
            if (host, name) in self._started:
                continue
            try:
                await plugin.start()
            except StorageUnavailable as error:
                self._say_waiting(f"{host.domain} takes nothing yet: {name} waits for the store", error)
                self.clock.call_later(START_AGAIN, partial(self._start_again, host))
                return
            except (Exception, SystemExit) as error:
                raise self._unusable(host, name, "cannot start", error) from error
            self._started.append((host, name))
        host.ready_to_start = True

    def _start_again(self, host: Host) -> None:
        host.background.spawn(self._start_late(host), "start")

    async def _start_late(self, host: Host) -> None:
        await self._start_plugins(host)
        await self._restore()

    async def listen(self) -> None:
        """Open the listeners of the configuration. Raises ListenError."""
        await self.listeners.open()

    async def open_port(self, address: str, port: int, make_receiver: Callable[[], Receiver]) -> Port:
        """Listen for a plugin, without TLS, until the server stops; port 0 takes a free one. Raises OSError."""
        return await self.listeners.open_port(address, port, make_receiver)

    def url(self, domain: str, path: str = "/", secure: bool | None = None) -> str:
        """The address under which people reach a path of a domain over HTTP; "" where no listener serves it.
        `secure`: where several are as good, one with TLS, or one without; None: the first of the configuration."""
        return url(self.listeners.configured, domain, path, secure) if offered(self.config.web, path) else ""

    async def stop(self) -> None:
        """No new connections, what is pending is committed and acknowledged, <system-shutdown/> to all, plugins end in
        reverse."""
        self.listeners.stop_accepting()
        self.idle.stop()
        self.rate_limiter.stop()
        await StreamShutdown(self).run()
        ending = _Ending()
        if self.remote_domains is not None:  # before the connections that others have made: what we say may go by them
            await self._settle(ending)
            await ending.step(self.remote_domains.close(), "streams to other servers")
        await self.listeners.close(self.limits.stop_time)
        await self._settle(ending)
        await ending.step(self.snapshots.store(), "the sessions that can be resumed")
        for session in list(self.session_manager.detached):
            self.session_manager.end(session)
        for host, name in reversed(self._started):
            await ending.step(host.plugins[name].stop(), f"plugin {name} of {host.domain}")
        self._started.clear()
        await self._settle(ending)
        for host in self.hosts.values():
            await ending.step(host.cursor_writer.flush(), f"the last positions of {host.domain}")
            await host.background.close()
        await self.background.close()
        await self.poster.close()
        await self.storage.close(ending.within)

    async def _settle(self, ending: _Ending) -> None:
        """Wait for the work under way, and for the decisions about what that has sent."""
        for host in self.hosts.values():
            await host.background.settle(ending.within)
        await self.background.settle(ending.within)

    # ---- for streams

    def host_for(self, to: str) -> Host | None:
        """The host that a stream header names; without a name the first one with accounts."""
        host = self.hosts.get(to) if to else self.default_host
        if host is None:
            try:
                host = self.hosts.get(prepare_domain(to))
            except MalformedJid:
                return None
        return host if host is not None and host.has_accounts else None

    def tls_context(self, domain: str) -> ServerContext:
        assert self.certificates is not None
        return self.certificates.context(domain)

    def key_for(self, purpose: str) -> bytes:
        """See `contracts.core.Server.key_for`."""
        return hmac.digest(self.secret, f"key\0{purpose}".encode(), "sha256")

    def nonce(self) -> str:
        return token_urlsafe(24)


class _Ending:
    """The time that a stop may take, step by step: a store that does not answer must not hold up the end."""

    def __init__(self) -> None:
        self._end = asyncio.get_running_loop().time() + STOP_ALL_WITHIN

    @property
    def within(self) -> float:
        """Seconds for the next step."""
        return max(LAST_STEP, min(STOP_WITHIN, self._end - asyncio.get_running_loop().time()))

    async def step(self, work: Awaitable[None], what: str) -> None:
        within = self.within
        try:
            async with asyncio.timeout(within):
                await work
        except TimeoutError:
            log.error("%s: not ended within %.1f s", what, within)
        except StorageUnavailable as error:
            log.error("%s: not stored (%s)", what, error)
        except Exception:
            log.exception("%s: failed at the end", what)


def server_secret(folder: Path) -> bytes:
    """The secret behind answers to unknown users and behind the keys of plugins. At the first start a new one, which
    `store_secret` has to write."""
    try:
        return (folder / "secret").read_bytes()
    except FileNotFoundError:
        return token_bytes(32)


def store_secret(folder: Path, secret: bytes) -> None:
    """Keep the secret of a new server in a file only we can read."""
    path = folder / "secret"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_bytes(secret)
