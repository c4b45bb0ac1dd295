"""RFC 6121 section 8.5, every row."""

from __future__ import annotations

from itertools import product

import pytest

from tests.harness import Client, Harness, condition

TYPES = ("normal", "chat", "groupchat", "headline", "error")
PRIORITIES: tuple[tuple[int | None, ...], ...] = (
    (),
    (None,),
    (-1,),
    (0,),
    (5, 1),
    (1, -1),
    (None, 3),
    (-1, None),
    (0, 0, -5, None),
)
"""Presences of the recipient's sessions: a priority, None for bound but not available."""


def expected(type: str, address: str, priorities: tuple[int | None, ...], kept: bool) -> tuple[set[int], bool]:
    """Section 8.5 written down again, by hand: (which sessions get it, whether the sender gets an error)."""
    if address.startswith("session"):
        return {int(address[7:])}, False
    available = {at for at, priority in enumerate(priorities) if priority is not None and priority >= 0}
    if type == "error":
        return set(), False
    if type == "groupchat":
        return set(), True
    if type == "headline":
        return (available if address == "bare" else set()), False
    return available, not available and not kept


async def recipients(server: Harness, priorities: tuple[int | None, ...]) -> list[Client]:
    found = []
    for at, priority in enumerate(priorities):
        client = await server.login("juliet", f"r{at}")
        if priority is not None:
            client.send(f"<presence><priority>{priority}</priority></presence>")
        found.append(client)
    for client in found:
        await client.receive_all()
    return found


@pytest.mark.parametrize("priorities", PRIORITIES, ids=str)
async def test_every_row(server: Harness, priorities: tuple[int | None, ...]) -> None:
    await server.register("juliet")
    romeo = await server.login("romeo", presence=True)
    clients = await recipients(server, priorities)
    addresses = ["bare", "absent", *(f"session{at}" for at in range(len(clients)))]
    for at, (type, address, kept) in enumerate(product(TYPES, addresses, (False, True))):
        to = "juliet@localhost"
        if address != "bare":
            to += "/absent" if address == "absent" else f"/r{address[7:]}"
        body = "<body>hi</body>" if kept else "<composing xmlns='http://jabber.org/protocol/chatstates'/>"
        romeo.send(f"<message type='{type}' to='{to}' id='m{at}'>{body}</message>")
        await server.quiet()
        got = set()
        for number, client in enumerate(clients):
            mine = [each for each in await client.receive_all() if each.get("id") == f"m{at}"]
            assert len(mine) <= 1
            if mine:
                got.add(number)
        errors = [condition(each) for each in await romeo.receive_all()]
        wanted, refused = expected(type, address, priorities, kept)
        where = f"{type} to {address}, kept {kept}"
        assert got == wanted, where
        assert errors == (["service-unavailable"] if refused else []), where


@pytest.mark.parametrize("type", TYPES)
async def test_nobody_of_that_name(server: Harness, type: str) -> None:
    """Section 8.5.1."""
    romeo = await server.login("romeo", presence=True)
    romeo.send(f"<message type='{type}' to='nobody@localhost'><body>hi</body></message>")
    errors = [condition(each) for each in await romeo.receive_all()]
    assert errors == ([] if type == "error" else ["service-unavailable"])


async def test_no_type_and_unknown_types_are_normal(server: Harness) -> None:
    """Section 5.2.2."""
    romeo = await server.login("romeo", presence=True)
    juliet = await server.login("juliet", presence=True)
    for attribute in ("", " type='normal'", " type='nonsense'"):
        romeo.send(f"<message{attribute} to='juliet@localhost'><body>hi</body></message>")
        assert (await juliet.receive()).get("type") is None


async def test_without_to_it_is_for_oneself(server: Harness) -> None:
    """RFC 6120 section 10.3.1."""
    orchard = await server.login("romeo", "orchard", presence=True)
    home = await server.login("romeo", "home", presence=True)
    await orchard.receive_all()
    orchard.send("<message><body>note</body></message>")
    for client in (orchard, home):
        assert (await client.receive()).get("to") == "romeo@localhost"


async def test_who_signs_in_during_the_commit_gets_it_once(server: Harness) -> None:
    romeo = await server.login("romeo", presence=True)
    juliet = await server.login("juliet", "balcony")
    server.backend.hold()
    romeo.send("<message to='juliet@localhost' type='chat'><body>now</body></message>")
    await server.quiet()
    juliet.send("<presence/>")
    server.backend.release()
    messages = [each for each in await juliet.receive_all() if each.tag.endswith("}message")]
    assert [each[0].text for each in messages] == ["now"]
