"""What leaves for another server, beside the same that stays: both are real, with TLS and XEP-0198 between them."""

from __future__ import annotations

from collections.abc import Sequence

from ..bench import Bench
from ..client import Client, opening_of
from ..federation import FAR, NEAR
from ..load import Pairs
from .message import check
from .muc import Talk, enter_all

PAIRS = 25
"""Of each kind."""
ACCOUNTS = 3 * PAIRS
MESSAGES = 10_000
"""Of one round."""
TIMES = 1.5
"""So many times as much as one that stays may a message cost the server that sends it, and the one that gets it."""
OCCUPANTS = 200
ROOM_MESSAGES = 200
"""Of one round."""


class NearClient(Client):
    domain = NEAR
    opening = opening_of(NEAR)


class FarClient(Client):
    domain = FAR
    opening = opening_of(FAR)


async def run(bench: Bench) -> None:
    """At saturation: every pair keeps 20 under way. Clients use XEP-0198, no TLS."""
    local = await bench.clients(2 * PAIRS, kind=NearClient)
    senders = await bench.clients(PAIRS, 2 * PAIRS, kind=NearClient)
    receivers = await bench.clients(PAIRS, kind=FarClient, server=bench.others[0])
    remote = [client for pair in zip(senders, receivers, strict=True) for client in pair]
    await bench.all("acknowledgements", (client.manage() for client in (*local, *remote)))
    near, far = Pairs(local, managed=True), Pairs(remote, managed=True)
    count = bench.scale.of(MESSAGES) // PAIRS * PAIRS
    stays: list[float] = []
    sent: list[float] = []
    received: list[float] = []
    for number in range(bench.scale.rounds + 1):
        bench.say(f"on one server: round {number}")
        one = await bench.spent_by_all("on one server", count, lambda: near.run(count))
        bench.say(f"to another server: round {number}")
        two = await bench.spent_by_all("to another server", count, lambda: far.run(count))
        if number:  # the first is to warm up
            stays.append(one[0])
            sent.append(two[0])
            received.append(two[1])
    unit = "µs/message"
    bench.figure("archived on both sides, on one server", unit, stays)
    bench.figure("to another server, which archives it, too: the sending one", unit, sent)
    bench.figure("the receiving one", unit, received)
    bench.figure("the sending one to one that stays", "ratio", _ratios(sent, stays), TIMES)
    bench.figure("the receiving one to one that stays", "ratio", _ratios(received, stays), TIMES)
    await check([senders[0], receivers[0]], kept=True)
    await bench.close((*local, *remote))


async def run_room(bench: Bench) -> None:
    """CPU of a delivery, kept in the room's archive, ten speak: in a room whose occupants are all of its server, and in
    one whose occupants are all of another."""
    local = await bench.clients(OCCUPANTS, kind=NearClient)
    remote = await bench.clients(OCCUPANTS, kind=FarClient, server=bench.others[0])
    rooms = bench.server.rooms
    await enter_all(bench, local, f"hamlet@{rooms}")
    await enter_all(bench, remote, f"yorick@{rooms}", local[0])
    here, there = Talk(local, f"hamlet@{rooms}"), Talk(remote, f"yorick@{rooms}")
    count = here.deliveries(bench.scale.of(ROOM_MESSAGES))
    stays: list[float] = []
    sent: list[float] = []
    received: list[float] = []
    for number in range(bench.scale.rounds + 1):
        bench.say(f"to occupants here: round {number}")
        one = await bench.spent_by_all("to occupants here", count, lambda: here.run(count))
        bench.say(f"to occupants elsewhere: round {number}")
        two = await bench.spent_by_all("to occupants elsewhere", count, lambda: there.run(count))
        if number:  # the first is to warm up
            stays.append(one[0])
            sent.append(two[0])
            received.append(two[1])
    unit = "µs/delivery"
    bench.figure("to 200 occupants of the room's server", unit, stays)
    bench.figure("to 200 of another one: the room's", unit, sent)
    bench.figure("the other one", unit, received)
    bench.figure("to occupants elsewhere to such here", "ratio", _ratios(sent, stays))
    await bench.close((*local, *remote))


def _ratios(values: Sequence[float], base: Sequence[float]) -> list[float]:
    return [one / other for one, other in zip(values, base, strict=True)]
