"""Random acts of clients against the account of bytes: what is counted is what is there, after each act, and nothing is
left when all are gone."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.harness import Client, Harness

from .test_budget import held

USERS = ("romeo", "juliet", "nurse")
ROOM = "hall@conference.localhost"
CSI = "urn:xmpp:csi:0"


class Crowd:
    """Clients that come and go, and what each of them may do."""

    def __init__(self, server: Harness, seed: int) -> None:
        self.server = server
        self.rng = random.Random(seed)
        self.here: list[tuple[Client, str, str]] = []
        """With the user and the id by which the session may be resumed, "" for none."""
        self.cut: list[tuple[str, str]] = []
        self.serial = 0

    async def comes(self) -> None:
        user = self.rng.choice(USERS)
        client = self.server.connect()
        await client.sign_in(user)
        await client.bind(f"r{self.rng.randrange(4)}")
        client.answers_pings = self.rng.random() < 0.5
        id = ""
        if self.rng.random() < 0.7:
            client.send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
            for element in await client.receive_all():
                id = str(element.get("id")) if element.tag.endswith("}enabled") else id
        if self.rng.random() < 0.8:
            client.send("<presence/>")
        self.here.append((client, user, id))

    async def comes_back(self) -> None:
        if not self.cut:
            return
        user, id = self.cut.pop(self.rng.randrange(len(self.cut)))
        client = self.server.connect()
        await client.sign_in(user)
        client.send(f"<resume xmlns='urn:xmpp:sm:3' previd='{id}' h='0'/>")
        await self.server.quiet()
        if client.stream.session is not None:
            self.here.append((client, user, id))
        else:
            client.cut()

    def acts(self, client: Client, user: str, id: str) -> None:
        rng, self.serial = self.rng, self.serial + 1
        body = f"<body>{'x' * rng.choice((10, 1000, 30_000, 100_000))}</body>"
        to = rng.choice(USERS) + "@localhost" + rng.choice(("", "", "/r1"))
        queue = client.stream.session.channel.queue if client.stream.session is not None else None
        stanzas = [
            *(
                f"<message to='{to}' type='{type}' id='m{self.serial}'>{body}</message>"
                for type in ("chat", "headline", "normal")
            ),
            f"<message to='{ROOM}' type='groupchat' id='g{self.serial}'>{body}</message>",
            f"<presence to='{ROOM}/{user}'><x xmlns='http://jabber.org/protocol/muc'/></presence>",
            f"<presence><status>{'x' * rng.choice((5, 20_000))}</status></presence>",
            "<presence type='unavailable'/>",
            f"<inactive xmlns='{CSI}'/>",
            f"<active xmlns='{CSI}'/>",
        ]
        if queue is not None:
            stanzas.append(f"<a xmlns='urn:xmpp:sm:3' h='{rng.randint(queue.acknowledged, queue.sent)}'/>")
        client.send(rng.choice(stanzas))

    def breaks(self, client: Client, user: str, id: str) -> None:
        act = self.rng.choice(("cut", "close", "stall", "read", "read"))
        if act == "cut":
            client.cut()
            self.cut += [(user, id)] if id else []
        elif act == "close":
            client.close()
        elif act == "stall" and not client.link.stalled:
            client.link.stalled = True
            client.stream.pause_writing()
        elif act == "read" and client.link.stalled:
            client.link.go_on()
            client.stream.resume_writing()

    async def step(self) -> None:
        self.here = [each for each in self.here if not each[0]._gone and not each[0].closed]
        what = self.rng.random()
        if not self.here or (what < 0.1 and len(self.here) < 8):
            await self.comes()
        elif what < 0.2:
            await self.comes_back()
        elif what < 0.4:
            self.breaks(*self.rng.choice(self.here))
        elif what < 0.45:
            await self.server.advance(self.rng.choice((1, 5, 40)))
        else:
            self.acts(*self.rng.choice(self.here))
        await self.server.quiet()
        for client, _, _ in self.here:
            client.inbox.clear()


def counted(session: Any) -> int:
    """What is there of a session, which is what it is charged for."""
    there = held(session.channel) + (session.stream.unsent_charged if session.stream is not None else 0)
    assert session.channel.share.used == there
    return there


@pytest.mark.parametrize("seed", range(4))
async def test_what_is_counted_is_there(server: Harness, seed: int) -> None:
    for user in USERS:
        await server.register(user)
    crowd, memory = Crowd(server, seed), server.server.memory
    for _ in range(120):
        await crowd.step()
        accounts = [account for account in server.host.accounts.values() if account is not None]
        for account in accounts:
            assert account.pool.used == sum(map(counted, account.sessions.values()))
        assert memory.used == sum(account.pool.used for account in accounts)
    for client in server.clients:
        client.cut()
    await server.advance(server.server.limits.resume_time + 60)
    assert (memory.used, memory.incoming) == (0, 0)
    for account in server.host.accounts.values():
        assert account is None or (account.pool.used, account.pool.incoming, len(account.sessions)) == (0, 0, 0)
