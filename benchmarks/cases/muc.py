"""A room with 200 occupants; ten of them speak."""

from __future__ import annotations

from ..bench import Bench
from ..client import Client, Counter
from ..load import NOT_KEPT, Goal, Pair, chat

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
    room = f"{name}@{bench.server.rooms}"
    clients = await bench.clients(OCCUPANTS)
    await enter_all(bench, clients, room)
    if asleep:
        for client in clients[SPEAKERS:]:
            client.write(b"<inactive xmlns='urn:xmpp:csi:0'/>")
    talk = Talk(clients, room, extra)
    count = talk.deliveries(bench.scale.of(MESSAGES))
    await bench.rounds(title, "µs/delivery", count, lambda: talk.run(count), 8.0)
    await bench.close(clients)


async def enter_all(bench: Bench, clients: list[Client], room: str, owner: Client | None = None) -> None:
    """The owner makes the room, and is not in it in the end: by default the first of the clients, who stays. All have
    heard of each other."""
    maker = owner or clients[0]
    await _enter(maker, room, 0)
    unlock = f"<query xmlns='{_MUC}#owner'><x xmlns='jabber:x:data' type='submit'/></query>"
    await maker.iq("set", unlock, to=room)
    for number, client in enumerate(clients, 1):
        if client is not maker:
            await _enter(client, room, number)
        if number % 50 == 0:
            bench.say(f"entering the room: {number} of {len(clients)}")
    if owner is not None:
        owner.write(f"<presence to='{room}/nick0' type='unavailable'/>".encode())
        await owner.expect(b"unavailable")
    await bench.all("entering the room", (client.settled() for client in clients))


class Talk:
    """The first `SPEAKERS` of the occupants of a room speak, all listen."""

    def __init__(self, clients: list[Client], room: str, extra: str = "") -> None:
        self.occupants = len(clients)
        self.goal = Goal()
        self.speakers = [Pair(client, chat(room, extra, "groupchat"), self.goal, 1) for client in clients[:SPEAKERS]]
        for client in clients[SPEAKERS:]:
            Counter(client, self.goal.arrived)
        for speaker in self.speakers:
            _listen(speaker, SPEAKERS)

    def deliveries(self, messages: int) -> int:
        """So many does a round of about so many messages have."""
        return max(1, messages // SPEAKERS) * SPEAKERS * self.occupants

    async def run(self, deliveries: int) -> None:
        """A round. Raises LoadError."""

        def begin() -> None:
            for speaker in self.speakers:
                speaker.begin(deliveries // SPEAKERS // self.occupants)

        await self.goal.reach(deliveries, begin)


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
