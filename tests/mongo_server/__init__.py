"""A server that speaks the MongoDB wire protocol, for tests.

In this order: the one at XMPPD_TEST_MONGODB_URI (never stopped by tests), `mongod` on the PATH, FerretDB where Go 1.24
or newer can build it, else mongo-java-server by Maven (correct, not fast). What is built is kept in build/mongo-server.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.mongo_server.commands import Unavailable, find
from tests.ports import free_port

__all__ = ["URI", "MongoServer", "Unavailable", "make", "own", "running", "stop"]

URI = "XMPPD_TEST_MONGODB_URI"
STARTED, STOPPED = 60.0, 20.0
"""Seconds that a server may take to start and to stop."""


def stop(pid: int) -> None:
    """SIGSTOP to a child, and wait until all its threads stand still: on a busy machine some run for a while."""
    os.kill(pid, signal.SIGSTOP)
    os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)


class MongoServer:
    """A server process with its data in `folder`: a restart keeps the data, on the same port.

    `uri` names no database.
    """

    def __init__(self, command: list[str], folder: Path, port: int) -> None:
        self.uri = f"mongodb://127.0.0.1:{port}/"
        self._command = command
        self._log = folder / "server.log"
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start, and wait until it accepts connections."""
        if self._process is not None:
            return
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        end = time.monotonic() + STARTED
        while not self._accepts():
            if self._process.poll() is not None or time.monotonic() > end:
                self.kill()
                raise Unavailable(f"the server did not start: {self._log.read_text()[-500:]}")
            time.sleep(0.01)

    def _accepts(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self._port), 1).close()
        except OSError:
            return False
        return True

    def stop(self) -> None:
        """End it in order: all data is in its file."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(STOPPED)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def kill(self) -> None:
        """End it at once. The Java server may lose its last second: it is no test of durability."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def pause(self) -> None:
        """Make it hang: connections stay, answers do not come."""
        stop(self.pid)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


def make(folder: Path) -> MongoServer:
    """A server of our own, not started. Raises Unavailable."""
    _, command = find()
    port = free_port()
    return MongoServer(command(folder, port), folder, port)


@contextmanager
def own() -> Iterator[MongoServer]:
    """A running server of our own, killed at the end, and its data with it. Raises Unavailable."""
    folder = Path(tempfile.mkdtemp(prefix="xmppd-mongo-"))
    try:
        server = make(folder)
        server.start()
        try:
            yield server
        finally:
            server.kill()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running() -> Iterator[str]:
    """The URI of a server: that of the environment, or one of our own, which ends with it. Raises Unavailable."""
    uri = os.environ.get(URI)
    if uri:
        yield uri
        return
    with own() as server:
        yield server.uri
