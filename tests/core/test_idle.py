"""The look at all client streams: who is late, who is silent, what an idle stream gives back."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from tests.core.test_delivery import SM, enable
from tests.harness import Harness
from xmppd.protocol.parser import StreamParser
from xmppd.server.idle import REST_AFTER, SWEEP

PING = "{urn:xmpp:ping}ping"


async def test_who_does_not_open_its_stream_in_time(server: Harness) -> None:
    client = server.connect()
    await server.advance(server.server.limits.header_time - 1)
    assert not client.closed
    await server.advance(1 + SWEEP)
    assert client.closed


async def test_who_does_not_sign_in_in_time(server: Harness) -> None:
    client = server.connect()
    client.open()
    await client.receive_all()
    await server.advance(server.server.limits.sign_in_time - 1)
    assert not client.closed
    await server.advance(1 + SWEEP)
    assert await client.stream_error() == "connection-timeout"


@pytest.mark.server(plugins={"register": {"mode": "open", "captcha": False}})
async def test_only_so_many_strangers_have_time_to_fill_in_a_form(server: Harness) -> None:
    """Of the crowd at one address the oldest go, and who is alone at another one stays, though it came first."""
    clients = []
    for peer in ("2001:db8::1", *(f"2001:db8:1::{number}" for number in range(6))):
        client = server.connect()
        client.link.peer = peer
        client.open()
        await client.receive()
        client.send("<iq type='get' id='1'><query xmlns='jabber:iq:register'/></iq>")
        assert (await client.receive()).get("type") == "result"
        clients.append(client)
        await server.advance(1)
    server.server.idle.patient = 4
    await server.advance(server.server.limits.sign_in_time - 10)
    assert not any(client.closed for client in clients), "they are as good as others until then"
    await server.advance(12)
    assert [client.closed for client in clients] == [False, True, True, True, False, False, False]
    assert await clients[1].stream_error() == "connection-timeout"


async def test_a_handshake_has_a_limit_of_its_own(server: Harness) -> None:
    client = server.connect()
    client.link.securing = True  # type: ignore[attr-defined]
    await server.advance(server.server.limits.sign_in_time + SWEEP)
    assert not client.closed


async def test_a_silent_client_is_asked_and_given_up(server: Harness) -> None:
    limits = server.server.limits
    romeo = await server.login("romeo")
    await server.advance(limits.ping_after + SWEEP)
    ping = await romeo.receive()
    assert ping[0].tag == PING
    romeo.send(f"<iq type='result' id='{ping.get('id')}' to='localhost'/>")
    await server.advance(limits.ping_timeout + SWEEP)
    assert not romeo.closed, "it has answered"
    await server.advance(limits.ping_after)
    assert (await romeo.receive())[0].tag == PING
    await server.advance(limits.ping_timeout + SWEEP)
    assert await romeo.stream_error() == "connection-timeout"


async def test_who_counts_stanzas_is_asked_for_its_count(server: Harness) -> None:
    romeo = await server.login("romeo")
    await enable(romeo)
    await server.advance(server.server.limits.ping_after + SWEEP)
    assert (await romeo.receive()).tag == f"{{{SM}}}r"


async def test_half_a_stanza_does_not_stay_for_ever(server: Harness) -> None:
    romeo = await server.login("romeo")
    romeo.send("<message to='juliet@localhost'><body>and then")
    await server.advance(server.server.limits.ping_after + SWEEP)
    assert await romeo.stream_error() == "connection-timeout"


async def test_an_idle_stream_gives_its_parser_back(server: Harness) -> None:
    romeo = await server.login("romeo")
    await server.advance(REST_AFTER - SWEEP)
    assert romeo.stream.parser._parser is not None
    await server.advance(2 * SWEEP)
    assert romeo.stream.parser._parser is None
    assert (await romeo.iq("<ping xmlns='urn:xmpp:ping'/>", to="localhost")).get("type") == "result"


async def test_detached_sessions_whose_time_is_over_end(server: Harness) -> None:
    romeo = await server.login("romeo")
    await enable(romeo)
    sessions: Any = server.host.account("romeo@localhost").sessions
    romeo.cut()
    await server.advance(server.server.limits.resume_time - 1)
    assert sessions
    await server.advance(1 + SWEEP)
    assert not sessions


async def test_a_stream_that_cannot_be_looked_at_is_given_up(
    server: Harness, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the others are looked at."""
    romeo, juliet = await server.login("romeo"), await server.login("juliet")
    rest = StreamParser.rest

    def broken(parser: StreamParser) -> None:
        if parser is romeo.stream.parser:
            raise RuntimeError("broken")
        rest(parser)

    monkeypatch.setattr(StreamParser, "rest", broken)
    with caplog.at_level(logging.ERROR):
        await server.advance(REST_AFTER + SWEEP)
    assert "sweeping a stream failed" in caplog.text
    assert romeo.link.closed and romeo.stream not in server.server.streams and not juliet.closed
    assert juliet.stream.parser._parser is None


async def test_it_stops(server: Harness) -> None:
    server.server.idle.stop()
    server.server.idle.stop()
    client = server.connect()
    await server.advance(100)
    assert not client.closed
    server.server.idle.start()
