"""Personal eventing (XEP-0163): presence with capabilities, and a publication, to 100 contacts.

One at a time: the server has nothing else to do, so each begins with cold caches and each delivery is a write of its
own. At once: ten accounts with the same contacts do it together, as in an office in the morning.
"""

from __future__ import annotations

import asyncio
import re
from base64 import b64encode
from collections.abc import Awaitable, Callable
from contextlib import suppress
from hashlib import sha1

from ..bench import Bench
from ..client import Client
from ..load import Goal

CONTACTS = 100
TOGETHER = 10
ACCOUNTS = CONTACTS + TOGETHER
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
    senders, contacts = clients[:TOGETHER], clients[TOGETHER:]
    bench.say("making contacts")
    for some, others in ((contacts, senders), (senders, contacts)):  # Prosody publishes to mutual contacts only
        for one in some:
            one.write(b"".join(_subscription("subscribe", other) for other in others))
            await one.settled()
        for other in others:
            other.write(b"".join(_subscription("subscribed", one) for one in some))
            await other.settled()
    await bench.all("announcing", (_announce(each) for each in clients))
    goal = Goal()
    for contact in contacts:
        contact.sink = _count(goal, (b"</presence>", b"</message>"))
    for what, text, target in (
        (f"presence with caps to {CONTACTS} contacts", _presence, 1.0),
        (f"a publication to {CONTACTS} contacts", _publication, 2.0),
    ):
        for some, how in ((senders[:1], ""), (senders, f", {TOGETHER} at once")):
            await bench.rounds(what + how, "ms", TIMES * len(some), _work(goal, some, text), target, per=1e3)
    await _asleep(bench, senders[0], contacts)
    await bench.close(clients)


async def _asleep(bench: Bench, sender: Client, contacts: list[Client]) -> None:
    """The contacts have said that nobody looks at them (XEP-0352): nothing goes out."""
    heard = 0

    def hear(data: bytes) -> None:
        nonlocal heard
        heard += len(data)

    for contact in contacts:
        contact.sink = None
        contact.write(b"<inactive xmlns='urn:xmpp:csi:0'/>")
        await contact.settled()
        contact.sink = hear

    async def work() -> None:
        for number in range(TIMES):
            sender.write(_presence(number))
            await sender.settled()

    presences = TIMES * CONTACTS
    await bench.rounds("a presence held back for a sleeping contact", "µs", presences, work)
    sent = heard / presences / (bench.scale.rounds + 1)
    bench.figure("a presence held back: sent all the same", "bytes", [sent], 0.0)


def _work(goal: Goal, senders: list[Client], text: Callable[[int], bytes]) -> Callable[[], Awaitable[None]]:
    async def work() -> None:
        for number in range(TIMES):
            data = text(number)
            await goal.reach(CONTACTS * len(senders), lambda data=data: [each.write(data) for each in senders])  # type: ignore[misc]

    return work


def _presence(number: int) -> bytes:
    return PRESENCE.format(("away", "chat", "dnd", "xa")[number % 4]).encode()


def _publication(number: int) -> bytes:
    item = f"<item id='current'><x xmlns='urn:x'>{number}</x></item>"
    inside = f"<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='{NODE}'>{item}</publish></pubsub>"
    return f"<iq type='set' id='p{number}'>{inside}</iq>".encode()


def _subscription(type: str, to: Client) -> bytes:
    return f"<presence type='{type}' to='{to.jid.partition('/')[0]}'/>".encode()


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
