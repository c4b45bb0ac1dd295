"""XEP-0077, and the accounts behind it."""

from __future__ import annotations

import pytest
from lxml import etree

from plugins.register.names import scripts, twins
from tests.harness import Client, Element, FakeClock, Harness, condition
from xmppd.errors import ResourceConstraint
from xmppd.jid import JID
from xmppd.window_limit import AddressLimit, network

NS = "{jabber:iq:register}"
DATA = "{jabber:x:data}"
OPEN = {"register": {"mode": "open", "captcha": False}}
GET = "<query xmlns='jabber:iq:register'/>"
REMOVE = "<query xmlns='jabber:iq:register'><remove/></query>"
opened = pytest.mark.server(plugins=OPEN)


def query(name: str | None, password: str | None) -> str:
    inside = f"<username>{name}</username>" if name is not None else ""
    inside += f"<password>{password}</password>" if password is not None else ""
    return f"<query xmlns='jabber:iq:register'>{inside}</query>"


async def stranger(server: Harness, peer: str = "127.0.0.1") -> tuple[Client, Element]:
    client = server.connect()
    client.link.peer = peer
    client.open()
    return client, await client.receive()


async def exists(server: Harness, name: str) -> bool:
    return await server.server.accounts.exists(JID.of(name, "localhost"))


# ---- strangers


@pytest.mark.server(plugins={"register": {"mode": "closed"}})
async def test_closed(server: Harness) -> None:
    client, features = await stranger(server)
    assert features.find("{http://jabber.org/features/iq-register}register") is None
    client.send(f"<iq type='set' id='1'>{query('romeo', 'wherefore')}</iq>")
    assert await client.stream_error() == "not-authorized"
    assert not await exists(server, "romeo")


@opened
async def test_register_by_form(server: Harness) -> None:
    """Dino has no field to fill in where there is no form (seen with 0.4.2)."""
    client, _ = await stranger(server)
    (x,) = (await client.iq(GET, to="localhost"))[0].findall(DATA + "x")
    assert [(each.get("var"), each.get("type")) for each in x.iter(DATA + "field")] == [
        ("FORM_TYPE", "hidden"),
        ("username", "text-single"),
        ("password", "text-private"),
    ]
    filled = (("FORM_TYPE", "jabber:iq:register"), ("username", "romeo"), ("password", "wherefore"))
    fields = "".join(f"<field var='{name}'><value>{value}</value></field>" for name, value in filled)
    submitted = f"<query xmlns='jabber:iq:register'><x xmlns='jabber:x:data' type='submit'>{fields}</x></query>"
    assert (await client.iq(submitted, "set")).get("type") == "result"
    again = server.connect()
    await again.sign_in("romeo", "wherefore")


@opened
async def test_register_and_sign_in(server: Harness) -> None:
    client, features = await stranger(server)
    assert features.find("{http://jabber.org/features/iq-register}register") is not None
    form = (await client.iq(GET, to="localhost"))[0]
    assert [each.tag for each in form] == [NS + "instructions", NS + "username", NS + "password", DATA + "x"]
    assert (await client.iq(query("Romeo", "wherefore"), "set")).get("type") == "result"
    again = server.connect()
    await again.sign_in("romeo", "wherefore")
    await again.bind()
    assert again.jid.startswith("romeo@localhost/")


@opened
async def test_the_core_wants_a_safe_stream(server: Harness) -> None:
    client = server.connect(tls="starttls")
    client.open()
    features = await client.receive()
    assert features.find("{http://jabber.org/features/iq-register}register") is None
    client.send(f"<iq type='set' id='1'>{query('romeo', 'wherefore')}</iq>")
    assert await client.stream_error() == "not-authorized"


@opened
@pytest.mark.parametrize(
    ("name", "password", "wanted"),
    [
        (None, "wherefore", "not-acceptable"),
        ("", "wherefore", "not-acceptable"),
        ("romeo", None, "not-acceptable"),
        ("romeo", "", "not-acceptable"),
        ("romeo", "short", "not-acceptable"),
        ("wherefore", "Wherefore", "not-acceptable"),
        ("r", "wherefore", "not-acceptable"),
        ("admin", "wherefore", "not-acceptable"),
        ("Administrator", "wherefore", "not-acceptable"),
        ("adm1n", "wherefore", "conflict"),
        ("rорео", "wherefore", "not-acceptable"),
        ("ромео", "wherefore", "not-acceptable"),
        ("ro meo", "wherefore", "not-acceptable"),
        ("ro@meo", "wherefore", "not-acceptable"),
        ("romeo/x", "wherefore", "not-acceptable"),
        (".romeo", "wherefore", "not-acceptable"),
        ("juliet", "wherefore", "conflict"),
        ("JULIET", "wherefore", "conflict"),
        ("ju1iet", "wherefore", "conflict"),
        ("juIiet", "wherefore", "conflict"),
        ("romeo", "where\tfore", "not-acceptable"),
    ],
)
async def test_names_and_passwords(server: Harness, name: str | None, password: str | None, wanted: str) -> None:
    await server.register("juliet")
    client, _ = await stranger(server)
    assert condition(await client.iq(query(name, password), "set")) == wanted
    assert await server.server.accounts.list("localhost") == ["juliet@localhost"]


@pytest.mark.server(plugins={"register": {"mode": "open", "captcha": False, "ascii_names": False}})
async def test_other_scripts_one_at_a_time(server: Harness) -> None:
    await server.register("cope")
    client, _ = await stranger(server)
    assert condition(await client.iq(query("ромео1", "wherefore"), "set")) == ""
    assert condition(await client.iq(query("rомео", "wherefore"), "set")) == "not-acceptable"
    assert condition(await client.iq(query("соре", "wherefore"), "set")) == "conflict"  # all Cyrillic


@opened
async def test_what_a_stranger_may_not(server: Harness) -> None:
    client, _ = await stranger(server)
    assert condition(await client.iq(REMOVE, "set")) == "unexpected-request"
    assert condition(await client.iq(query("romeo", "wherefore"), "set", to="elsewhere")) == "service-unavailable"
    assert condition(await client.iq(GET, to="@")) == "jid-malformed"


@opened
async def test_accounts_per_address(server: Harness) -> None:
    client, _ = await stranger(server, "192.0.2.1")
    for number in range(3):
        assert condition(await client.iq(query(f"user-{number}x", "wherefore"), "set")) == ""
    assert condition(await client.iq(query("one-more", "wherefore"), "set")) == "resource-constraint"
    other, _ = await stranger(server, "192.0.2.2")
    assert condition(await other.iq(query("one-more", "wherefore"), "set")) == ""
    await server.advance(3601)
    later, _ = await stranger(server, "192.0.2.1")
    assert condition(await later.iq(query("much-later", "wherefore"), "set")) == ""


@opened
async def test_tries_per_address(server: Harness) -> None:
    """Nobody finds out who is here by trying names."""
    await server.register("juliet")
    client, _ = await stranger(server)
    answers = [condition(await client.iq(query("juliet", "wherefore"), "set")) for _ in range(21)]
    assert answers == ["conflict"] * 20 + ["resource-constraint"]


@pytest.mark.server(
    plugins={"register": {"mode": "open", "captcha": False, "reserved": []}},
    hosts={"pubsub.localhost": {"type": "pubsub", "admins": ["keeper@localhost"]}},
)
@pytest.mark.parametrize("name", ["admin", "Admin", "adm1n", "keeper", "KEEPER"])
async def test_addresses_with_rights_are_reserved(server: Harness, name: str) -> None:
    """Those of `admins` of any host, whether there are such accounts or not. An administrator makes them."""
    client, _ = await stranger(server)
    await server.register("juliet")
    refused = await client.iq(query(name, "wherefore"), "set")
    taken = await client.iq(query("juliet", "wherefore"), "set")
    assert condition(refused) == "conflict"
    assert etree.tostring(refused[-1]) == etree.tostring(taken[-1]), "nobody learns who administers"
    await server.server.accounts.create(JID.of("keeper", "localhost"), "wherefore")
    snapshots = server.connect()
    await snapshots.sign_in("keeper", "wherefore")
    await snapshots.bind()
    assert condition(await snapshots.iq(REMOVE, "set")) == ""
    await server.quiet()
    await server.server.accounts.release(JID.of("keeper", "localhost"))
    assert condition(await client.iq(query("keeper", "wherefore"), "set")) == "conflict", "removed, it is so still"


@pytest.mark.server(
    plugins={"register": {"mode": "open", "captcha": False}, "disco": {"abuse": ["xmpp:reports@localhost?message"]}}
)
async def test_contact_addresses_are_reserved(server: Harness) -> None:
    """XEP-0157: people are told to write there."""
    client, _ = await stranger(server)
    assert condition(await client.iq(query("reports", "wherefore"), "set")) == "conflict"
    assert condition(await client.iq(query("reporter", "wherefore"), "set")) == ""


@opened
async def test_a_removed_name_is_taken(server: Harness) -> None:
    await server.server.accounts.create(JID.of("juliet", "localhost"), "wherefore")
    await server.server.accounts.delete(JID.of("juliet", "localhost"))
    await server.quiet()
    client, _ = await stranger(server)
    assert condition(await client.iq(query("juliet", "wherefore"), "set")) == "conflict"


@opened
async def test_registration_while_the_store_is_away(server: Harness, caplog: pytest.LogCaptureFixture) -> None:
    """An error, for the moment; the stream goes on."""
    client, _ = await stranger(server)
    server.backend.unreachable = True  # it cannot be read
    answer = await client.iq(query("romeo", "wherefore"), "set")
    error = answer.find("{jabber:client}error")
    assert condition(answer) == "resource-constraint" and error is not None and error.get("type") == "wait"
    server.backend.unreachable = False
    server.storage.available = False  # it cannot be written
    assert condition(await client.iq(query("romeo", "wherefore"), "set")) == "resource-constraint"
    server.storage.available = True
    assert condition(await client.iq(query("romeo", "wherefore"), "set")) == ""
    assert "Traceback" not in caplog.text


@opened
async def test_two_want_the_same_name(server: Harness) -> None:
    one, _ = await stranger(server)
    other, _ = await stranger(server)
    server.backend.hold()
    for client in (one, other):
        client.send(f"<iq type='set' id='1'>{query('romeo', 'wherefore')}</iq>")
    await server.until(lambda: False)
    server.backend.release()
    found = [condition(each) for each in [*await one.receive_all(), *await other.receive_all()]]
    assert sorted(found) == ["", "conflict"]


def test_rate_and_networks() -> None:
    clock = FakeClock()
    rate = AddressLimit(clock, 2, 60.0)
    rate.count("2001:db8:1:2::1")
    rate.count("2001:db8:1:2:ffff::2%eth0")
    with pytest.raises(ResourceConstraint):
        rate.check("2001:db8:1:2::3")
    rate.check("2001:db8:1:3::3")
    clock.time += 61
    rate.check("2001:db8:1:2::3")
    assert network("192.0.2.1") == "192.0.2.1"


def test_twins() -> None:
    assert {"paypa1", "paypai"} <= set(twins("paypal"))
    assert {"rnax"} <= set(twins("max")) and "max" in set(twins("rnax"))
    assert "cope" in set(twins("соре")) and "соре" in set(twins("cope"))
    assert len(set(twins("l" * 500))) <= 1000
    assert scripts("ромео1") == {"CYRILLIC"} and len(scripts("rомео")) == 2


# ---- people


async def test_what_is_on_file(server: Harness) -> None:
    romeo = await server.login("romeo")
    for to in (None, "localhost", "romeo@localhost"):
        found = (await romeo.iq(GET, to=to))[0]
        assert found.find(NS + "registered") is not None and found.findtext(NS + "username") == "romeo"


async def test_new_passwords_are_limited(server: Harness) -> None:
    """Whoever is signed in would keep all processors busy; what is refused without work counts for nothing."""
    romeo, juliet = await server.login("romeo"), await server.login("juliet")
    for _ in range(20):
        assert condition(await romeo.iq(query("romeo", "short"), "set")) == "not-acceptable"
    for number in range(10):
        assert condition(await romeo.iq(query("romeo", f"wherefore {number}"), "set")) == ""
    assert condition(await romeo.iq(query("romeo", "wherefore x"), "set")) == "resource-constraint"
    assert condition(await juliet.iq(query("juliet", "wherefore x"), "set")) == ""
    await server.advance(3601)
    romeo = server.connect()
    await romeo.sign_in("romeo", "wherefore 9")
    await romeo.bind()
    assert condition(await romeo.iq(query("romeo", "wherefore x"), "set")) == ""


async def test_new_password(server: Harness) -> None:
    """Other sessions were opened with the old one: they end."""
    romeo, other = await server.login("romeo"), await server.login("romeo")
    waiting = server.connect()
    await waiting.sign_in("romeo")
    assert (await romeo.iq(query("romeo", "wherefore"), "set", to="localhost")).get("type") == "result"
    assert await other.stream_error() == "not-authorized"
    assert await waiting.stream_error() == "not-authorized"
    assert (await romeo.iq(GET)).get("type") == "result"
    again = server.connect()
    await again.sign_in("romeo", "wherefore")
    with pytest.raises(AssertionError, match="failure"):
        await server.connect().sign_in("romeo", "pencil")


@pytest.mark.parametrize(
    ("payload", "wanted"),
    [
        (query("romeo", ""), "bad-request"),
        (query(None, "wherefore"), "bad-request"),
        (query("juliet", "wherefore"), "not-allowed"),
        (query("romeo", "short"), "not-acceptable"),
        ("<query xmlns='jabber:iq:register'><remove/><username>romeo</username></query>", "bad-request"),
    ],
)
async def test_refused_changes(server: Harness, payload: str, wanted: str) -> None:
    romeo = await server.login("romeo")
    assert condition(await romeo.iq(payload, "set")) == wanted
    await server.connect().sign_in("romeo", "pencil")


@pytest.mark.server(plugins={"register": {"password_change": False, "removal": False}})
async def test_switched_off(server: Harness) -> None:
    romeo = await server.login("romeo")
    assert condition(await romeo.iq(query("romeo", "wherefore"), "set")) == "not-allowed"
    assert condition(await romeo.iq(REMOVE, "set")) == "not-allowed"
    assert await exists(server, "romeo")


async def test_removal(server: Harness) -> None:
    """All that the account owned is gone, its sessions end, its contacts are told."""
    romeo = await server.login("romeo", "orchard", presence=True)
    other = await server.login("romeo", "street", presence=True)
    juliet = await server.login("juliet", "balcony", presence=True)
    await juliet.iq("<query xmlns='jabber:iq:roster'/>")
    juliet.send("<presence to='romeo@localhost' type='subscribe'/>")
    await server.quiet()
    romeo.send("<presence to='juliet@localhost' type='subscribed'/>")
    await romeo.iq("<vCard xmlns='vcard-temp'><FN>R</FN></vCard>", "set")
    for client in (romeo, other, juliet):
        await client.receive_all()

    answer = await romeo.iq(REMOVE, "set")
    assert answer.get("type") == "result"
    assert await romeo.stream_error() == "not-authorized"
    assert await other.stream_error() == "not-authorized"
    seen = [(str(each.get("from")), each.get("type")) for each in await juliet.receive_all()]
    assert ("romeo@localhost/orchard", "unavailable") in seen
    assert ("romeo@localhost/street", "unavailable") in seen
    assert ("romeo@localhost", "unsubscribed") in seen
    assert not await exists(server, "romeo")
    with pytest.raises(AssertionError, match="failure"):
        await server.connect().sign_in("romeo")
    juliet.send("<message to='romeo@localhost' type='chat' id='m'><body>hi</body></message>")
    assert condition(await juliet.receive()) == "service-unavailable"
    heir = await server.login("romeo")
    assert len((await heir.iq("<vCard xmlns='vcard-temp'/>"))[0]) == 0
    assert len((await heir.iq("<query xmlns='jabber:iq:roster'/>"))[0]) == 0


async def test_a_removal_that_cannot_be_stored(server: Harness) -> None:
    romeo = await server.login("romeo")
    server.storage.available = False
    assert condition(await romeo.iq(REMOVE, "set")) == "resource-constraint"
    server.storage.available = True
    assert await exists(server, "romeo")
    await server.connect().sign_in("romeo")
