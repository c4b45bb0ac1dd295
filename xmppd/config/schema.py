"""The server's own options. `docs/reference/config.md` is made from this page."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal
from urllib.parse import quote, urlsplit

from ..errors import MalformedJid
from ..jid import JID, prepare_domain
from .components import ComponentConfig, component_problems, domain_name
from .federation import FederationConfig
from .limits import LimitsConfig
from .listeners import ComponentListenerConfig, HttpListenerConfig, ListenerConfig, ServerListenerConfig
from .load import ascii_name, folder_of, load, names_at, parse_text, problem_at
from .nodes import joined
from .option import RawOptions, option
from .problem import ConfigError, Problem, Where, unknown
from .units import Duration, Size, Word
from .web import WebConfig

DEFAULT_PATHS: Final = (Path("xmppd.yaml"), Path("/etc/xmppd/xmppd.yaml"))
SQLITE: Final = "sqlite:///"
_SOCKET_PATH_MAX: Final = 107
"""Bytes; a longer name of a Unix socket is refused by Linux."""


def _is_account(text: str) -> bool:
    """Whether a text is the address of an account: `name@domain`."""
    try:
        jid = JID.parse(text)
    except MalformedJid:
        return False
    return bool(jid.local) and not jid.resource


@dataclass(frozen=True)
class LogConfig:
    """What is written down about the running server."""

    level: Literal["debug", "info", "warning", "error"] = option("info", "The least weight that is logged.")
    format: Literal["text", "json"] = option("text", "Lines for people, or one JSON object per line.")
    file: Path | None = option(None, "Append to this file; null: standard error.")


@dataclass(frozen=True)
class MetricsConfig:
    """The short form of a listener of kind `http` without TLS that serves `/metrics` and nothing else."""

    address: str = option("127.0.0.1", "IP address; whoever reaches it can read the numbers.")
    port: int | None = option(None, "TCP port; 0 takes any free one; null: not served.", low=0, high=65_535)

    def check(self) -> Iterable[tuple[Where, str]]:
        try:
            ipaddress.ip_address(self.address)
        except ValueError:
            yield "address", f"expected an IP address such as '127.0.0.1' or '::1', got {self.address!r}"


@dataclass(frozen=True)
class StoreConfig:
    """How the server treats its store. A start reads it."""

    patience: Duration = option(
        Duration("10 seconds"),
        "The store may hang or fail for so long; then what must be written is refused (`resource-constraint`) and does "
        "not wait.",
        low=1,
        high=600,
    )
    queue: Size = option(
        Size("64 MiB"), "What may wait to be written; beyond it new writes are refused.", low=1 << 20, high=1 << 36
    )
    cache: Size = option(
        Size("256 MiB"),
        "Records of accounts and rooms that stay in memory while nobody is signed in; what is in use is not counted.",
        low=1 << 20,
        high=1 << 40,
    )


@dataclass(frozen=True)
class OutgoingConfig:
    """Requests that the server sends to addresses that people name, such as those of web push."""

    networks: tuple[str, ...] = option(
        (),
        "Networks of our own (`10.1.2.0/24`, `fd00:1::/64`) that such requests may reach, for a push service there; "
        "all other addresses that are not public are refused.",
    )
    timeout: Duration = option(Duration("20 seconds"), "For a request and its answer.", low=1, high=300)

    @property
    def allowed(self) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
        return tuple(map(ipaddress.ip_network, self.networks))

    def check(self) -> Iterable[tuple[Where, str]]:
        for at, network in enumerate(self.networks):
            try:
                ipaddress.ip_network(network)
            except ValueError as error:
                yield ("networks", at), f"expected a network such as '10.1.2.0/24': {error}"


@dataclass(frozen=True)
class HostConfig:
    """One domain. The name above it is the domain."""

    type: Word = option(
        Word("accounts"),
        "What is at this domain. `accounts`: people sign in here; `rooms`: a group chat service (XEP-0045); `pubsub`: "
        "nodes to publish and subscribe to (XEP-0060); `proxy`: passes files on (XEP-0065); a plugin can declare "
        "another type.",
        low=1,
        high=50,
    )
    certificate: Path | None = option(
        None,
        "Certificate chain, PEM, the domain's own first; null: `certs/<domain>.crt` in the folder `var`.",
    )
    key: Path | None = option(None, "Private key, PEM, unencrypted; null: `certs/<domain>.key` in the folder `var`.")
    certificate_warning: Duration = option(
        Duration("14 days"),
        "A start and a reload warn of a certificate that ends sooner; less for those that live a week only.",
        low=0,
        high=31_536_000,
    )
    self_signed: bool | None = option(
        None,
        "Make a self-signed certificate at start when there is none; null: for `localhost`, names that end "
        "in `.localhost`, and loopback addresses only.",
    )
    admins: tuple[str, ...] = option((), "Accounts (`name@domain`) that may administer this host.")
    quarantine: Duration = option(
        Duration("30 days"),
        "So long nobody can take the name of an account that was removed, so that nobody is taken for who had it; 0: "
        "at once. `xmppd user release` gives one name free.",
    )
    standard: bool = option(True, "Load the standard set of plugins for this type of host.")
    plugins: dict[str, RawOptions] = option(
        default_factory=dict,
        doc="Plugins by name: their options, `true` to load one as it is, `false` to leave one of the "
        "standard set out.",
    )

    def check(self) -> Iterable[tuple[Where, str]]:
        if (self.certificate is None) != (self.key is None):
            there, missing = ("certificate", "key") if self.key is None else ("key", "certificate")
            yield there, f"needs the option {missing!r} as well"
        for at, admin in enumerate(self.admins):
            if not _is_account(admin):
                yield ("admins", at), f"expected an account such as 'name@example.org', got {admin!r}"


@dataclass(frozen=True)
class ServerConfig:
    """The whole file. Relative paths start at the folder that the file is in."""

    hosts: dict[str, HostConfig] = option(doc="The domains that are served, by name.", low=1, key=domain_name)
    listeners: tuple[ListenerConfig, ...] = option(doc="The addresses that the server listens on.", low=1)
    components: dict[str, ComponentConfig] = option(
        default_factory=dict,
        doc="Programs beside the server that answer for a domain of their own, such as gateways (XEP-0114), by name.",
        key=domain_name,
    )
    federation: FederationConfig = option(FederationConfig(), "How this server talks to others.")
    storage: str = option(
        "sqlite:///var/xmppd.db",
        "Where everything durable is: `sqlite:///relative/file`, `sqlite:////absolute/file`, "
        "`mongodb://host:port/database`, `mongodb+srv://…`, or `memory:` (tests: all is lost at the end).",
        secret=True,
    )
    store: StoreConfig = option(StoreConfig(), "How the server treats its store.")
    homes: int = option(
        1,
        "Homes that share the accounts and rooms in this one process, as several processes will: what concerns two of "
        "them is two decisions. More than 1 only costs: it is for tests.",
        low=1,
        high=16,
    )
    var: Path = option(Path("var"), "Folder for what the server makes: certificates, the control socket.")
    control: Path | None = option(
        None,
        "Unix socket on which the command line talks to the running server; null: `xmppd.sock` in the folder `var`.",
    )
    plugin_path: tuple[Path, ...] = option((), "More folders with plugins.")
    limits: LimitsConfig = option(LimitsConfig(), "What one peer may cost.")
    log: LogConfig = option(LogConfig(), "What is written down about the running server.")
    outgoing: OutgoingConfig = option(OutgoingConfig(), "Requests that the server sends to addresses that people name.")
    web: WebConfig = option(WebConfig(), "Clients that are web pages.")
    metrics: MetricsConfig = option(MetricsConfig(), "Where a monitoring system reads the numbers of the server.")

    @property
    def talks_to_others(self) -> bool:
        """Other servers connect here, and this one to them."""
        return any(isinstance(each, ServerListenerConfig) for each in self.listeners)

    @property
    def every_listener(self) -> tuple[ListenerConfig, ...]:
        """Those of `listeners`, and behind them the one that `metrics` stands for."""
        if self.metrics.port is None:
            return self.listeners
        return (
            *self.listeners,
            HttpListenerConfig(
                address=self.metrics.address,
                port=self.metrics.port,
                tls="none",
                plain_anywhere=True,
                paths=("/metrics",),
            ),
        )

    def listener_place(self, number: int) -> tuple[str | int, ...]:
        """Where the listener of that number stands in the file."""
        return ("listeners", number) if number < len(self.listeners) else ("metrics", "port")

    @property
    def control_socket(self) -> Path:
        return self.control or self.var / "xmppd.sock"

    def certificate_files(self, domain: str) -> tuple[Path, Path]:
        """Certificate chain and key of a host. Raises KeyError for a domain that is not served."""
        host = self.hosts[domain]
        folder = self.var / "certs"
        name = domain.strip("[]").replace(":", "_")
        return host.certificate or folder / f"{name}.crt", host.key or folder / f"{name}.key"

    def self_signed(self, domain: str) -> bool:
        """A missing certificate is made at start. Raises KeyError for a domain that is not served."""
        wanted = self.hosts[domain].self_signed
        return is_local(domain) if wanted is None else wanted

    def check(self) -> Iterable[tuple[Where, str]]:
        for at, listener in enumerate(self.every_listener):
            for before, other in enumerate(self.listeners[:at]):
                if listener.overlaps(other):
                    yield (
                        self.listener_place(at),
                        f"{listener.address} port {listener.port} is taken by listeners[{before}]",
                    )
            if isinstance(listener, HttpListenerConfig):
                for number, domain in enumerate(listener.hosts):
                    if not any(_same_domain(domain, host) for host in self.hosts):
                        yield ("listeners", at, "hosts", number), unknown("host", domain, self.hosts)
        listens = any(isinstance(each, ComponentListenerConfig) for each in self.listeners)
        yield from component_problems(self.components, self.hosts, listens)
        if self.federation != FederationConfig() and not self.talks_to_others:
            yield "federation", "this server talks to no other: there is no listener of kind 'server'"
        wrong = storage_problem(self.storage)
        if wrong:
            yield "storage", wrong
        if len(os.fsencode(self.control_socket)) > _SOCKET_PATH_MAX:
            yield (
                "control" if self.control else "var",
                f"the name of the control socket is longer than {_SOCKET_PATH_MAX} bytes",
            )


def is_local(domain: str) -> bool:
    """A name that means this machine and nothing else (RFC 6761 section 6.3)."""
    if domain == "localhost" or domain.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(domain.strip("[]")).is_loopback
    except ValueError:
        return False


def storage_problem(url: str) -> str | None:
    """Why a text cannot name a store, None when it can. A password in it is not repeated."""
    scheme, _, rest = url.partition(":")
    if url == "memory:":
        return None
    if scheme == "sqlite":
        fits = re.fullmatch(r"///[^?#]*[^/?#]", rest) is not None
        return None if fits else "expected sqlite:///relative/file or sqlite:////absolute/file"
    if scheme in ("mongodb", "mongodb+srv"):
        try:
            parts = urlsplit(url)
        except ValueError:
            return f"expected {scheme}://host:port/database"
        fits = bool(parts.netloc.rpartition("@")[2]) and re.fullmatch(r"/[^/ .$\"\\]+", parts.path) is not None
        return None if fits else f"expected {scheme}://host:port/database"
    return "expected sqlite:///file, sqlite:////absolute/file, mongodb://host:port/database or memory:"


def options_path(domain: str, plugin: str) -> str:
    """How messages name the options of a plugin, for `bind_options`."""
    return joined(f"{joined('hosts', domain)}.plugins", plugin)


def load_config(path: Path) -> ServerConfig:
    """The server's configuration. Raises ConfigError, whatever the file holds; never anything else."""
    return _anchored(load(path, ServerConfig), path)


def _anchored(config: ServerConfig, path: Path) -> ServerConfig:
    """With the store and the folder `var` below the folder of the file, wherever the program was started."""
    folder = folder_of(path)
    storage = config.storage
    if storage.startswith(SQLITE) and not storage.startswith(SQLITE + "/"):
        storage = f"{SQLITE}{quote(str(folder))}/{storage.removeprefix(SQLITE)}"
    anchored = replace(config, storage=storage, var=folder / config.var)
    if len(os.fsencode(reachable(anchored.control_socket))) > _SOCKET_PATH_MAX:
        message = f"the name of the control socket, {anchored.control_socket}, is longer than {_SOCKET_PATH_MAX} bytes"
        raise ConfigError([problem_at(path, ("control" if config.control else "var",), message)])
    return anchored


def reachable(socket: Path) -> Path:
    """A name of a Unix socket that is short enough for the system, if there is one: from the root, or from here."""
    if len(os.fsencode(socket)) <= _SOCKET_PATH_MAX:
        return socket
    return Path(os.path.relpath(socket))


def host_problem(path: Path, domain: str, option: str, message: str) -> Problem:
    """What turned out to be wrong with an option of a host, at its line."""
    spelled = domain
    for key in names_at(path, "hosts"):
        if _same_domain(key, domain):
            spelled = key
    return problem_at(path, ("hosts", spelled, *([option] if option else [])), message)


def _same_domain(text: str, domain: str) -> bool:
    try:
        return prepare_domain(text) == domain
    except MalformedJid:
        return False


def parse_config(text: str | bytes, file: str = "configuration") -> ServerConfig:
    """The same from memory; `file` is its name in messages. Raises ConfigError."""
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    return parse_text(data, ServerConfig, file)


def find_config(explicit: Path | None, environ: Mapping[str, str]) -> Path:
    """The file to read: `explicit` (--config), $XMPPD_CONFIG, xmppd.yaml in this folder, /etc/xmppd/xmppd.yaml.

    What was named is returned unseen. Raises ConfigError when nothing was named and neither file is there.
    """
    if explicit is not None:
        return explicit
    if environ.get("XMPPD_CONFIG"):
        return Path(environ["XMPPD_CONFIG"])
    for path in DEFAULT_PATHS:
        # Not Path.is_file(), which raises when a folder on the way may not be entered.
        if os.path.isfile(path):
            return path
    places = " nor ".join(map(ascii_name, DEFAULT_PATHS))
    message = f"no configuration: neither {places} is there; name a file with --config or in $XMPPD_CONFIG"
    raise ConfigError([Problem("", 0, "", message)])
