"""The composition root: configuration → storage → hosts → plugins → listeners, and the way back."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from secrets import token_bytes, token_urlsafe
from typing import TYPE_CHECKING, Any

from ..admin.accounts import Accounts
from ..clock import Clock, Timer
from ..config import (
    LimitsConfig,
    ListenerConfig,
    Problem,
    RawOptions,
    ServerConfig,
    StreamLimits,
    options_path,
)
from ..contracts.runtime import RuntimeLimits
from ..contracts.sessions import RESTORED
from ..errors import MalformedJid, StorageUnavailable, StreamError
from ..hosts.host import Host
from ..hosts.loader import Found, PluginError, choose, discover, what_failed
from ..jid import prepare_domain
from ..memory.budget import MemoryBudget
from ..memory.heap import Trimmer
from ..net.http import Poster
from ..observe.metrics import Counts
from ..protocol.parser import Limits
from ..routing.answer_times import AnswerTimes
from ..routing.router import Router
from ..sessions.manager import SessionManager
from ..sessions.snapshots import SessionSnapshots
from ..stanza import iq
from ..storage.store import Store
from ..streams.client import ClientStream, State
from ..streams.rate_limits import Hashing, RateLimiter, SignInGuard
from ..xml import E
from .shutdown import StreamShutdown

if TYPE_CHECKING:
    from ..contracts.ports import Port, Receiver
    from ..net.listen import Listener
    from ..net.tls import Certificates, ServerContext
    from ..plugin import Plugin

log = logging.getLogger("xmppd")

SWEEP = 2.0
SAY_AGAIN = 60.0
"""Seconds between two warnings about the same thing that is still so."""
START_AGAIN = 1.0
"""Seconds until a host whose plugins could not read the store tries again."""
STOP_WITHIN = 5.0
"""Seconds that work under way may take at a stop."""
STOP_ALL_WITHIN = 12.0
"""Seconds for all of a stop behind the farewell to the clients, then each step has LAST_STEP seconds."""
LAST_STEP = 0.3
REST_AFTER = 10.0
"""Seconds without input after which a stream gives its parser back."""


def runtime_limits(config: LimitsConfig) -> RuntimeLimits:
    """The limits of the configuration in the form of the stanza path."""
    return RuntimeLimits(
        _stream_limits(config.before_sign_in, 1, config.name_size, config.before_sign_in.size),
        _stream_limits(config.after_sign_in, TOLERANCE, config.name_size, 0),
        config.queue,
        config.queue_size,
        config.incoming_size,
        config.presence_size,
        config.ask_every,
        config.sessions_per_account,
        config.sasl_attempts,
        float(config.sign_in_time),
        float(config.header_time),
        float(config.idle_ping),
        float(config.ping_timeout),
        float(config.resume_time),
        float(config.answer_time),
        float(config.stop_time),
        float(config.even_answers),
    )


TOLERANCE = 4
"""Up to so many times the size, a stanza is answered with an error; a larger one ends the stream."""


def _stream_limits(config: StreamLimits, tolerance: int, name: int, space: int) -> Limits:
    return Limits(config.size, config.elements, config.depth, config.attributes, tolerance, name, space)


class ListenError(Exception):
    """A listener that cannot be opened. `number`: its place in the configuration, from 0."""

    def __init__(self, number: int, listener: ListenerConfig, error: OSError) -> None:
        super().__init__(f"{listener.address} port {listener.port} cannot be opened: {reason(error)}")
        self.number = number


def reason(error: OSError) -> str:
    """Without the call and the address, which asyncio puts into the text."""
    return os.strerror(error.errno) if error.errno else str(error)


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
        self.memory = MemoryBudget(config.limits.memory, config.limits.account_memory)
        self.certificates = certificates
        self.secret = secret or token_bytes(32)
        self.counts = Counts()
        self.poster = Poster(config.outgoing.allowed, float(config.outgoing.timeout))
        self.router = Router(storage)
        self.answer_times = AnswerTimes(clock)
        self.session_manager = SessionManager(self)
        self.memory.on_pressure = lambda pool: clock.call_soon(partial(self.session_manager.make_room, pool))
        self.streams: set[ClientStream] = set()
        self.stopping = False
        self.listeners: list[Listener] = []
        self.ports: list[Listener] = []
        """Those of plugins."""
        self.found: dict[str, Found] = {}
        self.hosts: dict[str, Host] = self.router.hosts
        for domain, host_config in config.hosts.items():
            host = Host(self, domain, host_config.type, storage, clock, host_config.admins, host_config.quarantine)
            self.hosts[host.domain] = host
        self.default_host = next(
            (host for host in self.hosts.values() if host.has_accounts), next(iter(self.hosts.values()))
        )
        self.accounts = Accounts(storage, clock, self.hosts, self.session_manager)
        self.snapshots = SessionSnapshots(self)
        self._started: list[tuple[Host, str]] = []
        self._said_waiting: dict[str, float] = {}
        self.on_ready: Callable[[], None] | None = None
        """Called once, when a server that was started before its store answered is ready at last."""
        self._sweep: Timer | None = None

    # ---- start and stop

    def load_plugins(self) -> None:
        """Find, check and make the plugins of all hosts. Raises PluginError, ConfigError, LocalError."""
        self.found = discover(self.config.plugin_path)
        for domain, host_config in self.config.hosts.items():
            host = self.hosts[domain]
            for found, options in choose(host_config, domain, self.found):
                host.add(found.name, self._made(host, found, options))

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
        for host in self.hosts.values():
            await self._start_plugins(host)
        await self._restore()
        self._arm()

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
        except StorageUnavailable as error:
            self._say_waiting("nothing is taken yet: the sessions wait for the store", error)
            self.clock.call_later(START_AGAIN, lambda: self.default_host.background.spawn(self._restore(), "restore"))
            return
        for host in waiting:
            await host.tell_and_wait(RESTORED, host.jid)
            host.started = True
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
        from ..net.listen import Listener

        assert self.certificates is not None
        self.use_timing(self.config.limits)
        for each in self.config.listeners:
            listener = Listener(self.clock, self.certificates, each.tls, self.config.limits.connections_per_address)
            try:
                await listener.start(each.address, each.port, self._receiver(each))
            except OSError as error:
                raise ListenError(len(self.listeners), each, error) from error
            self.listeners.append(listener)
            log.info("listening on %s port %d (%s)", each.address, listener.port, each.tls)

    def use_timing(self, config: LimitsConfig) -> None:
        """What connections may take, those that are open included."""
        from ..net.engine import Engine, Timing

        Engine.of(self.clock).timing = Timing(
            handshake=float(config.handshake_time), handshakes=config.handshakes, close=float(config.close_time)
        )

    async def open_port(self, address: str, port: int, make_receiver: Callable[[], Receiver]) -> Port:
        """Listen for a plugin, without TLS, until the server stops; port 0 takes a free one. Raises OSError."""
        from ..net.listen import Listener

        listener = Listener(self.clock, tls="none", per_address=self.config.limits.connections_per_address)
        await listener.start(address, port, make_receiver)
        self.ports.append(listener)
        return listener

    def _receiver(self, listener: ListenerConfig) -> Callable[[], ClientStream]:
        return lambda: ClientStream(self, listener.tls, listener.channel_binding)

    async def stop(self) -> None:
        """No new connections, what is pending is committed and acknowledged, <system-shutdown/> to all, plugins end in
        reverse."""
        for listener in (*self.listeners, *self.ports):
            listener.stop_accepting()
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        self.rate_limiter.stop()
        await StreamShutdown(self).say()
        ending = _Ending()
        # Side by side: one that does not take what was written to it holds up nobody, and itself not for long.
        await asyncio.gather(*(each.close(self.limits.stop_time) for each in (*self.listeners, *self.ports)))
        for host in self.hosts.values():
            await host.background.settle(ending.within)
        await ending.step(self.snapshots.keep(), "the sessions that can be resumed")
        for session in list(self.session_manager.detached):
            self.session_manager.end(session)
        for host, name in reversed(self._started):
            await ending.step(host.plugins[name].stop(), f"plugin {name} of {host.domain}")
        self._started.clear()
        for host in self.hosts.values():
            await host.background.settle(ending.within)
            await ending.step(host.cursor_writer.flush(), f"the last positions of {host.domain}")
            await host.background.close()
        await self.poster.close()
        await self.storage.close(ending.within)

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

    def nonce(self) -> str:
        return token_urlsafe(24)

    # ---- time

    def _arm(self) -> None:
        self._sweep = self.clock.call_later(SWEEP, partial(self._swept, self.clock.monotonic() + SWEEP))

    def _swept(self, due: float) -> None:
        """One timer for all connections: late sign-ins, silent clients, idle parsers, detached sessions."""
        self._arm()
        now = self.clock.monotonic()
        self.counts.lag.observe(max(0.0, now - due))
        for stream in list(self.streams):
            try:
                self._look_at(stream, now)
            except Exception:
                log.exception("sweeping a stream failed")
                stream.link.abort()
        self.session_manager.sweep()
        self.trimmer.look(now)

    def _look_at(self, stream: ClientStream, now: float) -> None:
        limits = self.limits
        if stream.unsent:
            stream.weigh_unsent()
        idle = now - stream.link.last_read
        if stream.state is not State.BOUND:
            if stream.link.securing:
                return
            age = now - stream.born
            if age > limits.sign_in_time or (not stream.opened and age > limits.header_time):
                stream.fail(StreamError("connection-timeout"))
            return
        if idle < REST_AFTER or stream.shaped:  # what it sends meanwhile is not read, so it is not silent
            return
        stream.parser.rest()
        if stream.parser.pending and idle > limits.ping_after:
            stream.fail(StreamError("connection-timeout"))
        elif stream.pinged and idle > limits.ping_after + limits.ping_timeout:
            stream.fail(StreamError("connection-timeout"))
        elif not stream.pinged and idle > limits.ping_after:
            self._ping(stream)

    def _ping(self, stream: ClientStream) -> None:
        """XEP-0199 section 4.1, or <r/> where the client counts stanzas (XEP-0198 section 4)."""
        session = stream.session
        if session is None:
            return
        stream.pinged = True
        if session.channel.queue is not None:
            session.nonza(b"<r xmlns='urn:xmpp:sm:3'/>")
        else:
            ping = E("ping", "urn:xmpp:ping")
            session.send(iq("get", token_urlsafe(6), ping, to=session.jid, sender=session.host.jid))


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
    """The secret behind answers to unknown users; made at the first start, kept in a file only we can read."""
    path = folder / "secret"
    try:
        return path.read_bytes()
    except FileNotFoundError:
        folder.mkdir(parents=True, exist_ok=True)
        secret = token_bytes(32)
        path.touch(mode=0o600)
        path.write_bytes(secret)
        return secret
