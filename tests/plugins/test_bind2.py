"""XEP-0386: what binds, which resource it gets, and what is switched on with it."""

from __future__ import annotations

import pytest

from tests.harness import STREAM, Harness
from tests.harness.sasl2 import AGENT, BIND, CARBONS, NS, SM, agent, bind, name, opened, plain, signed_in
from xmppd.jid import JID

CSI = "urn:xmpp:csi:0"
MAM = "urn:xmpp:mam:2"
OTHER = "11111111-2222-4333-8444-555555555555"
ALL = f"<enable xmlns='{CARBONS}'/><enable xmlns='{SM}' resume='true'/><inactive xmlns='{CSI}'/>"


async def test_it_is_announced(server: Harness) -> None:
    client = await opened(server)
    found = client.features.find(f".//{{{BIND}}}bind")
    assert found is not None
    inline = found.find(f"{{{BIND}}}inline")
    assert inline is not None
    assert {each.get("var") for each in inline} == {CARBONS, SM, CSI}


async def test_all_in_one_step(server: Harness) -> None:
    client, success = await signed_in(server, bind(ALL) + agent())
    assert [name(each) for each in success] == ["authorization-identifier", "bound"]
    assert [name(each) for each in success[1]] == ["metadata", "enabled"]
    features = await client.receive()
    assert features.tag == STREAM + "features"
    # What is on is not offered again: a client would switch it off for good (xmpp.js).
    offered = {each.tag for each in features}
    assert not offered & {
        f"{{{SM}}}sm",
        "{urn:ietf:params:xml:ns:xmpp-bind}bind",
        "{urn:ietf:params:xml:ns:xmpp-session}session",
        f"{{{NS}}}authentication",
    }
    session = server.host.session_of(JID.parse(client.jid))
    assert session.channel.gate is not None
    other = await server.login("romeo", "desk")
    await server.register("juliet")
    client.send(f"<active xmlns='{CSI}'/>")
    other.send("<message to='juliet@localhost' type='chat' id='m'><body>hi</body></message>")
    assert [each[0].tag for each in await client.receive_all()] == [f"{{{CARBONS}}}sent"]


async def test_without_a_bind_the_old_way_is_offered(server: Harness) -> None:
    client, success = await signed_in(server)
    assert [name(each) for each in success] == ["authorization-identifier"]
    assert (await client.receive()).find("{urn:ietf:params:xml:ns:xmpp-bind}bind") is not None


async def test_the_ends_of_the_archive(server: Harness) -> None:
    _, success = await signed_in(server, bind())
    assert success.find(f".//{{{MAM}}}metadata/*") is None
    juliet = await server.login("juliet")
    for number in "12":
        juliet.send(f"<message to='romeo@localhost' type='chat' id='{number}'><body>{number}</body></message>")
        await server.advance(1)
    _, success = await signed_in(server, bind())
    start, end = success.findall(f".//{{{MAM}}}metadata/*")
    assert int(str(start.get("id"))) < int(str(end.get("id")))


async def test_the_same_client_gets_the_same_resource(server: Harness) -> None:
    client, _ = await signed_in(server, bind(tag="Phone") + agent())
    assert client.jid.startswith("romeo@localhost/Phone/")
    assert AGENT[:8] not in client.jid
    again, _ = await signed_in(server, bind(tag="Phone") + agent(AGENT.upper()))
    assert again.jid == client.jid
    assert await client.stream_error() == "conflict"
    # one that is called by another name now is still the same client
    newer, _ = await signed_in(server, bind(tag="Phone 2") + agent())
    assert newer.jid != again.jid
    assert await again.stream_error() == "conflict"
    # another client
    other, _ = await signed_in(server, bind(tag="Phone 2") + agent(OTHER))
    assert other.jid != newer.jid
    await newer.receive_all()
    assert not newer.closed


async def test_it_differs_from_account_to_account(server: Harness) -> None:
    """Contacts of both cannot tell that it is one person."""
    romeo, _ = await signed_in(server, bind() + agent())
    juliet, _ = await signed_in(server, user="juliet", text=plain("juliet", more=bind() + agent()))
    assert romeo.jid.rpartition("/")[2] != juliet.jid.rpartition("/")[2]


async def test_clients_without_an_id(server: Harness) -> None:
    one, _ = await signed_in(server, bind())
    two, _ = await signed_in(server, bind() + agent(None))
    assert one.jid != two.jid
    assert one.jid.startswith("romeo@localhost/Phone/")
    await one.receive_all()
    assert not one.closed


@pytest.mark.parametrize("tag", ["", "  ", "x" * 2000, "a&#x85;b"])
async def test_tags_that_no_resource_can_hold(server: Harness, tag: str) -> None:
    client, success = await signed_in(server, bind(tag=tag) + agent())
    assert success.find(f"{{{BIND}}}bound") is not None
    assert "/" not in client.jid.partition("/")[2]


async def test_each_feature_once(server: Harness) -> None:
    twice = f"<enable xmlns='{SM}'/>" * 3 + "<enable xmlns='urn:x'/>"
    _, success = await signed_in(server, bind(twice))
    assert [name(each) for each in success[1]] == ["metadata", "enabled"]


@pytest.mark.server(more="limits: {sessions_per_account: 1}")
async def test_too_many_sessions(server: Harness) -> None:
    await signed_in(server, bind() + agent())
    client = await opened(server)
    client.send(plain(more=bind() + agent(OTHER)))
    assert await client.stream_error() == "resource-constraint"


async def test_what_waits_is_not_lost(server: Harness) -> None:
    """A client that does not read its archive gets it at its presence."""
    juliet = await server.login("juliet")
    await server.register("romeo")
    juliet.send("<message to='romeo@localhost' type='chat' id='m'><body>waits</body></message>")
    await server.quiet()
    client, _ = await signed_in(server, bind(f"<enable xmlns='{SM}' resume='true'/>") + agent())
    await client.receive()
    await client.silence()
    client.send("<presence/>")
    bodies = [each.findtext("{jabber:client}body") for each in await client.receive_all()]
    assert "waits" in bodies


async def test_the_password_changes_in_between(server: Harness) -> None:
    """T14: what was looked up before holds no more."""
    client = await opened(server)
    client.send(plain(password="wrong"))
    await client.receive()
    await server.server.accounts.set_password(JID.parse("romeo@localhost"), "crayon")
    client.send(plain(more=bind()))
    assert name(await client.receive()) == "failure"
    client.send(plain(password="crayon", more=bind()))
    assert name(await client.receive()) == "success"
