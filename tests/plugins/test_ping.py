"""XEP-0199."""

from __future__ import annotations

from tests.harness import Harness, condition, xml

PING = "<ping xmlns='urn:xmpp:ping'/>"


async def test_the_server_and_the_own_account_answer(server: Harness) -> None:
    romeo = await server.login("romeo")
    for to in (None, "romeo@localhost", "localhost", "conference.localhost"):
        answer = await romeo.iq(PING, to=to)
        assert answer.get("type") == "result" and len(answer) == 0


async def test_another_account_is_as_silent_as_an_absent_one(server: Harness) -> None:
    romeo = await server.login("romeo")
    await server.login("juliet", presence=True)
    there = await romeo.iq(PING, to="juliet@localhost", id="x")
    absent = await romeo.iq(PING, to="nobody@localhost", id="x")
    assert condition(there) == "service-unavailable"
    assert xml(there).replace("juliet", "nobody") == xml(absent)


async def test_a_silent_client_is_pinged_and_then_dropped(server: Harness) -> None:
    romeo = await server.login("romeo")
    await server.advance(310)
    ping = await romeo.receive()
    assert ping.get("type") == "get" and ping[0].tag == "{urn:xmpp:ping}ping"
    romeo.send(f"<iq type='result' id='{ping.get('id')}' to='localhost'/>")
    await server.advance(290)
    await romeo.silence()
    await server.advance(120)
    assert await romeo.stream_error() == "connection-timeout"
