"""SIGTERM: it waits for the disk, and not for clients that are silent; who answers is not sent anything again."""

from __future__ import annotations

import asyncio
import time

from tests.process.client import Wire, body
from tests.process.server import ServerProcess

from .test_crash import process

__all__ = ["process"]

SM = "urn:xmpp:sm:3"


async def received(wire: Wire) -> list[str]:
    """The messages until the stream ends, or nothing comes any more. Pings are answered."""
    found = []
    try:
        while True:
            element = await wire.receive(2.0)
            if element.tag == "{jabber:client}message":
                found.append(body(element))
            elif element.get("type") == "get":
                wire.send(f"<iq type='result' id='{element.get('id')}' to='{element.get('from')}'/>")
    except (EOFError, TimeoutError):
        return found


async def stopped(server: ServerProcess) -> float:
    """Seconds until the process has ended."""
    begun = time.monotonic()
    assert await server.stop() == 0
    return time.monotonic() - begun


async def test_a_silent_client_holds_up_nobody(process: ServerProcess) -> None:
    """It neither reads nor closes its stream; with and without messages that it was sent."""
    async with await Wire.login(process.port(), "juliet") as silent:
        silent.send("<presence/>")
        await silent.receive()
        silent.stop_reading()
        assert await stopped(process) < 2.0, "nothing to ask for"
    await process.start()
    async with await Wire.login(process.port(), "juliet") as silent, await Wire.login(process.port(), "romeo") as romeo:
        silent.send("<presence/>")
        await silent.receive()
        silent.stop_reading()
        await romeo.enable()
        romeo.send("<message to='juliet@localhost' type='chat' id='1'><body>once</body></message>")
        await romeo.acknowledged(1)
        assert await stopped(process) < 4.0, "limits.stop_time, once for all"
    await process.start()
    async with await Wire.login(process.port(), "juliet") as juliet:
        juliet.send("<presence/>")
        assert await received(juliet) == ["once"], "not confirmed, so it is sent again"


async def test_who_answers_pings_is_not_sent_it_again(process: ServerProcess) -> None:
    async with await Wire.login(process.port(), "juliet") as juliet, await Wire.login(process.port(), "romeo") as romeo:
        juliet.send("<presence/>")
        await juliet.receive()
        await romeo.enable()
        reading = asyncio.create_task(received(juliet))
        for number in range(50):
            romeo.send(f"<message to='juliet@localhost' type='chat' id='{number}'><body>{number}</body></message>")
        await romeo.acknowledged(50)
        assert await stopped(process) < 2.0
        assert await reading == [str(number) for number in range(50)]
    await process.start()
    async with await Wire.login(process.port(), "juliet") as juliet:
        juliet.send("<presence/>")
        assert await received(juliet) == []


async def test_what_was_read_is_acknowledged_before_the_end(process: ServerProcess) -> None:
    """The client has not asked; the count that comes before the stream error covers all that is on disk."""
    async with await Wire.login(process.port(), "romeo") as romeo:
        previous = str((await romeo.enable()).get("id"))
        for number in range(30):
            romeo.send(f"<message to='juliet@localhost' type='chat' id='{number}'><body>{number}</body></message>")
        await romeo.iq("<ping xmlns='urn:xmpp:ping'/>", to="localhost")
        await stopped(process)
        assert (await romeo.find(f"{{{SM}}}a")).get("h") == "31"
        assert await romeo.stream_error() == "system-shutdown"
    await process.start()
    async with await Wire.connect(process.port()) as romeo:
        await romeo.sign_in("romeo")
        assert (await romeo.resume(previous)).get("h") == "31"
