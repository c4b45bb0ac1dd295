"""SIGKILL in the middle of everything: what was acknowledged is there, once, in order."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest

from tests.process.client import CLIENT, SM, Wire, body
from tests.process.server import ServerProcess, configuration

CRASHES = 4


NO_QUOTA = {"limits": {"waiting_messages": 0, "waiting_size": 0}}
"""The recipient is away all the time."""


@pytest.fixture(params=["sqlite", pytest.param("mongodb", marks=pytest.mark.mongodb)])
async def process(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ServerProcess]:
    """A running server. The MongoDB server is not killed: not each is a test of durability."""
    storage = "sqlite:///var/xmppd.db" if request.param == "sqlite" else request.getfixturevalue("mongodb_database")
    server = ServerProcess(tmp_path, configuration(storage, plugins=NO_QUOTA))
    await server.start()
    await server.account("romeo", "juliet")
    yield server
    server.kill()
    assert "Traceback" not in server.log, server.log
    database = tmp_path / "var" / "xmppd.db"
    if database.exists():
        with sqlite3.connect(database) as connection:
            assert connection.execute("pragma integrity_check").fetchone() == ("ok",)


async def test_a_message_to_somebody_who_is_offline(process: ServerProcess) -> None:
    """Acknowledged, SIGKILL, restart: delivered once, with its time."""
    async with await Wire.login(process.port(), "romeo") as romeo:
        await romeo.enable()
        for number in range(3):
            romeo.send(f"<message to='juliet@localhost' type='chat' id='m{number}'><body>b{number}</body></message>")
        await romeo.acknowledged(3)
        await process.crash()
    await process.start()
    async with await Wire.login(process.port(), "juliet") as juliet:
        juliet.send("<presence/>")
        messages = [await juliet.find("message") for _ in range(3)]
        assert [body(message) for message in messages] == ["b0", "b1", "b2"]
        for message in messages:
            assert message.find("{urn:xmpp:delay}delay") is not None
            assert message.find("{urn:xmpp:sid:0}stanza-id") is not None
        answer = await juliet.iq("<ping xmlns='urn:xmpp:ping'/>", to="localhost")
        assert answer.get("type") == "result"
        with pytest.raises(TimeoutError):
            await juliet.find("message", within=0.3)


class Sender:
    """A client that knows what is not acknowledged, and sends only that again (XEP-0198 section 5)."""

    def __init__(self) -> None:
        self.unacknowledged: deque[int] = deque()
        self.sent = 0
        self.acknowledged = 0
        """How many of all messages."""
        self._base = 0
        """How many of them before this stream."""
        self._previous = ""

    async def run(self, process: ServerProcess, random: random.Random) -> None:
        """Sign in, and send until the connection breaks, which may be before that."""
        with suppress(EOFError):
            async with await Wire.connect(process.port()) as wire:
                await self._sign_in(wire)
                await self._send_on(wire, random)

    async def _sign_in(self, wire: Wire) -> None:
        await wire.sign_in("romeo")
        if self._previous:
            failed = await wire.resume(self._previous)
            assert failed.tag == f"{{{SM}}}failed"
            if failed.get("h") is not None:
                self._settle(int(str(failed.get("h"))))
        await wire.bind()
        self._previous = str((await wire.enable()).get("id"))
        self._base = self.acknowledged

    async def _send_on(self, wire: Wire, random: random.Random) -> None:
        for number in self.unacknowledged:
            self._send(wire, number)
        while True:
            for _ in range(random.randrange(1, 8)):
                self.unacknowledged.append(self.sent)
                self._send(wire, self.sent)
                self.sent += 1
            while True:
                wire.send(f"<r xmlns='{SM}'/>")
                self._settle(int((await wire.find(f"{{{SM}}}a")).get("h", "0")))
                if len(self.unacknowledged) < 20:
                    break
            await asyncio.sleep(0.002)

    def _send(self, wire: Wire, number: int) -> None:
        wire.send(
            f"<message to='juliet@localhost' type='chat' id='message-number-{number:06d}'><body>{number}</body>"
            f"<origin-id xmlns='urn:xmpp:sid:0' id='message-number-{number:06d}'/></message>"
        )

    def _settle(self, h: int) -> None:
        assert self._base + h >= self.acknowledged, "a count never falls"
        while self.acknowledged < self._base + h:
            assert self.unacknowledged.popleft() == self.acknowledged
            self.acknowledged += 1


async def archive(wire: Wire) -> list[int]:
    """The numbers in it, all pages."""
    found: list[int] = []
    after = ""
    while True:
        page = f"<set xmlns='http://jabber.org/protocol/rsm'><max>200</max><after>{after}</after></set>"
        if not after:
            page = page.replace("<after></after>", "")
        wire.send(f"<iq type='set' id='q{after}'><query xmlns='urn:xmpp:mam:2'>{page}</query></iq>")
        while (element := await wire.receive()).tag != f"{CLIENT}iq":
            text = element.findtext(f".//{{urn:xmpp:forward:0}}forwarded/{CLIENT}message/{CLIENT}body")
            if text is not None:
                found.append(int(text))
        assert element.get("type") == "result"
        after = element.findtext(".//{http://jabber.org/protocol/rsm}last") or ""
        if element[0].get("complete") == "true":
            return found


async def test_many_crashes_under_load(process: ServerProcess) -> None:
    """Nothing that was acknowledged is lost, the order holds, nothing is there twice; for both sides."""
    chance, romeo = random.Random(6120), Sender()
    for _ in range(CRASHES):
        sending = asyncio.ensure_future(romeo.run(process, chance))
        await asyncio.sleep(chance.uniform(0.3, 0.6))
        await process.crash()
        await asyncio.wait_for(sending, 10)
        await process.start()
    assert romeo.acknowledged > CRASHES, "it was a test of nothing"
    twice = 0
    for name in ("juliet", "romeo"):
        async with await Wire.login(process.port(), name) as wire:
            kept = await archive(wire)
        seen = list(dict.fromkeys(kept))
        assert seen == sorted(seen), f"{name}: out of order: {steps(seen)}"
        assert set(range(romeo.acknowledged)) <= set(seen), f"{name}: acknowledged and lost"
        twice += len(kept) - len(seen)
    assert twice == 0, "`<failed h=…/>` is exact, and what is sent again is recognised"


def steps(numbers: list[int]) -> list[tuple[int, int]]:
    """Where it does not go on with the next one."""
    return [(one, two) for one, two in pairwise(numbers) if two != one + 1]
