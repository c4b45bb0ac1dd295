"""Elements and requests whose end does not come: their bytes count for the account and the process, and at a bound
those are broken off that hold most."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from lxml import etree

from tests.core.test_budget import session
from tests.harness import Client, Harness
from tests.harness.bosh import BoshClient
from tests.harness.web_socket import SocketClient
from xmppd.memory.budget import MemoryBudget, Pool
from xmppd.protocol.items import Limits
from xmppd.protocol.parser import StreamParser

KIB = 1 << 10
BEGINNING = "<message to='juliet@localhost' type='chat'><body>"
END = "</body></message>"
UNSHAPED = "limits: {per_connection: {bytes: 0, stanzas: 0}, per_account: {bytes: 0, stanzas: 0}}"


class Counted:
    """A sender."""

    def __init__(self) -> None:
        self.broken = 0

    def break_off(self) -> None:
        self.broken += 1


def nothing_counts(server: Harness) -> bool:
    memory = server.server.memory
    accounts = [each.pool for each in server.host.accounts.values() if each is not None]
    pools = [memory, memory.parts.strangers, *accounts]
    return all((pool.unfinished, pool.incoming) == (0, 0) for pool in pools)


def begin(client: Client, size: int) -> None:
    client.send(BEGINNING + "x" * size)


async def web_client(server: Harness, user: str) -> SocketClient:
    """One that is signed in."""
    await server.register(user)
    client = await SocketClient.connect(server)
    opening = "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='localhost' version='1.0'/>"
    initial = base64.b64encode(f"\0{user}\0pencil".encode()).decode()
    for text in (
        opening, f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{initial}</auth>", opening
    ):  # fmt: skip
        client.send(text)
        await client.receive_all()
    return client


async def told(client: Any) -> bool:
    """Whether its stream was ended, for that reason."""
    return any("resource-constraint" in etree.tostring(each).decode() for each in await client.receive_all())


def test_those_go_that_hold_most_and_of_alike_ones_the_older() -> None:
    memory = MemoryBudget(8000, 2000)  # of elements in part: 1000 in the process, 500 of an account
    romeo, juliet = Pool(), Pool()
    old, new, small, hers = Counted(), Counted(), Counted(), Counted()
    for sender, pool, size in ((old, romeo, 200), (new, romeo, 200), (small, romeo, 90), (hers, juliet, 300)):
        memory.parts.count(sender, pool, size)
    assert (romeo.incoming, romeo.unfinished, memory.incoming) == (490, 490, 790)
    memory.parts.count(small, romeo, 120)
    assert (old.broken, new.broken, small.broken, hers.broken) == (1, 0, 0, 0)
    assert (romeo.unfinished, memory.unfinished) == (320, 620)
    strangers = [Counted() for _ in range(5)]
    for stranger in strangers:
        memory.parts.count(stranger, None, 80)
    assert [each.broken for each in strangers] == [1, 1, 1, 1, 0], "who is not signed in counts as one"
    assert memory.unfinished == 700 and memory.parts.strangers.incoming == 80
    for sender in (new, small, hers, *strangers):
        memory.parts.count(sender, None, 0)
    assert (romeo.incoming, juliet.incoming, memory.incoming, memory.unfinished) == (0, 0, 0, 0)


def test_however_small_the_limits_are_a_few_of_the_largest_elements_can_come() -> None:
    memory, account, senders = MemoryBudget(1 << 20, 256 * KIB, 256 * KIB), Pool(), (Counted(), Counted())
    for sender in senders:
        memory.parts.count(sender, account, 256 * KIB)
    assert not any(sender.broken for sender in senders)


def test_a_long_attribute_counts_as_what_it_takes() -> None:
    """One character out of the ordinary makes four bytes of each in memory."""
    parser = StreamParser(Limits())
    parser.feed(b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>")
    parser.feed(b"<message a='" + "\N{GRINNING FACE}".encode() + b"x" * 100_000 + b"'>")
    assert parser.pending > 100_000 and parser.held > 600_000
    parser.feed(b"</message>")
    assert parser.pending == parser.held == 0


@pytest.mark.server(more=UNSHAPED)
@pytest.mark.parametrize("wire", ["tcp", "websocket"])
async def test_what_an_account_begins_and_does_not_end_is_bounded(server: Harness, wire: str) -> None:
    memory = server.server.memory
    juliet = await server.login("juliet", presence=True)
    hers = await server.login("juliet", "other")
    mine: list[Any] = []
    for number in range(4):
        if wire == "tcp":
            mine.append(await server.login("romeo", f"r{number}"))
        else:
            mine.append(await web_client(server, "romeo"))
    memory.configure(64 << 20, 1 << 20)  # a quarter of the account's
    begin(hers, 100 * KIB)

    def begin_mine(client: Any) -> None:
        if wire == "tcp":
            begin(client, 100 * KIB)
        else:  # the beginning of a frame of 200,000 bytes
            client.receiver.data_received(b"\x81\xff" + (200_000).to_bytes(8) + b"mask" + b"x" * 100 * KIB)

    begin_mine(mine[0])
    begin_mine(mine[1])
    assert 300 * KIB < memory.unfinished == memory.incoming < 310 * KIB
    begin_mine(mine[2])
    assert [await told(each) for each in mine] == [True, True, False, False]
    assert server.host.account("romeo@localhost").pool.unfinished < 110 * KIB
    hers.send(END)
    assert "message" in [each.tag.rpartition("}")[2] for each in await juliet.receive_all()]
    mine[2].cut()
    mine[3].cut()
    await server.quiet()
    assert nothing_counts(server)


@pytest.mark.server(more=UNSHAPED)
async def test_what_all_begin_and_do_not_end_is_bounded(server: Harness) -> None:
    """Who holds little is not broken off, and is understood."""
    memory = server.server.memory
    juliet = await server.login("juliet", presence=True)
    honest = await server.login("benvolio")
    many = [await server.login(f"user{number}") for number in range(12)]
    memory.configure(4 << 20, 4 << 20)
    begin(honest, 50 * KIB)
    for client in many:
        begin(client, 100 * KIB)
        assert memory.unfinished <= 512 * KIB
    ended = [client for client in many if client.link.closed]
    assert len(ended) >= 7 and ended == many[: len(ended)]
    assert await ended[0].stream_error() == "resource-constraint"
    assert not honest.link.closed
    honest.send(END)
    (message,) = [each for each in await juliet.receive_all() if each.tag.endswith("}message")]
    assert len(message.findtext("{jabber:client}body") or "") == 50 * KIB
    for client in many:
        client.cut()
    await server.quiet()
    assert nothing_counts(server)


@pytest.mark.server(more=UNSHAPED)
async def test_requests_that_wait_for_one_that_does_not_come_are_bounded(server: Harness) -> None:
    """Over BOSH: out of order, so they are kept until the missing one is there."""
    romeo = [await BoshClient.login(server, "romeo", f"b{number}") for number in range(3)]
    server.server.memory.configure(64 << 20, 1 << 20)
    early = [
        client.request(f"<message xmlns='jabber:client'><body>{'x' * 100 * KIB}{END}", rid=client.rid + 2)
        for client in romeo
    ]
    await server.quiet()
    assert server.host.account("romeo@localhost").pool.unfinished < 110 * KIB
    assert (await early[0].body()).get("type") == "terminate"
    assert not early[2].answered
    early[2].cut()
    await server.advance(160)
    assert nothing_counts(server)


@pytest.mark.server(more=UNSHAPED)
async def test_bodies_of_requests_that_do_not_come_to_their_end_are_bounded(server: Harness) -> None:
    romeo = [await BoshClient.login(server, "romeo", f"b{number}") for number in range(4)]
    server.server.memory.configure(64 << 20, 1 << 20)
    length = {"Content-Length": "400000"}
    slow = [client.post(client.text(BEGINNING + "x" * 100 * KIB), **length) for client in romeo]
    await server.quiet()
    assert server.host.account("romeo@localhost").pool.unfinished <= 256 * KIB
    answers = [await each.answer() for each in slow if each.answered]
    assert answers and all(answer.status == 503 for answer in answers)
    for each in slow:
        each.cut()
    await server.advance(160)
    assert nothing_counts(server)


@pytest.mark.server(more=UNSHAPED)
async def test_answers_that_may_be_asked_for_again_count_for_the_account(server: Harness) -> None:
    """Who hoards over BOSH goes first, as over TCP, and what was kept for it goes as well."""
    memory = server.server.memory
    hoarder = await BoshClient.login(server, "romeo", "hoarder", "ack='1'")
    small = await server.login("benvolio", presence=True)
    juliet = await server.login("juliet")
    acknowledged = hoarder.rid
    for number in range(4):
        asked = hoarder.request(more=f"ack='{acknowledged}'")
        await server.quiet()
        juliet.send(f"<message to='{hoarder.jid}' id='{number}'><body>{'x' * 200 * KIB}{END}")
        await asked.body()
    kept = server.host.account("romeo@localhost").pool.used
    assert memory.used >= kept >= 600 * KIB
    memory.configure(memory.used - 1, 1 << 30)
    juliet.send(f"<message to='{hoarder.jid}' id='last'><body>{'x' * 200 * KIB}{END}")
    await server.quiet()
    assert not session(server, small).ended
    assert server.host.account("romeo@localhost").sessions == {}
    assert memory.used < 10 * KIB
