"""Block lists in rooms (XEP-0191 section 3.3): the room knows who speaks behind a nick."""

from __future__ import annotations

import pytest

from tests.harness import Client, Harness, condition, xml
from tests.plugins.muc.people import MUC, ROOM, body, join, say, tavern
from tests.plugins.test_blocking import PING, block, command
from xmppd.storage.api import Range

ROMEO = "romeo@localhost/orchard"


def to_occupant(nick: str, text: str, id: str = "p", type: str = "chat") -> str:
    return f"<message type='{type}' to='{ROOM}/{nick}' id='{id}'><body>{text}</body></message>"


async def kept(server: Harness, bare: str) -> int:
    return await server.storage.log("archive").count(bare, Range())


async def answer(client: Client, text: str) -> str:
    client.send(text)
    return condition(await client.receive())


@pytest.mark.parametrize("whois", ["moderators", "anyone"])
@pytest.mark.parametrize("address", ["romeo@localhost", ROMEO, f"{ROOM}/romeo"])
async def test_a_private_message_does_not_pass_a_block(server: Harness, address: str, whois: str) -> None:
    """In every form of the address, and neither now nor from the archive."""
    romeo, juliet = await tavern(server, "juliet", muc__roomconfig_whois=whois)
    await block(juliet, address)
    before = await kept(server, "juliet@localhost")
    assert await answer(romeo, to_occupant("juliet", "psst")) == "service-unavailable"
    assert await answer(romeo, to_occupant("juliet", "psst", type="normal")) == "service-unavailable"
    assert condition(await romeo.iq(PING, to=f"{ROOM}/juliet")) == "service-unavailable"
    romeo.send(to_occupant("juliet", "psst", type="result"))  # no type of messages, and no way past the block
    await juliet.silence()
    assert await kept(server, "juliet@localhost") == before
    await romeo.receive_all()
    romeo.send(say("to all"))
    await romeo.receive()
    if address != f"{ROOM}/romeo":  # the room itself speaks as that
        assert body(await juliet.receive()) == "to all"
    await juliet.iq(command("unblock"), "set")
    await juliet.receive_all()
    romeo.send(to_occupant("juliet", "again"))
    assert body(await juliet.receive()) == "again"


@pytest.mark.parametrize("address", ["nurse@localhost", "romeo@localhost/elsewhere"])
async def test_others_pass(server: Harness, address: str) -> None:
    romeo, juliet = await tavern(server, "juliet")
    await block(juliet, address)
    romeo.send(to_occupant("juliet", "psst"))
    assert body(await juliet.receive()) == "psst"


async def test_nobody_is_found_out_by_a_block(server: Harness) -> None:
    """XEP-0045 section 7.2.4: in a semi-anonymous room a participant does not learn whether the blocked is there."""
    romeo, juliet, nurse = await tavern(server, "juliet", "nurse")
    await block(juliet, "nurse@localhost")
    juliet.send(to_occupant("nurse", "who are you?"))
    assert body(await nurse.receive()) == "who are you?"
    await juliet.silence()
    await block(romeo, "nurse@localhost")
    romeo.send(to_occupant("nurse", "I know you"))
    error = await romeo.receive()
    assert condition(error) == "not-acceptable" and "urn:xmpp:blocking:errors" in xml(error)
    await nurse.silence()


async def test_in_an_open_room_nothing_goes_to_the_blocked(server: Harness) -> None:
    _, juliet, nurse = await tavern(server, "juliet", "nurse", muc__roomconfig_whois="anyone")
    await block(juliet, "nurse@localhost")
    assert await answer(juliet, to_occupant("nurse", "hello")) == "not-acceptable"
    assert condition(await juliet.iq(PING, to=f"{ROOM}/nurse")) == "not-acceptable"
    await nurse.silence()


async def test_invitations_of_the_blocked(server: Harness) -> None:
    """Section 7.8.2: the room writes for the one who invites or declines."""
    romeo, *_ = await tavern(server)
    juliet = await server.login("juliet", "balcony", presence=True)
    invite = f"<message to='{ROOM}'><x xmlns='{MUC}#user'><invite to='{{}}@localhost'/></x></message>"
    romeo.send(invite.format("juliet"))
    assert (await juliet.receive()).get("from") == ROOM
    await block(juliet, "romeo@localhost")
    before = await kept(server, "juliet@localhost")
    romeo.send(invite.format("juliet"))
    await server.quiet()
    await juliet.silence()
    assert await kept(server, "juliet@localhost") == before
    await block(romeo, "juliet@localhost")
    juliet.send(f"<message to='{ROOM}'><x xmlns='{MUC}#user'><decline to='romeo@localhost'/></x></message>")
    await server.quiet()
    assert not [each for each in await romeo.receive_all() if "decline" in xml(each)]


async def test_an_account_that_must_be_loaded_first(server: Harness) -> None:
    """The occupant's session has just ended, and what it has blocked is no longer in memory."""
    romeo, juliet = await tavern(server, "juliet")
    await block(juliet, "romeo@localhost")
    home = server.host
    account = home.accounts["juliet@localhost"]
    assert account is not None
    sessions = dict(account.sessions)
    account.sessions.clear()
    home.accounts.pop("juliet@localhost")
    before = await kept(server, "juliet@localhost")
    assert await answer(romeo, to_occupant("juliet", "psst")) == "service-unavailable"
    assert await kept(server, "juliet@localhost") == before
    account.sessions.update(sessions)
    home.accounts["juliet@localhost"] = account


async def test_a_block_while_in_the_room(server: Harness) -> None:
    """Presence of the room and its occupants goes on: the room is not blocked."""
    romeo, juliet = await tavern(server, "juliet")
    await block(juliet, "romeo@localhost")
    romeo.send(f"<presence to='{ROOM}/romeo'><show>dnd</show></presence>")
    assert (await juliet.receive()).findtext("{jabber:client}show") == "dnd"
    await join(juliet, "juliet")
