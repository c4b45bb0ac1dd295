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
from .load import ascii_name, folder_of, load, names_at, parse_text, problem_at
from .nodes import joined
from .option import RawOptions, option
from .problem import ConfigError, Problem
from .units import Duration, Size, Word

Where = str | tuple[str | int, ...]
DEFAULT_PATHS: Final = (Path("xmppd.yaml"), Path("/etc/xmppd/xmppd.yaml"))
SQLITE: Final = "sqlite:///"
_SOCKET_PATH_MAX: Final = 107
"""Bytes; a longer name of a Unix socket is refused by Linux."""


def domain_name(text: str) -> str:
    """A domain in its one form, however it is spelled in the file. Raises ValueError."""
    try:
        return prepare_domain(text)
    except MalformedJid:
        raise ValueError("expected a domain such as 'example.org'") from None


def _is_account(text: str) -> bool:
    """Whether a text is the address of an account: `name@domain`."""
    try:
        jid = JID.parse(text)
    except MalformedJid:
        return False
    return bool(jid.local) and not jid.resource


@dataclass(frozen=True)
class StreamLimits:
    """What one first-level element of a stream may hold, counted while parsing (XEP-0205 section 4.5)."""

    size: Size = option(
        Size("256 KiB"),
        "Bytes of one stanza. After signing in, one of up to four times that is refused; a larger one ends the stream.",
        low=1024,
        high=1 << 26,
    )
    elements: int = option(4096, "XML elements in one stanza.", low=8, high=1_000_000)
    depth: int = option(128, "Levels of XML elements in one stanza.", low=4, high=500)
    attributes: int = option(128, "Attributes of one XML element.", low=8, high=1024)


@dataclass(frozen=True)
class ShapingLimits:
    """How much may come in per second: two buckets. Beyond them the connection is not read until there is room."""

    bytes: Size = option(Size("512 KiB"), "Bytes per second; 0: no limit.", low=0, high=1 << 40)
    bytes_burst: Size = option(Size("2 MiB"), "Bytes that may come at once.", low=0, high=1 << 40)
    stanzas: int = option(200, "Stanzas per second; 0: no limit.", low=0, high=1_000_000)
    stanzas_burst: int = option(1000, "Stanzas that may come at once.", low=0, high=1_000_000)

    def check(self) -> Iterable[tuple[Where, str]]:
        if 0 < self.bytes < 1024:
            yield "bytes", "0 for no limit, or at least 1 KiB"


@dataclass(frozen=True)
class SignInLimits:
    """Failed sign-ins make further ones wait: from that address, never for the account elsewhere."""

    account_failures: int = option(
        5, "Failed sign-ins to one account from one address before it must wait there; 0: never.", low=0, high=1000
    )
    address_failures: int = option(
        50,
        "Failed sign-ins from one address (IPv6: one /64) before accounts that have not yet signed in from there must "
        "wait; many people can share one. 0: never.",
        low=0,
        high=100_000,
    )
    first_wait: Duration = option(
        Duration("1 second"), "The first wait; each further failure doubles it.", low=0, high=3600
    )
    longest_wait: Duration = option(Duration("5 minutes"), "The longest wait.", low=0, high=86_400)
    forget: Duration = option(
        Duration("1 hour"), "Failures are forgotten when none came for so long.", low=1, high=604_800
    )


@dataclass(frozen=True)
class LimitsConfig:
    """What one peer may cost."""

    before_sign_in: StreamLimits = option(
        StreamLimits(Size("8 KiB"), 32, 8, 32), "What a stranger may send before signing in."
    )
    after_sign_in: StreamLimits = option(StreamLimits(), "What a client may send after signing in.")
    handshake_time: Duration = option(
        Duration("30 seconds"),
        "For the TLS handshake; some clients ask a person about the certificate inside it.",
        low=1,
        high=600,
    )
    handshakes: int = option(
        2000,
        "TLS handshakes under way at once, of all listeners, some 55 KiB each; one more ends the oldest.",
        low=10,
        high=1_000_000,
    )
    header_time: Duration = option(
        Duration("10 seconds"),
        "From the connection, or the end of the TLS handshake, to the stream header.",
        low=1,
        high=600,
    )
    sign_in_time: Duration = option(
        Duration("30 seconds"),
        "From the connection, or the end of the TLS handshake, to the end of signing in.",
        low=1,
        high=3600,
    )
    close_time: Duration = option(
        Duration("5 seconds"),
        "For a peer to take our last words and to close its side; then the connection is cut.",
        low=1,
        high=600,
    )
    sasl_attempts: int = option(
        5, "Failed sign-ins on one connection before it is closed (RFC 6120 section 6.4.5).", low=2, high=20
    )
    connections_per_address: int = option(
        200, "Connections from one IP address; many people can share one.", low=1, high=1_000_000
    )
    sessions_per_account: int = option(
        50, "Sessions of one account, those that wait for resumption included.", low=1, high=10_000
    )
    idle_ping: Duration = option(
        Duration("5 minutes"),
        "A connection that was silent for so long is asked for a sign of life.",
        low=5,
        high=86_400,
    )
    ping_timeout: Duration = option(
        Duration("1 minute"),
        "The connection is taken for dead when no answer came for so long.",
        low=1,
        high=3600,
    )
    queue: int = option(
        500,
        "Stanzas held in memory for one session until its client acknowledges them (XEP-0198).",
        low=10,
        high=100_000,
    )
    queue_size: Size = option(
        Size("2 MiB"),
        "Their bytes. When the queue is full, messages wait in the archive; as much again of what is in no archive of "
        "the account waits in memory, and with more the session ends.",
        low=64 << 10,
        high=1 << 30,
    )
    account_memory: Size = option(
        Size("16 MiB"),
        "Bytes that may wait in memory for all sessions of one account. Towards it messages wait in the archive; at it "
        "the sessions end that hold most.",
        low=256 << 10,
        high=1 << 36,
    )
    memory: Size = option(
        Size("512 MiB"),
        "The same for the whole process; at it the sessions end that hold most, of the accounts that hold most.",
        low=1 << 20,
        high=1 << 42,
    )
    incoming_size: Size = option(
        Size("1 MiB"),
        "Bytes of one stream that are read and not yet handled (a slow answer, a commit); with more the stream is not "
        "read until they are.",
        low=64 << 10,
        high=1 << 30,
    )
    presence_size: Size = option(
        Size("32 KiB"),
        "Bytes in one presence, which is kept for as long as its session, and once more in each room; a larger one is "
        "refused.",
        low=4096,
        high=1 << 26,
    )
    ask_every: int = option(
        20, "An acknowledgement is asked for at the latest after so many stanzas.", low=1, high=10_000
    )
    resume_time: Duration = option(
        Duration("1 hour"),
        "How long a lost session can be resumed (XEP-0198 section 5).",
        low=0,
        high=604_800,
    )
    answer_time: Duration = option(
        Duration("30 seconds"),
        "A client without XEP-0198 is asked by a ping whether it has its messages. If it is alive and has not answered "
        "for so long, it counts as one that never does, and the end of the write as its answer. 0: none is asked.",
        low=0,
        high=3600,
    )
    stop_time: Duration = option(
        Duration("2 seconds"),
        "At a stop, all clients together have so long to say what they have been sent (those whose session cannot be "
        "resumed), and again so long to take what was written to them. Nobody who is silent takes longer.",
        low=0,
        high=60,
    )
    even_answers: Duration = option(
        Duration("20 ms"),
        "An answer about another's account that says nothing, the challenge of SCRAM and the refusal of a password go "
        "out at a tick, one every so long, so that strangers cannot tell by the time whether there is such an account. "
        "0: at once.",
        low=0,
        high=1,
    )
    per_connection: ShapingLimits = option(ShapingLimits(), "What one connection may send per second.")
    per_account: ShapingLimits = option(
        ShapingLimits(Size("1 MiB"), Size("4 MiB"), 400, 2000),
        "What all connections of one account may send per second.",
    )
    sign_in: SignInLimits = option(SignInLimits(), "What failed sign-ins lead to.")
    name_size: Size = option(
        Size("512"),
        "The longest name of an XML element or attribute, its namespace included. A stanza with a longer one is "
        "answered with an error.",
        low=512,
        high=65_536,
    )

    def check(self) -> Iterable[tuple[Where, str]]:
        if self.after_sign_in.size < 10_000:
            yield ("after_sign_in", "size"), "at least 10000 bytes (RFC 6120 section 13.12)"
        if self.header_time > self.sign_in_time:
            yield "header_time", f"longer than sign_in_time ({self.sign_in_time}), of which it is a part"
        if self.queue_size < self.after_sign_in.size:
            yield "queue_size", f"must hold one stanza of after_sign_in.size ({self.after_sign_in.size} bytes)"
        if self.account_memory < self.queue_size:
            yield "account_memory", f"less than the queue_size of one session ({self.queue_size} bytes)"
        if self.memory < self.account_memory:
            yield "memory", f"less than the account_memory of one account ({self.account_memory} bytes)"
        if self.ask_every >= self.queue:
            yield (
                "ask_every",
                f"must be below queue ({self.queue}), which would be full before anything is asked",
            )


@dataclass(frozen=True)
class LogConfig:
    """What is written down about the running server."""

    level: Literal["debug", "info", "warning", "error"] = option("info", "The least weight that is logged.")
    format: Literal["text", "json"] = option("text", "Lines for people, or one JSON object per line.")
    file: Path | None = option(None, "Append to this file; null: standard error.")


@dataclass(frozen=True)
class MetricsConfig:
    """Where a monitoring system reads the numbers of the server (`/metrics`, OpenMetrics; no TLS, no password)."""

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
class ListenerConfig:
    """One address that clients connect to."""

    address: str = option(
        "127.0.0.1", "IP address; `0.0.0.0` is every IPv4 address of the machine, `::` every IPv6 one."
    )
    port: int = option(5222, "TCP port; 0 takes any free one.", low=0, high=65_535)
    tls: Literal["starttls", "direct", "none"] = option(
        "starttls",
        "`starttls`: encryption is negotiated and required; `direct`: TLS from the first byte (XEP-0368, "
        "usually port 5223); `none`: no encryption, on a loopback address only.",
    )
    channel_binding: Literal["exporter", "any", "none"] = option(
        "exporter",
        "Where SCRAM is offered with channel binding (`-PLUS`): `exporter`: on connections that have `tls-exporter` "
        "(TLS 1.3, and 1.2 with extended master secret), since many clients know no other type and are locked out by a "
        "`-PLUS` without it; `any`: wherever there is any type; `none`: nowhere, as for a proxy in front that ends TLS "
        "and begins it again.",
    )

    @property
    def is_loopback(self) -> bool:
        return self.address == "localhost" or ipaddress.ip_address(self.address).is_loopback

    def check(self) -> Iterable[tuple[Where, str]]:
        try:
            loopback = self.is_loopback
        except ValueError:
            yield "address", f"expected an IP address such as '127.0.0.1' or '::', got {self.address!r}"
            return
        if self.tls == "none" and not loopback:
            yield "tls", f"'none' is for loopback addresses such as 127.0.0.1 only, not for {self.address}"

    def overlaps(self, other: ListenerConfig) -> bool:
        """Both cannot be bound at once."""
        if self.port != other.port or self.port == 0:
            return False
        one, two = (ipaddress.ip_address(each.address.replace("localhost", "127.0.0.1")) for each in (self, other))
        return one == two or (one.version == two.version and (one.is_unspecified or two.is_unspecified))


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

    @property
    def has_accounts(self) -> bool:
        """People sign in here."""
        return self.type == "accounts"

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
    listeners: tuple[ListenerConfig, ...] = option(doc="The addresses that clients connect to.", low=1)
    storage: str = option(
        "sqlite:///var/xmppd.db",
        "Where everything durable is: `sqlite:///relative/file`, `sqlite:////absolute/file`, "
        "`mongodb://host:port/database`, `mongodb+srv://…`, or `memory:` (tests: all is lost at the end).",
        secret=True,
    )
    store: StoreConfig = option(StoreConfig(), "How the server treats its store.")
    var: Path = option(Path("var"), "Folder for what the server makes: certificates, the control socket.")
    control: Path | None = option(
        None,
        "Unix socket on which the command line talks to the running server; null: `xmppd.sock` in the folder `var`.",
    )
    plugin_path: tuple[Path, ...] = option((), "More folders with plugins.")
    limits: LimitsConfig = option(LimitsConfig(), "What one peer may cost.")
    log: LogConfig = option(LogConfig(), "What is written down about the running server.")
    outgoing: OutgoingConfig = option(OutgoingConfig(), "Requests that the server sends to addresses that people name.")
    metrics: MetricsConfig = option(MetricsConfig(), "Where a monitoring system reads the numbers of the server.")

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
        for at, listener in enumerate(self.listeners):
            for before, other in enumerate(self.listeners[:at]):
                if listener.overlaps(other):
                    yield (
                        ("listeners", at),
                        f"{listener.address} port {listener.port} is taken by listeners[{before}]",
                    )
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
