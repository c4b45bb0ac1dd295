"""The MongoDB server goes away under a running server, and comes back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from tests.harness import Client, condition
from tests.mongo_server import MongoServer
from tests.server_matrix.harness import RealHarness
from tests.server_matrix.test_server import archive, bodies
from xmppd.storage.group_commit import Limits

pytestmark = pytest.mark.mongodb
BOUND = 15.0
"""Seconds in which a sender must hear that a message was not taken: the store's patience, and the driver's."""


@pytest.fixture
async def harness(mongodb_server: MongoServer, mongodb_database: str) -> AsyncIterator[RealHarness]:
    made = await RealHarness.on(mongodb_database, Limits(commit_timeout=2.0))
    yield made
    mongodb_server.start()
    await made.stop()


async def sends(harness: RealHarness, client: Client, id: str) -> str:
    """The condition with which a message to juliet comes back, "" when it is taken."""
    client.send(f"<message to='juliet@localhost' type='chat' id='{id}'><body>{id}</body></message>")
    ping = f"behind {id}"  # of its own: the answer to a former one may still be under way
    client.send(f"<iq type='get' id='{ping}' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>")
    await harness.eventually(lambda: any(each.get("id") in (id, ping) for each in client.inbox))
    element = next(each for each in client.inbox if each.get("id") in (id, ping))
    client.inbox.clear()
    if element.get("id") == ping:
        return ""
    error = element.find("{jabber:client}error")
    assert error is not None
    assert error.get("type") == "wait"
    return condition(element)


async def test_refused_then_taken(mongodb_server: MongoServer, harness: RealHarness) -> None:
    """Who sends is told to try again, in bounded time, but for what the store may have got already: that is tried
    until it is in. Taken means that it is there afterwards, in order, once."""
    romeo = await harness.login("romeo", presence=True)
    juliet = await harness.login("juliet", presence=True)
    assert await sends(harness, romeo, "before") == ""
    await asyncio.to_thread(mongodb_server.stop)
    romeo.send("<message to='juliet@localhost' type='chat' id='held'><body>held</body></message>")
    await asyncio.sleep(0.1)
    began = time.monotonic()
    assert await sends(harness, romeo, "refused") == "resource-constraint"
    assert time.monotonic() - began < BOUND
    began = time.monotonic()
    assert await sends(harness, romeo, "refused too") == "resource-constraint"
    assert time.monotonic() - began < 2, "it is known by now that the store is down"
    await asyncio.to_thread(mongodb_server.start)
    await harness.eventually(lambda: harness.storage.available)
    assert await sends(harness, romeo, "after") == ""
    expected = ["before", "held", "after"]
    assert bodies(await juliet.receive_all()) == expected
    assert await archive(juliet) == expected
    assert await archive(romeo) == expected


async def test_sign_in_during_an_outage(mongodb_server: MongoServer, harness: RealHarness) -> None:
    """For the moment, not for good."""
    await harness.register("romeo")
    await asyncio.to_thread(mongodb_server.stop)
    with pytest.raises(AssertionError, match="temporary-auth-failure"):
        async with asyncio.timeout(BOUND):
            await harness.connect().sign_in("stranger")
    await asyncio.to_thread(mongodb_server.start)
    await harness.login("romeo")


async def test_a_short_hang_is_waited_for(mongodb_server: MongoServer, harness: RealHarness) -> None:
    """Nothing is refused, nothing is lost, nothing comes twice; the sender waits."""
    romeo = await harness.login("romeo", presence=True)
    juliet = await harness.login("juliet", presence=True)
    mongodb_server.pause()
    try:
        for number in range(5):
            romeo.send(f"<message to='juliet@localhost' type='chat' id='m{number}'><body>m{number}</body></message>")
        await asyncio.sleep(1)
        assert not juliet.inbox, "not stored, not seen"
    finally:
        mongodb_server.resume()
    await harness.eventually(lambda: len(juliet.inbox) == 5)
    expected = [f"m{number}" for number in range(5)]
    assert bodies(await juliet.receive_all()) == expected
    assert await archive(juliet) == expected
