"""XEP-0198 under random breaks: who follows the specification loses nothing and gets nothing twice."""

from __future__ import annotations

import random
from collections import deque

import pytest
from lxml import etree

from tests.harness import Client, Harness

NS = "urn:xmpp:sm:3"
STANZAS = {f"{{jabber:client}}{name}" for name in ("message", "presence", "iq")}


class Phone:
    """A client as section 5 wants it, over connections that break."""

    def __init__(self, server: Harness, user: str, chance: random.Random) -> None:
        self.server = server
        self.user = user
        self.chance = chance
        self.client: Client
        self.id = ""
        self.unacknowledged: deque[str] = deque()
        self.handled_there = 0
        self.received = 0
        self.acknowledged = 0
        self.bodies: list[str] = []

    async def start(self) -> None:
        self.client = await self.server.login(self.user, "phone")
        self.client.send(f"<enable xmlns='{NS}' resume='true'/>")
        self.id = str((await self.client.receive()).get("id"))
        self.send("<presence/>")
        await self.read()

    def send(self, stanza: str, lost: bool = False) -> None:
        self.unacknowledged.append(stanza)
        if not lost:
            self.client.send(stanza)

    def covered(self, h: int) -> None:
        for _ in range(h - self.handled_there):
            self.unacknowledged.popleft()
        self.handled_there = h

    async def read(self, lost: int = 0) -> None:
        """Handle what came, but for the last `lost` stanzas."""
        came = await self.client.receive_all()
        stanzas = [each for each in came if each.tag in STANZAS]
        kept = stanzas[: max(0, len(stanzas) - lost)]
        for element in came:
            if element.tag == f"{{{NS}}}a":
                self.covered(int(str(element.get("h"))))
        for stanza in kept:
            self.received += 1
            body = stanza.findtext("{jabber:client}body")
            if body is not None:
                self.bodies.append(body)

    def acknowledge(self) -> None:
        self.acknowledged = self.received
        self.client.send(f"<a xmlns='{NS}' h='{self.received}'/>")

    async def come_back(self) -> None:
        """Resume on a new connection, sometimes while the old one still seems to live."""
        if self.chance.random() < 0.5:
            self.client.cut()
        client = self.server.connect()
        await client.sign_in(self.user)
        client.send(f"<resume xmlns='{NS}' previd='{self.id}' h='{self.received}'/>")
        if self.chance.random() < 0.3:
            await self.server.quiet()
        self.server.backend.release()
        answer = await client.receive()
        assert etree.QName(answer.tag).localname == "resumed", etree.tostring(answer)
        self.client = client
        self.covered(int(str(answer.get("h"))))
        for stanza in self.unacknowledged:
            client.send(stanza)
        await self.read()


async def converse(server: Harness, seed: int, steps: int) -> None:
    chance = random.Random(seed)
    romeo, juliet = Phone(server, "romeo", chance), Phone(server, "juliet", chance)
    await romeo.start()
    await juliet.start()
    sent = 0
    for _ in range(steps):
        act = chance.random()
        if act < 0.4:
            for _ in range(chance.randint(1, 8)):
                romeo.send(f"<message to='juliet@localhost' type='chat' id='i{sent}'><body>{sent}</body></message>")
                sent += 1
        elif act < 0.5:
            server.backend.hold()
        elif act < 0.6:
            server.backend.release()
        elif act < 0.7:
            romeo.client.send(f"<r xmlns='{NS}'/>")
            await romeo.read()
        elif act < 0.8:
            await juliet.read()
            juliet.acknowledge()
        elif act < 0.9:
            for _ in range(chance.randint(0, 3)):  # written into a connection that is dead already
                romeo.send(f"<message to='juliet@localhost' type='chat'><body>{sent}</body></message>", lost=True)
                sent += 1
            await romeo.come_back()
        else:
            await juliet.read(lost=chance.randint(0, 5))
            await juliet.come_back()
    server.backend.release()
    empty = 0
    while empty < 3:
        before = juliet.received
        await juliet.read()
        juliet.acknowledge()
        empty = empty + 1 if juliet.received == before else 0
    romeo.client.send(f"<r xmlns='{NS}'/>")
    await romeo.read()
    assert juliet.bodies == [str(number) for number in range(sent)]
    assert not romeo.unacknowledged


@pytest.mark.parametrize("seed", range(4))
async def test_random_breaks(server: Harness, seed: int) -> None:
    await converse(server, seed, 60)


@pytest.mark.server(more="limits: {queue: 10, ask_every: 3}")
@pytest.mark.parametrize("seed", (*range(100, 104), 109))
async def test_random_breaks_with_a_short_queue(server: Harness, seed: int) -> None:
    """The receiver lags most of the time: what it gets comes from the log."""
    await converse(server, seed, 60)
