"""A server process whose MongoDB server goes away, or comes late."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.mongo_server import MongoServer
from tests.process.client import SignInFailed, Wire, body
from tests.process.server import ServerProcess, configuration

pytestmark = pytest.mark.mongodb
BOUND = 30.0
"""Seconds from SIGTERM to the end when the store does not answer: its driver gives up, then we do."""


@pytest.fixture
async def process(tmp_path: Path, mongodb_database: str) -> AsyncIterator[ServerProcess]:
    """Not started."""
    server = ServerProcess(tmp_path, configuration(mongodb_database))
    yield server
    server.kill()
    assert "Traceback" not in server.log, server.log


async def test_the_database_comes_late(process: ServerProcess, mongodb_server: MongoServer) -> None:
    """The server is up, refuses for the moment, and then serves accounts and rooms without a restart."""
    await process.start()
    await process.account("romeo")
    assert await process.stop() == 0
    await asyncio.to_thread(mongodb_server.stop)
    await process.start()
    assert "the store does not answer" in process.log
    async with await Wire.connect(process.port()) as wire:
        with pytest.raises(SignInFailed, match="temporary-auth-failure"):
            await wire.sign_in("romeo")
    await asyncio.to_thread(mongodb_server.start)
    await process.logged("the store answers after")
    async with asyncio.timeout(20):
        while True:
            try:
                romeo = await Wire.login(process.port(), "romeo")
                break
            except SignInFailed:
                await asyncio.sleep(0.1)
    async with romeo:
        room = "garden@conference.localhost"
        while True:
            romeo.send(f"<presence to='{room}/romeo'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
            answer = await romeo.find("presence")
            if answer.get("type") != "error":
                break
            await asyncio.sleep(0.1)
        assert answer.get("from") == f"{room}/romeo"
    assert await process.stop() == 0


async def test_ends_in_bounded_time_without_its_database(process: ServerProcess, mongodb_server: MongoServer) -> None:
    """With a message on its way to the store and positions to write: nobody was told that they are safe."""
    await process.start()
    await process.account("romeo", "juliet")
    async with await Wire.login(process.port(), "romeo") as romeo, await Wire.login(process.port(), "juliet") as juliet:
        await juliet.enable()
        juliet.send("<presence/>")
        await juliet.find("presence")
        await romeo.enable()
        romeo.send("<message to='juliet@localhost' type='chat'><body>stored</body></message>")
        assert body(await juliet.find("message")) == "stored"
        await romeo.acknowledged(1)
        await asyncio.to_thread(mongodb_server.stop)
        juliet.send("<a xmlns='urn:xmpp:sm:3' h='2'/>")
        romeo.send("<message to='juliet@localhost' type='chat'><body>not stored</body></message>")
        romeo.send("<r xmlns='urn:xmpp:sm:3'/>")
        assert (await romeo.find("{urn:xmpp:sm:3}a")).get("h") == "1"
        assert await process.stop(within=BOUND) == 0
    await asyncio.to_thread(mongodb_server.start)
    await process.start()
    async with await Wire.login(process.port(), "juliet") as juliet:
        juliet.send("<presence/>")
        came = []
        with pytest.raises(TimeoutError):
            while True:
                came.append(body(await juliet.find("message", within=1)))
        assert "stored" not in came or came == ["stored"], "its position was not written: it comes again, once"
        assert "not stored" not in came
