"""One stanza from decision to release: what it writes is committed once and first, it is settled once, and its place in
the order is kept."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.harness import Client, Harness, condition
from tests.harness.peer import Peer
from xmppd.contracts.order import Lane
from xmppd.errors import NotAllowed, ServiceUnavailable, StanzaError, StorageUnavailable
from xmppd.jid import JID
from xmppd.routing.transaction import StanzaTransaction
from xmppd.stanza import Stanza, message, parse_stanza
from xmppd.storage.api import DataError, Map
from xmppd.xml import E

AWAY = "elsewhere.example"


@dataclass(frozen=True, slots=True)
class Note:
    text: str


@pytest.fixture
def peer(server: Harness) -> Peer:
    return Peer(server, AWAY)


@pytest.fixture
def notes(server: Harness) -> Map[Note]:
    return server.storage.map("notes", Note)


def begin(server: Harness, peer: Peer, number: int = 1, type: str = "chat") -> StanzaTransaction:
    peer.received = number
    stanza = parse_stanza(
        f"<message from='a@{AWAY}/x' to='romeo@localhost' type='{type}' id='{number}'><body>x</body></message>".encode()
    )
    return StanzaTransaction(server.server.router, stanza, peer)


async def test_nothing_to_write_is_released_at_once(server: Harness, peer: Peer) -> None:
    done: list[str] = []
    transaction = begin(server, peer)
    transaction.then(lambda: done.append("released"))
    transaction.finish()
    assert done == ["released"] and peer.handled == 1


async def test_actions_follow_the_commit_in_order(server: Harness, peer: Peer, notes: Map[Note]) -> None:
    done: list[str] = []
    server.backend.hold()
    first, second = begin(server, peer), begin(server, peer, 2)
    first.write(notes.put("a", "1", Note("one")))
    first.then(lambda: done.append("first"))
    first.then(lambda: done.append("and then"))
    first.finish()
    second.then(lambda: done.append("second"))
    second.finish()
    await server.quiet()
    assert done == [] and peer.handled == 0, "what writes nothing waits behind what does"
    server.backend.release()
    await server.quiet()
    assert done == ["first", "and then", "second"] and peer.handled == 2
    assert await notes.read("a", "1") == Note("one")


async def test_in_two_orders(server: Harness, peer: Peer, notes: Map[Note]) -> None:
    """Behind the later of two tails; it is the tail of both then."""
    done: list[str] = []
    other, room = Peer(server, "third.example"), Lane()
    server.backend.hold()
    first, second = begin(server, peer), begin(server, other)
    first.write(notes.put("a", "1", Note("one")))
    first.behind(room)
    first.then(lambda: done.append("first"))
    first.finish()
    second.behind(room)
    second.then(lambda: done.append("second"))
    second.finish()
    assert not room.idle and not other.lane.idle
    server.backend.release()
    await server.quiet()
    assert done == ["first", "second"] and room.idle and other.lane.idle


@pytest.mark.parametrize(
    ("failure", "told"),
    [(DataError("no"), "internal-server-error"), (StorageUnavailable("away"), "resource-constraint")],
)
async def test_a_commit_that_fails(
    server: Harness, peer: Peer, notes: Map[Note], failure: Exception, told: str
) -> None:
    """Nothing is released, the sender is told why, and it is settled."""
    transaction = begin(server, peer)
    transaction.write(notes.put("a", "1", Note("one")))
    transaction.then(lambda: pytest.fail("it is released"))
    transaction.failed(failure)
    assert peer.handled == 1 and told in peer.got[0].data.decode()


async def test_an_update_that_cannot_be_computed(server: Harness, peer: Peer, notes: Map[Note]) -> None:
    def fails(found: Note | None) -> Note:
        raise ZeroDivisionError

    transaction = begin(server, peer)
    transaction.write(notes.update("a", "1", fails))
    transaction.finish()
    await server.quiet()
    assert peer.texts() == ["error 1"] and peer.handled == 1


async def test_refused_in_its_place(server: Harness, peer: Peer, notes: Map[Note]) -> None:
    """Nothing of it is written, and its origin hears of it behind the answers to what came before."""
    server.backend.hold()
    first, second = begin(server, peer), begin(server, peer, 2)
    first.write(notes.put("a", "1", Note("one")))
    first.then(lambda: first.reply(first.stanza))
    first.finish()
    second.write(notes.put("a", "2", Note("two")))
    second.refuse(NotAllowed())
    assert peer.refused == [2] and not peer.got
    server.backend.release()
    await server.quiet()
    assert peer.texts() == ["chat 1", "error 2"] and peer.handled == 2
    assert await notes.read("a", "2") is None


async def test_an_error_is_never_answered(server: Harness, peer: Peer) -> None:
    begin(server, peer, type="error").refuse(NotAllowed())
    assert peer.got == [] and peer.handled == 1


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (NotAllowed(), "not-allowed"),
        (StorageUnavailable("away"), "resource-constraint"),
        (ZeroDivisionError(), "internal-server-error"),
    ],
)
async def test_a_decision_that_takes_time_and_fails(server: Harness, peer: Peer, raised: Exception, told: str) -> None:
    async def decide() -> None:
        raise raised

    await begin(server, peer).finish_when(decide())
    assert peer.handled == 1 and told in peer.got[0].data.decode()


async def test_a_barrier(server: Harness, peer: Peer, notes: Map[Note]) -> None:
    """Decided when all before it is released."""
    done: list[str] = []

    async def decide() -> None:
        done.append("decided")

    server.backend.hold()
    first, second = begin(server, peer), begin(server, peer, 2)
    first.write(notes.put("a", "1", Note("one")))
    first.then(lambda: done.append("released"))
    first.finish()
    server.server.background.spawn(second.finish_when(second.barrier(decide())), "test")
    await server.quiet()
    assert done == []
    server.backend.release()
    await server.quiet()
    assert done == ["released", "decided"] and peer.handled == 2


# ---- passing on to an account


async def forwarded(server: Harness, peer: Peer, to: str, type: str = "chat") -> StanzaError | None:
    transaction = begin(server, peer)
    sender = JID.parse("garden@conference.localhost/nurse")
    stanza: Stanza = message(type, E("body", "jabber:client", {}, "hello"), to=JID.parse(to), sender=sender)
    try:
        transaction.forward(stanza)
    except StanzaError as error:
        return error
    transaction.finish()
    await server.quiet()
    return None


@pytest.mark.one_home("to another home it is not")
async def test_passed_on_in_the_same_batch(server: Harness, peer: Peer) -> None:
    romeo = await server.login("romeo", "x", presence=True)
    server.backend.hold()
    transaction = begin(server, peer)
    sender = JID.parse("garden@conference.localhost/nurse")
    body = E("body", "jabber:client", {}, "hello")
    transaction.forward(message("chat", body, to=JID.parse(romeo.jid), sender=sender))
    assert transaction.writes and transaction.inbound
    transaction.finish()
    assert await romeo.receive_all() == [] and peer.handled == 0
    server.backend.release()
    assert [each.get("from") for each in await romeo.receive_all()] == [sender.full] and peer.handled == 1


@pytest.mark.one_home("what is sent to another home is refused there")
async def test_not_passed_on(server: Harness, peer: Peer) -> None:
    """Raises where the account is not in memory: whoever passes it on sends it by itself then."""
    for nobody in ("nobody@localhost", f"a@{AWAY}", "garden@conference.localhost"):
        assert isinstance(await forwarded(server, peer, nobody), ServiceUnavailable)


async def test_a_chain_that_refuses_what_is_passed_on(server: Harness, peer: Peer) -> None:
    """The rest of the stanza goes its way, and nothing is written for that account."""
    romeo: Client = await server.login("romeo", "x", presence=True)
    block = "<block xmlns='urn:xmpp:blocking'><item jid='garden@conference.localhost'/></block>"
    assert condition(await romeo.iq(block, "set")) == ""
    assert await forwarded(server, peer, romeo.jid) is None
    assert peer.handled == 1 and await romeo.receive_all() == []
