"""Personal eventing (XEP-0163): presence with capabilities, and a publication, to 100 contacts."""

from __future__ import annotations

import asyncio
import re
from base64 import b64encode
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha1

from ..bench import Bench
from ..client import Client, user
from ..load import Goal

CONTACTS = 100
ACCOUNTS = CONTACTS + 1
TIMES = 20
NODE = "urn:x:bench"
VER = b64encode(sha1(f"client/pc//<{NODE}+notify<".encode()).digest()).decode()
INFO = (
    f"<query xmlns='http://jabber.org/protocol/disco#info' node='urn:bench#{VER}'>"
    f"<identity category='client' type='pc'/><feature var='{NODE}+notify'/></query>"
)
PRESENCE = (
    f"<presence><show>{{}}</show><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='urn:bench' ver='{VER}'/>"
    "</presence>"
)

QUESTION = re.compile(rb"<iq\s[^>]*>(?=\s*<query\s[^>]*disco#info)")


async def run(bench: Bench) -> None:
    clients = await bench.clients(ACCOUNTS, present=False)
    sender, contacts = clients[0], clients[1:]
    bench.say("making contacts")
    for number, contact in enumerate(contacts, 1):
        contact.write(f"<presence type='subscribe' to='{user(0)}'/>".encode())
        await contact.settled()
        sender.write(f"<presence type='subscribed' to='{user(number)}'/>".encode())
    await sender.settled()
    await bench.all("announcing", (_announce(each) for each in clients))
    goal = Goal()
    for contact in contacts:
        contact.sink = _count(goal, (b"</presence>", b"</message>"))

    async def presence() -> None:
        for number in range(TIMES):
            text = PRESENCE.format(("away", "chat", "dnd", "xa")[number % 4]).encode()
            await goal.reach(CONTACTS, lambda text=text: sender.write(text))  # type: ignore[misc]

    await bench.rounds(f"presence with caps to {CONTACTS} contacts", "ms", TIMES, presence, 1.0, per=1e3)
    sender.sink = None

    async def publish() -> None:
        for number in range(TIMES):
            item = f"<item id='current'><x xmlns='urn:x'>{number}</x></item>"
            inside = (
                f"<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='{NODE}'>{item}</publish></pubsub>"
            )
            text = f"<iq type='set' id='p{number}'>{inside}</iq>".encode()
            await goal.reach(CONTACTS, lambda text=text: sender.write(text))  # type: ignore[misc]

    await bench.rounds(f"a publication to {CONTACTS} contacts", "ms", TIMES, publish, 2.0, per=1e3)
    await bench.close(clients)


async def _announce(client: Client) -> None:
    """Presence with caps; the server asks what they stand for: ours once for all, Prosody for each account."""
    seen = bytearray()
    asked = asyncio.Event()

    def take(data: bytes) -> None:
        seen.extend(data)
        done = 0
        for found in QUESTION.finditer(seen):
            id, to = (re.search(name + rb"=['\"]([^'\"]*)", found[0]) for name in (rb"\sid", rb"\sfrom"))
            assert id is not None and to is not None
            client.write(b"<iq type='result' id='%b' to='%b'>%b</iq>" % (id[1], to[1], INFO.encode()))
            done = found.end()
            asked.set()
        del seen[:done]

    client.sink = take
    client.write(PRESENCE.format("chat").encode())
    with suppress(TimeoutError):  # it knows them already
        await asyncio.wait_for(asked.wait(), 0.3)
    await asyncio.sleep(0.1)
    client.sink = None


def _count(goal: Goal, ends: tuple[bytes, ...]) -> Callable[[bytes], None]:
    rest = b""
    longest = max(map(len, ends)) - 1

    def take(data: bytes) -> None:
        nonlocal rest
        seen = rest + data
        found = sum(seen.count(end) - rest.count(end) for end in ends)
        rest = seen[-longest:]
        if found:
            goal.arrived(found)

    return take
