"""Components against a real process: one that does not read, one of two connections that dies under load, floods."""

from __future__ import annotations

import asyncio
import re
import socket
from collections import defaultdict
from collections.abc import AsyncIterator
from hashlib import sha1
from pathlib import Path

import pytest

from .client import Wire
from .server import ServerProcess, configuration
from .test_backpressure import MIB, memory

NAME, SECRET = "gate.localhost", "what the gate knows"
NS = "jabber:component:accept"
MESSAGE = re.compile(rb"<message [^>]*from='([^'/]*)[^']*'[^>]*id='(\d+)'")
FLOOD = 60.0
MANY = 4000


class Gate:
    """A component with plain sockets, which reads when it is told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.got = bytearray()

    @classmethod
    async def connect(cls, port: int, receive_buffer: int = 0) -> Gate:
        sock = socket.socket()
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        gate = cls(*await asyncio.open_connection(sock=sock, limit=receive_buffer or 65536))
        gate.send(f"<stream:stream xmlns='{NS}' xmlns:stream='http://etherx.jabber.org/streams' to='{NAME}'>")
        await gate.until(b">", 2)
        found = re.search(rb"id='([^']*)'", gate.got)
        assert found is not None
        gate.send(f"<handshake>{sha1(found[1] + SECRET.encode()).hexdigest()}</handshake>")
        await gate.until(b"<handshake/>")
        gate.got.clear()
        return gate

    def send(self, text: str) -> None:
        self.writer.write(text.encode())

    async def read(self) -> bool:
        data = await asyncio.wait_for(self.reader.read(65536), 15)
        self.got += data
        return bool(data)

    async def until(self, text: bytes, count: int = 1) -> None:
        while self.got.count(text) < count:
            assert await self.read(), bytes(self.got[-500:])

    async def read_all(self) -> None:
        while await self.read():
            pass

    def cut(self) -> None:
        """A reset, as of a process that was killed with unread bytes."""
        self.writer.transport.abort()

    @property
    def messages(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = defaultdict(list)
        for sender, number in MESSAGE.findall(bytes(self.got)):
            found[sender.decode()].append(int(number))
        return found


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    components = {NAME: {"secret": SECRET, "connections": 2, "queue": "1 MiB"}}
    listeners = [{"port": 0}, {"kind": "component", "port": 0}]
    free = {"bytes": 0, "stanzas": 0}
    limits = {"per_connection": free, "per_account": free}
    server = ServerProcess(tmp_path, configuration(listeners=listeners, components=components, limits=limits))
    await server.start()
    yield server
    assert await server.stop() == 0
    assert "Traceback" not in server.log, server.log


def message(number: int, size: int = 100) -> str:
    return f"<message to='bot@{NAME}' type='chat' id='{number}'><body>{'x' * size}</body></message>"


async def drain(wire: Wire, errors: list[int]) -> None:
    while True:
        element = await wire.receive(within=FLOOD)
        if element.get("type") == "error":
            errors.append(int(element.get("id", "-1")))


async def test_one_that_does_not_read(home: ServerProcess) -> None:
    """What waits for it is bounded; its senders hear of the rest, and nobody else notices."""
    gate = await Gate.connect(home.port("component"), 4096)
    await home.account("romeo", "juliet")
    romeo = await Wire.login(home.port(), "romeo")
    juliet = await Wire.login(home.port(), "juliet")
    errors: list[int] = []
    reading = asyncio.create_task(drain(romeo, errors))
    before = memory(home)
    for number in range(MANY):
        romeo.send(message(number, 40_000))
        if number % 100 == 0:
            await romeo._writer.drain()
            await juliet.iq("<ping xmlns='urn:xmpp:ping'/>", to="localhost")
    await romeo._writer.drain()
    for _ in range(600):
        if MANY - 1 in errors:
            break
        await asyncio.sleep(0.1)
    reading.cancel()
    assert MANY - 1 in errors and errors == sorted(errors)
    assert memory(home) - before < MANY * 40_000 // 2, "of 160 MB it holds little"
    await gate.until(b"</body>", MANY - len(errors))
    got = gate.messages["romeo@localhost"]
    assert got == sorted(set(got)) and not set(got) & set(errors) and len(got) + len(errors) == MANY
    gate.cut()


async def test_one_of_two_dies(home: ServerProcess) -> None:
    """What has not left for it comes to the other, each person's in order, and nothing twice."""
    dying, living = await Gate.connect(home.port("component"), 4096), await Gate.connect(home.port("component"))
    names = [f"p{number}" for number in range(6)]
    await home.account(*names)
    people = [await Wire.login(home.port(), name) for name in names]
    errors: dict[str, list[int]] = {name: [] for name in names}
    tasks = [asyncio.create_task(drain(wire, errors[name])) for name, wire in zip(names, people, strict=True)]
    living_task = asyncio.create_task(living.read_all())
    for number in range(60):
        for wire in people:
            wire.send(message(number, 2000))
        await asyncio.sleep(0.01)
        if number == 40:
            dying.cut()
    for wire in people:
        wire.send(message(1000))
    for _ in range(200):
        if all(living.messages.get(f"{name}@localhost", [0])[-1] == 1000 for name in names):
            break
        await asyncio.sleep(0.05)
    found = living.messages
    moved = 0
    for name in names:
        got = found[f"{name}@localhost"]
        assert got == sorted(set(got)) and got[-1] == 1000, (name, got)
        assert not errors[name], "there was another connection"
        moved += got[0] > 0
        assert got[-20:] == [*range(41, 60), 1000]
    for task in (*tasks, living_task):
        task.cancel()
    living.cut()
    assert moved == sum(found[f"{name}@localhost"][0] > 0 for name in names)


async def test_a_flood_of_strangers(home: ServerProcess) -> None:
    """Who does not know the secret costs little, and holds nobody up."""
    gate = await Gate.connect(home.port("component"))
    before = memory(home)
    header = f"<stream:stream xmlns='{NS}' xmlns:stream='http://etherx.jabber.org/streams' to='{NAME}'>"

    async def stranger(said: str) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", home.port("component"))
        try:
            writer.write(said.encode())
            return await asyncio.wait_for(reader.read(), FLOOD)
        except ConnectionError:
            return b""
        finally:
            writer.close()

    for _ in range(10):
        answers = await asyncio.gather(*(stranger(f"{header}<handshake>{'0' * 40}</handshake>") for _ in range(50)))
        assert all(b"not-authorized" in each for each in answers)
    await asyncio.gather(*(stranger(f"{header}<handshake>" + "<a>" * 3000) for _ in range(50)))
    assert memory(home) - before < 16 * MIB
    gate.send(f"<iq type='get' id='1' from='{NAME}' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>")
    await gate.until(b"id='1'")
    assert home.log.count("does not know the secret") == 1
    gate.writer.close()


async def test_the_server_restarts(home: ServerProcess) -> None:
    """The component comes again; what was accepted before is not sent twice."""
    gate = await Gate.connect(home.port("component"))
    await home.account("romeo")
    romeo = await Wire.login(home.port(), "romeo")
    romeo.send(message(1))
    await gate.until(b"</message>")
    reading = asyncio.create_task(gate.read_all())
    assert await home.stop() == 0
    await reading
    assert b"system-shutdown" in gate.got
    await home.start()
    gate = await Gate.connect(home.port("component"))
    romeo = await Wire.login(home.port(), "romeo")
    romeo.send(message(2))
    await gate.until(b"</message>")
    assert gate.messages == {"romeo@localhost": [2]}
    gate.writer.close()
