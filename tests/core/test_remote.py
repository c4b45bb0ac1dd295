"""What goes to other servers, seen from the router: kept until they have it, in order, and what comes back."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.harness import Client, FakeClock, Harness, xml
from xmppd.contracts.remote import Handover
from xmppd.errors import RemoteServerNotFound, RemoteServerTimeout, StorageUnavailable
from xmppd.routing.outbox import CROWD
from xmppd.routing.remote import AGAIN
from xmppd.server.server import Server
from xmppd.stanza import Stanza, parse_stanza
from xmppd.storage.store import Store
from xmppd.xep.elements import parse_time

BOB = "bob@elsewhere.example"


class Servers:
    """Other servers that take what they are given, and say nothing by themselves. Implements
    `contracts.remote.RemoteServers`."""

    def __init__(self, server: Server) -> None:
        self.given: list[Handover] = []
        server.routes.elsewhere.servers = self

    def reaches(self, domain: str) -> bool:
        return domain != "blocked.example"

    def send(self, local: str, remote: str, handover: Handover) -> None:
        assert (local, remote) == ("localhost", "elsewhere.example")
        self.given.append(handover)

    def ids(self) -> list[str]:
        return [each.stanza.id for each in self.given]


def chat(id: str, to: str = BOB, type: str = "chat", inside: str = "<body>hi</body>") -> str:
    return f"<message id='{id}' to='{to}' type='{type}'>{inside}</message>"


async def romeo(server: Harness) -> Client:
    client = await server.login("romeo", "orchard")
    client.send("<presence/>")
    await server.quiet()
    await client.receive_all()
    return client


async def unheard(server: Harness) -> int:
    return len(await server.storage.unheard("localhost"))


async def test_a_message_is_kept_until_the_other_server_has_it(server: Harness) -> None:
    servers, client = Servers(server.server), await romeo(server)
    client.send(chat("m1"))
    await server.quiet()
    (handover,) = servers.given
    assert handover.patient and await unheard(server) == 1
    assert str(handover.stanza.sender) == "romeo@localhost/orchard" and str(handover.stanza.to) == BOB
    handover.delivered()
    await server.quiet()
    assert await unheard(server) == 0
    outbox = server.server.router.outbox
    assert (outbox._lines, outbox._owners, outbox._size) == ({}, {}, 0)
    assert await client.receive_all() == []


def stamps(stanza: Stanza) -> list[int]:
    """When this server has accepted it, as it says (XEP-0203)."""
    found = [each for each in stanza.xml if each.tag == "{urn:xmpp:delay}delay" and each.get("from") == "localhost"]
    return [parse_time(each.get("stamp", "")) for each in found]


async def test_it_goes_again_after_a_crash_in_order(server: Harness) -> None:
    before = Servers(server.server)
    client = await romeo(server)
    client.send(chat("m1") + chat("m2") + chat("m3"))
    await server.quiet()
    said = [each.at for each in before.given]
    clock = FakeClock(server.clock.wall + 5)
    backend = server.backend.survivor()
    backend.clock = clock
    after = Harness(store=Store(backend, clock), clock=clock)
    made: list[Servers] = []
    after.before_start = lambda server: made.append(Servers(server))
    await after.start()
    (servers,) = made
    await after.quiet()
    assert servers.ids() == ["m1", "m2", "m3"] and all(each.patient for each in servers.given)
    assert [each.at for each in servers.given] == said and server.clock.now() * 1e6 - said[0] < 1e6
    for each in servers.given:
        assert stamps(each.stanza) == [each.at] == stamps(each.late), "when it was said, once"
    servers.given[0].delivered()
    await after.quiet()
    assert await unheard(after) == 2
    await after.stop()


@pytest.mark.parametrize("error", [RemoteServerNotFound, RemoteServerTimeout])
async def test_what_cannot_be_brought_comes_back_in_order(server: Harness, error: Callable[[], Exception]) -> None:
    servers, client = Servers(server.server), await romeo(server)
    client.send(chat("m1") + chat("m2"))
    await server.quiet()
    for handover in servers.given:
        handover.failed(error())  # type: ignore[arg-type]
    await server.quiet()
    told = [
        (each.get("id"), each.get("type"), each[-1][0].tag.partition("}")[2]) for each in await client.receive_all()
    ]
    condition = error().condition  # type: ignore[attr-defined]
    assert told == [("m1", "error", condition), ("m2", "error", condition)]
    assert await unheard(server) == 0


async def test_the_error_waits_for_its_client(server: Harness) -> None:
    """Its stream is gone when the other server has not been reached for an hour."""
    servers, client = Servers(server.server), await romeo(server)
    client.send(chat("m1"))
    await server.quiet()
    client.cut()
    await server.quiet()
    servers.given[0].failed(RemoteServerTimeout())
    await server.quiet()
    again = await server.login("romeo", "garden")
    again.send("<presence/>")
    await server.quiet()
    came = await again.receive_all()
    assert any("remote-server-timeout" in xml(each) and each.get("id") == "m1" for each in came)


async def test_what_has_waited_says_so(server: Harness) -> None:
    """XEP-0203. What its sender has stamped already says it; presence and what is not kept says nothing."""
    servers, client = Servers(server.server), await romeo(server)
    stamped = "<body>old</body><delay xmlns='urn:xmpp:delay' stamp='2020-01-01T00:00:00Z'/>"
    client.send(chat("m1") + chat("m2", inside=stamped) + f"<presence to='{BOB}' type='subscribe'/>")
    await server.quiet()
    first, second, third = servers.given
    assert stamps(first.stanza) == [] and stamps(first.late) == [first.at]
    assert second.late.data == second.stanza.data and "delay" not in xml(third.late.xml)


async def test_what_nobody_keeps_is_handed_over_once(server: Harness) -> None:
    servers, client = Servers(server.server), await romeo(server)
    client.send(
        f"<iq type='get' id='i1' to='elsewhere.example'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"
        f"<presence to='{BOB}'/>" + chat("m1", inside="<composing xmlns='http://jabber.org/protocol/chatstates'/>")
    )
    await server.quiet()
    assert [each.patient for each in servers.given] == [False] * 3 and await unheard(server) == 0
    for handover in servers.given:
        handover.failed(RemoteServerTimeout())
    await server.quiet()
    assert [each.get("id") for each in await client.receive_all()] == ["i1", "m1"], (
        "nobody waits for an answer to presence"
    )


async def test_where_nothing_goes(server: Harness) -> None:
    servers, client = Servers(server.server), await romeo(server)
    client.send("<presence to='bob@blocked.example'/>" + chat("m1", "bob@blocked.example"))
    await server.quiet()
    (told,) = await client.receive_all()
    assert (told.get("id"), told.get("type")) == ("m1", "error") and "remote-server-not-found" in xml(told)
    assert not servers.given and await unheard(server) == 0


async def test_a_request_to_see_presence_is_kept(server: Harness) -> None:
    servers, client = Servers(server.server), await romeo(server)
    client.send(f"<presence type='subscribe' to='{BOB}'/>")
    await server.quiet()
    (handover,) = servers.given
    assert handover.patient and handover.stanza.type == "subscribe" and str(handover.stanza.sender) == "romeo@localhost"
    handover.failed(RemoteServerNotFound())
    await server.quiet()
    assert await unheard(server) == 0
    came = await client.receive_all()
    assert any(each.get("type") == "error" and each.tag.endswith("presence") for each in came)


async def test_a_server_that_is_away_slows_nobody(server: Harness) -> None:
    """What waits for it is no reason to read the client no more."""
    servers, client = Servers(server.server), await romeo(server)
    body = f"<body>{'x' * 9000}</body>"
    for number in range(40):
        client.send(chat(f"m{number}", inside=body))
        await server.quiet()
    assert len(servers.given) == 40 and CROWD < 40 * 27_000
    assert server.server.router.outbox.crowds == 0 and not server.server.router.outbox.busy


async def test_the_store_is_away_when_the_other_server_has_it(server: Harness) -> None:
    servers, client = Servers(server.server), await romeo(server)
    client.send(chat("m1"))
    await server.quiet()
    server.backend.fail(StorageUnavailable("it does not answer"))
    servers.given[0].delivered()
    await server.quiet()
    assert await unheard(server) == 1
    await server.advance(AGAIN)
    await server.quiet()
    assert await unheard(server) == 0


async def test_presence_stays_behind_a_message(server: Harness) -> None:
    """One order for each pair, whether it is kept or not."""
    servers, client = Servers(server.server), await romeo(server)
    server.backend.hold()
    client.send(chat("m1") + f"<presence to='{BOB}' id='p1'/>" + chat("m2"))
    await server.quiet()
    assert not servers.given
    server.backend.release()
    await server.quiet()
    assert servers.ids() == ["m1", "p1", "m2"]


def test_the_error_of_a_request_is_one_of_presence() -> None:
    asked = parse_stanza(f"<presence type='subscribe' to='{BOB}' from='romeo@localhost'/>".encode())
    assert asked.error(RemoteServerNotFound()).type == "error"
