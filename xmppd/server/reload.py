"""Reading the configuration again while the server runs: SIGHUP, `xmppd reload`.

All or nothing: the file, the plugins' options and every certificate are read and checked first, beside the loop. When
one of them is wrong, nothing changes and the log says what is. What only a start can change is named.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..clock import Clock
from ..config import (
    ConfigError,
    HostConfig,
    LimitsConfig,
    LogConfig,
    Problem,
    ServerConfig,
    host_problem,
    load_config,
    problem_at,
)
from ..contracts.admin import OperationError, Result, Scope, operation
from ..errors import LocalError, MalformedJid
from ..hosts.loader import PluginError, choose, with_accounts
from ..jid import JID
from ..net.loop import RealClock
from ..net.tls import CertificateError, Certificates
from ..observe.logs import configure
from ..plugin import CORE_TYPES, HostType
from .federation_warnings import federation_warnings
from .limits import runtime_limits

if TYPE_CHECKING:
    from ..hosts.host import Host
    from ..net.trust import Trust
    from .server import Server

log = logging.getLogger("xmppd.server")

AT_START = ("listeners", "metrics", "storage", "store", "var", "control", "plugin_path")
"""Options of the file that only a start can change."""


class ReloadError(OperationError):
    """Nothing was changed; the text says why, one problem per line."""


class Outcome(Result, frozen=True):
    """What has changed, and what else differs but needs a restart; in words for the administrator."""

    changed: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()

    def text(self) -> str:
        lines = [f"changed: {', '.join(self.changed) or 'nothing'}"]
        if self.restart:
            lines.append(f"needs a restart: {', '.join(self.restart)}")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class _Read:
    """Everything that was read, found to be right, and not used yet, by domain (and plugin)."""

    config: ServerConfig
    certificates: Certificates | None
    admins: Mapping[str, frozenset[str]]
    options: Mapping[str, Mapping[str, Any]]
    trust: Trust | None
    """None where this server talks to no other."""


def use_log(config: LogConfig) -> None:
    """Raises OSError. A file is opened anew, so one that was moved away (logrotate) is let go."""
    before = list(logging.getLogger().handlers)
    configure(config)
    for handler in before:
        if isinstance(handler, logging.FileHandler):
            handler.close()


class Reloader:
    """One reload at a time. `log_to` puts a log configuration into force (raises OSError)."""

    def __init__(self, server: Server, path: Path, log_to: Callable[[LogConfig], None] = use_log) -> None:
        self.server = server
        self.path = path
        self._log_to = log_to
        self._one = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._again = False
        self._stopped = False

    def soon(self) -> None:
        """For a signal: reload in the background, once more when one is under way. The log tells the outcome."""
        if self._stopped:
            return
        self._again = True
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._signalled(), name="reload")

    async def _signalled(self) -> None:
        while self._again:
            self._again = False
            try:
                await self.reload()
            except ReloadError:
                continue  # the log has it
            except Exception:
                log.exception("reloading failed")

    async def stop(self) -> None:
        """Take no more signals; wait for a reload under way."""
        self._stopped, self._again = True, False
        if self._task is not None:
            await self._task

    @operation("reload", "Let the running server read its configuration and certificates again.", scope=Scope.SERVER)
    async def reload(self) -> Outcome:
        """Read, check, use. Raises ReloadError; then everything is as it was."""
        async with self._one:
            try:
                read = await asyncio.to_thread(self._read)
                self._log_to(read.config.log)
            except (ConfigError, PluginError, MalformedJid, LocalError) as error:
                raise self._refused(str(error)) from None
            except OSError as error:
                raise self._refused(f"log: {error}") from None
            outcome = self._use(read)
        log.info("configuration read again from %s; changed: %s", self.path, ", ".join(outcome.changed) or "nothing")
        for warning in federation_warnings(read.config, self.path):
            log.warning("%s", warning)
        if outcome.restart:
            log.warning("needs a restart: %s", ", ".join(outcome.restart))
        return outcome

    def _refused(self, problems: str) -> ReloadError:
        for line in problems.splitlines():
            log.error("not reloaded: %s", line)
        log.error("the configuration is as it was")
        return ReloadError(problems)

    # ---- read (in a thread: files and keys take their time)

    def _read(self) -> _Read:
        """Raises ConfigError, PluginError, MalformedJid."""
        config, server = load_config(self.path), self.server
        served = {domain: host for domain, host in config.hosts.items() if self._serves(domain, host)}
        certificates = None
        if server.certificates is not None:
            certificates = load_certificates(config, served, self.path, server.host_types)
        options = {
            domain: {found.name: options for found, options in choose(host, domain, server.found)}
            for domain, host in served.items()
            if config.plugin_path == server.config.plugin_path
        }
        admins = {domain: frozenset(JID.parse(each).bare for each in host.admins) for domain, host in served.items()}
        return _Read(config, certificates, admins, options, self._trust(config))

    def _trust(self, config: ServerConfig) -> Trust | None:
        """The authorities for other servers; their file may hold others than before. Raises ConfigError."""
        remotes = self.server.remote_domains
        if remotes is None or not config.talks_to_others:
            return None
        authorities = config.federation.authorities
        if authorities is None and self.server.config.federation.authorities is None:
            return remotes.trust
        return load_trust(config, self.path, self.server.clock)

    def _serves(self, domain: str, host: HostConfig) -> bool:
        known = self.server.config.hosts.get(domain)
        return known is not None and known.type == host.type

    # ---- use (cannot fail)

    def _use(self, read: _Read) -> Outcome:
        server, new = self.server, read.config
        old = server.config
        restart = [name for name in AT_START if getattr(new, name) != getattr(old, name)]
        changed: list[str] = []
        if read.certificates is not None and server.certificates is not None:
            new_ones = server.certificates.adopt(read.certificates)
            changed += [f"the certificate of {domain}" for domain in new_ones]
        if new.log != old.log:
            changed.append("log")
        if new.limits != old.limits:
            changed.append("limits")
            use_limits(server, new.limits)
        if new.outgoing != old.outgoing:
            changed.append("outgoing")
            server.poster.allowed, server.poster.timeout = new.outgoing.allowed, float(new.outgoing.timeout)
        if new.components != old.components:
            changed.append("components")
            restart += [f"components.{name}" for name in new.components if name in server.hosts]
            server.components.configure({name: new.components[name] for name in new.components.keys() - server.hosts})
        new = self._use_federation(read, changed)
        hosts = dict(old.hosts)
        for domain in [*old.hosts, *(each for each in new.hosts if each not in old.hosts)]:
            wanted = new.hosts.get(domain)
            if wanted is None or not self._serves(domain, wanted):
                restart.append(f"hosts.{domain}")
                continue
            hosts[domain] = replace(wanted, standard=old.hosts[domain].standard)
            self._use_host(server.hosts[JID.parse(domain).domain], domain, read, changed, restart)
        for host in server.hosts.values():
            host.announced.clear()
        kept = {name: getattr(old, name) for name in AT_START}
        server.config = replace(new, hosts=hosts, **kept)
        return Outcome(tuple(changed), tuple(restart))

    def _use_federation(self, read: _Read, changed: list[str]) -> ServerConfig:
        """The configuration with the options for other servers that are in force now: as long as a listener for them is
        open, a file without one changes nothing of it."""
        remotes, new, old = self.server.remote_domains, read.config, self.server.config.federation
        if remotes is None:
            return new
        if read.trust is None:
            return replace(new, federation=old)
        if new.federation != old:
            changed.append("federation")
        if new.federation != old or read.trust is not remotes.trust:
            remotes.configure(new.federation, read.trust)
        return new

    def _use_host(self, host: Host, domain: str, read: _Read, changed: list[str], restart: list[str]) -> None:
        admins = read.admins[domain]
        if admins != host.admins:
            host.admins = admins
            changed.append(f"hosts.{domain}.admins")
        quarantine = float(read.config.hosts[domain].quarantine)
        if quarantine != host.quarantine:
            host.quarantine = quarantine
            changed.append(f"hosts.{domain}.quarantine")
        options = read.options.get(domain)
        if options is None:  # it waits for the folders of plugins
            return
        if options.keys() != host.plugins.keys():
            different = sorted(options.keys() ^ host.plugins.keys())
            restart.append(f"the set of plugins of {domain} ({', '.join(different)})")
        for name, plugin in host.plugins.items():
            given = options.get(name, plugin.config)
            if given == plugin.config:
                continue
            before, plugin.config = plugin.config, given
            where = f"hosts.{domain}.plugins.{name}"
            try:
                plugin.reconfigured()
            except Exception:
                log.exception("%s does not take its new options: it keeps the old ones", where)
                plugin.config = before
                restart.append(where)
            else:
                changed.append(where)


def use_limits(server: Server, config: LimitsConfig) -> None:
    """Put limits into force, for the connections that are open as well."""
    limits = server.limits = runtime_limits(config)
    server.rate_limiter.configure(config)
    server.guard.config = config.sign_in
    server.memory.configure(config.memory, config.account_memory, config.after_sign_in.size)
    server.listeners.use(config)
    for stream in server.streams:
        stream.parser.limits = limits.before_sign_in if stream.account is None else limits.after_sign_in


NO_CERTIFICATE = (
    "; name the files in `certificate` and `key`, put them there, or let `self_signed: true` make a certificate that "
    "people have to trust by hand"
)


def load_certificates(
    config: ServerConfig,
    hosts: Mapping[str, HostConfig] | None = None,
    path: Path | None = None,
    types: Mapping[str, HostType] = CORE_TYPES,
) -> Certificates:
    """The certificates of all hosts, or of those given; self-signed ones are made where that is allowed. `path`: the
    file of the configuration. `types`: of hosts, where plugins bring such with accounts.

    Raises ConfigError with all problems.
    """
    certificates = Certificates()
    problems = []
    for domain in with_accounts(config.hosts if hosts is None else hosts, types):
        chain, key = config.certificate_files(domain)
        try:
            warning = float(config.hosts[domain].certificate_warning)
            certificates.add(domain, chain, key, config.self_signed(domain), warning)
        except CertificateError as error:
            problems.append(_certificate_problem(domain, error, path))
    if problems:
        raise ConfigError(problems)
    if config.talks_to_others:
        _load_for_servers(config, config.hosts if hosts is None else hosts, certificates, types, path)
    return certificates


def _load_for_servers(
    config: ServerConfig,
    hosts: Mapping[str, HostConfig],
    certificates: Certificates,
    types: Mapping[str, HostType],
    path: Path | None,
) -> None:
    """Those of hosts where nobody signs in, as rooms: other servers look at them. One that is missing may be that of
    another host which names them, too. Raises ConfigError."""
    accounts = with_accounts(hosts, types)
    for domain, host in hosts.items():
        if domain in accounts:
            continue
        chain, key = config.certificate_files(domain)
        try:
            if host.certificate is not None or chain.exists():
                certificates.add(domain, chain, key, False, float(host.certificate_warning))
            elif not certificates.covers(domain) and config.self_signed(domain):
                certificates.add(domain, chain, key, True, float(host.certificate_warning))
        except CertificateError as error:
            raise ConfigError([_certificate_problem(domain, error, path)]) from error


def load_trust(config: ServerConfig, path: Path, clock: Clock) -> Trust:
    """The authorities for certificates of other servers. Raises ConfigError."""
    from ..net.trust import Trust  # only who talks to others needs it

    try:
        return Trust(clock, config.federation.authorities)
    except CertificateError as error:
        raise ConfigError([problem_at(path, ("federation", error.option), str(error))]) from error


def certificate_problems(config: ServerConfig, path: Path) -> list[Problem]:
    """What `load_certificates` and `load_trust` would find wrong; nothing is made."""
    problems: list[Problem] = []
    if config.talks_to_others and config.federation.authorities is not None:
        try:
            load_trust(config, path, RealClock())
        except ConfigError as error:
            problems += error.problems
    accounts = with_accounts(config.hosts)
    for domain, host in config.hosts.items():
        chain, key = config.certificate_files(domain)
        if domain not in accounts:
            if not config.talks_to_others or (host.certificate is None and not chain.exists()):
                continue
        elif config.self_signed(domain) and not chain.exists() and not key.exists():
            continue
        try:
            Certificates().add(domain, chain, key)
        except CertificateError as error:
            problems.append(_certificate_problem(domain, error, path))
    return problems


def _certificate_problem(domain: str, error: CertificateError, path: Path | None) -> Problem:
    message = str(error) + (NO_CERTIFICATE if isinstance(error.__cause__, FileNotFoundError) else "")
    return Problem("", 0, domain, message) if path is None else host_problem(path, domain, error.option, message)
