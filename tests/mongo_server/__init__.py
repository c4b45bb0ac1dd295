"""A server that speaks the MongoDB wire protocol, for tests.

In this order: the one at XMPPD_TEST_MONGODB_URI (never stopped by tests), `mongod` on the PATH, else
mongo-java-server, fetched once with `mvn` from Maven Central into var/mongo-server (correct, not fast).
"""

from __future__ import annotations

import fcntl
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

HERE = Path(__file__).parent
CACHE = HERE.parent.parent / "var" / "mongo-server"
STARTED, STOPPED = 60.0, 20.0
"""Seconds that a server may take to start and to stop."""


class Unavailable(Exception):
    """No such server can be had here; the text says why."""


class MongoServer:
    """A server process with its data in `folder`: a restart keeps the data, on the same port.

    `uri` names no database. `ours` is False for a server that tests must not stop.
    """

    ours = True

    def __init__(self, command: list[str], folder: Path, port: int) -> None:
        self.uri = f"mongodb://127.0.0.1:{port}/"
        self._command = command
        self._log = folder / "server.log"
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and wait until it accepts connections."""
        if self._process is not None:
            return
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(self._command, stdout=output, stderr=output)
        end = time.monotonic() + STARTED
        while not self._accepts():
            if self._process.poll() is not None or time.monotonic() > end:
                self.kill()
                raise Unavailable(f"the server did not start: {self._log.read_text()[-500:]}")
            time.sleep(0.05)

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
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


class ForeignServer(MongoServer):
    """A server that somebody else runs."""

    ours = False

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def start(self) -> None:
        """It runs."""

    def stop(self) -> None:
        raise Unavailable("tests must not stop a server that they did not start")

    kill = pause = resume = stop


def _java_command(folder: Path, port: int) -> list[str]:
    """Fetch and compile what is missing; the command that runs the Java server."""
    for tool in ("mvn", "javac", "java"):
        if shutil.which(tool) is None:
            raise Unavailable(f"neither XMPPD_TEST_MONGODB_URI nor mongod nor {tool} is there")
    jars, classes = CACHE / "jars", CACHE / "classes"
    CACHE.mkdir(parents=True, exist_ok=True)
    path = f"{classes}{os.pathsep}{jars}{os.sep}*"
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not list(jars.glob("mongo-java-server-h2-backend-*.jar")):
            _run("mvn", "-q", "-B", "-f", str(HERE / "pom.xml"), "dependency:copy-dependencies",
                 f"-DoutputDirectory={jars}")  # fmt: skip
        made = classes / "Launcher.class"
        if not made.exists() or made.stat().st_mtime < (HERE / "Launcher.java").stat().st_mtime:
            _run("javac", "-d", str(classes), "-cp", path, str(HERE / "Launcher.java"))
    lean = ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    return ["java", *lean, "-cp", path, "Launcher", str(folder / "data.mv"), str(port)]


def _run(*command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise Unavailable(f"{command[0]} failed: {(done.stdout + done.stderr)[-500:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def start() -> Iterator[MongoServer]:
    """A running server, stopped at the end. Raises Unavailable."""
    uri = os.environ.get("XMPPD_TEST_MONGODB_URI")
    if uri:
        yield ForeignServer(uri)
        return
    folder, port = Path(tempfile.mkdtemp(prefix="xmppd-mongo-")), _free_port()
    try:
        mongod = shutil.which("mongod")
        if mongod is not None:
            command = [mongod, "--dbpath", str(folder), "--port", str(port), "--bind_ip", "127.0.0.1"]
        else:
            command = _java_command(folder, port)
        server = MongoServer(command, folder, port)
        server.start()
        try:
            yield server
        finally:
            server.kill()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
