"""XEP-0012."""

from __future__ import annotations

from plugins.last_activity import Last
from tests.harness import Harness, condition, xml
from xmppd.jid import JID

from .test_disco import befriend

LAST = "<query xmlns='jabber:iq:last'/>"


async def test_uptime(server: Harness) -> None:
    await server.advance(120)
    romeo = await server.login("romeo")
    assert (await romeo.iq(LAST, to="localhost"))[0].get("seconds") == "120"


async def test_online_and_gone(server: Harness) -> None:
    juliet, romeo = await befriend(server, "juliet", "romeo")
    assert (await romeo.iq(LAST, to="juliet@localhost"))[0].get("seconds") == "0"
    juliet.send("<presence type='unavailable'><status>Heading Home</status></presence></stream:stream>")
    await server.advance(203)
    query = (await romeo.iq(LAST, to="juliet@localhost"))[0]
    assert (query.get("seconds"), query.text) == ("203", "Heading Home")


async def test_a_lost_connection_counts_from_its_end(server: Harness) -> None:
    juliet, romeo = await befriend(server, "juliet", "romeo")
    await server.advance(60)
    juliet.cut()
    await server.advance(40)
    query = (await romeo.iq(LAST, to="juliet@localhost"))[0]
    assert (query.get("seconds"), query.text) == ("40", None)


async def test_one_of_two_devices_leaves(server: Harness) -> None:
    juliet, romeo = await befriend(server, "juliet", "romeo")
    await server.login("juliet", presence=True)
    juliet.close()
    await server.advance(40)
    assert (await romeo.iq(LAST, to="juliet@localhost"))[0].get("seconds") == "0"


async def test_never_online_counts_from_the_account(server: Harness) -> None:
    romeo = await server.login("romeo")
    await server.advance(50)
    assert (await romeo.iq(LAST, to="romeo@localhost"))[0].get("seconds") == "50"


async def test_strangers_cannot_tell_an_account_from_none(server: Harness) -> None:
    romeo = await server.login("romeo")
    await server.login("juliet", presence=True)
    there = await romeo.iq(LAST, to="juliet@localhost", id="x")
    absent = await romeo.iq(LAST, to="nobody@localhost", id="x")
    assert condition(there) == "service-unavailable"
    assert xml(there).replace("juliet", "nobody") == xml(absent)


async def test_nothing_is_noted_behind_the_end_of_an_account(server: Harness) -> None:
    last = server.storage.map("last", Last)
    others = [await server.login(f"user{number}", presence=True) for number in range(40)]
    romeo = await server.login("romeo", presence=True)
    await server.quiet()
    for client in (*others, romeo):  # more than go along with another commit
        client.cut()
    await server.server.accounts.delete(JID.parse("romeo@localhost"))
    await server.advance(60)
    assert await last.read("romeo@localhost", "") is None
