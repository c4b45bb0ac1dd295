"""The inbox (XEP-0430): 200 conversations with their last messages."""

from __future__ import annotations

from ..bench import Bench
from ..client import LoadError, user
from ..load import chat

ACCOUNTS = 201
CONVERSATIONS = 200
QUESTIONS = 10


async def run(bench: Bench) -> None:
    """One device that opens its list of conversations."""
    clients = await bench.clients(1)
    reader = clients[0]
    bench.say("talking")
    for number in range(1, CONVERSATIONS + 1):
        reader.write(chat(user(number)) % (number, b"-"))
    await reader.settled()
    reader.sink = None

    async def work() -> None:
        for _ in range(QUESTIONS):
            answer = await reader.iq("get", "<inbox xmlns='urn:xmpp:inbox:1'/>", end="</iq>")
            if answer.count(b"</result>") != CONVERSATIONS:
                raise LoadError(f"{answer.count(b'</result>')} conversations: {answer[-300:]!r}")

    await bench.rounds(f"the inbox, {CONVERSATIONS} conversations", "ms", QUESTIONS, work, 3.0, per=1e3)
    await bench.close(clients)
