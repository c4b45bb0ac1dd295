"""A server process of a trial: one open port, and a folder of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.mongo_server import stop
from tests.ports import free_port
from tests.process.server import ServerProcess, configuration, environment

RESUME = 4
"""Seconds for which the server keeps a session: short, so that some end in the middle."""
STARTED = 180.0
"""Seconds until it is ready: a database that is slow to apply has all to apply that the former process left."""
READY = "xmppd: ready;"


class Process(ServerProcess):
    """The server with one open port, always the same; `build`: a broken one (see `broken.py`)."""

    def __init__(self, folder: Path, storage: str, tls: str, build: str = "") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.open_port = free_port()
        listeners = [{"address": "127.0.0.1", "port": self.open_port, "tls": tls}]
        hosts = {"localhost": {}, "conference.localhost": {"type": "rooms", "plugins": {"muc": {"persistent": True}}}}
        limits = {"resume_time": f"{RESUME} seconds", "sessions_per_account": 500, "connections_per_address": 2000}
        super().__init__(folder, configuration(storage, listeners=listeners, hosts=hosts, limits=limits))
        module = ["tests.faults.broken", build] if build else ["xmppd"]
        self._command = [sys.executable, "-m", *module, "run", "--config", str(self.config)]

    def begin(self, *more: str) -> None:
        """Start, with further arguments, and wait for nothing."""
        self._seen = self._log.stat().st_size if self._log.exists() else 0
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [*self._command, *more],
                cwd=self.folder, env=environment(), stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip

    def launch(self, named: bool = True) -> None:
        self.begin()
        self._wait_for(READY, STARTED)

    async def ready(self) -> None:
        await self.logged(READY, STARTED)

    def pause(self) -> None:
        """It stands still, at whatever instruction it is."""
        stop(self.pid)

    def go_on(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    async def ends(self, within: float) -> int | None:
        """The exit status of a process that ends by itself; None: it does not."""
        assert self._process is not None
        end = time.monotonic() + within
        while (status := self._process.poll()) is None and time.monotonic() < end:  # noqa: ASYNC110  no event
            await asyncio.sleep(0.01)
        return status
