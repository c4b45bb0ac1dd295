"""The servers under load: a process each, with a configuration, accounts and a certificate of its own."""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_hex
from typing import Any, ClassVar, Final

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from xmppd.contracts.accounts import ACCOUNT_MAP, StoredAccount
from xmppd.net.loop import RealClock
from xmppd.protocol.sasl import ITERATIONS, Credentials, ScramKeys
from xmppd.storage import open_storage

from .client import DOMAIN, PASSWORD
from .federation import Federation

ROOMS: Final = f"conference.{DOMAIN}"
START_WITHIN: Final = 30.0
STOP_WITHIN: Final = 30.0
SALT: Final = b"benchmark accounts"
UNSHAPED: Final = {"bytes": 0, "stanzas": 0}
"""Load comes at saturation."""
UNLIMITED: Final = {"waiting_messages": 0, "waiting_size": 0}
"""More waits for one account than for anybody real."""
FILES: Final = {"size": "2 GiB", "per_day": "1 TiB", "per_account": "1 TiB"}


def packaged(package: str, *programs: str) -> str:
    """The version of a Debian package, "" where it or one of these programs is not installed."""
    if any(shutil.which(program) is None for program in (*programs, "dpkg-query")):
        return ""
    asked = ["dpkg-query", "--show", "--showformat=${Version}", package]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()


class ServerError(Exception):
    """A server did not start, or ended; the text has the end of its log."""


class Server:
    """A server in a folder of its own, which is emptied first. `port`: plain, `tls_port`: TLS from the first byte.
    `web_port`, `web_tls_port`: HTTP, of those that have a WebSocket there.

    `lean`: set up for little memory where that is a choice, otherwise for speed. `federation`: it talks to other
    servers, on `server_port`; None: to nobody.
    """

    name: ClassVar[str]

    @staticmethod
    def installed() -> str:
        """Its version, "" where it is not installed."""
        return ""

    def __init__(
        self,
        folder: Path,
        accounts: int,
        lean: bool = False,
        domain: str = DOMAIN,
        federation: Federation | None = None,
    ) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.folder = folder.resolve()
        self.accounts = accounts
        self.lean = lean
        self.domain = domain
        self.rooms = f"conference.{domain}"
        self.federation = federation
        self.port, self.tls_port, self.web_port, self.web_tls_port, self.server_port = free_ports(5)
        if federation is None:
            self.chain, self.key = certificate(self.folder)
            self.roots = self.chain
        else:
            self.chain, self.key = federation.certificate(self.folder, domain, self.rooms)
            self.roots = federation.authority.file
            federation.publish(self.server_port, domain, self.rooms)
        self._process: subprocess.Popen[bytes] | None = None
        self._serial = token_hex(6)

    @property
    def pid(self) -> int:
        """Raises ServerError when it does not run (any more)."""
        if self._process is None or self._process.poll() is not None:
            raise ServerError(f"{self.name} does not run\n{self._log_end()}")
        return self._process.pid

    @property
    def trust(self) -> ssl.SSLContext:
        """For clients: this server's certificate and no other, or what the authority of its federation has signed."""
        return ssl.create_default_context(cafile=str(self.roots))

    @property
    def ports(self) -> list[int]:
        """What it listens on when it has started."""
        return [self.port, self.tls_port, *self.server_ports]

    @property
    def server_ports(self) -> list[int]:
        """The same, for other servers."""
        return [self.server_port] if self.federation is not None else []

    async def prepare(self) -> None:
        """Write configuration and accounts."""
        raise NotImplementedError

    def command(self) -> list[str]:
        raise NotImplementedError

    async def start(self) -> None:
        """Raises ServerError when it takes no connections in time."""
        await self.prepare()
        await self.launch()

    async def restart(self) -> None:
        """A new process on the same data. Raises ServerError."""
        await asyncio.to_thread(self.stop)
        await self.launch()

    async def launch(self) -> None:
        """Raises ServerError."""
        process = self._process = self._launch()
        deadline = time.monotonic() + START_WITHIN
        while not all(map(_takes_connections, self.ports)):
            if time.monotonic() > deadline or process.poll() is not None:
                self.stop()
                raise ServerError(f"{self.name} did not start\n{self._log_end()}")
            await asyncio.sleep(0.1)

    def _launch(self) -> subprocess.Popen[bytes]:
        with (self.folder / "output.log").open("wb") as output:
            return subprocess.Popen(
                self.command(), env=self.environment(), stdout=output, stderr=output, stdin=subprocess.DEVNULL
            )

    def environment(self) -> dict[str, str] | None:
        """None: ours."""
        return None

    def stop(self) -> None:
        """Ends the process; by force when it does not stop by itself."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_WITHIN)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _log_end(self) -> str:
        path = self.folder / "output.log"
        return path.read_text(errors="replace")[-2000:] if path.exists() else ""


class Xmppd(Server):
    """This server, on SQLite or MongoDB. `launcher`: the module that runs it, and its arguments."""

    name = "xmppd"

    launcher: Sequence[str] = ("-m", "xmppd")
    mongodb: ClassVar[str] = ""
    """The URI of a MongoDB server, without a database: each case has one of its own. What that server costs is not
    counted."""

    homes: ClassVar[int] = 1
    """Among so many its accounts and rooms are shared out, in the one process."""

    @property
    def ports(self) -> list[int]:
        return [self.port, self.tls_port, self.web_port, self.web_tls_port, *self.server_ports]

    @property
    def storage(self) -> str:
        if self.mongodb:
            return f"{self.mongodb.rstrip('/')}/bench-{self._serial}"
        return f"sqlite:///{self.folder}/xmppd.db"

    def configure(self) -> None:
        """Write the configuration, to be in force from the next start."""
        files = {"certificate": str(self.chain), "key": str(self.key)}
        settings: dict[str, Any] = {
            "hosts": {
                self.domain: {**files, "plugins": {"limits": UNLIMITED, "files": FILES}},
                self.rooms: {"type": "rooms", **(files if self.federation is not None else {})},
            },
            "listeners": [
                {"address": "127.0.0.1", "port": self.port, "tls": "none"},
                {"address": "127.0.0.1", "port": self.tls_port, "tls": "direct"},
                {"kind": "http", "address": "127.0.0.1", "port": self.web_port, "tls": "none"},
                {"kind": "http", "address": "127.0.0.1", "port": self.web_tls_port, "tls": "direct"},
            ],
            "storage": self.storage,
            "homes": self.homes,
            "var": str(self.folder),
            "limits": {"connections_per_address": 100_000, "per_connection": UNSHAPED, "per_account": UNSHAPED},
            "log": {"level": "warning"},
        }
        if self.federation is not None:
            settings["listeners"].append({"kind": "server", "address": "127.0.0.1", "port": self.server_port})
            settings["federation"] = {
                "nameservers": [self.federation.names.address],
                "private_addresses": ["127.0.0.0/8"],
                "authorities": str(self.federation.authority.file),
                "rate": UNSHAPED,
            }
        (self.folder / "xmppd.yaml").write_text(yaml.safe_dump(settings))

    async def prepare(self) -> None:
        self.configure()
        storage = await open_storage(self.storage, RealClock())
        try:
            stored = storage.map(ACCOUNT_MAP, StoredAccount, cached=True)
            sha1, sha256 = (
                ScramKeys.derive(PASSWORD, name, salt=SALT, iterations=ITERATIONS) for name in ("SHA-1", "SHA-256")
            )
            account = StoredAccount(Credentials(sha1, sha256), time.time())
            await storage.commit(
                [stored.put(f"u{number}@{self.domain}", "", account) for number in range(self.accounts)]
            )
        finally:
            await storage.close()

    def command(self) -> list[str]:
        return [sys.executable, *self.launcher, "run", "--config", str(self.folder / "xmppd.yaml")]


class Prosody(Server):
    """The peer: Prosody as Debian packages it, archive and rooms in its own files (written, not synced).

    Unless memory is measured, its garbage collector runs as Lua's own default has it; Prosody's saves memory and
    costs twice the CPU under load.
    """

    name = "Prosody"

    @staticmethod
    def installed() -> str:
        return packaged("prosody", "prosody")

    async def prepare(self) -> None:
        (self.folder / "prosody.cfg.lua").write_text(
            _PROSODY.format(
                folder=self.folder,
                gc="" if self.lean else _PROSODY_GC,
                port=self.port,
                tls_port=self.tls_port,
                chain=self.chain,
                key=self.key,
                domain=self.domain,
                rooms=self.rooms,
                servers=self._servers(),
            )
        )
        keys = ScramKeys.derive(PASSWORD, "SHA-256", salt=SALT, iterations=ITERATIONS)
        account = _PROSODY_ACCOUNT.format(
            iterations=keys.iterations, salt=SALT.decode(), stored=keys.stored_key.hex(), server=keys.server_key.hex()
        )
        accounts = self.folder / "data" / self.domain.replace(".", "%2e") / "accounts"
        accounts.mkdir(parents=True)
        for number in range(self.accounts):
            (accounts / f"u{number}.dat").write_text(account)

    def _servers(self) -> str:
        if self.federation is None:
            return _PROSODY_ALONE.format(chain=self.chain, key=self.key)
        return _PROSODY_FEDERATED.format(
            port=self.server_port,
            nameserver=self.federation.names.address.replace(":", "@"),
            chain=self.chain,
            key=self.key,
            roots=self.roots,
        )

    def command(self) -> list[str]:
        return ["prosody", "--config", str(self.folder / "prosody.cfg.lua"), "-F"]


_PROSODY_GC = 'gc = { mode = "incremental", threshold = 200, speed = 500 }'
_PROSODY_ACCOUNT = """return {{
	["iteration_count"] = {iterations};
	["salt"] = "{salt}";
	["stored_key"] = "{stored}";
	["server_key"] = "{server}";
}};
"""

_PROSODY_ALONE = """
s2s_ports = {{ }}
ssl = {{ certificate = "{chain}", key = "{key}" }}
modules_disabled = {{ "s2s", "admin_socket" }}
"""
# Its resolver, libunbound, asks nobody on this machine unless it is told so.
_PROSODY_FEDERATED = """
s2s_ports = {{ {port} }}
s2s_direct_tls_ports = {{ }}
s2s_require_encryption = true
s2s_secure_auth = true
ssl = {{ certificate = "{chain}", key = "{key}", cafile = "{roots}" }}
modules_disabled = {{ "admin_socket" }}
use_ipv6 = false
unbound = {{
	resolvconf = false, hoststxt = false, forward = "{nameserver}",
	options = {{ ["do-not-query-localhost:"] = "no", ["do-ip6:"] = "no" }}
}}
"""

_PROSODY = """
run_as_root = true
pidfile = "{folder}/prosody.pid"
data_path = "{folder}/data"
certificates = "{folder}"
log = {{ warn = "{folder}/prosody.log" }}
network_backend = "epoll"
interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {port} }}
c2s_direct_tls_ports = {{ {tls_port} }}
http_ports = {{ }}
https_ports = {{ }}
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
authentication = "internal_hashed"
password_hash = "SHA-256"
storage = "internal"
storage_archive_item_limit = 100000000
archive_expires_after = "never"
max_archive_query_results = 100
{gc}
{servers}
c2s_direct_tls_ssl = {{ certificate = "{chain}", key = "{key}" }}
modules_enabled = {{
	"roster", "saslauth", "tls", "disco", "carbons", "smacks", "mam", "ping", "blocklist", "pep", "private",
	"vcard4", "vcard_legacy", "csi", "csi_simple", "version", "time", "uptime",
}}
VirtualHost "{domain}"
Component "{rooms}" "muc"
	modules_enabled = {{ "muc_mam" }}
	muc_log_by_default = true
	restrict_room_creation = false
"""


def certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate of the domain (EC P-256, as both servers make them) and its key."""
    chain, key_file = folder / f"{DOMAIN}.crt", folder / f"{DOMAIN}.key"
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, DOMAIN)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(DOMAIN)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    chain.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.touch(mode=0o600)
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return chain, key_file


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _takes_connections(port: int) -> bool:
    with socket.socket() as attempt:
        attempt.settimeout(1.0)
        return attempt.connect_ex(("127.0.0.1", port)) == 0
