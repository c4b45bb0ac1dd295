"""Where addresses live: what is local, what is not here, and a destination for a whole domain."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.harness import Harness, condition
from tests.harness.peer import Peer
from xmppd.contracts.blocking import BLOCKLIST
from xmppd.contracts.rooms import ROOMS
from xmppd.jid import JID
from xmppd.routing.accounts import AccountsDestination
from xmppd.routing.remote import Elsewhere
from xmppd.routing.routes import EntitiesDestination, HostDestination
from xmppd.stanza import iq, message, presence
from xmppd.xml import E

AWAY = "elsewhere.example"
ROMEO = JID.parse("romeo@localhost/x")
BODY = E("body", "jabber:client", {}, "hello")


@dataclass(frozen=True, slots=True)
class Note:
    text: str


@pytest.mark.one_home("it names the destinations of one home")
async def test_each_address_has_a_destination(server: Harness) -> None:
    find = server.server.router.routes.find
    kinds = {
        "romeo@localhost": AccountsDestination,
        "nobody@localhost/x": AccountsDestination,
        "localhost": HostDestination,
        "localhost/x": HostDestination,
        "garden@conference.localhost/romeo": EntitiesDestination,
        "conference.localhost": HostDestination,
        AWAY: Elsewhere,
        f"romeo@{AWAY}": Elsewhere,
    }
    assert {address: type(find(JID.parse(address))) for address in kinds} == kinds


async def test_what_plugins_ask(server: Harness) -> None:
    romeo = await server.login("romeo", "x", presence=True)
    routes = server.server.router.routes
    domains = ("localhost", "conference.localhost", AWAY)
    assert [routes.is_local(domain) for domain in domains] == [True, True, False]
    assert [routes.serves_accounts(domain) for domain in domains] == [True, False, False]
    assert [routes.service(domain, ROOMS) is not None for domain in domains] == [False, True, False]
    assert routes.service("localhost", BLOCKLIST) is not None
    assert {host.domain for host in routes.hosts()} == {"localhost", "conference.localhost"}
    full = JID.parse(romeo.jid)
    session = routes.session(full)
    assert session is not None and session.jid == full and session.account is routes.account(full)
    assert routes.account_named(full.bare) is routes.account(full) and routes.is_loaded(full)
    assert routes.session(JID.parse("romeo@localhost/other")) is None
    for nobody in ("romeo", f"romeo@{AWAY}", "garden@conference.localhost"):
        jid = JID.parse(nobody)
        assert routes.session(jid) is None and await routes.open_account(jid) is None
    assert await routes.open_account(JID.parse("nobody@localhost")) is None
    await server.register("juliet")
    juliet = await routes.open_account(JID.parse("juliet@localhost/x"))
    assert juliet is not None and juliet.bare == "juliet@localhost"


# ---- not here


async def test_a_client_hears_that_a_domain_is_not_here(server: Harness) -> None:
    romeo = await server.login("romeo", presence=True)
    romeo.send(f"<message to='a@{AWAY}' id='1'><body>x</body></message><presence to='a@{AWAY}'/>")
    romeo.send(f"<iq to='{AWAY}' type='get' id='2'><ping xmlns='urn:xmpp:ping'/></iq>")
    romeo.send(f"<message to='a@{AWAY}' type='error' id='3'/><iq to='a@{AWAY}' type='result' id='4'/>")
    answers = await romeo.receive_all()
    assert [(each.get("id"), condition(each)) for each in answers] == [
        ("1", "remote-server-not-found"),
        ("2", "remote-server-not-found"),
    ]


async def test_so_does_the_server_itself(server: Harness) -> None:
    """Whatever way it sends; presence is dropped."""
    heard: list[str] = []
    host = server.host
    host.ask(JID.parse(AWAY), E("ping", "urn:xmpp:ping"), lambda answer: heard.append(answer.type))
    assert heard == ["error"], "at once: nobody waits for a time-out"
    host.deliver(presence("probe", to=JID.parse(f"a@{AWAY}"), sender=host.jid))
    romeo = await server.login("romeo", "x", presence=True)
    router, there = server.server.router, JID.parse(f"a@{AWAY}/x")
    router.deliver(message("chat", BODY, to=there, sender=ROMEO))
    router.fan_out(message("chat", BODY, sender=ROMEO), [there, ROMEO])
    router.fan_out(presence(sender=ROMEO), [there])
    answers = await romeo.receive_all()
    assert sorted(condition(each) for each in answers) == ["", *["remote-server-not-found"] * 2]
    assert not router.own_orders.pending


# ---- a destination for a whole domain


@pytest.fixture
def away(server: Harness) -> Peer:
    peer = Peer(server, AWAY, relays=True, remote=False)
    server.server.router.routes.register(AWAY, peer)
    return peer


async def test_a_domain_answers(server: Harness, away: Peer) -> None:
    """Messages and IQs both ways."""
    romeo = await server.login("romeo", "x", presence=True)
    romeo.send(f"<message to='a@{AWAY}' type='chat' id='1'><body>hello</body></message>")
    romeo.send(f"<presence to='b@{AWAY}/x' id='2'/>")
    romeo.send(f"<iq to='{AWAY}' type='get' id='3'><ping xmlns='urn:xmpp:ping'/></iq>")
    assert await romeo.receive_all() == []
    assert {stanza.sender and stanza.sender.full for stanza in away.got} == {romeo.jid}
    assert away.texts() == ["chat 1", "2", "get 3"]
    away.send(
        f"<message from='a@{AWAY}/x' to='{romeo.jid}' type='chat' id='4'><body>welcome</body></message>",
        f"<iq from='{AWAY}' to='{romeo.jid}' type='result' id='3'/>",
        f"<iq from='{AWAY}' to='localhost' type='get' id='5'><ping xmlns='urn:xmpp:ping'/></iq>",
        f"<iq from='{AWAY}' to='{romeo.jid}' type='get' id='6'><ping xmlns='urn:xmpp:ping'/></iq>",
    )
    assert [(each.get("id"), each.get("from")) for each in await romeo.receive_all()] == [
        ("4", f"a@{AWAY}/x"),
        ("3", AWAY),
        ("6", AWAY),
    ]
    assert away.texts() == ["result 5"]
    romeo.send(f"<iq to='{AWAY}' type='result' id='6'/>")
    await server.quiet()
    assert away.texts() == ["result 6"] and away.handled == away.received == 4


async def test_what_it_writes_is_committed_first(server: Harness, away: Peer) -> None:
    romeo = await server.login("romeo", "x", presence=True)
    notes = server.storage.map("notes", Note)
    server.backend.hold()
    away.stores = [notes.put(AWAY, "1", Note("hello"))]
    romeo.send(f"<message to='a@{AWAY}' type='headline' id='1'><body>hello</body></message>")
    await server.quiet()
    assert not away.got, "nothing is released before the commit"
    server.backend.release()
    await server.quiet()
    assert away.texts() == ["headline 1"] and await notes.read(AWAY, "1") == Note("hello")


async def test_what_the_server_sends_gets_there(server: Harness, away: Peer) -> None:
    """From `deliver` and a fan-out as from a client."""
    router, there = server.server.router, JID.parse(f"a@{AWAY}/x")
    host = server.host
    romeo = await server.login("romeo", "x", presence=True)
    router.deliver(iq("get", "1", E("ping", "urn:xmpp:ping"), to=there, sender=host.jid))
    router.fan_out(message("groupchat", BODY, sender=host.jid), [there, JID.parse(romeo.jid), there.to_bare()])
    assert [stanza.to and stanza.to.full for stanza in away.got] == [there.full, there.full, there.bare]
    assert away.texts() == ["get 1", "groupchat", "groupchat"]
    assert len(await romeo.receive_all()) == 1


async def test_a_domain_has_one_destination(server: Harness, away: Peer) -> None:
    routes = server.server.router.routes
    for domain in (AWAY, "localhost"):
        with pytest.raises(ValueError, match=domain):
            routes.register(domain, away)
    routes.unregister(AWAY)
    routes.unregister("localhost")
    assert type(routes.find(JID.parse(AWAY))) is Elsewhere
    assert type(routes.find(JID.parse("localhost"))) is HostDestination


async def test_a_destination_that_crashes(server: Harness, away: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stanza is refused, the stream lives on."""
    monkeypatch.delattr(Peer, "accept")
    romeo = await server.login("romeo", "x", presence=True)
    romeo.send(f"<message to='a@{AWAY}' id='1'><body>x</body></message>")
    server.server.router.deliver(message("chat", BODY, to=JID.parse(AWAY), sender=ROMEO))
    answers = await romeo.receive_all()
    assert [condition(each) for each in answers] == ["internal-server-error"] * 2
    assert (await romeo.iq("<ping xmlns='urn:xmpp:ping'/>", to="localhost")).get("type") == "result"
