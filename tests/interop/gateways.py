"""Gateways and what they lead to, as processes of their own on free ports: Biboumi, an IRC server, Slidge."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.process.server import ServerProcess, configuration

SECRET = "what the gateways know of the server"
IRC, CHAT = "irc.localhost", "chat.localhost"
ROOT = Path(__file__).parent.parent.parent
SLIDGE = "slidge==0.4.2"
"""The last one that runs on Python 3.11, with what it needs."""
PRIVILEGES = {
    "roster": "both",
    "message": "outgoing",
    "iq": {"http://jabber.org/protocol/pubsub": "both", "http://jabber.org/protocol/pubsub#owner": "set"},
    "presence": "managed_entity",
}
"""As Slidge's documentation asks for them."""


def program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")


class Process:
    """A program with a folder and a log."""

    def __init__(self, folder: Path, command: Sequence[str], **environment: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.command = list(command)
        self.environment = {**os.environ, **environment}
        self._log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def start(self) -> None:
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                self.command, cwd=self.folder, env=self.environment, stdout=output, stderr=output,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip

    async def until(self, text: str, within: float = 30.0) -> None:
        """Wait for a text in its log."""
        end = time.monotonic() + within
        while text not in self.log:
            assert self._process is not None and self._process.poll() is None, f"it has ended:\n{self.log}"
            assert time.monotonic() < end, f"{text!r} is not in the log:\n{self.log}"
            await asyncio.sleep(0.05)

    def stop(self, number: int = signal.SIGTERM) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def server(folder: Path) -> ServerProcess:
    """With the components of both gateways."""
    components = {
        IRC: {"secret": SECRET},
        CHAT: {"secret": SECRET, "privileges": {"localhost": PRIVILEGES}},
    }
    listeners = [{"port": 0}, {"kind": "component", "port": 0}]
    return ServerProcess(folder, configuration(listeners=listeners, components=components))


def irc_server(folder: Path, port: int) -> Process:
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "ngircd.conf"
    user = "ServerUID = nobody\nServerGID = nogroup\n" if os.getuid() == 0 else ""
    config.write_text(
        f"[Global]\nName = irc.example\nInfo = for tests\nListen = 127.0.0.1\nPorts = {port}\n{user}"
        "MotdPhrase = hello\n"
        "[Limits]\nMaxConnectionsIP = 0\nMaxNickLength = 30\n[Options]\nDNS = no\nIdent = no\nPAM = no\n"
    )
    return Process(folder, [str(program("ngircd")), "-n", "-f", str(config)])


def biboumi(folder: Path, port: int) -> Process:
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "biboumi.cfg"
    config.write_text(
        f"hostname={IRC}\npassword={SECRET}\nxmpp_server_ip=127.0.0.1\nport={port}\n"
        f"db_name={folder}/biboumi.sqlite\npolicy_directory={folder}\nlog_level=1\nidentd_port=0\n"
    )
    return Process(folder, [str(program("biboumi")), str(config)])


def slidge_python(cache: Path) -> str:
    """A Python that has Slidge, in an environment of its own. Raises OSError, CalledProcessError: it cannot be made."""
    python = cache / "bin" / "python"
    if not (cache / ".installed").exists():
        uv = shutil.which("uv")
        shutil.rmtree(cache, ignore_errors=True)
        make = [uv, "venv", "-q", "--python", sys.executable] if uv else [sys.executable, "-m", "venv"]
        install = [uv, "pip", "install", "-q", "-p", str(python)] if uv else [str(python), "-m", "pip", "install", "-q"]
        subprocess.run([*make, str(cache)], check=True, capture_output=True, timeout=120)
        subprocess.run([*install, SLIDGE], check=True, capture_output=True, timeout=600)
        (cache / ".installed").touch()
    return str(python)


def slidge(folder: Path, port: int, python: str) -> Process:
    """With the network of `slidge_network.py`, which is inside it."""
    command = [
        python, "-m", "slidge", "--legacy-module", "slidge_network", "--jid", CHAT, "--secret", SECRET,
        "--server", "127.0.0.1", "--port", str(port), "--home-dir", str(folder / "home"),
        "--user-jid-validator", ".*@localhost", "--debug",
    ]  # fmt: skip
    return Process(folder, command, PYTHONPATH=str(ROOT / "tests" / "interop"), SLIDGE_CONF_DIR=str(folder / "none"))


class IrcPerson:
    """Somebody on IRC itself."""

    def __init__(self, nick: str) -> None:
        self.nick = nick
        self.heard: list[tuple[str, str, str]] = []
        """(nick, to, text)."""
        self.left: list[str] = []
        """Nicks of those who have left a channel, or all."""
        self._writer: asyncio.StreamWriter
        self._task: asyncio.Task[None]

    async def connect(self, port: int) -> IrcPerson:
        reader, self._writer = await asyncio.open_connection("127.0.0.1", port)
        self.write(f"NICK {self.nick}", f"USER {self.nick} 0 * :{self.nick}")
        self._task = asyncio.create_task(self._read(reader))
        return self

    def write(self, *lines: str) -> None:
        for line in lines:
            self._writer.write(f"{line}\r\n".encode())

    def say(self, to: str, text: str) -> None:
        self.write(f"PRIVMSG {to} :{text}")

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while line := (await reader.readline()).decode(errors="replace").rstrip():
            if line.startswith("PING"):
                self.write(line.replace("PING", "PONG", 1))
            parts = line.split(" ", 3)
            if parts[1] in ("PART", "QUIT"):
                self.left.append(parts[0][1:].partition("!")[0])
            if len(parts) == 4 and parts[1] == "PRIVMSG":
                self.heard.append((parts[0][1:].partition("!")[0], parts[2], parts[3].removeprefix(":")))

    def leave(self) -> None:
        self._task.cancel()
        self._writer.close()
