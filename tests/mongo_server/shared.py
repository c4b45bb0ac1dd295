"""One server for all workers of a test run: the first that needs it starts it, the run's own process ends it."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import tempfile
from contextlib import suppress
from pathlib import Path

from tests.mongo_server import URI, make

FOLDER = "XMPPD_TEST_MONGODB_FOLDER"
"""Where the workers find the server: an environment variable, which they inherit."""


def begin() -> None:
    os.environ[FOLDER] = tempfile.mkdtemp(prefix="xmppd-mongo-")


def end() -> None:
    """End the server, if anybody has needed one."""
    named = os.environ.pop(FOLDER, None)
    if named is None:
        return
    folder = Path(named)
    note = folder / "server"
    if note.exists():
        with suppress(ProcessLookupError):
            os.kill(int(note.read_text().split()[0]), signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)


def uri() -> str:
    """That of the environment, else of the server of this run. Raises Unavailable."""
    foreign = os.environ.get(URI)
    if foreign:
        return foreign
    folder = Path(os.environ[FOLDER])
    note = folder / "server"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not note.exists():
            server = make(folder)
            server.start()
            note.write_text(f"{server.pid} {server.uri}")
    return note.read_text().split()[1]
