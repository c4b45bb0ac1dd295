"""Data of real servers, made once, and a server of ours that takes it."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.interop.conftest import missing
from tests.moving.lives import PEOPLE, live
from tests.moving.old_servers import Ejabberd, Prosody
from tests.process.server import ServerProcess, configuration


def _prosody(folder: Path, sqlite: bool) -> Path:
    server = Prosody(folder, sqlite)
    try:
        server.register(*PEOPLE)
        server.start()
        asyncio.run(live(server.port))
    finally:
        server.stop()
    return server.sqlite if sqlite else server.data


@pytest.fixture(scope="session")
def prosody_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of a Prosody that people have lived on."""
    if shutil.which("prosody") is None:
        missing("prosody (tests/prepare.sh installs it)")
    return _prosody(tmp_path_factory.mktemp("prosody"), False)


@pytest.fixture(scope="session")
def prosody_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of another one."""
    if shutil.which("prosody") is None or not list(Path("/usr/lib").glob("**/dbd/sqlite3.so")):
        missing("prosody with lua-dbi-sqlite3 (tests/prepare.sh installs them)")
    return _prosody(tmp_path_factory.mktemp("prosody-sql"), True)


@pytest.fixture(scope="session")
def ejabberd(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """What `ejabberdctl export_piefxis` has written (the main file), and `ejabberdctl dump`."""
    if Ejabberd.libraries() is None or shutil.which("erl") is None:
        missing("ejabberd (tests/prepare.sh installs it)")
    folder = tmp_path_factory.mktemp("ejabberd")
    server = Ejabberd(folder)
    try:
        server.start().register(*PEOPLE)
        asyncio.run(live(server.port))
        server.call("dump", file=str(folder / "dump.txt"))
        return server.export(folder / "export"), folder / "dump.txt"
    finally:
        server.stop()


@pytest.fixture(scope="session")
def ejabberd_export(ejabberd: tuple[Path, Path]) -> Path:
    return ejabberd[0]


@pytest.fixture(scope="session")
def ejabberd_dump(ejabberd: tuple[Path, Path]) -> Path:
    return ejabberd[1]


def settings() -> str:
    """A server with everything that the others have."""
    whole = json.loads(configuration())
    whole["hosts"]["pubsub.localhost"] = {"type": "pubsub"}
    return json.dumps(whole)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With a configuration; nothing has run there yet."""
    (tmp_path / "xmppd.yaml").write_text(settings())
    return tmp_path


@pytest.fixture
async def server(folder: Path) -> AsyncIterator[ServerProcess]:
    """Not started."""
    server = ServerProcess(folder, settings())
    yield server
    server.kill()


@pytest.fixture
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Another empty server's folder."""
    found = tmp_path_factory.mktemp("other")
    (found / "xmppd.yaml").write_text(settings())
    yield found
