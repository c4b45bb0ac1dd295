"""A running server on each store, and people with slixmpp."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import warnings
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path
from typing import NoReturn

import pytest

from tests.interop.gajim import PYTHON, Gajim, Start, Visit, launched
from tests.interop.peers import Federation, Peer, Trust, missing_peers
from tests.interop.people import Person
from tests.process.server import ServerProcess, configuration

INTEROP = Path(__file__).parent
STORES = ["sqlite", pytest.param("mongodb", marks=pytest.mark.mongodb)]
LISTENERS = [
    {"port": 0},
    {"port": 0, "tls": "direct"},
    {"kind": "http", "port": 0, "tls": "none"},
    {"kind": "http", "port": 0},
]
"""Of the same kinds as in config/xmppd.yaml."""
_serial = count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if INTEROP in item.path.parents:
            item.add_marker(pytest.mark.interop)


def needed(*commands: str) -> None:
    """Skip, loudly, where a program is not installed; fail in CI. A command with spaces is run, to look inside."""
    for command in commands:
        found = shutil.which(command) if " " not in command else _runs(command)
        if not found:
            missing(f"{command} (tests/prepare.sh installs it)")


def missing(what: str) -> NoReturn:
    """Skip a test that needs what is not there, loudly; fail in CI."""
    why = f"INTEROP IS NOT TESTED: missing is {what}"
    if os.environ.get("CI") == "true":
        pytest.fail(why)
    warnings.warn(why, stacklevel=3)  # shown at the end, where a skip is only a letter
    pytest.skip(why)


def _runs(command: str) -> bool:
    try:
        return subprocess.run(command.split(" ", 2), capture_output=True, timeout=30, check=False).returncode == 0
    except OSError:
        return False


@pytest.fixture(scope="package", params=STORES)
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One process for all tests of a store; each test has accounts of its own."""
    storage = "sqlite:///var/xmppd.db"
    if request.param == "mongodb":
        storage = f"{request.getfixturevalue('mongodb_uri').rstrip('/')}/interop-{os.getpid()}"
    server = ServerProcess(tmp_path_factory.mktemp(request.param), configuration(storage, listeners=LISTENERS))
    server.launch()
    yield server
    assert server.end() == 0
    assert "Traceback" not in server.log, server.log


class People:
    """Makes accounts that no other test has, and clients for them."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        self.serial = next(_serial)
        self.clients: list[Person] = []
        self._made: set[str] = set()

    def user(self, name: str) -> str:
        """The localpart."""
        return f"{name}{self.serial}"

    def bare(self, name: str) -> str:
        return f"{self.user(name)}@localhost"

    def room(self, name: str) -> str:
        return f"{name}{self.serial}@conference.localhost"

    async def register(self, name: str) -> str:
        if name not in self._made:
            self._made.add(name)
            await self.server.account(self.user(name))
        return self.bare(name)

    async def client(self, name: str, resource: str = "", mechanism: str | None = None) -> Person:
        """Not connected."""
        await self.register(name)
        jid = f"{self.bare(name)}/{resource}" if resource else self.bare(name)
        person = Person(jid, self.server.certificate, mechanism)
        self.clients.append(person)
        return person

    async def login(self, name: str, resource: str = "", tls: str = "starttls", presence: bool = True) -> Person:
        person = await self.client(name, resource)
        await person.sign_in(self.server.port(tls), tls)
        if presence:
            await person.appear()
        return person


@pytest.fixture
async def people(running: ServerProcess) -> AsyncIterator[People]:
    everyone = People(running)
    yield everyone
    for client in everyone.clients:
        client.leave()
    await asyncio.sleep(0)


@pytest.fixture
async def clients() -> AsyncIterator[list[Gajim]]:
    """Those of this test, which end with it."""
    needed(f"{PYTHON} -c import nbxmpp.client")
    running: list[Gajim] = []
    yield running
    for client in running:
        if client.process.returncode is None:
            client.process.kill()
        await client.process.wait()


@pytest.fixture
def gajim(people: People, clients: list[Gajim]) -> Start:
    async def start(name: str, tls: str = "starttls", mechanism: str = "SCRAM-SHA-256") -> Gajim:
        client = await launched(people.server, await people.register(name), tls, mechanism)
        clients.append(client)
        client.do("connect")
        await client.expect("connected")
        return client

    return start


@pytest.fixture
def visit(clients: list[Gajim]) -> Visit:
    async def start(jid: str, server: ServerProcess) -> Gajim:
        client = await launched(server, jid, "starttls", "PLAIN")
        clients.append(client)
        client.do("visit")
        await client.expect("connected")
        return client

    return start


@pytest.fixture(
    scope="package",
    params=[
        pytest.param((Trust.AUTHORITY, "sqlite"), id="authority"),
        pytest.param((Trust.SERVER_ONLY, "mongodb"), id="server_only", marks=pytest.mark.mongodb),
        pytest.param((Trust.SELF_SIGNED, "sqlite"), id="self_signed"),
    ],
)
def federation(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    """The servers that talk to each other, for all tests; each test has accounts of its own."""
    for program in missing_peers():
        missing(f"{program} (tests/prepare.sh installs it)")
    trust, store = request.param
    storage = "sqlite:///var/xmppd.db"
    if store == "mongodb":
        storage = f"{request.getfixturevalue('mongodb_uri').rstrip('/')}/federation-{os.getpid()}"
    with Federation(tmp_path_factory.mktemp("peers"), trust, storage=storage) as federation:
        yield federation


class Members:
    """Accounts that no other test has, at any of the servers, and clients for them."""

    def __init__(self) -> None:
        self.serial = next(_serial)
        self.clients: list[Person] = []
        self._made: set[str] = set()

    def bare(self, peer: Peer, name: str) -> str:
        return f"{name}{self.serial}@{peer.domain}"

    def room(self, peer: Peer, name: str) -> str:
        return f"{name}{self.serial}@{peer.rooms}"

    async def register(self, peer: Peer, name: str) -> str:
        bare = self.bare(peer, name)
        if bare not in self._made:
            self._made.add(bare)
            await asyncio.to_thread(peer.account, f"{name}{self.serial}")
        return bare

    async def login(self, peer: Peer, name: str, resource: str = "", presence: bool = True) -> Person:
        bare = await self.register(peer, name)
        person = Person(f"{bare}/{resource}" if resource else bare, peer.trusted)
        self.clients.append(person)
        await person.sign_in(peer.client_port, address=peer.address)
        if presence:
            await person.appear()
        return person


@pytest.fixture
async def members() -> AsyncIterator[Members]:
    everyone = Members()
    yield everyone
    for client in everyone.clients:
        client.leave()
    await asyncio.sleep(0)
