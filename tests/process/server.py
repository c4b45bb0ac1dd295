"""A server process with a folder of its own."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from tests.harness.homes import HOMES
from xmppd.admin.control import ControlClient
from xmppd.cli import app

ROOT = Path(__file__).parent.parent.parent
STARTED = 30.0
"""Seconds until the server must be ready; that it ended instead is seen at once."""
STOPPED = 15.0
"""Seconds from SIGTERM to the end, whatever the store does."""
COMMAND = 30.0


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err


def environment(**more: str) -> dict[str, str]:
    """A clean one: nothing of the tester's own configuration."""
    kept = {name: value for name, value in os.environ.items() if name != "XMPPD_CONFIG"}
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "COLUMNS": "200", **more}


async def xmppd(*arguments: str | bytes, cwd: Path, input: str = "", within: float = COMMAND, **env: str) -> Outcome:
    """Run the command line."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "xmppd", *arguments, cwd=cwd, env=environment(**env),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        out, err = await asyncio.wait_for(process.communicate(input.encode()), within)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise AssertionError(f"{arguments} did not end within {within} s") from None
    assert process.returncode is not None
    outcome = Outcome(process.returncode, out.decode(errors="replace"), err.decode(errors="replace"))
    assert "Traceback" not in outcome.text, outcome.text
    return outcome


def invoke(*arguments: str, input: str = "") -> Outcome:
    """Run the command line in this process (not `run`, and not from a test that is a coroutine)."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    quiet = {name: logging.getLogger(name).level for name in ("xmppd", "slixmpp")}  # some commands silence them
    try:
        result = CliRunner().invoke(app, list(arguments), input=input)
    finally:  # `run` writes to a standard error that is closed behind it
        root.handlers[:], root.level = handlers, level
        for name, before in quiet.items():
            logging.getLogger(name).setLevel(before)
    error = result.exception
    assert error is None or isinstance(error, SystemExit), repr(error)
    return Outcome(result.exit_code, result.stdout, result.stderr)


def configuration(
    storage: str = "sqlite:///var/xmppd.db",
    plugins: Mapping[str, Any] | None = None,
    listeners: Sequence[Mapping[str, Any]] | None = None,
    **more: Any,
) -> str:
    """YAML (which JSON is). Every listener takes a free port."""
    hosts = {
        "localhost": {"plugins": dict(plugins or {})},
        "conference.localhost": {"type": "rooms"},
        "proxy.localhost": {"type": "proxy", "plugins": {"proxy65": {"port": 0, "host": "127.0.0.1"}}},
    }
    both = [{"address": "127.0.0.1", "port": 0, "tls": tls} for tls in ("starttls", "direct")]
    whole = {"hosts": hosts, "listeners": list(listeners or both), "storage": storage, "var": "var", **more}
    if HOMES > 1:
        whole.setdefault("homes", HOMES)
    return json.dumps(whole, indent=1)


class ServerProcess:
    """`python -m xmppd run` in `folder`, which holds its configuration, its log, its store."""

    def __init__(self, folder: Path, text: str | None = None) -> None:
        self.folder = folder
        self.config = folder / "xmppd.yaml"
        self.config.write_text(text if text is not None else configuration())
        self.certificate = folder / "var" / "certs" / "localhost.crt"
        self.socket = folder / "var" / "xmppd.sock"
        self._log = folder / "server.log"
        self._seen = 0
        self.options: tuple[str, ...] = ()
        """More of the command line, behind `run`."""
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """All that this start has written."""
        return self._log.read_bytes()[self._seen :].decode() if self._log.exists() else ""

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def port(self, tls: str = "starttls") -> int:
        """The port of a listener, as the log tells it."""
        found = re.search(rf"listening on \S+ port (\d+) \({tls}\)", self.log)
        assert found is not None, self.log
        return int(found[1])

    def launch(self, named: bool = True) -> None:
        """Start, and wait until it is ready. `named`: with --config."""
        self._seen = self._log.stat().st_size if self._log.exists() else 0
        options = [*(["--config", str(self.config)] if named else []), *self.options]
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "xmppd", "run", *options],
                cwd=self.folder, env=environment(), stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip
        try:
            self._wait_for("ready;", STARTED)
        except AssertionError:
            self.kill()
            raise

    def _wait_for(self, text: str, within: float) -> None:
        end = time.monotonic() + within
        while text not in self.log:
            assert self._process is not None
            assert self._process.poll() is None, f"the server ended:\n{self.log}"
            assert time.monotonic() < end, f"{text!r} was not logged:\n{self.log}"
            time.sleep(0.02)

    def end(self, number: int = signal.SIGTERM, within: float = STOPPED) -> int:
        """End it in order; its exit status."""
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(number)
        try:
            return process.wait(within)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"the server did not end within {within} s:\n{self.log}") from None

    def kill(self) -> None:
        """SIGKILL: nothing in the process runs any more."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    # Tests run on a loop whose clients must go on meanwhile.

    async def start(self, named: bool = True) -> ServerProcess:
        await asyncio.to_thread(self.launch, named)
        return self

    async def stop(self, number: int = signal.SIGTERM, within: float = STOPPED) -> int:
        return await asyncio.to_thread(self.end, number, within)

    async def ended(self, within: float) -> int:
        """Its exit status, when it ends by itself."""
        assert self._process is not None
        status = await asyncio.to_thread(self._process.wait, within)
        self._process = None
        return status

    async def crash(self) -> None:
        await asyncio.to_thread(self.kill)

    async def logged(self, text: str, within: float = 10.0) -> None:
        """Wait until the log holds a text."""
        await asyncio.to_thread(self._wait_for, text, within)

    async def cli(self, *arguments: str, input: str = "", within: float = COMMAND) -> Outcome:
        """A command beside the server, with the same configuration."""
        return await xmppd(*arguments, "--config", str(self.config), cwd=self.folder, input=input, within=within)

    async def operation(self, name: str, **arguments: Any) -> Any:
        """Run an operation over the control socket: what the command line does, without its start-up time."""
        client = await ControlClient.connect(self.socket)
        assert client is not None, "nobody answers on the control socket"
        try:
            return (await client.answer(name, arguments)).result
        finally:
            client.close()

    async def account(self, *names: str, password: str = "pencil", domain: str = "localhost") -> None:
        for name in names:
            await self.operation("user.add", jid=f"{name}@{domain}", password=password)
