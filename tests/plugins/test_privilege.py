"""XEP-0356: what a component may do in the name of accounts, and what it may not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.harness import Client, Element, Harness, condition, xml
from tests.harness.component import SECRET, ComponentClient
from xmppd.config.components import PrivilegesConfig

NS = "urn:xmpp:privilege:2"
GATE = "gate.localhost"
ALL = {
    "roster": "both",
    "message": "outgoing",
    "iq": {"http://jabber.org/protocol/pubsub": "both", "jabber:iq:private": "get", "jabber:iq:version": "get"},
    "presence": "roster",
}
PRIVATE = "<query xmlns='jabber:iq:private'><a xmlns='urn:a'/></query>"


def granted(**privileges: object) -> pytest.MarkDecorator:
    components = {
        GATE: {"secret": SECRET, "privileges": {"localhost": privileges} if privileges else {}},
        "other.localhost": {"secret": SECRET},
    }
    return pytest.mark.server(components=components, hosts={"second.localhost": {}})


def forwarded(message: str) -> str:
    return (
        f"<message from='{GATE}' to='localhost' id='out'><privilege xmlns='{NS}'>"
        f"<forwarded xmlns='urn:xmpp:forward:0'>{message}</forwarded></privilege></message>"
    )


def said(sender: str = "romeo@localhost", to: str = "juliet@localhost", ns: str = "jabber:client") -> str:
    return f"<message xmlns='{ns}' from='{sender}' to='{to}' type='chat' id='in'><body>hi</body></message>"


def asking(inner: str, to: str = "romeo@localhost", type: str = "get") -> str:
    return (
        f"<iq from='{GATE}' to='{to}' type='{type}' id='out'><privileged_iq xmlns='{NS}'>{inner}</privileged_iq></iq>"
    )


def inner(payload: str = PRIVATE, type: str = "get", more: str = "", ns: str = "jabber:client") -> str:
    return f"<iq xmlns='{ns}' type='{type}' id='in' {more}>{payload}</iq>"


def bodies(found: list[Element]) -> list[tuple[str, str]]:
    return [(str(each.get("from")), str(each.findtext("{jabber:client}body"))) for each in found]


@pytest.fixture
async def gate(server: Harness) -> ComponentClient:
    component = await ComponentClient(server, GATE).enter()
    await component.receive_all()
    return component


@pytest.fixture
async def romeo(server: Harness) -> Client:
    return await server.login("romeo", "x", presence=True)


@pytest.fixture
async def juliet(server: Harness) -> Client:
    return await server.login("juliet", "x", presence=True)


# ---- what it is told


@granted(**ALL)
async def test_it_is_told(server: Harness) -> None:
    component = await ComponentClient(server, GATE).enter()
    [told] = await component.receive_all()
    assert (told.get("from"), told.get("to")) == ("localhost", GATE)
    perms = {each.get("access"): dict(each.attrib) for each in told[0]}
    assert perms["roster"] == {"access": "roster", "type": "both", "push": "true"}
    assert perms["message"] == {"access": "message", "type": "outgoing"}
    assert perms["presence"] == {"access": "presence", "type": "roster"}
    [iq] = [each for each in told[0] if each.get("access") == "iq"]
    assert {each.get("ns"): each.get("type") for each in iq} == ALL["iq"] and iq.get("type") is None


@granted()
async def test_who_has_none_is_told_nothing(server: Harness) -> None:
    component = await ComponentClient(server, GATE).enter()
    assert await component.receive_all() == []


@granted(**ALL)
async def test_a_change_is_told(server: Harness, gate: ComponentClient, romeo: Client) -> None:
    """Who is connected need not ask in vain, or connect anew."""
    await gate.receive_all()
    other = await ComponentClient(server, "other.localhost").enter()
    before = server.config.components
    reads = replace(before[GATE], privileges={"localhost": PrivilegesConfig(roster="get")})
    server.server.components.configure({**before, GATE: reads})
    [told] = await gate.receive_all()
    assert [(each.get("access"), each.get("type")) for each in told[0]] == [("roster", "get")]
    server.server.components.configure({**before, GATE: replace(before[GATE], privileges={})})
    [told] = await gate.receive_all()
    assert {(each.get("access"), each.get("type")) for each in told[0]} == {
        ("roster", "none"), ("message", "none"), ("presence", "none"),
    }  # fmt: skip
    gate.send(forwarded(said()))
    assert condition((await gate.receive_all())[0]) == "forbidden"
    assert await other.receive_all() == []


# ---- contact lists


@granted(roster="both")
async def test_contact_lists(server: Harness, gate: ComponentClient, romeo: Client) -> None:
    await romeo.iq("<query xmlns='jabber:iq:roster'/>")
    add = "<query xmlns='jabber:iq:roster'><item jid='a@gate.localhost' name='A'><group>G</group></item></query>"
    answer = await gate.iq(add, "set", f"romeo@localhost' from='{GATE}")
    assert answer.get("type") == "result" and answer.get("from") == "romeo@localhost"
    [push] = await romeo.receive_all()
    assert push[0][0].get("jid") == "a@gate.localhost"
    [pushed] = await gate.receive_all()
    assert (pushed.get("from"), pushed.get("type"), pushed[0][0].get("name")) == ("romeo@localhost", "set", "A")
    assert pushed[0][0][0].text == "G"
    gate.send(f"<iq type='result' id='{pushed.get('id')}' from='{GATE}' to='romeo@localhost'/>")
    answer = await gate.iq("<query xmlns='jabber:iq:roster'/>", "get", f"romeo@localhost' from='{GATE}")
    assert [each.get("jid") for each in answer[0]] == ["a@gate.localhost"]
    romeo.send(
        "<iq type='set' id='rm'><query xmlns='jabber:iq:roster'>"
        "<item jid='a@gate.localhost' subscription='remove'/></query></iq>"
    )
    await romeo.receive_all()
    [pushed] = await gate.receive_all()
    assert pushed[0][0].get("subscription") == "remove"


@granted(roster="set")
async def test_who_sees_whom(server: Harness, gate: ComponentClient, romeo: Client) -> None:
    """Of its own users a component says it, as gateways do; of others the two sides say it themselves."""

    async def put(jid: str, subscription: str) -> str:
        item = f"<query xmlns='jabber:iq:roster'><item jid='{jid}' subscription='{subscription}'/></query>"
        assert (await gate.iq(item, "set", f"romeo@localhost' from='{GATE}")).get("type") == "result"
        found = await romeo.iq("<query xmlns='jabber:iq:roster'/>")
        return {str(each.get("jid")): str(each.get("subscription")) for each in found[0]}.get(jid, "")

    assert await put("a@gate.localhost", "both") == "both"
    assert [(each.get("from"), each.get("to")) for each in await gate.receive_all()] == [
        (romeo.jid, "a@gate.localhost")
    ]
    await romeo.receive_all()
    gate.send("<presence from='a@gate.localhost' to='romeo@localhost'/>")
    assert [each.get("from") for each in await romeo.receive_all()] == ["a@gate.localhost"]
    romeo.send("<presence><show>away</show></presence>")
    assert [each.get("to") for each in await gate.receive_all()] == ["a@gate.localhost"]
    assert await put("a@gate.localhost", "to") == "to"
    assert [each.get("type") for each in await gate.receive_all()] == ["unavailable"]
    assert await put("a@gate.localhost", "no such word") == "to"
    assert await put("juliet@localhost", "both") == "none" and await put("a@other.localhost", "both") == "none"
    assert await put("a@gate.localhost", "remove") == ""
    assert [each.get("type") for each in await gate.receive_all()] == ["unsubscribe"]


@granted(roster="both")
async def test_of_who_is_not_signed_in(server: Harness, gate: ComponentClient) -> None:
    await server.register("tybalt")
    add = "<query xmlns='jabber:iq:roster'><item jid='a@gate.localhost'/></query>"
    assert (await gate.iq(add, "set", f"tybalt@localhost' from='{GATE}")).get("type") == "result"
    answer = await gate.iq("<query xmlns='jabber:iq:roster'/>", "get", f"tybalt@localhost' from='{GATE}")
    assert [each.get("jid") for each in answer[0]] == ["a@gate.localhost"]
    answer = await gate.iq(add, "set", f"nobody@localhost' from='{GATE}")
    assert condition(answer) == "item-not-found"


@granted(roster="get", push=False)
async def test_to_read_is_not_to_write(gate: ComponentClient, romeo: Client) -> None:
    add = "<query xmlns='jabber:iq:roster'><item jid='a@gate.localhost'/></query>"
    assert condition(await gate.iq(add, "set", f"romeo@localhost' from='{GATE}")) == "forbidden"
    assert (await gate.iq("<query xmlns='jabber:iq:roster'/>", "get", f"romeo@localhost' from='{GATE}")).get(
        "type"
    ) == "result"
    await romeo.iq(add, "set")
    assert await gate.receive_all() == [], "no pushes"


@granted(roster="both")
async def test_who_else_may_not(server: Harness, gate: ComponentClient, romeo: Client, juliet: Client) -> None:
    """Another host's accounts, another component, one of its own users, another account."""
    await server.register("paris", "second.localhost")
    ask, add = "<query xmlns='jabber:iq:roster'/>", "<query xmlns='jabber:iq:roster'><item jid='a@b'/></query>"
    assert condition(await gate.iq(ask, "get", f"paris@second.localhost' from='{GATE}")) == "service-unavailable"
    assert condition(await gate.iq(add, "set", f"paris@second.localhost' from='{GATE}")) == "forbidden"
    assert condition(await gate.iq(ask, "get", f"romeo@localhost' from='user@{GATE}")) == "service-unavailable"
    assert condition(await gate.iq(add, "set", f"romeo@localhost' from='user@{GATE}")) == "forbidden"
    other = await ComponentClient(server, "other.localhost").enter()
    assert condition(await other.iq(ask, "get", "romeo@localhost' from='other.localhost")) == "service-unavailable"
    assert condition(await juliet.iq(ask, "get", "romeo@localhost")) == "service-unavailable"
    assert condition(await juliet.iq(add, "set", "romeo@localhost")) == "forbidden"


# ---- messages


@granted(message="outgoing")
async def test_a_message_is_archived_and_copied(server: Harness, gate: ComponentClient, romeo: Client) -> None:
    """As if the account had sent it."""
    await romeo.iq("<enable xmlns='urn:xmpp:carbons:2'/>", "set")
    laptop = await server.login("romeo", "y", presence=True)
    await laptop.iq("<enable xmlns='urn:xmpp:carbons:2'/>", "set")
    await romeo.receive_all()
    juliet = await server.login("juliet", "x", presence=True)
    gate.send(forwarded(said()))
    assert bodies(await juliet.receive_all()) == [("romeo@localhost", "hi")]
    for device in (romeo, laptop):
        [copy] = await device.receive_all()
        assert copy[0].tag == "{urn:xmpp:carbons:2}sent" and ">hi</body>" in xml(copy)
    await romeo.iq("<query xmlns='urn:xmpp:mam:2'/>", "set")
    assert await gate.receive_all() == []
    juliet.send("<iq type='set' id='m'><query xmlns='urn:xmpp:mam:2'/></iq>")
    results = [each for each in await juliet.receive_all() if each.tag == "{jabber:client}message"]
    assert len(results) == 1 and "romeo@localhost" in xml(results[0])


@granted(message="outgoing")
async def test_it_is_in_the_senders_archive(server: Harness, gate: ComponentClient, romeo: Client) -> None:
    await server.register("juliet")
    gate.send(forwarded(said()))
    await server.quiet()
    romeo.send("<iq type='set' id='m'><query xmlns='urn:xmpp:mam:2'/></iq>")
    found = await romeo.receive_all()
    assert [each.tag for each in found] == ["{jabber:client}message", "{jabber:client}iq"] and "hi" in xml(found[0])


@granted(message="outgoing")
async def test_to_its_own_user(server: Harness, gate: ComponentClient, romeo: Client) -> None:
    """What somebody has said on another network shows in the devices, and comes back to the gateway."""
    await romeo.iq("<enable xmlns='urn:xmpp:carbons:2'/>", "set")
    laptop = await server.login("romeo", "y", presence=True)
    await laptop.iq("<enable xmlns='urn:xmpp:carbons:2'/>", "set")
    await romeo.receive_all()
    gate.send(forwarded(said(to=f"a@{GATE}")))
    assert len(await romeo.receive_all()) == len(await laptop.receive_all()) == 1
    assert bodies(await gate.receive_all()) == [("romeo@localhost", "hi")]


@granted(message="outgoing")
@pytest.mark.one_home("the order of two senders")
async def test_of_who_is_away(server: Harness, gate: ComponentClient, juliet: Client) -> None:
    await server.register("tybalt")
    gate.send(forwarded(said(sender="tybalt@localhost")) + forwarded(said(sender="localhost")))
    assert bodies(await juliet.receive_all()) == [("tybalt@localhost", "hi"), ("localhost", "hi")]


@granted(message="outgoing")
@pytest.mark.parametrize(
    ("message", "error"),
    [
        (said(sender="romeo@localhost/x"), "forbidden"),
        (said(sender="nobody@localhost"), "forbidden"),
        (said(sender="paris@second.localhost"), "forbidden"),
        (said(sender="conference.localhost"), "forbidden"),
        (said(sender="elsewhere.example"), "forbidden"),
        (said(sender=f"a@{GATE}"), "forbidden"),
        (said(sender="@"), "bad-request"),
        (said(to="@"), "bad-request"),
        (said(ns="jabber:server"), "bad-request"),
        (said() + said(), "bad-request"),
        ("", "bad-request"),
        ("<presence xmlns='jabber:client' from='romeo@localhost' to='juliet@localhost'/>", "bad-request"),
        (said().replace("type='chat'", "type='error'"), "bad-request"),
        ("<message xmlns='jabber:client' to='juliet@localhost'><body>x</body></message>", "forbidden"),
        (said(to="nobody@localhost"), "service-unavailable"),
    ],
)
async def test_what_it_may_not_send(
    server: Harness, gate: ComponentClient, romeo: Client, juliet: Client, message: str, error: str
) -> None:
    await server.register("paris", "second.localhost")
    gate.send(forwarded(message))
    [answer] = await gate.receive_all()
    assert (answer.get("id"), condition(answer)) == ("out", error)
    assert await juliet.receive_all() == [] and await romeo.receive_all() == []


@granted(roster="both")
async def test_who_may_not_send(server: Harness, gate: ComponentClient, romeo: Client, juliet: Client) -> None:
    gate.send(forwarded(said()))
    gate.send(forwarded(said()).replace(f"from='{GATE}'", f"from='user@{GATE}'"))
    assert [condition(each) for each in await gate.receive_all()] == ["forbidden"] * 2
    juliet.send(forwarded(said(to="juliet@localhost")).replace(f"from='{GATE}'", ""))
    assert [condition(each) for each in await juliet.receive_all()] == ["forbidden"]
    assert await romeo.receive_all() == []


# ---- requests


@granted(iq=ALL["iq"])
async def test_a_request(gate: ComponentClient, romeo: Client) -> None:
    gate.send(asking(inner()))
    [answer] = await gate.receive_all()
    assert (answer.get("type"), answer.get("from"), answer.get("id")) == ("result", "romeo@localhost", "out")
    wrapped = answer[0][0][0]
    assert answer[0].tag == f"{{{NS}}}privilege" and answer[0][0].tag == "{urn:xmpp:forward:0}forwarded"
    assert (wrapped.get("type"), wrapped.get("id"), wrapped.get("to")) == ("result", "in", "romeo@localhost")
    assert wrapped[0].tag == "{jabber:iq:private}query" and await romeo.receive_all() == []


@granted(iq=ALL["iq"])
async def test_it_changes_what_the_account_has(gate: ComponentClient, romeo: Client) -> None:
    """As Slidge does it with bookmarks: a node of the account's own."""
    publish = (
        "<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='urn:xmpp:bookmarks:1'>"
        f"<item id='r@{GATE}'><conference xmlns='urn:xmpp:bookmarks:1'/></item></publish></pubsub>"
    )
    gate.send(asking(inner(publish, "set"), type="set"))
    [answer] = await gate.receive_all()
    assert answer[0][0][0].get("type") == "result", xml(answer)
    items = await romeo.iq(
        "<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='urn:xmpp:bookmarks:1'/></pubsub>"
    )
    assert f"r@{GATE}" in xml(items)


@granted(iq=ALL["iq"])
async def test_it_asks_somebody_else(server: Harness, gate: ComponentClient, romeo: Client, juliet: Client) -> None:
    gate.send(asking(inner("<query xmlns='jabber:iq:version'/>", more="to='juliet@localhost/x'")))
    [asked] = await juliet.receive_all()
    assert asked.get("from") == "romeo@localhost"
    juliet.send(
        f"<iq type='result' to='romeo@localhost' id='{asked.get('id')}'><query xmlns='jabber:iq:version'/></iq>"
    )
    [answer] = await gate.receive_all()
    assert (answer[0][0][0].get("from"), answer[0][0][0].get("id")) == (juliet.jid, "in")
    gate.send(asking(inner("<query xmlns='jabber:iq:version'/>", more="to='juliet@localhost/x'")))
    [asked] = await juliet.receive_all()
    romeo.send(f"<iq type='result' to='romeo@localhost' id='{asked.get('id')}'/>")
    assert await gate.receive_all() == [], "an answer of somebody else is none"
    await server.advance(40)
    [answer] = [each for each in await gate.receive_all() if each.get("id") == "out"]
    assert condition(answer) == "service-unavailable" and server.host.plugins["privilege"].open == 0


@granted(iq=ALL["iq"])
@pytest.mark.parametrize(
    "request_",
    [
        asking(inner(), to="romeo@localhost/x"),
        asking(inner(), to="localhost"),
        asking(inner(), to="nobody@localhost"),
        asking(inner("<query xmlns='jabber:iq:roster'/>")),
        asking(inner(type="set"), type="set"),
        asking(inner(type="set")),
        asking(inner(), type="set"),
        asking(inner(ns="jabber:server")),
        asking(inner(more="from='juliet@localhost'")),
        asking(inner(more="from='romeo@localhost/x'")),
        asking(inner(PRIVATE + PRIVATE)),
        asking(inner("")),
        asking(""),
        asking(inner() + inner()),
        asking(inner()).replace(f"from='{GATE}'", f"from='user@{GATE}'"),
    ],
)
async def test_forbidden_requests(gate: ComponentClient, romeo: Client, juliet: Client, request_: str) -> None:
    """Section 6.3."""
    gate.send(request_)
    [answer] = await gate.receive_all()
    assert (answer.get("id"), condition(answer)) == ("out", "forbidden")
    assert await juliet.receive_all() == []


@granted(iq=ALL["iq"])
async def test_a_client_may_not_ask_so(romeo: Client, juliet: Client) -> None:
    """Neither in another's name nor in its own."""
    for to in ("juliet@localhost", "romeo@localhost", "localhost"):
        answer = await romeo.iq(f"<privileged_iq xmlns='{NS}'>{inner()}</privileged_iq>", to=to)
        assert condition(answer) == "forbidden"


# ---- presence


@granted(presence="managed_entity")
async def test_presence(server: Harness, gate: ComponentClient) -> None:
    """The first and the last, and none between."""
    romeo = await server.login("romeo", "x")
    romeo.send("<presence><status>a</status></presence>")
    await server.quiet()
    romeo.send("<presence><status>b</status></presence>")
    await server.quiet()
    romeo.send("<presence type='unavailable'/>")
    await server.quiet()
    romeo.send("<presence/>")
    await server.quiet()
    romeo.cut()
    await server.advance(2)
    found = [(each.get("from"), each.get("to"), each.get("type")) for each in await gate.receive_all()]
    assert found == [(romeo.jid, GATE, None), (romeo.jid, GATE, "unavailable")] * 2


@granted(presence="managed_entity")
async def test_it_connects_later(server: Harness, romeo: Client, juliet: Client) -> None:
    component = await ComponentClient(server, GATE).enter()
    found = [each.get("from") for each in await component.receive_all() if each.tag == "{jabber:client}presence"]
    assert sorted(map(str, found)) == sorted([romeo.jid, juliet.jid])


@granted(presence="roster", roster="get")
async def test_presence_of_contacts_elsewhere(server: Harness, gate: ComponentClient, romeo: Client) -> None:
    """Once, however many have the contact; not that of strangers."""
    from tests.harness.peer import Peer

    juliet = await server.login("juliet", "x", presence=True)
    peer = Peer(server, "elsewhere.example")
    server.server.router.routes.register("elsewhere.example", peer)
    for who in (romeo, juliet):
        who.send("<presence to='a@elsewhere.example' type='subscribe'/>")
        await server.quiet()
        peer.send(f"<presence from='a@elsewhere.example' to='{who.bare}' type='subscribed'/>")
        await server.quiet()
    await gate.receive_all()
    for to in ("romeo@localhost", "juliet@localhost"):
        peer.send(f"<presence from='a@elsewhere.example/r' to='{to}'><status>s</status></presence>")
        peer.send(f"<presence from='stranger@elsewhere.example/r' to='{to}'/>")
    found = [(each.get("from"), each.get("to"), each.get("type")) for each in await gate.receive_all()]
    assert found == [("a@elsewhere.example/r", GATE, None)]
    peer.send("<presence from='a@elsewhere.example/r' to='romeo@localhost' type='unavailable'/>")
    assert [each.get("type") for each in await gate.receive_all()] == ["unavailable"]
    peer.texts()
    gate.close()
    await server.quiet()
    await ComponentClient(server, GATE).enter()
    await server.quiet()
    assert peer.texts() == ["probe"]


@granted()
async def test_nobody_else_hears_presence(server: Harness, gate: ComponentClient, romeo: Client) -> None:
    romeo.send("<presence type='unavailable'/>")
    await server.quiet()
    assert await gate.receive_all() == []
