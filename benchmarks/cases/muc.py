"""A room with 200 occupants; ten of them speak."""

from __future__ import annotations

from ..bench import Bench
from ..client import Client, Counter
from ..load import NOT_KEPT, Goal, Pair, chat
from ..servers import ROOMS

OCCUPANTS = 200
ACCOUNTS = OCCUPANTS
SPEAKERS = 10
MESSAGES = 400
"""Of one round."""
_MUC = "http://jabber.org/protocol/muc"


async def run(bench: Bench) -> None:
    """CPU of a delivery: of a message divided by all who get it."""
    await _room(bench, "hamlet", "kept in the room's archive", "")
    await _room(bench, "yorick", "kept, to clients that sleep (XEP-0352)", "", asleep=True)
    await _room(bench, "macbeth", "not kept", NOT_KEPT)


async def _room(bench: Bench, name: str, title: str, extra: str, asleep: bool = False) -> None:
    room = f"{name}@{ROOMS}"
    clients = await bench.clients(OCCUPANTS)
    await _enter(clients[0], room, 0)
    unlock = f"<query xmlns='{_MUC}#owner'><x xmlns='jabber:x:data' type='submit'/></query>"
    await clients[0].iq("set", unlock, to=room)
    for number, client in enumerate(clients[1:], 1):
        await _enter(client, room, number)
        if number % 50 == 0:
            bench.say(f"entering the room: {number} of {OCCUPANTS}")
    await bench.all("entering the room", (client.settled() for client in clients))

    if asleep:
        for client in clients[SPEAKERS:]:
            client.write(b"<inactive xmlns='urn:xmpp:csi:0'/>")
    goal = Goal()
    speakers = [Pair(client, chat(room, extra, "groupchat"), goal, 1) for client in clients[:SPEAKERS]]
    for client in clients[SPEAKERS:]:
        Counter(client, goal.arrived)
    for speaker in speakers:
        _listen(speaker, SPEAKERS)
    each = max(1, bench.scale.of(MESSAGES) // SPEAKERS)
    deliveries = each * SPEAKERS * OCCUPANTS

    def begin() -> None:
        for speaker in speakers:
            speaker.begin(each)

    await bench.rounds(title, "µs/delivery", deliveries, lambda: goal.reach(deliveries, begin), 8.0)
    await bench.close(clients)


def _listen(speaker: Pair, every: int) -> None:
    """A speaker says the next thing when as many messages have come as there are speakers."""
    heard = 0

    def arrived(count: int) -> None:
        nonlocal heard
        heard += count
        turns, heard = divmod(heard, every)
        if turns:
            speaker.send(turns)
        speaker.goal.arrived(count)

    Counter(speaker.sender, arrived)


async def _enter(client: Client, room: str, number: int) -> None:
    """Up to one's own presence (status 110)."""
    client.write(
        f"<presence to='{room}/nick{number}'><x xmlns='{_MUC}'><history maxstanzas='0'/></x></presence>".encode()
    )
    await client.expect(b"110")
