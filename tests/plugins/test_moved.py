"""XEP-0283: who moves to another account takes the contacts along, if both accounts say so."""

from __future__ import annotations

import pytest

from plugins.moved import NS
from tests.harness import Client, Harness, condition
from tests.plugins.test_presence_subscriptions import friends, person, send

NEW = "montague@localhost"


def moved(old: str = "romeo@localhost") -> str:
    inside = f"<moved xmlns='{NS}'><old-jid>{old}</old-jid></moved>"
    return f"<presence type='subscribe' to='juliet@localhost'>{inside}</presence>"


async def says(client: Client, new: str = NEW, item: str = "current") -> None:
    statement = f"<moved xmlns='{NS}'><new-jid>{new}</new-jid></moved>"
    publish = f"<publish node='{NS}'><item id='{item}'>{statement}</item></publish>"
    answer = await client.iq(f"<pubsub xmlns='http://jabber.org/protocol/pubsub'>{publish}</pubsub>", "set")
    assert condition(answer) == ""


async def contacts(client: Client) -> dict[str, str]:
    answer = await client.iq("<query xmlns='jabber:iq:roster'/>")
    return {str(each.get("jid")): str(each.get("subscription")) for each in answer[0]}


async def asked(server: Harness, client: Client) -> bool:
    """Whether a person is asked."""
    await server.quiet()
    return any(each.get("type") == "subscribe" for each in await client.receive_all())


async def test_a_contact_moves(server: Harness) -> None:
    romeo, juliet = await friends(server)
    montague = await person(server, "montague", "tomb")
    await says(romeo)
    montague.send(moved())
    assert not await asked(server, juliet)
    assert await contacts(juliet) == {NEW: "from", "romeo@localhost": "to"}
    assert any(each.get("type") == "subscribed" for each in await montague.receive_all())
    send(montague, "subscribed", "juliet@localhost")
    await server.quiet()
    assert (await contacts(juliet))[NEW] == "both"


@pytest.mark.parametrize("new", ["tybalt@localhost", "", "@", "montague@localhost@x"])
async def test_somebody_else_says_so(server: Harness, new: str) -> None:
    romeo, juliet = await friends(server)
    montague = await person(server, "montague", "tomb")
    await says(romeo, new)
    montague.send(moved())
    assert await asked(server, juliet)
    assert (await contacts(juliet))["romeo@localhost"] == "both"


ELSEWHERE = ("nurse@localhost", NEW, "juliet@localhost", "romeo@localhost/orchard", "", "localhost", "a@b.example")


@pytest.mark.parametrize("old", ELSEWHERE)
async def test_from_where_nobody_is_known(server: Harness, old: str) -> None:
    """Not a contact, itself, the recipient, no bare JID, nothing, elsewhere."""
    romeo, juliet = await friends(server)
    nurse, montague = await person(server, "nurse", "house"), await person(server, "montague", "tomb")
    for each in (romeo, nurse, montague):
        await says(each)
    montague.send(moved(old))
    assert await asked(server, juliet)


async def test_nothing_is_said(server: Harness) -> None:
    romeo, juliet = await friends(server)
    montague = await person(server, "montague", "tomb")
    montague.send(moved())
    assert await asked(server, juliet)
    await says(romeo, item="other")
    montague.send(moved())
    await asked(server, juliet)
    assert (await contacts(juliet))["romeo@localhost"] == "both"


async def test_an_address_moves_once(server: Harness) -> None:
    romeo, juliet = await friends(server)
    montague, tybalt = await person(server, "montague", "tomb"), await person(server, "tybalt", "street")
    await says(romeo)
    montague.send(moved())
    await asked(server, juliet)
    await says(romeo, "tybalt@localhost")
    tybalt.send(moved())
    assert await asked(server, juliet), "juliet does not show romeo her presence any more"


async def test_whom_one_blocks_does_not_come_in_this_way(server: Harness) -> None:
    romeo, juliet = await friends(server)
    montague = await person(server, "montague", "tomb")
    await says(romeo)
    await juliet.iq(f"<block xmlns='urn:xmpp:blocking'><item jid='{NEW}'/></block>", "set")
    montague.send(moved())
    await server.quiet()
    assert (await contacts(juliet))["romeo@localhost"] == "both" and NEW not in await contacts(juliet)
