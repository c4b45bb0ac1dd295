"""Servers that people leave: a real Prosody and a real ejabberd on loopback, each with a folder of its own."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.ports import free_port

START = 60.0

PROSODY = """
run_as_root = true
daemonize = false
data_path = "{folder}/data"
pidfile = "{folder}/prosody.pid"
log = {{ info = "{folder}/prosody.log" }}
interfaces = {{ "127.0.0.1" }}
local_interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {port} }}
c2s_direct_tls_ports = {{ }}
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
http_ports = {{ }}
https_ports = {{ }}
authentication = "internal_hashed"
{storage}
archive_expires_after = "never"
modules_disabled = {{ "s2s", "tls" }}
modules_enabled = {{ "roster", "saslauth", "disco", "private", "vcard_legacy", "pep", "blocklist", "mam", "offline",
  "ping", "carbons", "bookmarks", "posix", "lastactivity" }}
VirtualHost "localhost"
Component "conference.localhost" "muc"
  modules_enabled = {{ "muc_mam" }}
  restrict_room_creation = false
Component "pubsub.localhost" "pubsub"
  admins = {{ "romeo@localhost" }}
"""
SQLITE = 'storage = "sql"\nsql = {{ driver = "SQLite3", database = "{folder}/prosody.sqlite" }}'

EJABBERD = """
hosts: [localhost]
loglevel: info
listen:
  - {{port: {port}, ip: "127.0.0.1", module: ejabberd_c2s, starttls: false, access: all}}
  - {{port: {http}, ip: "127.0.0.1", module: ejabberd_http, request_handlers: {{/api: mod_http_api}}}}
auth_method: internal
auth_password_format: {passwords}
api_permissions:
  all: {{who: [{{ip: 127.0.0.1/8}}], what: ["*"]}}
modules:
  mod_roster: {{}}
  mod_vcard: {{}}
  mod_private: {{}}
  mod_privacy: {{}}
  mod_blocking: {{}}
  mod_offline: {{}}
  mod_ping: {{}}
  mod_disco: {{}}
  mod_caps: {{}}
  mod_last: {{}}
  mod_mam: {{default: always}}
  mod_pubsub: {{plugins: [flat, pep]}}
  mod_muc: {{default_room_options: {{mam: true}}}}
  mod_muc_admin: {{}}
"""


def _answers(port: int) -> bool:
    with socket.socket() as attempt:
        attempt.settimeout(1)
        return attempt.connect_ex(("127.0.0.1", port)) == 0


class OldServer:
    """`port`: for clients, without TLS."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def _launch(self, command: list[str], **env: str) -> None:
        log = (self.folder / "output.log").open("ab")
        self._process = subprocess.Popen(
            command, cwd=self.folder, env={**os.environ, **env}, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        end = time.monotonic() + START
        while not all(map(_answers, self.ports)):
            assert self._process.poll() is None and time.monotonic() < end, self.log
            time.sleep(0.05)

    @property
    def ports(self) -> tuple[int, ...]:
        """What it listens at when it is up."""
        return (self.port,)

    @property
    def log(self) -> str:
        return (self.folder / "output.log").read_text(errors="replace")

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None


class Prosody(OldServer):
    def __init__(self, folder: Path, sqlite: bool = False) -> None:
        super().__init__(folder)
        self.data = folder / "data"
        self.data.mkdir(exist_ok=True)
        self.sqlite = folder / "prosody.sqlite"
        self.config = folder / "prosody.cfg.lua"
        storage = SQLITE.format(folder=folder) if sqlite else 'storage = "internal"'
        self.config.write_text(PROSODY.format(folder=folder, port=self.port, storage=storage))

    def start(self) -> Prosody:
        self._launch([str(shutil.which("prosody")), "--config", str(self.config), "-F"])
        return self

    def register(self, *names: str, password: str = "pencil") -> None:
        """Before it is started: its database takes one process at a time, and a second one does not wait."""
        assert self._process is None
        for name in names:
            command = ["prosodyctl", "--root", "--config", str(self.config), "register", name, "localhost", password]
            subprocess.run(command, check=True, capture_output=True, timeout=60)


class Ejabberd(OldServer):
    def __init__(self, folder: Path, passwords: str = "scram") -> None:
        super().__init__(folder)
        self.http = free_port()
        self.config = folder / "ejabberd.yml"
        self.config.write_text(EJABBERD.format(port=self.port, http=self.http, passwords=passwords))
        (folder / "mnesia").mkdir(exist_ok=True)

    @property
    def ports(self) -> tuple[int, ...]:
        return (self.port, self.http)

    @staticmethod
    def libraries() -> Path | None:
        """The folder that holds its compiled modules."""
        found = sorted(Path("/usr/lib").glob("*/ejabberd-*/ebin/ejabberd.app"))
        return found[0].parent if found else None

    def start(self) -> Ejabberd:
        ebin = self.libraries()
        assert ebin is not None
        self._launch(
            [
                "erl", "-noinput", "-pa", str(ebin), "-mnesia", "dir", f'"{self.folder}/mnesia"', "-s", "ejabberd",
            ],
            EJABBERD_CONFIG_PATH=str(self.config), EJABBERD_LOG_PATH=str(self.folder / "ejabberd.log"),
            SPOOL_DIR=str(self.folder / "mnesia"), HOME=str(self.folder), ERL_CRASH_DUMP_BYTES="0",
        )  # fmt: skip
        return self

    def call(self, command: str, **arguments: Any) -> Any:
        """A command of ejabberdctl, over HTTP on loopback (no node name, no epmd)."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.http}/api/{command}", json.dumps(arguments).encode(),
            {"Content-Type": "application/json"},
        )  # fmt: skip
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{command}: {error.code} {error.read()!r}\n{self.log}") from None

    def register(self, *names: str, password: str = "pencil") -> None:
        for name in names:
            self.call("register", user=name, host="localhost", password=password)

    def export(self, folder: Path) -> Path:
        """`ejabberdctl export_piefxis`; the main file."""
        folder.mkdir(parents=True, exist_ok=True)
        self.call("export_piefxis", dir=str(folder))
        return next(each for each in folder.iterdir() if "_localhost" not in each.name and each.suffix == ".xml")
