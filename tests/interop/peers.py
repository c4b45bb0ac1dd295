"""Servers that talk to each other: ours, Prosody and ejabberd, as processes on loopback addresses of their own.

    with Federation(folder, Trust.AUTHORITY) as federation:   # a name server, certificates, the servers
        federation.prosody.account("juliet")

Each has a domain and rooms below it; who is where stands in SRV records that a name server of the test gives, and the
ports are free ones.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from contextlib import ExitStack
from enum import Enum
from pathlib import Path
from typing import Any, Self

import yaml

from tests.harness.authority import Authority
from tests.harness.dns import DnsServer
from tests.ports import free_port
from tests.process.server import ServerProcess

STARTED = 60.0
"""Seconds until a peer listens."""
STOPPED = 20.0
LISTER = "lister"
"""Who publishes the block list of Prosody's server."""


class Trust(Enum):
    """What certificates prove."""

    AUTHORITY = "an authority signed them, for both roles"
    SERVER_ONLY = "an authority signed them, for the role of the server only, as public authorities do today"
    SELF_SIGNED = "nothing: domains prove themselves by dialback"

    @property
    def usage(self) -> tuple[str, ...]:
        return ("server",) if self is Trust.SERVER_ONLY else ("server", "client")


class NameServer:
    """`DnsServer` on a loop of its own, for longer than one test.

    ejabberd asks it for SRV records only and leaves addresses to the C library, which no test can set up: it has a view
    of its own, `numeric`, where the targets are addresses, which the library takes as they are.
    """

    def __init__(self) -> None:
        self.server, self.numeric = DnsServer({}), DnsServer({})
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._ending = asyncio.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> NameServer:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._ending.set)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        async with self.server, self.numeric:
            self._ready.set()
            await self._ending.wait()

    def publish(self, peer: Peer) -> None:
        """Where its domain and its rooms are."""
        host = f"xmpp.{peer.domain}"
        self.server.records[host] = [f"A {peer.address}"]
        for domain in peer.domains:
            direct = peer.federation.direct
            service = f"_xmpp{'s' * direct}-server._tcp.{domain}"
            port = peer.direct_port if direct else peer.server_port
            self.server.records[service] = [f"SRV 0 5 {port} {host}."]
            self.numeric.records[service] = [f"SRV 0 5 {port} {peer.address}."]


class Peer:
    """One server: a folder, an address, ports for clients and for servers with STARTTLS and with direct TLS, a domain
    that has accounts and one that has rooms."""

    name = ""
    address = ""
    log_file = "log"
    process: subprocess.Popen[bytes] | None = None

    def __init__(self, federation: Federation) -> None:
        self.federation = federation
        self.folder = federation.folder / self.name
        self.folder.mkdir()
        self.domain = f"{self.name}.example"
        self.rooms = f"rooms.{self.domain}"
        self.lists = f"lists.{self.domain}"
        self.domains = (self.domain, self.rooms, self.lists)
        self.client_port, self.server_port, self.direct_port = (free_port(self.address) for _ in range(3))
        made = federation.authority.certificate(
            dns=[*self.domains],
            usage=federation.trust.usage,
            self_signed=federation.trust is Trust.SELF_SIGNED,
        )
        self.chain, self.key = made.write(self.folder, self.domain)
        self.trusted = self.chain if federation.trust is Trust.SELF_SIGNED else federation.authority.file
        """What clients trust."""
        federation.names.publish(self)
        self.prepare()

    @property
    def log(self) -> str:
        path = self.folder / self.log_file
        return path.read_text(errors="replace") if path.exists() else ""

    def prepare(self) -> None:
        """Write its configuration."""
        raise NotImplementedError

    def command(self) -> list[str]:
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        return dict(os.environ)

    def account(self, user: str, password: str = "pencil") -> None:
        raise NotImplementedError

    def on_disk(self, account: str) -> bool:
        """The account survives a crash."""
        return True

    def start(self) -> None:
        with (self.folder / "output").open("ab") as output:
            self.process = subprocess.Popen(
                self.command(), cwd=self.folder, env=self.environment(), stdin=subprocess.DEVNULL,
                stdout=output, stderr=output,
            )  # fmt: skip
        for port in (self.client_port, self.server_port, self.direct_port):
            self._listens(port)

    def _listens(self, port: int) -> None:
        end = time.monotonic() + STARTED
        while True:
            assert self.process is not None
            written = (self.folder / "output").read_text(errors="replace")
            assert self.process.poll() is None and time.monotonic() < end, f"{self.name}:\n{written}\n{self.log}"
            try:
                socket.create_connection((self.address, port), 1).close()
                return
            except OSError:
                time.sleep(0.05)

    def stall(self) -> None:
        """It runs no more, while its connections stand."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def kill(self) -> None:
        """SIGKILL."""
        process, self.process = self.process, None
        assert process is not None
        process.kill()
        process.wait()

    def stop(self) -> None:
        """In order."""
        process, self.process = self.process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOPPED)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"{self.name} does not end:\n{self.log[-5000:]}") from None


class Prosody(Peer):
    name = "prosody"
    address = "127.0.0.3"
    log_file = "prosody.log"

    def prepare(self) -> None:
        nameserver = f"127.0.0.1@{self.federation.names.server.port}"
        secure = json.dumps(self.federation.trust is not Trust.SELF_SIGNED)
        (self.folder / "prosody.cfg.lua").write_text(
            _PROSODY.format(
                peer=self,
                lister=LISTER,
                folder=self.folder,
                nameserver=nameserver,
                secure=secure,
                roots=self.federation.authority.file,
            )
        )

    def command(self) -> list[str]:
        return ["prosody", "--config", str(self.folder / "prosody.cfg.lua"), "-F"]

    def account(self, user: str, password: str = "pencil") -> None:
        """It reads the file of an account when somebody signs in."""
        accounts = self.folder / "data" / self.domain.replace(".", "%2e") / "accounts"
        accounts.mkdir(parents=True, exist_ok=True)
        (accounts / f"{user}.dat").write_text(f'return {{ ["password"] = "{password}"; }};\n')


# Its resolver, libunbound, asks nobody on this machine unless it is told so. `trusted`: no root of DNSSEC.
_PROSODY = """
run_as_root = true
pidfile = "{folder}/prosody.pid"
data_path = "{folder}/data"
log = {{ debug = "{folder}/prosody.log" }}
unbound = {{
	resolvconf = false, hoststxt = false, forward = "{nameserver}",
	options = {{ ["do-not-query-localhost:"] = "no", ["do-ip6:"] = "no" }}
}}
interfaces = {{ "{peer.address}" }}
use_ipv6 = false
c2s_ports = {{ {peer.client_port} }}
c2s_direct_tls_ports = {{ }}
s2s_ports = {{ {peer.server_port} }}
s2s_direct_tls_ports = {{ {peer.direct_port} }}
http_ports = {{ }}
https_ports = {{ }}
s2s_require_encryption = true
s2s_secure_auth = {secure}
authentication = "internal_plain"
storage = "internal"
ssl = {{ certificate = "{peer.chain}", key = "{peer.key}", cafile = "{roots}" }}
modules_disabled = {{ "admin_socket" }}
modules_enabled = {{
	"roster", "saslauth", "tls", "dialback", "s2s_bidi", "disco", "carbons", "smacks", "mam", "ping", "blocklist",
	"pep", "private", "vcard4", "vcard_legacy", "csi_simple", "version", "time", "offline", "stanza_debug",
}}
VirtualHost "{peer.domain}"
Component "{peer.rooms}" "muc"
	modules_enabled = {{ "muc_mam" }}
	restrict_room_creation = false
Component "{peer.lists}" "pubsub"
	admins = {{ "{lister}@{peer.domain}" }}
	pubsub_max_items = 1000
"""


class Ejabberd(Peer):
    """Without its script and without a node name, so no epmd stays behind."""

    name = "ejabberd"
    address = "127.0.0.4"
    log_file = "ejabberd.log"

    def prepare(self) -> None:
        self._api_port = free_port(self.address)
        both = self.folder / "server.pem"
        both.write_bytes(self.chain.read_bytes() + self.key.read_bytes())
        nameserver = f"{{nameserver, {{127,0,0,1}}, {self.federation.names.numeric.port}}}."
        # No /etc/resolv.conf, and names of the tests only.
        (self.folder / "inetrc").write_text(
            f'{{resolv_conf, ""}}.\n{{hosts_file, ""}}.\n{{lookup, [dns]}}.\n{nameserver}\n'
        )
        listen = {"ip": self.address, "shaper": "none"}
        settings: dict[str, Any] = {
            "hosts": [self.domain],
            "loglevel": "debug",
            "certfiles": [str(both)],
            "ca_file": str(self.federation.authority.file),
            "listen": [
                {**listen, "port": self.client_port, "module": "ejabberd_c2s", "starttls_required": True},
                {**listen, "port": self.server_port, "module": "ejabberd_s2s_in"},
                {**listen, "port": self.direct_port, "module": "ejabberd_s2s_in", "tls": True},
                {"ip": self.address, "port": self._api_port, "module": "ejabberd_http",
                 "request_handlers": {"/api": "mod_http_api"}},
            ],
            "s2s_use_starttls": "required",
            "s2s_max_retry_delay": 1,
            "api_permissions": {"here": {"from": ["mod_http_api"], "who": {"ip": "127.0.0.0/8"}, "what": "*"}},
            "auth_password_format": "scram",
            "modules": self._modules(),
        }  # fmt: skip
        (self.folder / "ejabberd.yml").write_text(yaml.safe_dump(settings))

    def _modules(self) -> dict[str, Any]:
        plain = ["adhoc", "blocking", "caps", "carboncopy", "client_state", "disco", "http_api", "last", "ping"]
        plain += ["privacy", "private", "roster", "stream_mgmt", "time", "vcard", "version", "offline"]
        if self.federation.trust is not Trust.AUTHORITY:
            plain.append("s2s_dialback")  # before 25.08 it takes no certificate for the role of the server only
        return {
            **{f"mod_{name}": {} for name in plain},
            "mod_mam": {"default": "always"},
            "mod_pubsub": {"plugins": ["flat", "pep"]},
            "mod_muc": {"host": self.rooms, "default_room_options": {"mam": True}},
        }

    def command(self) -> list[str]:
        mnesia = ["-mnesia", "dir", f'"{self.folder}/db"']
        return ["erl", "-noinput", "+P", "250000", "+sbwt", "none", *mnesia, "-s", "ejabberd"]

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "ERL_LIBS": ":".join(map(str, Path("/usr/lib").glob("*-linux-gnu"))),
            "ERL_INETRC": str(self.folder / "inetrc"),
            "ERL_CRASH_DUMP_BYTES": "0",
            "EJABBERD_CONFIG_PATH": str(self.folder / "ejabberd.yml"),
            "EJABBERD_LOG_PATH": str(self.folder / "ejabberd.log"),
            "HOME": str(self.folder),
        }

    def start(self) -> None:
        super().start()
        self._listens(self._api_port)

    def account(self, user: str, password: str = "pencil") -> None:
        asked = json.dumps({"user": user, "host": self.domain, "password": password}).encode()
        url = f"http://{self.address}:{self._api_port}/api/register"
        with urllib.request.urlopen(urllib.request.Request(url, asked), timeout=20) as answer:
            assert answer.status == 200, answer.read()

    def on_disk(self, account: str) -> bool:
        """It writes to its log in its own time."""
        name = account.partition("@")[0].encode()
        return any(name in path.read_bytes() for path in (self.folder / "db").iterdir() if path.is_file())


class Ours(Peer):
    name = "ours"
    address = "127.0.0.2"
    log_file = "server.log"

    def prepare(self) -> None:
        files = {"certificate": str(self.chain), "key": str(self.key)}
        dialback = {
            Trust.AUTHORITY: {"dialback": False},
            Trust.SERVER_ONLY: {"domains": {domain: {"dialback": False} for domain in self.federation.modern}},
            Trust.SELF_SIGNED: {},
        }[self.federation.trust]
        followed = {"block_lists": {"lists": [{"service": self.federation.prosody.lists}]}}
        whole = {
            "hosts": {self.domain: {"plugins": followed, **files}, self.rooms: {"type": "rooms", **files}},
            "listeners": [
                {"address": self.address, "port": self.client_port},
                {"kind": "server", "address": self.address, "port": self.server_port},
                {"kind": "server", "address": self.address, "port": self.direct_port, "tls": "direct"},
            ],
            "federation": {
                "nameservers": [self.federation.names.server.address],
                "private_addresses": ["127.0.0.0/8"],
                "authorities": str(self.federation.authority.file),
                **dialback,
            },
            "log": {"level": "debug"},
            "storage": self.federation.storage,
            "var": "var",
        }
        self.server = ServerProcess(self.folder, json.dumps(whole, indent=1))

    def account(self, user: str, password: str = "pencil") -> None:
        asyncio.run(self.server.operation("user.add", jid=f"{user}@{self.domain}", password=password))

    def start(self) -> None:
        self.server.launch()

    def stop(self) -> None:
        assert self.server.end() == 0, self.server.log
        assert "Traceback" not in self.log, self.log

    def kill(self) -> None:
        self.server.kill()


class Federation:
    """The servers of one test or of many. `direct`: DNS leads to the ports with direct TLS (XEP-0368), and to no
    others. `storage`: of ours."""

    def __init__(
        self, folder: Path, trust: Trust, ours: bool = True, direct: bool = False,
        storage: str = "sqlite:///var/xmppd.db",
    ) -> None:  # fmt: skip
        self.folder = folder
        self.storage = storage
        self.direct = direct
        self.trust = trust
        self.authority = Authority(folder)
        self.names = NameServer()
        self.modern = ("prosody.example", "rooms.prosody.example", "lists.prosody.example")
        """Who takes certificates for the role of the server only."""
        self._ours = ours

    def __enter__(self) -> Self:
        self.names.__enter__()
        self.prosody, self.ejabberd = Prosody(self), Ejabberd(self)
        self.peers: list[Peer] = [self.prosody, self.ejabberd]
        if self._ours:
            self.ours = Ours(self)
            self.peers.append(self.ours)
        try:
            for peer in self.peers:
                peer.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with ExitStack() as stack:
            stack.callback(self.names.__exit__)
            for peer in self.peers:
                stack.callback(peer.stop)


def missing_peers() -> list[str]:
    """Programs that are not installed."""
    return [name for name in ("prosody", "erl", "ejabberdctl") if shutil.which(name, path=_PATH) is None]


_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"
